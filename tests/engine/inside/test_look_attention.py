"""Attention in numpy is llama.cpp's own, to the last digits, whatever a model does to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import context_of, words

from mullama_nb import Context, Model
from mullama_nb.engine.inside import probe
from mullama_nb.engine.inside.attention import (
    alibi_slopes,
    attention_of,
    flash_attention,
    rounded,
    softmax,
)
from mullama_nb.engine.inside.graph import Floats, Tensor

TEXT = "The tide comes in at six and goes out at noon. The boats wait for it in the harbour, and so"
ATTENTIVE = [
    "llama",
    "longrope",
    "qwen2vl",
    "gemma3",
    "gemma2",
    "granite_swa",
    "gpt-oss",
    "bloom",
    "lfm2",
    "jamba",
    "lfm2swa",
]
# How far K may be off: where a type keeps sums of queries, llama.cpp rounds those to f16.
CLOSE = {"q4_1": 2e-3, "q5_1": 2e-3}


def source(node: Tensor, index: int) -> Tensor:
    found = node.sources[index]
    assert found is not None
    return found


class Seen:
    """What llama.cpp has in its graphs while a token is looked at, layer by layer."""

    def __init__(self, context: Context, position: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes: list[tuple[str, dict[str, Any], tuple[Floats, Floats]]] = []
        with monkeypatch.context() as patch:
            patch.setattr(probe, "attention_of", self._see)
            self.look = context.look(position)

    def _see(self, node: Tensor, n_tokens: int) -> tuple[Floats, Floats]:
        found = attention_of(node, n_tokens)
        values: dict[str, Any]
        if node.op == "SOFT_MAX":
            product = source(node, 0)
            while product.op != "MUL_MAT":
                product = source(product, 0)
            k, q = source(product, 0), source(product, 1)
            values = {"q": rounded(q.read(), k.kind), "k": k.read()[:, :, :n_tokens]}
        else:
            learnt = node.sources[4]
            values = {
                "biases": source(node, 3).read()[0, :, 0, :n_tokens],
                "learnt": None if learnt is None else learnt.read().reshape(-1),
                "parameters": node.parameters,
            }
        self.nodes.append((node.op, values, found))
        return found


def compare(model: Model, tokens: list[int], k: str, patch: pytest.MonkeyPatch) -> list[Floats]:
    """Compare what llama.cpp writes down without flash attention with what is worked out."""
    options: dict[str, Any] = {"kv_cache_type": (k, "f16")}
    with context_of(model, tokens, **options) as context:
        flash = Seen(context, -4, patch)
    with context_of(model, tokens, **options, flash_attention=False) as context:
        plain = Seen(context, -4, patch)
        np.testing.assert_array_equal(plain.look.logits, context.logits_at(len(tokens) - 3))
    assert flash.look.attention_layers == plain.look.attention_layers
    own = []
    for (op, ours, _), (other, theirs, (weights, sinks)) in zip(
        flash.nodes, plain.nodes, strict=True
    ):
        assert (op, other) == ("FLASH_ATTN_EXT", "SOFT_MAX")
        close = CLOSE.get(k, 1e-5)
        found = flash_attention(**theirs, **ours)
        np.testing.assert_allclose(found[0], weights, atol=close)
        np.testing.assert_allclose(found[1], sinks, atol=close)
        own.append(weights)
    # The first layer's input is the same in both.
    first = flash.look.attention_layers[0]
    if first == 0:
        assert np.abs(flash.look.attention[0] - plain.look.attention[0]).max() < 1e-3
    return own


@pytest.mark.parametrize("architecture", ATTENTIVE)
def test_attention_is_llama_cpps_own(
    tiny: ModelMaker, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = compare(tiny(architecture), words(90), "f16", monkeypatch)
    # None is a mean of all: then a wrong scale or order would pass.
    assert all(weights.max() > 2 / 87 for weights in own)


@pytest.mark.slow
@pytest.mark.parametrize("k", ["f32", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_attention_is_llama_cpps_own_with_rows_of_any_type(
    tiny: ModelMaker, architecture: str, k: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(architecture, head_dim=64)  # quantised rows of such heads are rotated
    compare(model, words(60), k, monkeypatch)


@pytest.mark.parametrize("k", ["f16", "q8_0", "q4_0"])
def test_attention_is_llama_cpps_own_on_smollm2(
    smollm2: Model, k: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(smollm2, smollm2.tokenize(TEXT * 2), k, monkeypatch)


def test_without_rotation_it_is_the_same(tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_ATTN_ROT_DISABLE", "1")
    compare(tiny("llama", head_dim=64), words(60), "q8_0", monkeypatch)


@pytest.mark.parametrize("architecture", ["gemma3", "gemma2", "granite_swa", "gpt-oss"])
def test_a_window_is_not_seen_past(tiny: ModelMaker, architecture: str) -> None:
    look = context_of(tiny(architecture), words(90)).look()
    is_seen = [np.flatnonzero(layer.any(axis=0)) for layer in look.attention]
    firsts = [int(seen[0]) for seen in is_seen]
    assert firsts == [90 - 32, 0, 90 - 32, 0]  # the layers' windows of 32, in turn


@pytest.mark.parametrize("architecture", ["granite_swa", "gpt-oss"])
def test_sinks_take_the_rest(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), words(90))
    for position in (0, 5, 89):
        look = context.look(position)
        np.testing.assert_allclose(look.attention.sum(axis=2) + look.sinks, 1, atol=1e-5)
        assert (look.sinks > 0).all()
    assert (context.look(0).sinks > 0.3).any()  # what was learnt weighs much against one token


@pytest.mark.parametrize("n_heads", [1, 4, 8, 12])
def test_slopes_are_those_of_alibi(n_heads: int) -> None:
    """Press et al. 2022, with their way for numbers that are no power of two."""

    def powers(n: int) -> list[float]:
        start = 2 ** (-(2 ** -(np.log2(n) - 3)))
        return [float(start ** (i + 1)) for i in range(n)]

    even = 2 ** int(np.log2(n_heads))
    expected = powers(even) + powers(2 * even)[0::2][: n_heads - even]
    np.testing.assert_allclose(alibi_slopes(n_heads, 8.0), expected, rtol=1e-5)


def test_a_sink_may_outweigh_all() -> None:
    scores = np.array([[0.0, -np.inf, 1.0]] * 3, np.float32)
    weights, sinks = softmax(scores, np.array([-500.0, 0.0, 500.0], np.float32))
    np.testing.assert_allclose(sinks, [0, 1 / (2 + np.e), 1], atol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=1), [1, 1 - sinks[1], 0], atol=1e-6)
    assert not weights[:, 1].any()
