"""Nothing that was saved is lost, by a cell that runs again or by others with the same name."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from history.crashes import crash
from tiny_models import CHATML

from mullama_nb import Chat, ContextParams, Model, SessionManager
from mullama_nb.errors import (
    MullamaWarning,
    ParameterError,
    ParameterWarning,
    SessionConflictError,
    SessionMismatchError,
    SessionNotFoundError,
)
from mullama_nb.sessions.store import SessionStore

ModelMaker = Callable[..., Model]
OPTIONS: dict[str, Any] = {"n_ctx": 512, "n_threads": 1, "temperature": 0.9, "seed": 3}
ASK: dict[str, Any] = {"max_tokens": 4, "echo": False}
PARAMS = ContextParams(n_ctx=512, n_threads=1)


@pytest.fixture
def model(tiny: ModelMaker) -> Model:
    return tiny(chat_template=CHATML)


def asked(model: Model, *questions: str) -> Chat:
    chat = Chat(model, **OPTIONS)
    for question in questions:
        chat.ask(question, **ASK)
    return chat


def cell(model: Model, folder: Path, **options: Any) -> Chat:
    """What one writes in a notebook and runs twice."""
    return Chat.open_or_create("sky", model, folder, **(OPTIONS | options))


@contextmanager
def another_process(model: Model, folder: Path) -> Iterator[str]:
    """One that saves two turns as "diary", and lives; gives the id of its head."""
    child = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("autosave_child.py"), model.path, folder, "2"],
        stdin=subprocess.PIPE,  # it lives until this is closed
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        yield [child.stdout.readline().strip() for _ in range(2)][-1]
    finally:
        child.kill()
        child.wait()
        child.stdin.close()  # type: ignore[union-attr]
        child.stdout.close()  # type: ignore[union-attr]


# -- another chat under that name ----------------------------------------------------------------


@pytest.mark.parametrize("way", ["save", "autosave"])
def test_a_name_that_holds_another_chat_is_kept(model: Model, tmp_path: Path, way: str) -> None:
    first = asked(model, "One?", "Two?")
    getattr(first, way)("sky", tmp_path)
    first.autosave(None)
    other = asked(model)
    with pytest.raises(SessionConflictError, match=r"a chat of 4 messages.*Chat\.open\('sky'\)"):
        getattr(other, way)("sky", tmp_path)
    assert Chat.open("sky", model, tmp_path).messages == first.messages


def test_what_is_replaced_is_an_earlier_version_until_collected(
    model: Model, tmp_path: Path
) -> None:
    first, second = asked(model, "One?"), asked(model, "Two?")
    first.save("sky", tmp_path)
    second.save("sky", tmp_path, replace=True)
    store = SessionStore(tmp_path)
    assert [(v.version, v.is_current) for v in store.versions("sky")] == [(1, False), (2, True)]
    assert [v.version for v in store.entries()] == [2]
    assert [v.version for v in store.entries(earlier=True)] == [1, 2]
    with pytest.raises(SessionNotFoundError, match="no version 3; there is 1, 2"):
        store.restore("sky", 3)
    store.restore("sky")
    assert Chat.open("sky", model, tmp_path).messages == first.messages
    with pytest.raises(SessionConflictError):
        second.save("sky", tmp_path)
    store.restore("sky", 2)
    assert Chat.open("sky", model, tmp_path).messages == second.messages
    store.gc()
    assert [v.version for v in store.versions("sky")] == [2]
    with pytest.raises(SessionNotFoundError, match="no earlier version; there is 2"):
        store.restore("sky")
    assert store.verify() == []


def test_a_chat_saves_where_it_came_from(model: Model, tmp_path: Path) -> None:
    chat = asked(model, "One?")
    for name in ("sky", "sea", "sky"):
        chat.save(name, tmp_path)
        chat.ask("More?", **ASK)
    opened = Chat.open("sky", model, tmp_path)
    opened.ask("Other?", **ASK)
    opened.save("sky", tmp_path)
    assert [v.version for v in SessionStore(tmp_path).versions("sky")] == [1]
    assert Chat.open("sky", model, tmp_path).messages == opened.messages
    with pytest.raises(SessionConflictError, match="saved by somebody else since"):
        chat.save("sky", tmp_path)


def test_a_context_does_not_replace_a_chat_unasked(model: Model, tmp_path: Path) -> None:
    manager = SessionManager(model, tmp_path, PARAMS)
    chat = asked(model, "One?")
    chat.save("sky", tmp_path)
    with manager.create_session("prompt", "Hello") as context:
        with pytest.raises(SessionConflictError, match="a chat of 2 messages"):
            manager.save("sky", context)
        with pytest.raises(SessionConflictError, match="a chat of 2 messages"):
            manager.create_session("sky", "Hello")
        manager.save("sky", context, replace=True)
    with pytest.raises(SessionConflictError, match="a session of"):
        chat.save("sky", tmp_path)
    manager.restore("sky")
    assert Chat.open("sky", model, tmp_path).messages == chat.messages


def test_what_contexts_replace_stays_until_collected(model: Model, tmp_path: Path) -> None:
    manager = SessionManager(model, tmp_path, PARAMS)
    with manager.create_session("ada", "One.") as first, manager.load("ada") as second:
        for context in (first, second):
            context.evaluate(" More.")
        first.evaluate(" And more.")
        manager.save("ada", first)
        manager.save("ada", first)
        assert [v.version for v in manager.versions("ada")] == [1]
        with pytest.warns(MullamaWarning, match=r"somebody else.* version 1 now"):
            manager.save("ada", second)
    assert [v.version for v in manager.versions("ada")] == [1, 2]
    manager.restore("ada", 1)
    with manager.load("ada") as context:
        assert context.text() == "One. More. And more."


def test_another_prompt_is_said(model: Model, tmp_path: Path) -> None:
    manager = SessionManager(model, tmp_path, PARAMS)
    manager.create_session("ada", "You are a pirate.").close()
    with pytest.raises(
        SessionMismatchError, match=r"'You are a pirate\.', not 'You are a clerk\.'"
    ):
        manager.load_or_create("ada", "You are a clerk.")
    with manager.load_or_create("ada", "You are a clerk.", on_other_prompt="load") as context:
        assert context.text() == "You are a pirate."
    with manager.load_or_create("ada", "You are a clerk.", on_other_prompt="replace") as context:
        assert context.text() == "You are a clerk."
    with manager.load_or_create("ada", "You are a clerk.") as context:
        assert context.text() == "You are a clerk."
    assert len(manager.versions("ada")) == 2
    with pytest.raises(ParameterError, match="on_other_prompt"):
        manager.load_or_create("ada", "x", on_other_prompt="maybe")  # type: ignore[arg-type]


# -- the cell that runs again --------------------------------------------------------------------


def test_a_cell_that_runs_again_goes_on(model: Model, tmp_path: Path) -> None:
    chat = cell(model, tmp_path)
    chat.ask("One?", **ASK)
    older, chat = chat, cell(model, tmp_path)
    assert chat.messages == older.messages
    chat.ask("Two?", **ASK)
    with pytest.warns(MullamaWarning, match="another chat of this kernel saves"):
        older.ask("Lost?", **ASK)
    again = cell(model, tmp_path)
    assert again.messages == chat.messages
    assert [v.version for v in SessionStore(tmp_path).versions("sky")] == [1]
    older.save("sky", tmp_path, merge=True, take_over=True)
    both = Chat.open("sky", model, tmp_path)
    assert {c.text for c in both.tree} == {c.text for c in (*older.tree, *chat.tree)}


def test_a_cell_that_runs_again_does_not_hold_what_it_made(model: Model, tmp_path: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        chat = cell(model, tmp_path)
        chat.ask("One?", **ASK)
        chat = cell(model, tmp_path)
        chat.ask("Two?", **ASK)  # and nobody warns: the older one is gone
        assert len(chat.messages) == 4
    finally:
        gc.enable()


def test_a_cell_with_other_words_says_so(model: Model, tmp_path: Path) -> None:
    cell(model, tmp_path, system="Be brief.").ask("One?", **ASK)
    assert len(cell(model, tmp_path).messages) == 3
    with pytest.raises(SessionMismatchError, match=r"system='Be brief.', not 'Be long.'"):
        cell(model, tmp_path, system="Be long.")
    with pytest.warns(ParameterWarning, match=r"temperature=0.9, now 0.1"):
        assert cell(model, tmp_path, temperature=0.1).sampling.temperature == 0.1
    with pytest.raises(ParameterError, match="give a model"):
        Chat.open_or_create("new", folder=tmp_path)
    SessionManager(model, tmp_path, PARAMS).create_session("prompt", "Hello").close()
    with pytest.raises(Exception, match="not a chat"):
        Chat.open_or_create("prompt", model, tmp_path)


# -- somebody else saves it ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_living_process_keeps_its_name(model: Model, tmp_path: Path) -> None:
    store = SessionStore(tmp_path)
    mine = asked(model, "Mine?")
    with another_process(model, tmp_path) as head:
        opened = Chat.open("diary", model, tmp_path)  # looking is free
        assert opened.head.id == head
        for change in (
            lambda: opened.save("diary", tmp_path),
            lambda: opened.autosave("diary", tmp_path),
            lambda: mine.save("diary", tmp_path, replace=True),
            lambda: mine.save("diary", tmp_path, merge=True),
            lambda: Chat.open_or_create("diary", model, tmp_path),
            lambda: store.delete("diary"),
            lambda: store.rename("diary", "other"),
        ):
            with pytest.raises(SessionConflictError, match=r"another process \(\d+\) saves"):
                change()
        store.copy("diary", "copy")
        n = len(mine.tree)
        mine.save("diary", tmp_path, merge=True, take_over=True)
        assert len(Chat.open("diary", model, tmp_path).tree) == n + len(opened.tree)
    again = Chat.open_or_create("diary", model, tmp_path)
    assert again.messages == mine.messages
    assert head in {c.id for c in Chat.open("copy", model, tmp_path).tree}


def test_two_that_open_ask_and_save_lose_nothing(model: Model, tmp_path: Path) -> None:
    asked(model, "One?").save("sky", tmp_path)
    a, b = (Chat.open("sky", model, tmp_path) for _ in range(2))
    a.ask("Two?", **ASK)
    a.tag("mine")
    b.ask("Three?", **ASK)
    b.tag("mine")
    a.save("sky", tmp_path)
    with pytest.raises(SessionConflictError, match=r"somebody else since.*merge=True"):
        b.save("sky", tmp_path)
    with pytest.raises(ParameterError, match="not both"):
        b.save("sky", tmp_path, merge=True, replace=True)
    b.save("sky", tmp_path, merge=True)
    b.save("sky", tmp_path, merge=True)  # nothing twice
    both = Chat.open("sky", model, tmp_path)
    assert both.messages == b.messages
    assert len(both.tree) == len(b.tree)
    for chat, tag in ((a, "mine-2"), (b, "mine")):
        both.checkout(tag)
        assert both.messages == chat.messages
        assert both.context.tokens == chat.context.tokens
        assert both.context.capture().data.tobytes() == chat.context.capture().data.tobytes()
        assert both.head.is_exact
    ids = [c.id for c in both.tree]
    assert len({*ids}) == len(ids)
    both.checkout("mine-2")
    both.ask("Four?", **ASK)
    both.save("sky", tmp_path)
    assert Chat.open("sky", model, tmp_path).messages == both.messages


def test_a_loser_that_is_merged_goes_on(model: Model, tmp_path: Path) -> None:
    older = cell(model, tmp_path)
    older.ask("One?", **ASK)
    newer = cell(model, tmp_path)
    newer.ask("Two?", **ASK)
    newer.autosave(None)
    with pytest.warns(MullamaWarning, match="somebody else since"):
        older.ask("Three?", **ASK)
    older.autosave("sky", tmp_path, merge=True)
    older.ask("Four?", **ASK)
    found = Chat.open("sky", model, tmp_path)
    assert found.messages == older.messages
    assert any("Two?" in c.text for c in found.tree)


# -- kill -9 -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_a_notebook_that_is_killed_and_run_from_its_top_loses_no_turn(
    model: Model, tmp_path: Path
) -> None:
    n_turns, n_lost, n_failed = crash(model.path, tmp_path, 4, seed=1)
    assert n_turns > 0
    assert (n_lost, n_failed) == (0, 0)
    store = SessionStore(tmp_path)
    assert [v.version for v in store.versions("sky")] == [1]
    assert store.verify() == []
    assert store.gc() >= 0
    assert not [*(tmp_path / "owners").iterdir()]
