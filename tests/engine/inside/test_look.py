"""Where a token looked and what each layer made of it; the live context stays as it is."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, SNAPSHOT, Script, context_of, play, words
from engine.test_scoring import Unchanged

from mullama_nb import Context, ContextParams, Look, Model
from mullama_nb.errors import ContextClosedError, ContextError, InexactWarning, ParameterError

PROMPT = words(70)
# Crosses 256 cells, the window of 32 and batches of 64.
SCRIPT: Script = [words(70), 12, words(3, 1), 5, words(190, 2), 9]
TEXT = "The tide comes in at six and goes out at noon. The boats wait for it in the harbour, and so"

every = pytest.mark.parametrize(
    "architecture", [*EVERY, "longrope", "granite_swa", "gpt-oss", "bloom"]
)
one_of_each = pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])


def options(kv_cache_type: str) -> dict[str, int]:
    return {"head_dim": 64} if kv_cache_type != "f16" else {}


# -- the live context ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kv_cache_type", ["f16", "q8_0"])
@every
def test_a_look_has_the_live_logits_and_changes_nothing(
    tiny: ModelMaker, architecture: str, kv_cache_type: str
) -> None:
    model = tiny(architecture, **options(kv_cache_type))
    context, twin = (context_of(model, kv_cache_type=kv_cache_type) for _ in range(2))
    trace = play(context, SCRIPT)
    play(twin, SCRIPT)
    unchanged = Unchanged(context, twin)
    n = context.token_count()
    for position in (None, 0, 40, 69, 72, 84, 100, n - 2):
        look = context.look(position)
        n_tokens = look.position + 1
        assert look.tokens == context.tokens[:n_tokens]
        np.testing.assert_array_equal(look.logits, context.logits_at(n_tokens))
        if n_tokens in trace:
            np.testing.assert_array_equal(look.logits, trace[n_tokens])
    unchanged.check()


@pytest.mark.parametrize("kv_cache_type", ["f16", "q8_0", ("q4_0", "f16")])
def test_a_look_has_the_live_logits_of_smollm2(
    smollm2: Model, kv_cache_type: str | tuple[str, str]
) -> None:
    params = ContextParams(n_ctx=512, n_threads=2, kv_cache_type=kv_cache_type)
    with Context(smollm2, params) as context:
        context.generate(TEXT * 14, 8, temperature=0)
        assert context.token_count() > 256  # then threads share one token's attention
        rows, logits = context.capture().data, context.logits
        for position in (None, 3, 120, 290):
            look = context.look(position)
            np.testing.assert_array_equal(look.logits, context.logits_at(look.position + 1))
        np.testing.assert_array_equal(context.look().logits, logits)
        np.testing.assert_array_equal(context.capture().data, rows)


# -- what it tells ------------------------------------------------------------------------------


@every
def test_every_part_has_its_shape(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context = context_of(model, PROMPT)
    for look in (context.look(), context.look(0), context.look(33)):
        n_tokens = look.position + 1
        layers = {"lfm2": (1, 3), "jamba": (1, 3), "lfm2swa": (1, 3), "mamba": (), "mamba2": ()}
        assert look.attention_layers == layers.get(architecture, (0, 1, 2, 3))
        n_heads = 4 if look.attention_layers else 0
        assert look.attention.shape == (4, n_heads, n_tokens)
        assert look.hidden.shape == (5, model.n_embd)
        assert look.logits.shape == (512,)
        assert all(array.dtype == np.float32 for array in (look.attention, look.hidden))
        inside = look.attention[list(look.attention_layers)]
        sinks = look.sinks[list(look.attention_layers)]
        np.testing.assert_allclose(inside.sum(axis=2) + sinks, 1, atol=1e-5)
        assert sinks.any() == (architecture in ("granite_swa", "gpt-oss"))
        assert (inside >= 0).all()
        outside = np.delete(look.attention, look.attention_layers, axis=0)
        assert np.isnan(outside).all()
        assert np.isfinite(look.hidden).all()


@every
def test_the_last_layer_says_the_logits(tiny: ModelMaker, architecture: str) -> None:
    look = (context := context_of(tiny(architecture), PROMPT)).look(50)
    np.testing.assert_allclose(look.lens(4), look.logits, atol=1e-4)
    np.testing.assert_array_equal(look.lens(4), look.lens(4))
    assert [[each.id for each in row] for row in look.guesses(3)] == [
        np.argsort(-look.lens(k), kind="stable")[:3].tolist() for k in range(5)
    ]
    assert context.top_tokens(1, at=51)[0].id == look.guesses(1)[-1][0].id
    # Each layer changes what is said.
    changes = [np.abs(look.lens(k) - look.lens(k + 1)).max() for k in range(4)]
    assert min(changes) > 0.1


# -- what cannot be -----------------------------------------------------------------------------


@one_of_each
def test_a_token_must_be_there(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture))
    with pytest.raises(ContextError, match="empty"):
        context.look()
    context.evaluate(PROMPT)
    for position in (70, -71):
        with pytest.raises(ParameterError, match=f"no token at {position}"):
            context.look(position)
    with pytest.raises(ParameterError):
        context.look("last")  # type: ignore[arg-type]
    assert context.look(-70).position == 0
    with pytest.raises(ParameterError):
        context.look().lens(5)


def test_a_closed_context_is_not_looked_into(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    look = context.look()
    context.close()
    for ask in (context.look, look.guesses, lambda: look.lens(2)):
        with pytest.raises(ContextClosedError):
            ask()
    assert "closed" in look._repr_html_()


def test_a_look_keeps_no_context(tiny: ModelMaker) -> None:
    look = context_of(tiny(), PROMPT).look()
    gc.collect()
    with pytest.raises(ContextClosedError, match="gone"):
        look.lens(1)
    assert look.attention.shape == (4, 4, 70)


def test_a_look_is_a_value(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    look = context.look(2)
    assert isinstance(look, Look)
    assert repr(look) == f"Look({look.pieces[2]!r} at 2 of 3 tokens, 4 layers x 4 heads)"
    assert "".join(look.pieces) == context.model.detokenize(PROMPT[:3], special=True)
    with pytest.raises(AttributeError):
        look.position = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        look.attention[:] = 0


def test_a_table_of_layers_is_shown_escaped(tiny: ModelMaker) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    model = tiny("llama", control_tokens=(hostile,), ends=True)
    token = model.tokenize(hostile, special=True)
    context = context_of(model, [*PROMPT, *token])
    look = context.look()
    assert look.pieces[-1] == hostile
    page = look._repr_html_()
    assert "<img" not in page
    assert "&lt;img src=x" in page
    names = [row[4 : row.index("</th>")].split()[0] for row in page.split("<tr>")[2:]]
    assert names == ["embedding", "1", "2", "3", "4"]


@pytest.mark.parametrize("architecture", SNAPSHOT[:-1])
def test_a_state_of_unknown_origin_is_warned_of(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context = context_of(model, PROMPT)
    context.generate(None, 6)
    other = context_of(model)
    other.restore(context.capture())
    with pytest.warns(InexactWarning, match="evaluated again for a look"):
        look = other.look(40)
    np.testing.assert_allclose(look.logits, context.look(40).logits, atol=0.5)


def test_rows_that_a_window_lost_are_worked_out_again(tiny: ModelMaker, tmp_path: Path) -> None:
    model = tiny("gemma3")
    with context_of(model, words(100)) as whole:
        whole.generate(None, 4)
        whole.save_session(tmp_path / "window.session", window_only=True)
        expected = whole.look(50)
    context = context_of(model)
    with pytest.warns(InexactWarning):
        context.load_session(tmp_path / "window.session")
    rows = context.capture(60).data
    with pytest.warns(InexactWarning, match="evaluated again for a look"):
        look = context.look(50)
    np.testing.assert_allclose(look.logits, expected.logits, atol=0.5)
    np.testing.assert_allclose(look.attention, expected.attention, atol=0.05)
    np.testing.assert_array_equal(context.capture(60).data, rows)
