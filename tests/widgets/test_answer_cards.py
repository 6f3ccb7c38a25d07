"""Cards in a chat panel: the answers to the question at the head, and those that grow."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import pytest
from conftest import ModelMaker
from history.executing import Pickling
from hypothesis import given, settings
from hypothesis import strategies as st
from javascript import FRONT_END, JavaScript
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.errors import HistoryError
from mullama_nb.history.events import Event, TokenAdded
from mullama_nb.widgets import ChatPanel, Explorer
from mullama_nb.widgets.answer_cards import KeepsAnswers, answers_to

MOODY = "{% if mood %}{{ mood }}{% endif %}" + CHATML


class Listener:
    """A widget that hears of a chat when a test says so."""

    def __init__(self, kind: type[KeepsAnswers], chat: Chat) -> None:
        self.chat, self.events = chat, list[Event]()
        self.widget: Any = kind(chat)
        self.widget.listen(False)
        self.subscription = chat.tree.on_change(self.events.append)

    def hear(self) -> list[Event]:
        """Tell it what happened; return that."""
        assert self.chat.tree.flush()
        events, self.events[:] = self.events[:], []
        list(self.widget.changes(events))
        return events

    @property
    def ids(self) -> list[str]:
        """The checkpoints that have a card."""
        return [turn.checkpoint.id for turn in self.widget.cards.found]

    def close(self) -> None:
        self.subscription.cancel()
        self.widget.close()


@pytest.fixture
def chat(tiny: ModelMaker) -> Chat:
    model = tiny("llama", chat_template=MOODY)
    return Chat(model, n_ctx=512, n_threads=1, n_parallel=2, temperature=2.0)


@pytest.fixture
def panel(chat: Chat) -> Iterator[Listener]:
    made = Listener(ChatPanel, chat)
    yield made
    made.close()


def ids(turns: Any) -> list[str]:
    return [turn.checkpoint.id for turn in turns]


def test_the_head_says_whose_answers_have_cards(chat: Chat, panel: Listener) -> None:
    first = chat.ask("Hi", max_tokens=3)
    panel.hear()
    assert panel.ids == []
    question = first.checkpoint.parent
    assert question is not None
    chat.checkout(question)
    panel.hear()
    assert panel.ids == [first.checkpoint.id]
    found = chat.explore(None, 2, max_tokens=3)
    panel.hear()
    assert panel.ids == [first.checkpoint.id, *ids(found)]  # oldest first
    panel.widget.handle("keep", {"checkpoint": found[1].checkpoint.id})
    panel.hear()
    assert chat.head is found[1].checkpoint
    assert panel.ids == []
    chat.checkout(question)
    panel.hear()
    assert panel.ids == [first.checkpoint.id, *ids(found)]
    assert ids(answers_to(chat, found[0].checkpoint)) == []


def test_a_panel_made_later_has_the_cards(chat: Chat) -> None:
    found = chat.explore("Hi", 3, max_tokens=3)
    assert Listener(ChatPanel, chat).ids == ids(found)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_answers_to_a_question_put_in_two_ways_are_shown_together(
    chat: Chat, panel: Listener, elsewhere: bool
) -> None:
    with Pickling(2) as pool:
        executor: Executor | None = pool if elsewhere else None
        moods = {"chat_template_kwargs": [{"mood": "Well"}, {"mood": "Alas"}]}
        found = chat.explore("Hi", 2, vary=moods, max_tokens=3, executor=executor)
    panel.hear()
    assert panel.ids == ids(found)
    settings = [card["settings"] for card in panel.widget.take_snapshot()["cards"]["answers"]]
    assert settings == ["mood Well", "mood Well", "mood Alas", "mood Alas"]
    question = chat.head
    with chat.at(chat.tree.root):
        panel.hear()
        assert panel.ids == []
    panel.hear()
    assert panel.ids == ids(found)
    found[3].keep()
    panel.hear()
    chat.tree.prune(found[1].checkpoint)
    chat.checkout(question)
    panel.hear()
    assert panel.ids == ids(found)[:1] + ids(found)[2:]


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_grows_is_what_was_told_of_each(tiny: ModelMaker, data: st.DataObject) -> None:
    """However messages are cut; each token is on the card of its answer, behind earlier ones."""
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=512, n_threads=1, temperature=2.0)
    n_before = data.draw(st.integers(0, 2))
    if n_before:
        first = chat.ask("Hi", max_tokens=2)
        for _ in range(n_before - 1):
            chat.regenerate(max_tokens=2)
        assert first.checkpoint.parent is not None
        chat.checkout(first.checkpoint.parent)
    listener = Listener(data.draw(st.sampled_from([ChatPanel, Explorer])), chat)
    cards = listener.widget.cards
    n_kept = n_before if isinstance(listener.widget, ChatPanel) else 0
    found = chat.explore(None if n_before else "Hi", 3, max_tokens=4)
    assert chat.tree.flush()
    tokens = [event for event in listener.events if isinstance(event, TokenAdded)]
    told: dict[int, int] = {}
    while tokens:
        n = data.draw(st.integers(1, len(tokens)))
        list(listener.widget.changes(tokens[:n]))
        for event in tokens[:n]:
            assert event.branch is not None
            told[event.branch] = told.get(event.branch, 0) + 1
        tokens = tokens[n:]
        growing = cards.snapshot()["growing"]
        assert len(growing) == len(cards.snapshot()["live"]) - n_kept
        for branch, count in told.items():
            assert growing[branch].startswith(f"{count} token")
    listener.events = [each for each in listener.events if not isinstance(each, TokenAdded)]
    listener.hear()
    shown = cards.snapshot()
    assert [answer["id"] for answer in shown["answers"]][n_kept:] == ids(found)
    assert shown["growing"] == []
    assert [a["tokens"] for a in shown["answers"]][n_kept:] == [len(t.tokens) for t in found]
    listener.close()
    chat.context.close()


def test_dropping_others_takes_their_tags_where_that_was_asked(chat: Chat, panel: Listener) -> None:
    found = chat.explore("Hi", 3, max_tokens=3)
    question = chat.head
    found[0].keep()
    after = chat.ask("And?", max_tokens=2)
    chat.tree.tag("good", after.checkpoint)
    chat.checkout(question)
    panel.hear()
    answers = panel.widget.take_snapshot()["cards"]["answers"]
    assert [answer["tags"] for answer in answers] == [["good"], [], []]
    assert [answer["goes_on"] for answer in answers] == [True, False, False]
    kept = found[1].checkpoint
    with pytest.raises(HistoryError, match="good"):
        panel.widget.handle("drop_others", {"checkpoint": kept.id})
    panel.widget.handle("drop_others", {"checkpoint": kept.id, "force": True})
    assert kept.siblings == (kept,)
    assert chat.head is kept


def test_cards_say_how_long_and_how_surprising_an_answer_is(chat: Chat, panel: Listener) -> None:
    found = chat.explore("Hi", 2, max_tokens=3)
    panel.hear()
    for turn, card in zip(found, panel.widget.take_snapshot()["cards"]["answers"], strict=True):
        nats = -sum(turn.logprobs) / len(turn.logprobs)
        assert card["note"] == f"3 tokens · surprise {nats:.2f} nats per token · cut off"
        assert card["surprise"] == round(nats, 2)
    page = Explorer(chat)
    page.cards.show(list(found))
    assert "<strong>Answer 2</strong> 3 tokens · surprise" in page.to_html()
    page.close()


@pytest.mark.parametrize(
    ("others", "question"),
    [
        ([(False, [])], "Drop the other answer?"),
        ([(True, [])], "Drop the other answer, with all that followed?"),
        (
            [(True, ["a"]), (False, ["b", "kept"]), (False, ["a"])],
            "Drop the 3 other answers, 1 of them with all that followed and the tags a, b?",
        ),
    ],
)
def test_a_page_asks_before_it_drops_answers(
    javascript: JavaScript, others: list[tuple[bool, list[str]]], question: str
) -> None:
    answers = [{"goes_on": goes_on, "tags": tags} for goes_on, tags in others]
    card = FRONT_END / "answer_card.js"
    assert javascript.call(card, "droppingQuestion", answers, ["kept"]) == question
