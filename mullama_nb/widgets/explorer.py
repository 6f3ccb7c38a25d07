"""The explorer: several answers to one question, growing side by side."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import traitlets

from ..history.chat import Chat
from ..history.events import Event
from ..history.turn import Answers, Turn
from .answer_cards import AnswerCards, KeepsAnswers
from .esm import front_end

__all__ = ["Explorer", "view_bundle"]


class _Answers(KeepsAnswers):
    """Cards of answers, with or without a box for questions."""

    _esm, _css = front_end("explorer", "answer_cards")

    asks = traitlets.Bool(True).tag(sync=True)

    def __init__(self, chat: Chat, turns: Sequence[Turn] = (), **traits: Any) -> None:
        self.cards = AnswerCards(chat, turns)
        super().__init__(chat, **traits)

    def take_snapshot(self) -> dict[str, Any]:
        """Return what each answer says so far, and the state of the finished ones."""
        return self.cards.snapshot()

    def draw_html(self) -> str:
        """Return the answers, one below the other."""
        return self.cards.draw_html()

    def __repr__(self) -> str:
        n = len(self.cards.found)
        return f"{type(self).__name__}({n} answer{'s' * (n != 1)})"


class Explorer(_Answers):
    """Several answers to one question, one of which can be kept.

    It shows every exploration of its chat, including those started by a cell.

    Parameters
    ----------
    chat : Chat

    Attributes
    ----------
    asks : bool
        Whether it has a box for questions.
    """

    def __init__(self, chat: Chat) -> None:
        super().__init__(chat)

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return what each answer says now, and all answers if one of them changed."""
        if change := self.cards.changes(events):
            yield change


class _Cards(_Answers):
    """The answers of one exploration, whatever is explored later."""

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:  # noqa: ARG002
        """Return what has become of the answers."""
        if change := self.cards.changes(()):
            yield change


# The cards of answers that were shown; answers that are gone take their entry along.
_shown: weakref.WeakKeyDictionary[Answers, weakref.ref[_Cards]] = weakref.WeakKeyDictionary()


def view_bundle(answers: Answers) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the part of a display bundle that a notebook with a kernel shows, and its metadata.

    Parameters
    ----------
    answers : Answers
        However often they are shown, their view is one.
    """
    known = _shown.get(answers)
    cards = None if known is None else known()
    if cards is None or cards.comm is None:
        cards = _Cards(answers.chat, answers, asks=False)
        _shown[answers] = weakref.ref(cards)
    bundle, metadata = cards._repr_mimebundle_()
    return {n: data for n, data in bundle.items() if not n.startswith("text/")}, metadata
