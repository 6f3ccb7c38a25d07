"""Making contexts: what cannot go together is refused, what is odd is warned of."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, PARAMS, assert_twins, context_of, words

from mullama_nb import Context, ContextParams, Model
from mullama_nb.errors import ContextError, ParameterError, ParameterWarning


def test_a_context_needs_a_model_and_params(tiny: ModelMaker) -> None:
    for arguments in (("smollm2",), (tiny(), {"n_ctx": 256}), (None, None), (tiny(), 4096)):
        with pytest.raises(ParameterError, match=r"Context takes a Model and ContextParams, such"):
            Context(*arguments)  # type: ignore[arg-type]


def test_its_size_is_the_models_own_by_default(tiny: ModelMaker) -> None:
    assert Context(tiny(n_ctx=300), ContextParams(n_threads=1)).n_ctx == 300
    assert Context(tiny()).n_ctx == 2048


def test_more_than_the_model_was_trained_with_is_warned_of(tiny: ModelMaker) -> None:
    message = "n_ctx=4,096 is more than the 2,048 tokens that 'tiny-.*' was trained with"
    with pytest.warns(ParameterWarning, match=message) as caught:
        Context(tiny(), ContextParams(n_ctx=4096, n_threads=1))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Context(tiny(), ContextParams(n_ctx=4096, n_threads=1, rope_scaling="yarn"))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [name for name in EVERY if "mamba" not in name])
def test_a_size_beyond_reason_is_refused_before_memory_is_taken(
    tiny: ModelMaker, architecture: str
) -> None:
    message = r"a KV cache of n_ctx=2,147,483,647 tokens would take .* GB, and .* may be used"
    with (
        pytest.warns(ParameterWarning),
        pytest.raises(ParameterError, match=message),
    ):
        Context(tiny(architecture), ContextParams(n_ctx=2**31 - 1, n_threads=1))


@pytest.mark.parametrize("kv_cache_type", ["q8_0", "q4_0", ("q8_0", "f16"), ("f16", "q5_1")])
def test_heads_must_fill_whole_blocks(tiny: ModelMaker, kv_cache_type: Any) -> None:
    params = PARAMS.with_changes(kv_cache_type=kv_cache_type)
    part, name = ("V", "q5_1") if kv_cache_type[0] == "f16" else ("K", params.type_k.name)
    with pytest.raises(
        ParameterError,
        match=rf"{name} keeps 32 values in a block, and the {part} heads of 'tiny-\d+' have 16: "
        f"use f16, bf16 or f32 for {part}",
    ):
        Context(tiny(), params)
    assert Context(tiny(head_dim=32), params).evaluate(words(9)) == 9


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
@pytest.mark.parametrize(
    "changes",
    [
        {"n_ctx": 1, "n_batch": 1, "n_ubatch": 1},
        {"n_ctx": 40, "n_parallel": 1},
        {"n_batch": 7, "n_ubatch": 3},
        {"n_parallel": 255},
        {"n_threads": 2, "n_threads_batch": 1},
    ],
    ids=str,
)
def test_the_edges_of_what_is_allowed_work(
    tiny: ModelMaker, tmp_path: Path, architecture: str, changes: dict[str, Any]
) -> None:
    context = context_of(tiny(architecture), **changes)
    n_tokens = min(context.n_ctx, 30)
    context.evaluate(words(n_tokens))
    context.save_session(tmp_path / "s")
    other = context_of(tiny(architecture), **changes)
    other.load_session(tmp_path / "s")
    assert_twins(context, other)
    assert context.token_count() == min(context.n_ctx, n_tokens + 24)


@pytest.mark.slow
def test_flash_attention_can_be_left_out(tiny: ModelMaker, tmp_path: Path) -> None:
    for architecture in EVERY:
        context = context_of(tiny(architecture), words(40), flash_attention=False)
        context.save_session(tmp_path / "s")
        segment = context.capture()
        other = context_of(tiny(architecture), flash_attention=False)
        other.load_session(tmp_path / "s")
        third = context_of(tiny(architecture), flash_attention=False)
        third.restore(segment)
        assert_twins(other, third)


def test_reprs_hold_nothing_that_changes(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    assert re.fullmatch(r"Context\('tiny-\d+', 40 of 512 tokens, f16 KV cache\)", repr(context))
    mixed = context_of(tiny(head_dim=32), kv_cache_type=("q8_0", "f16"))
    assert repr(mixed).endswith("0 of 512 tokens, q8_0/f16 KV cache)")
    assert re.fullmatch(
        r"Model\('tiny-\d+', llama, 0M parameters, [\d.]+ [kM]B\)", repr(context.model)
    )
    segment = context.capture()
    assert re.fullmatch(r"Segment\(0\.\.40, 21,080 bytes, [0-9a-f]{8}\)", repr(segment))


def test_text_shows_control_tokens_on_request(tiny: ModelMaker) -> None:
    context = context_of(tiny())
    context.evaluate("a<|im_start|>b")
    assert context.text() == "a<|im_start|>b"
    assert context.text(special=False) == "ab"


def test_top_tokens(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    best = context.top_tokens(5)
    assert [t.id for t in best] == np.argsort(-context.logits)[:5].tolist()
    assert [t.probability for t in best] == sorted((t.probability for t in best), reverse=True)
    assert sum(t.probability for t in context.top_tokens(512)) == pytest.approx(1, abs=1e-4)
    assert len(context.top_tokens(10_000)) == 512
    for k in (0, -1, 1.5, True, "3"):
        with pytest.raises(ParameterError, match=r"k=.* must be 1 or more|k must be an integer"):
            context.top_tokens(k)  # type: ignore[arg-type]


def test_logits_are_a_copy(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    logits = context.logits
    kept = logits.copy()
    logits[:] = 0
    np.testing.assert_array_equal(context.logits, kept)
    context.evaluate(words(3))
    assert not np.array_equal(context.logits, kept)


def test_rewinding_is_like_slicing(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    context.rewind(-3)
    assert context.tokens == tuple(words(40)[:-3])
    for n_tokens in (38, -38):
        with pytest.raises(ParameterError, match=r"cannot rewind to .* the context holds 37"):
            context.rewind(n_tokens)
    for wrong in (1.5, "1", None, True):
        with pytest.raises(ParameterError, match=r"n_tokens must be an integer, not"):
            context.rewind(wrong)  # type: ignore[arg-type]
    assert context.rewind(37) == 0
    context.rewind(0)
    assert context.tokens == ()


def test_an_empty_context_has_nothing_to_save(tiny: ModelMaker, tmp_path: Path) -> None:
    context = context_of(tiny())
    with pytest.raises(ContextError, match="the context is empty: there is nothing to save"):
        context.save_session(tmp_path / "s")
    assert list(tmp_path.iterdir()) == []
    assert context.fork().token_count() == 0


def test_the_settings_digest_names_what_rows_depend_on(tiny: ModelMaker) -> None:
    def digest(model: Model, **changes: Any) -> str:
        return Context(model, PARAMS.with_changes(**changes)).settings_digest

    model = tiny(head_dim=32)
    same = {digest(model), digest(model, n_ctx=256), digest(model, n_batch=64, n_ubatch=64)}
    assert len(same) == 1
    others = {
        digest(tiny(head_dim=32, seed=1)),
        digest(model, kv_cache_type="q8_0"),
        digest(model, kv_cache_type=("f16", "q8_0")),
        digest(model, flash_attention=False),
        digest(model, rope_freq_base=5e5),
        digest(model, rope_scaling="yarn"),
    }
    assert len(others | same) == 7
