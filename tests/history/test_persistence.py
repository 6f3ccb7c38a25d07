"""A saved chat comes back whole: every checkpoint, tag and head, to the bit."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import CHATML

from mullama_nb import Chat, Model, SessionManager
from mullama_nb.engine.params import ContextParams
from mullama_nb.errors import (
    InexactWarning,
    MullamaWarning,
    ParameterError,
    ParameterWarning,
    SessionError,
    SessionFormatError,
    SessionMismatchError,
    SessionNotFoundError,
)
from mullama_nb.sessions.store import SessionStore

ModelMaker = Callable[..., Model]
OPTIONS: dict[str, Any] = {"n_ctx": 512, "n_threads": 1, "temperature": 0.9, "seed": 3}
ASK: dict[str, Any] = {"max_tokens": 6, "echo": False}
ARCHITECTURES = ["llama", "gemma3", "mamba"]


@pytest.fixture
def model(tiny: ModelMaker) -> Model:
    return tiny(chat_template=CHATML)


def grown(model: Model) -> Chat:
    """A chat with branches, a tag, an undone turn and a cut."""
    chat = Chat(model, system="Be brief.", **OPTIONS)
    first = chat.ask("One?", **ASK)
    chat.tag("first")
    chat.ask("Two?", **ASK)
    chat.regenerate(**ASK)
    chat.checkout("first")
    chat.ask("Three?", **ASK)
    chat.fork(first, token=3, **ASK)
    chat.checkout("first")
    chat.ask("Four?", **ASK)
    chat.undo()
    return chat


def notes(chat: Chat) -> list[Any]:
    """All that is known of a tree."""
    return [
        [
            (c.id, c.parent and c.parent.id, c.tokens, c.metadata, c.logprobs, c.ordinal)
            for c in chat.tree
        ],
        {name: c.id for name, c in chat.tree.tags.items()},
        chat.head.id,
        [c.id for c in chat.tree.redo_path],
        chat.messages,
        chat.tree._workspace.graph.next_ordinal(chat.head),
        chat.tree._workspace.graph.n_made,
        chat.sampling,
        chat.context.params,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_whole_tree_comes_back(tiny: ModelMaker, tmp_path: Path, architecture: str) -> None:
    chat = grown(tiny(architecture, chat_template=CHATML))
    chat.save("lesson", tmp_path)
    again = Chat.open("lesson", chat.model, tmp_path)
    assert notes(again) == notes(chat)
    assert again.context.logits.tobytes() == chat.context.logits.tobytes()
    for checkpoint in [*chat.tree]:
        chat.checkout(checkpoint)
        again.checkout(checkpoint.id)
        assert again.context.tokens == chat.context.tokens
        assert again.context.logits.tobytes() == chat.context.logits.tobytes()
        assert again.head.is_exact
    chat.checkout("first")
    again.checkout("first")
    assert again.ask("Five?", **ASK).text == chat.ask("Five?", **ASK).text
    assert notes(again) == notes(chat)


def test_rows_are_read_when_they_are_needed(model: Model, tmp_path: Path) -> None:
    chat = grown(model)
    chat.save("lesson", tmp_path)
    again = Chat.open("lesson", model, tmp_path)
    away = [c for c in again.tree if c.tokens and not c.is_ancestor_of(again.head)]
    assert away
    assert {c.place for c in away} == {"disk"}
    assert again.tree.kv_bytes() == chat.tree.kv_bytes()


def test_saving_again_writes_only_what_is_new(model: Model, tmp_path: Path) -> None:
    chat = grown(model)
    chat.save("lesson", tmp_path)
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "segments").iterdir()}
    chat.ask("Six?", **ASK)
    chat.save("lesson", tmp_path)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "segments").iterdir()}
    assert files.items() < after.items()


def test_a_saved_chat_is_a_session_of_its_head(model: Model, tmp_path: Path) -> None:
    chat = grown(model)
    chat.save("lesson", tmp_path)
    manager = SessionManager(model, tmp_path, ContextParams(n_ctx=512, n_threads=1))
    with manager.load("lesson") as context:
        assert context.tokens == chat.context.tokens
        assert context.logits.tobytes() == chat.context.logits.tobytes()
    manager.create_session("plain", "Hello").close()
    with pytest.raises(SessionError, match="not a chat"):
        Chat.open("plain", model, tmp_path)


def test_its_model_is_found_where_it_was(model: Model, tmp_path: Path) -> None:
    chat = grown(model)
    chat.save("lesson", tmp_path)
    assert Chat.open("lesson", folder=tmp_path).messages == chat.messages


def test_names_that_are_not_there(model: Model, tmp_path: Path) -> None:
    with pytest.raises(SessionNotFoundError, match="the folder holds none"):
        Chat.open("lesson", model, tmp_path)
    with pytest.raises(ParameterError):
        grown(model).save("../lesson", tmp_path)
    with pytest.raises(ParameterError, match="on_mismatch"):
        Chat.open("lesson", model, tmp_path, on_mismatch="maybe")  # type: ignore[arg-type]


def test_another_model_gets_the_messages_if_asked(
    model: Model, tiny: ModelMaker, tmp_path: Path
) -> None:
    chat = grown(model)
    chat.save("lesson", tmp_path)
    other = tiny(seed=1, chat_template=CHATML)
    with pytest.raises(SessionMismatchError, match="the weights"):
        Chat.open("lesson", other, tmp_path)
    with pytest.warns(InexactWarning, match="evaluated again"):
        again = Chat.open("lesson", other, tmp_path, on_mismatch="replay")
    assert again.messages == chat.messages
    assert again.model is other


def test_other_settings_evaluate_the_tokens_if_asked(model: Model, tmp_path: Path) -> None:
    chat = grown(model)
    chat.save("lesson", tmp_path)
    with pytest.raises(SessionMismatchError, match="KV cache type"):
        Chat.open("lesson", model, tmp_path, kv_cache_type="f32")
    with pytest.warns(InexactWarning, match="evaluated again"):
        again = Chat.open("lesson", model, tmp_path, on_mismatch="replay", kv_cache_type="f32")
    assert again.context.tokens == chat.context.tokens
    assert [c.id for c in again.tree] == [c.id for c in chat.tree]


def test_damaged_rows_are_evaluated_again_and_it_is_said(model: Model, tmp_path: Path) -> None:
    chat = grown(model)
    chat.save("lesson", tmp_path)
    address = chat.head.address
    path = tmp_path / "segments" / f"{address}.segment"
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    again = Chat.open("lesson", model, tmp_path)
    assert again.context.tokens == chat.context.tokens
    assert [damage.names for damage in SessionStore(tmp_path).verify()] == [("lesson",)]


# What an earlier version took, and this one refuses.
NO_SCHEMA = {"type": "array", "uniqueItems": True}
NO_GRAMMAR = "root = nothing"


@pytest.mark.parametrize("given", [{"json_schema": NO_SCHEMA}, {"grammar": NO_GRAMMAR}])
def test_a_grammar_that_is_no_longer_taken_costs_no_chat(
    model: Model, tmp_path: Path, given: dict[str, Any]
) -> None:
    chat = grown(model)
    vars(chat.sampling).update(given)  # past the checks
    chat.save("lesson", tmp_path)
    (name,) = given
    with pytest.warns(ParameterWarning, match=f"goes on without its {name}, which") as said:
        again = Chat.open("lesson", model, tmp_path)
    assert len(said) == 1
    assert again.sampling == chat.sampling.with_changes(**{name: None})
    with pytest.warns(ParameterWarning, match=f"goes on without its {name}"):
        Chat.open_or_create("lesson", model, tmp_path).context.close()
    other = Chat.open("lesson", model, tmp_path, json_schema={"type": "integer"})
    assert other.sampling.json_schema == {"type": "integer"}
    chat.save("lesson", tmp_path, replace=True)
    instead: Any = {"json_schema": {"type": "integer"}, "grammar": 'root ::= "a"'}[name]
    was = f"saved with {name}={given[name]!r}, now {instead!r}"
    with pytest.warns(ParameterWarning, match=re.escape(was)):
        Chat.open_or_create("lesson", model, tmp_path, **{name: instead}).context.close()
    chat.sampling = again.sampling = other.sampling
    assert notes(other) == notes(again) == notes(chat)


# -- after every turn ----------------------------------------------------------------------------


def test_each_turn_is_saved(model: Model, tmp_path: Path) -> None:
    chat = Chat(model, **OPTIONS)
    chat.autosave("diary", tmp_path)
    for question in ("One?", "Two?"):
        chat.ask(question, **ASK)
        assert notes(Chat.open("diary", model, tmp_path)) == notes(chat)
    chat.undo()
    chat.tag("back")
    assert notes(Chat.open("diary", model, tmp_path)) == notes(chat)
    assert SessionStore(tmp_path).info("diary").is_live
    chat.autosave(None)
    before = notes(chat)
    chat.ask("Three?", **ASK)
    assert notes(chat) != before
    assert notes(Chat.open("diary", model, tmp_path)) == before


def test_a_turn_is_there_even_if_it_cannot_be_saved(model: Model, tmp_path: Path) -> None:
    chat = Chat(model, **OPTIONS)
    chat.autosave("diary", tmp_path / "store")
    (tmp_path / "store" / "catalog.sqlite").write_bytes(b"no database, but long enough" * 200)
    with pytest.warns(MullamaWarning, match="could not be saved as 'diary'"):
        chat.ask("One?", **ASK)
    assert chat.messages[0]["content"] == "One?"
    with pytest.raises(SessionFormatError, match="damaged"):
        Chat.open("diary", model, tmp_path / "store")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_a_killed_process_leaves_its_last_turn(model: Model, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("autosave_child.py"), model.path, tmp_path, "3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        ids = [child.stdout.readline().strip() for _ in range(3)]
        assert SessionStore(tmp_path).info("diary").is_live
        with pytest.raises(SessionError, match="another process"):
            Chat(model, **OPTIONS).autosave("diary", tmp_path)
    finally:
        child.kill()
        child.communicate()
    assert not SessionStore(tmp_path).info("diary").is_live
    chat = Chat.open("diary", model, tmp_path)
    assert chat.head.id == ids[-1]
    assert all(identifier in chat.tree for identifier in ids)
    chat.autosave("diary", tmp_path)  # and goes on
    chat.ask("More?", **ASK)
    assert notes(Chat.open("diary", model, tmp_path)) == notes(chat)
