"""Several answers grow side by side; one is kept, the others go."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import Any

import pytest
from conftest import ModelMaker
from history.executing import Pickling
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.errors import HistoryError, TaskError
from mullama_nb.history.events import Event, TokenAdded
from mullama_nb.history.turn import Answers
from mullama_nb.widgets.explorer import Explorer
from mullama_nb.widgets.live_answer import LiveAnswer

MOODY = "{% if mood %}{{ mood }}{% endif %}" + CHATML


@pytest.fixture
def chat(tiny: ModelMaker) -> Chat:
    model = tiny("llama", chat_template=CHATML)
    return Chat(model, n_ctx=256, n_threads=1, n_threads_batch=1)


@pytest.fixture
def explorer(chat: Chat) -> Iterator[Explorer]:
    """An explorer that hears of the chat only what a test tells it."""
    made = Explorer(chat)
    assert made._subscription is not None
    made._subscription.cancel()
    yield made
    made.close()


def explore(chat: Chat, n: int = 2) -> tuple[Answers, list[Event]]:
    """Answers, and what the tree told of them."""
    events: list[Event] = []
    subscription = chat.tree.on_change(events.append)
    answers = chat.explore("Hi", n, max_tokens=3)
    assert chat.tree.flush()
    subscription.cancel()
    return answers, events


def test_keeps_one_and_drops_the_others(chat: Chat, explorer: Explorer) -> None:
    found, events = explore(chat)
    list(explorer.changes(events))
    answers = explorer.take_snapshot()["answers"]
    assert [answer["id"] for answer in answers] == [turn.checkpoint.id for turn in found]
    assert not any(answer["is_kept"] for answer in answers)
    explorer.handle("keep", {"checkpoint": answers[1]["id"]})
    assert chat.head is found[1].checkpoint
    explorer.handle("drop_others", {"checkpoint": answers[1]["id"]})
    [change] = explorer.changes([TokenAdded(1, "", 0.0)])
    assert [answer["is_there"] for answer in change["answers"]] == [False, True]
    assert [answer["is_kept"] for answer in change["answers"]] == [False, True]


@pytest.mark.parametrize("begun", ["", "It"])
def test_heads_answers_by_what_varies(tiny: ModelMaker, begun: str) -> None:
    chat = Chat(tiny("llama", chat_template=MOODY), n_ctx=512, n_threads=1)
    explorer, events = Explorer(chat), list[Event]()
    assert explorer._subscription is not None
    explorer._subscription.cancel()
    chat.tree.on_change(events.append)
    asked = [{"role": "user", "content": "Why?"}]
    if begun:
        asked.append({"role": "assistant", "content": begun})
    moods = [None, {"mood": "Well"}, {"mood": "Alas"}]
    vary = {"temperature": [0.5, 1.0], "chat_template_kwargs": moods}
    chat.explore(asked, vary=vary, max_tokens=3, seed=1)
    assert chat.tree.flush()
    list(explorer.changes(events))
    assert [answer["settings"] for answer in explorer.take_snapshot()["answers"]] == [
        f"temperature {temperature} · mood {mood}"
        for mood in (None, "Well", "Alas")
        for temperature in (0.5, 1.0)
    ]
    explorer.close()


def test_sends_each_answers_new_text(explorer: Explorer) -> None:
    events = [TokenAdded(1, "a", -1.0, 1), TokenAdded(2, "b", -1.0, 0), TokenAdded(3, "c", -1.0, 1)]
    [first] = explorer.changes(events)
    found = [(branch, change["whole"]["text"]) for branch, change in first["live"]]
    assert sorted(found) == [(0, "<p>b</p>\n"), (1, "<p>ac</p>\n")]
    [second] = explorer.changes([TokenAdded(3, "d", -1.0, 1)])
    assert second == {
        "live": [(1, {"text": (5, "d</p>\n")})],
        "growing": [
            "1 token · surprise 1.00 nats per token",
            "3 tokens · surprise 1.00 nats per token",
        ],
    }
    texts = [live["text"] for live in explorer.take_snapshot()["live"]]
    assert texts == ["<p>b</p>\n", "<p>acd</p>\n"]


def test_an_answer_that_no_exploration_gave_is_none_of_its_own(explorer: Explorer) -> None:
    assert list(explorer.changes([TokenAdded(1, "a", -1.0)])) == []


def test_another_exploration_takes_the_place_of_the_last(chat: Chat, explorer: Explorer) -> None:
    list(explorer.changes(explore(chat, 3)[1]))
    events = explore(chat, 2)[1]
    sent: list[dict[str, Any]] = [c for event in events for c in explorer.changes([event])]
    assert ["begins" in change for change in sent].count(True) == 1
    assert len(explorer.take_snapshot()["live"]) == 2
    assert repr(explorer) == "Explorer(2 answers)"


def test_there_is_nothing_to_keep_before_there_are_answers(explorer: Explorer) -> None:
    with pytest.raises(HistoryError, match="explore again"):
        explorer.handle("keep", {"checkpoint": "1"})
    assert repr(explorer) == "Explorer(0 answers)"


def test_answers_from_elsewhere_come_one_by_one_and_leave_no_place_for_those_missing(
    tiny: ModelMaker,
) -> None:
    def lose_the_second(number: int) -> None:
        if number in (1, 3):
            raise BrokenExecutor("it was killed")

    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1, n_parallel=2)
    explorer, events, shown = Explorer(chat), list[Event](), list[int]()
    assert explorer._subscription is not None
    explorer._subscription.cancel()

    def show(event: Event) -> None:
        events.append(event)
        list(explorer.changes([event]))
        snapshot = explorer.take_snapshot()
        if not snapshot["answers"]:
            shown.append(sum(bool(live["text"]) for live in snapshot["live"]))

    chat.tree.on_change(show)
    with Pickling(1, lose_the_second) as pool, pytest.raises(TaskError, match="2 to 3"):
        chat.explore("Hi", 6, max_tokens=3, temperature=1.5, executor=pool)
    assert chat.tree.flush()
    assert shown == sorted(shown)
    assert shown[-1] == 4
    snapshot = explorer.take_snapshot()
    assert [answer["id"] for answer in snapshot["answers"]] == [c.id for c in chat.head.children]
    assert len(snapshot["live"]) == len(snapshot["answers"]) == 4
    assert [live["text"] for live in snapshot["live"]] == [
        live["text"]
        for live in (begun.snapshot() for begun in map(LiveAnswer.whole, explorer.cards.found))
    ]
