"""Looks at other branches: nobody else sees that the head was there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat, ControlVector, Turn
from mullama_nb.errors import DecodeError
from mullama_nb.history import visiting
from mullama_nb.history.events import Committed, Event, Moved
from mullama_nb.history.tree import Checkpoint
from mullama_nb.history.workspace import Workspace

Others = Callable[[Chat], list[dict[str, Any]]]

LOOKS: dict[str, Callable[[Turn, Turn], object]] = {
    "compare": lambda one, two: one.chat.compare(one, two),
    "alternatives": lambda one, _: one.alternatives(2),
    "choice": lambda one, _: one.choice(2),
    "entropy": lambda one, _: one.entropy,
    "likely": lambda one, _: one.chat.likely(2, width=2, at=one),
    "likely inside": lambda one, _: one.chat.likely(2, width=2, at=one, token=2),
}


def seen(chat: Chat) -> dict[str, Any]:
    """What there is to see of where a chat stands."""
    tree = chat.tree
    return {
        "head": chat.head,
        "HEAD": tree["HEAD"],
        "path": tree.path(),
        "tokens": tree.tokens(),
        "messages": chat.messages,
        "adapters": chat.adapters,
        "uncommitted": tree.uncommitted,
        "steps": (chat.undo_steps, chat.redo_steps),
        "held": tree._workspace.n_held,
    }


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Iterator[Others]:
    """What another thread sees in the middle of each look at a chat."""
    watched: list[Chat] = []
    found: list[dict[str, Any]] = []
    with ThreadPoolExecutor(1) as other:

        @contextmanager
        def visited(
            workspace: Workspace[Checkpoint], ref: Checkpoint | str
        ) -> Iterator[Checkpoint]:
            with visit(workspace, ref) as target:
                found.extend(other.submit(seen, chat).result(timeout=600) for chat in watched)
                yield target

        def watch(chat: Chat) -> list[dict[str, Any]]:
            watched.append(chat)
            return found

        visit = visiting.visit
        monkeypatch.setattr(visiting, "visit", visited)
        yield watch


def heard_by(chat: Chat) -> list[Event]:
    heard: list[Event] = []
    chat.tree.on_change(heard.append)
    return heard


def branched(tiny: ModelMaker, architecture: str) -> tuple[Chat, Turn, Turn]:
    """A chat with two answers to a question, and its head on another one, where a vector is on."""
    model = tiny(architecture, chat_template=CHATML)
    chat = Chat(model, n_ctx=512, n_threads=1, n_threads_batch=1, seed=1, max_tokens=6)
    one = chat.ask("first", temperature=1.0)
    two = chat.regenerate(temperature=1.0)
    chat.edit("other")
    rows = np.random.default_rng(0).normal(0, 1, (model.n_layers, model.n_embd))
    rows[0] = 0
    chat.adapters = [ControlVector.from_array(rows, name="calm")]
    chat.ask("second")
    chat.ask("third")
    chat.undo()
    return chat, one, two


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])
@pytest.mark.parametrize("look", LOOKS)
def test_nobody_else_sees_a_look(
    tiny: ModelMaker, others: Others, architecture: str, look: str
) -> None:
    chat, one, two = branched(tiny, architecture)
    before, heard, found = seen(chat), heard_by(chat), others(chat)
    LOOKS[look](one, two)
    assert found
    assert all(each == before for each in found)
    assert seen(chat) == before
    assert chat.tree.flush()
    assert heard == []


def test_a_visit_is_seen(chat: Chat) -> None:
    answer = chat.ask("first", max_tokens=4)
    home = chat.ask("second", max_tokens=4).checkpoint
    heard = heard_by(chat)
    with ThreadPoolExecutor(1) as other, chat.tree.visit(answer.checkpoint) as target:
        assert other.submit(seen, chat).result(timeout=600)["head"] is target
    assert chat.tree.flush()
    moves = [(move.head, move.before) for move in heard if isinstance(move, Moved)]
    assert moves == [(target.id, home.id), (home.id, target.id)]


def test_what_a_look_adds_is_no_head(loaded: Chat, others: Others) -> None:
    held = next(turn for turn in loaded.turns if turn.index is not None)
    before, heard, found = seen(loaded), heard_by(loaded), others(loaded)
    loaded.likely(2, width=2, at=held)
    assert found
    assert all(each == before for each in found)
    assert loaded.tree.flush()
    added = [event for event in heard if isinstance(event, Committed)]
    assert added
    assert not any(event.is_head for event in added)
    assert not any(isinstance(event, Moved) for event in heard)


def test_a_look_without_a_way_back_is_told_of(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = chat.ask("first", max_tokens=4)
    home = chat.ask("second", max_tokens=4).checkpoint
    heard, go = heard_by(chat), Workspace.go

    def fail(workspace: Workspace[Checkpoint], target: Checkpoint, **options: Any) -> None:
        if target is home:
            raise DecodeError("no way back")
        go(workspace, target, **options)

    monkeypatch.setattr(Workspace, "go", fail)
    with (
        pytest.raises(DecodeError, match="no way back"),
        visiting.look(chat.tree._workspace, answer.checkpoint),
    ):
        pass
    assert chat.head is answer.checkpoint
    assert chat.context.tokens == chat.tree.tokens()
    assert chat.tree.flush()
    assert heard == [Moved(answer.checkpoint.id, home.id)]
