"""Observers hear every change, in order, and can break nothing."""

from __future__ import annotations

import logging
import threading

import pytest

from mullama_nb import Chat
from mullama_nb.history.events import (
    Committed,
    Event,
    Moved,
    Progress,
    Pruned,
    Recalled,
    Spilled,
    Split,
    Tagged,
    TokenAdded,
)


def test_each_change_is_told_in_order(chat: Chat) -> None:
    heard: list[Event] = []
    threads: set[str] = set()

    def listen(event: Event) -> None:
        heard.append(event)
        threads.add(threading.current_thread().name)

    chat.tree.on_change(listen)
    answer = chat.ask("why?", max_tokens=2)
    tag = chat.tag("here")
    chat.tree.spill(answer.checkpoint)
    point = chat.tree.fork(answer.checkpoint, token=1)
    chat.tree.prune(answer.checkpoint, force=True)
    assert chat.tree.flush()
    kinds = [type(event) for event in heard if not isinstance(event, Progress)]
    assert kinds == [
        *(Committed, TokenAdded, TokenAdded, Committed),
        *(Tagged, Spilled, Recalled, Split, Moved, Pruned),
    ]
    assert any(isinstance(event, Progress) for event in heard)
    assert Tagged("here", tag.id) in heard
    assert Moved(point.id, answer.checkpoint.id) in heard
    assert threads == {"mullama-observers"}


def test_a_failing_observer_breaks_nothing(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []

    def fail(event: Event) -> None:
        raise SystemExit(event)

    chat.tree.on_change(fail)
    chat.tree.on_change(heard.append)
    with caplog.at_level(logging.ERROR, "mullama_nb"):
        chat.ask("why?", max_tokens=1)
        assert chat.tree.flush()
    assert any(isinstance(event, Committed) for event in heard)
    assert "an observer failed" in caplog.text


def test_a_cancelled_observer_hears_no_more(chat: Chat) -> None:
    heard: list[Event] = []
    subscription = chat.tree.on_change(heard.append)
    chat.ask("why?", max_tokens=1)
    chat.tree.flush()
    subscription.cancel()
    n = len(heard)
    chat.undo()
    chat.tree.flush()
    assert len(heard) == n > 0
