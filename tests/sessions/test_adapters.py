"""Sessions by name with adapters: stored beginnings are taken only where they were the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ModelMaker
from tiny_adapters import write_lora
from tiny_models import CHATML

from mullama_nb import Chat, ContextParams, ControlVector, LoRA, Model, SessionManager
from mullama_nb.engine.adapters.values import Adapter
from mullama_nb.errors import InexactWarning, SessionMismatchError

PARAMS = ContextParams(n_ctx=512, n_threads=1)
PROMPT = "the long beginning that they have in common " * 6


@pytest.fixture
def model(tiny: ModelMaker) -> Model:
    return tiny("llama", chat_template=CHATML)


@pytest.fixture
def style(model: Model, tmp_path: Path) -> LoRA:
    return LoRA(write_lora(tmp_path / "style.gguf", model), scale=0.5)


def managers(model: Model, folder: Path, *some: list[Adapter]) -> list[SessionManager]:
    return [SessionManager(model, folder, PARAMS, adapters=on) for on in some]


def test_a_session_is_loaded_with_what_it_was_made_with(
    model: Model, style: LoRA, tmp_path: Path
) -> None:
    plain, styled = managers(model, tmp_path / "s", [], [style])
    with styled.create_session("a", PROMPT) as made, styled.load("a") as loaded:
        assert loaded.adapters == made.adapters == (style,)
        np.testing.assert_array_equal(loaded.logits, made.logits)
        made.adapters = []
        made.evaluate(" and more")
        styled.save("a", made)
        with styled.load("a") as again:
            assert again.adapters == ()
            np.testing.assert_array_equal(again.logits, made.logits)
            again.rewind(9)
            made.rewind(9)
            np.testing.assert_array_equal(again.logits, made.logits)
    with pytest.raises(SessionMismatchError, match=r"the LoRA 'style' .* not at hand"):
        plain.load("a")
    with pytest.warns(InexactWarning, match="evaluated again"):
        plain.load("a", on_mismatch="replay").close()
    styled.export("a", tmp_path / "a.session")
    styled.add(tmp_path / "a.session", "b")
    with styled.load("b") as added:
        assert added.capture().adapters[0][0] == 0


def test_a_stored_beginning_is_taken_where_the_same_was_on(
    model: Model, style: LoRA, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    plain, styled, half = managers(model, folder, [], [style], [style.with_scale(0.25)])
    plain.create_session("plain", PROMPT).close()
    logits = {}
    for name, manager in (("styled", styled), ("half", half), ("again", styled)):
        n_segments = len([*(folder / "segments").rglob("*")])
        with manager.create_session(name, PROMPT + "and its end") as context:
            logits[name] = context.logits
            segments = [*(folder / "segments").rglob("*")]
        assert len(segments) > n_segments or name == "again"
    np.testing.assert_array_equal(logits["again"], logits["styled"])
    assert not np.array_equal(logits["half"], logits["styled"])
    for name, manager in (("styled", styled), ("half", half)):
        with manager.load(name) as context:
            np.testing.assert_array_equal(context.logits, logits[name])


def test_a_chat_is_loaded_as_a_session(model: Model, style: LoRA, tmp_path: Path) -> None:
    chat = Chat(model, n_ctx=512, n_threads=1, n_threads_batch=1)
    chat.ask("why?", max_tokens=4)
    chat.adapters = [style]
    chat.ask("how?", max_tokens=4)
    chat.save("c", tmp_path / "s")
    params = chat.context.params
    manager = SessionManager(model, tmp_path / "s", params, adapters=[style.with_scale(3)])
    with manager.load("c") as context:
        assert context.tokens == chat.context.tokens
        assert context.adapters == (style,)
        np.testing.assert_array_equal(context.logits, chat.context.logits)
        n_tokens = chat.tree.path()[1].stop
        np.testing.assert_array_equal(context.logits_at(n_tokens), chat.context.logits_at(n_tokens))


def test_replayed_tokens_are_evaluated_as_they_were(
    model: Model, style: LoRA, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).normal(0, 1, (model.n_layers, model.n_embd))
    rows[0] = 0
    calm = ControlVector.from_array(rows, name="calm")
    (manager,) = managers(model, tmp_path / "s", [style])
    with manager.create_session("a", "the beginning") as context:
        context.adapters = [calm]
        context.evaluate(" and the end")
        manager.save("a", context)
        runs = context.capture().adapters
    other = SessionManager(
        model, tmp_path / "s", PARAMS.with_changes(kv_cache_type="f32"), adapters=[style, calm]
    )
    with pytest.warns(InexactWarning, match="evaluated again"):
        again = other.load("a", on_mismatch="replay")
    assert again.capture().adapters == runs
    assert again.adapters == (calm,)
    again.close()
