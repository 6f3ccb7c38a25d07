"""The buttons move the kernel's head and know how many steps are left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import llama_cpp
import pytest
from tiny_models import CHATML
from waiting import wait_until

from mullama_nb import Chat
from mullama_nb.history.events import Event, Moved, Tagged, TokenAdded
from mullama_nb.widgets.chat_panel import ChatPanel
from mullama_nb.widgets.undo_redo import UndoRedo


@pytest.fixture
def chat(tiny: Callable[..., Any]) -> Chat:
    return Chat(tiny("llama", chat_template=CHATML), n_ctx=512, n_threads=1)


def test_nothing_can_be_done_in_an_empty_chat(chat: Chat) -> None:
    state = UndoRedo(chat).take_snapshot()
    assert (state["undo"], state["redo"], state["siblings"]) == (0, 0, 1)
    assert not state["answered"]


def test_undo_and_redo_move_the_head(chat: Chat) -> None:
    widget = UndoRedo(chat)
    chat.ask("a", max_tokens=3)
    head = chat.head
    widget.handle("undo", {})
    assert chat.turns == []
    assert widget.take_snapshot()["redo"] == 1
    widget.handle("redo", {})
    assert chat.head is head


def test_undo_and_redo_say_what_they_are_about(chat: Chat) -> None:
    """By the question that goes or comes, as often as there are steps."""
    widget = UndoRedo(chat)
    asked = ["What is a tide?", "Why?\nSay it   in one line.", "long " * 40]
    for question in asked:
        chat.ask(question, max_tokens=2)
    shown = ["What is a tide?", "Why? Say it in one line.", f"{'long ' * 40}"[:54] + "…"]
    for n in range(len(asked), -1, -1):
        steps = widget.take_snapshot()
        assert steps["undoes"] == (shown[n - 1] if n else "")
        assert steps["redoes"] == (shown[n] if n < len(asked) else "")
        widget.handle("undo", {})


def test_siblings_are_counted_and_reached(chat: Chat) -> None:
    widget = UndoRedo(chat)
    first = chat.ask("a", max_tokens=3, temperature=2.0, seed=1).checkpoint
    second = chat.regenerate(max_tokens=3, temperature=2.0, seed=2).checkpoint
    assert second is not first
    assert widget.take_snapshot()["sibling"] == widget.take_snapshot()["siblings"] == 2
    widget.handle("sibling", {"step": -1})
    assert chat.head is first
    widget.handle("sibling", {"step": -1})
    assert chat.head is first


def test_ways_from_inside_an_answer_are_counted(chat: Chat) -> None:
    widget = UndoRedo(chat)
    answer = chat.ask("a", max_tokens=4)
    chat.fork(answer, token=2, choose=7, max_tokens=2)
    steps = widget.take_snapshot()
    assert (steps["sibling"], steps["siblings"]) == (2, 2)
    widget.handle("sibling", {"step": -1})
    assert chat.head.id == answer.checkpoint.id


def test_what_did_not_change_is_not_sent(chat: Chat) -> None:
    widget = UndoRedo(chat)
    widget.close()  # it hears what this test tells it
    chat.ask("a", max_tokens=2)
    [steps] = widget.changes([Moved("a", "b")])
    assert steps["undo"] == 1
    assert list(widget.changes([Tagged("here", "a"), Moved("a", "b")])) == []


def test_undo_does_not_wait_until_an_answer_is_whole(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, begun, undone = llama_cpp.llama_decode, threading.Event(), threading.Event()
    heard = threading.Event()

    def slow(*arguments: object) -> int:  # the answer is not whole before undo was heard of
        if begun.is_set() and not heard.is_set():
            wait_until(lambda: chat.tree._workspace.lock.is_stopped)
            heard.set()
        return int(decode(*arguments))

    monkeypatch.setattr(llama_cpp, "llama_decode", slow)
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=2048, n_threads=1)
    panel, widget = ChatPanel(chat), UndoRedo(chat)

    def listen(event: Event) -> None:
        if isinstance(event, TokenAdded):
            begun.set()
        elif isinstance(event, Moved) and event.head == chat.tree.root.id:
            undone.set()

    chat.tree.on_change(listen)
    panel._handle_custom_msg({"kind": "do", "action": "ask", "text": "a"}, [])
    begun.wait()
    widget._handle_custom_msg({"kind": "do", "action": "undo"}, [])
    undone.wait()
    [answer] = chat.tree.leaves()
    assert answer.metadata["finish_reason"] == "stopped"
    assert len(answer.tokens) < 1000
    panel.close()
    widget.close()
