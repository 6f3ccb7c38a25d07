"""What the panel does when a view asks, and what it sends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.errors import ParameterError
from mullama_nb.history.events import Moved, Progress, TokenAdded
from mullama_nb.widgets.chat_panel import ChatPanel


@pytest.fixture
def chat(tiny: ModelMaker) -> Chat:
    """A chat whose answers are four tokens long."""
    model = tiny("llama", chat_template=CHATML)
    return Chat(model, n_ctx=512, n_threads=1, n_threads_batch=1)


@pytest.fixture
def panel(chat: Chat) -> Iterator[ChatPanel]:
    """A panel on the chat."""
    made = ChatPanel(chat)
    yield made
    made.close()


def test_follows_a_tree_that_others_move(chat: Chat, panel: ChatPanel) -> None:
    chat.ask("Hi", max_tokens=4)
    first, answer = panel.take_snapshot()["messages"]
    assert (first["role"], first["text"]) == ("user", "Hi")
    assert answer["unfinished"]
    assert answer["tokens"]
    chat.undo()
    assert panel.take_snapshot()["messages"] == []


def test_edits_and_shows_siblings(chat: Chat, panel: ChatPanel) -> None:
    answer = chat.ask("Hi", max_tokens=4)
    panel.handle("edit", {"id": answer.checkpoint.id, "text": "Other"})
    shown = panel.take_snapshot()["messages"][-1]
    assert shown["text"] == "Other"
    assert shown["siblings"] == [answer.checkpoint.id, shown["id"]]
    panel.handle("show", {"id": answer.checkpoint.id})
    assert chat.head is answer.checkpoint


def test_shows_tokens_and_what_could_stand_there(chat: Chat, panel: ChatPanel) -> None:
    answer = chat.ask("Hi", max_tokens=4)
    panel.handle("tokens", {"id": answer.checkpoint.id})
    assert len(panel.detail["tokens"]) == len(answer.tokens)
    assert all(0 <= p <= 1 for _, p in panel.detail["tokens"])
    panel.handle("alternatives", {"id": answer.checkpoint.id, "token": 1})
    expected = [other.id for other in answer.alternatives(1)]
    assert [other[0] for other in panel.detail["alternatives"]] == expected


def test_sends_only_new_text_while_an_answer_streams(panel: ChatPanel) -> None:
    [first] = panel.changes([TokenAdded(1, "a", -1.0), TokenAdded(2, "b", -1.0)])
    [second] = panel.changes([TokenAdded(3, "c", -1.0)])
    assert (first["text"], second) == ("ab", {"event": "text", "text": "c"})
    assert panel.take_snapshot()["draft"] == "abc"
    [last] = panel.changes([Moved("a", "b")])
    assert (last["event"], last["draft"]) == ("messages", "")


def test_tells_progress(panel: ChatPanel) -> None:
    [change] = panel.changes([Progress(1, 9), Progress(5, 9)])
    assert change == {"event": "progress", "evaluated": 5, "total": 9}


def test_a_failed_action_is_shown(panel: ChatPanel) -> None:
    shown = threading.Event()
    panel.observe(lambda _: shown.set(), "error")
    message: dict[str, Any] = {"kind": "do", "action": "resume"}
    panel._handle_custom_msg(message, [])
    assert shown.wait(30)
    assert "ask" in panel.error
    assert not panel.is_busy


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "</svg>", "[a](javascript:b)"])
def test_hostile_answers_stay_text(chat: Chat, panel: ChatPanel, text: str) -> None:
    chat.replay([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": text}])
    for html in (panel.take_snapshot()["messages"][1]["html"], panel.to_html()):
        assert not any(part in html for part in ("<script", "</svg", "<a "))


def test_shows_chats_only(chat: Chat, panel: ChatPanel) -> None:
    assert repr(panel) == "ChatPanel(0 messages)"
    with pytest.raises(ParameterError, match="CheckpointTree"):
        ChatPanel(chat.tree)  # type: ignore[arg-type]
