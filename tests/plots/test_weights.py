"""A token's attention as shares, with and without what is looked at without being meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mullama_nb import Context, ContextParams, Look
from mullama_nb.errors import ParameterError
from mullama_nb.plots.weights import attention_weights, find_sinks, heads_of

Array = npt.NDArray[np.float32]


def look_in(model: Any, text: str = "The tide comes in at six, and so do we.") -> Look:
    context = Context(model, ContextParams(n_ctx=128, n_threads=1))
    context.evaluate(text)
    return context.look()


@pytest.fixture(scope="module")
def seen(tiny: ModelMaker) -> Look:
    return look_in(tiny("llama"))


@st.composite
def attentions(draw: st.DrawFn) -> tuple[Array, Array]:
    """Attention and learnt sinks of some layers and heads, some of which are not there."""
    n_layers, n_heads, n_tokens = (draw(st.integers(1, n)) for n in (4, 4, 6))
    shape = (n_layers, n_heads, n_tokens + 1)
    weights = draw(arrays.arrays(np.float64, shape, elements=st.floats(0, 1)))
    weights[..., 0] += 1e-3
    weights /= weights.sum(axis=2, keepdims=True)
    if draw(st.booleans()):
        weights[..., -1] = 0  # no learnt sinks
        weights /= np.maximum(weights.sum(axis=2, keepdims=True), 1e-9)
    is_there = draw(arrays.arrays(np.bool_, shape[:2]))
    is_there[0, 0] = True
    weights[~is_there] = np.nan
    return weights[..., :-1].astype(np.float32), weights[..., -1].astype(np.float32)


def with_attention(look: Look, attention: Array, sinks: Array) -> Look:
    n = attention.shape[2]
    pieces = tuple(f"t{i}" for i in range(n))
    return replace(
        look, position=n - 1, tokens=(*range(n),), pieces=pieces, attention=attention, sinks=sinks
    )


@pytest.mark.slow
@given(made=attentions(), data=st.data())
def test_shares_are_the_mean_of_what_is_there(
    seen: Look, made: tuple[Array, Array], data: st.DataObject
) -> None:
    look = with_attention(seen, *made)
    n_layers, n_heads, n_tokens = look.attention.shape
    layer = data.draw(st.none() | st.integers(0, n_layers - 1))
    head = data.draw(st.none() | st.integers(0, n_heads - 1))
    layers = range(n_layers) if layer is None else [layer]
    heads = range(n_heads) if head is None else [head]
    rows = [look.attention[i, j] for i in layers for j in heads]
    learnt = [look.sinks[i, j] for i in layers for j in heads]
    rows = [row for row in rows if not np.isnan(row[0])]
    if not rows:
        with pytest.raises(ParameterError):
            attention_weights(look, layer, head)
        return
    mean, taken = np.mean(rows, axis=0), np.nanmean(learnt)
    whole = attention_weights(look, layer, head)
    np.testing.assert_allclose(whole.shares, mean, atol=1e-6)
    assert (whole.left_out, whole.left_out_share, whole.remark) == ((), 0, "")

    rest = attention_weights(look, layer, head, leave_out_sinks=True)
    assert rest.left_out == find_sinks(look)
    assert rest.left_out_share == pytest.approx(mean[list(rest.left_out)].sum() + taken, abs=1e-6)
    kept = [n for n in range(n_tokens) if n not in rest.left_out]
    assert not rest.shares[list(rest.left_out)].any()
    if mean[kept].sum() > 1e-6:
        np.testing.assert_allclose(rest.shares[kept], mean[kept] / mean[kept].sum(), atol=1e-5)
    # What is named is in the order of what they got.
    named = rest.most(3)
    assert named == sorted(named, key=lambda n: (-rest.shares[n], n))
    assert all(rest.shares[n] > 0 for n in named)


@pytest.mark.slow
@given(made=attentions())
def test_sinks_are_the_first_token_and_what_most_heads_look_at_most(
    seen: Look, made: tuple[Array, Array]
) -> None:
    look = with_attention(seen, *made)
    rows = [row for layer in look.attention for row in layer if not np.isnan(row[0])]
    most = {n for n in range(look.position) if sum(r[n] > 0.5 for r in rows) > len(rows) / 2}
    assert find_sinks(look) == tuple(sorted({0, *most} - {look.position}))


def test_a_learnt_sink_counts_as_left_out(seen: Look) -> None:
    attention = np.full((1, 1, 2), 0.25, np.float32)
    look = with_attention(seen, attention, np.full((1, 1), 0.5, np.float32))
    weights = attention_weights(look, leave_out_sinks=True)
    assert weights.left_out_share == 0.75
    assert weights.shares.tolist() == [0, 1]
    assert weights.remark == "without token 0 't0', which took 75%"


def test_what_is_not_there_is_refused(seen: Look, tiny: ModelMaker) -> None:
    for picked, words in (
        ({"layer": 4}, "layer=4 has no attention .* 0, 1, 2, 3"),
        ({"layer": -1}, "layer=-1"),
        ({"layer": 1.5}, "layer"),
        ({"head": 4}, "head"),
        ({"head": True}, "head"),
    ):
        with pytest.raises(ParameterError, match=words):
            attention_weights(seen, **picked)  # type: ignore[arg-type]
    assert heads_of(look_in(tiny("jamba")), None, 1) == ([1, 3], [1])
    with pytest.raises(ParameterError, match="no attention"):
        attention_weights(look_in(tiny("mamba")))
