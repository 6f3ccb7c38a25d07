"""The explorer: several answers to one question, growing side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import HistoryError
from ..history.chat import Chat
from ..history.display import message_html
from ..history.events import Committed, Event, TokenAdded
from ..history.message import chain, message_parts
from ..history.shown import ShownMessage
from ..history.turn import Answers, Turn
from .actions import stops_first
from .base import ChatWidget
from .esm import front_end
from .live_answer import LiveAnswer, begin_answer, head_after
from .markdown import render_markdown

__all__ = ["Explorer"]

_MOST_CHARACTERS = 40  # of a setting above an answer


class Explorer(ChatWidget):
    """Several answers to one question, one of which can be kept.

    It shows every exploration of its chat, including those started by a cell.

    Parameters
    ----------
    chat : Chat
    """

    _esm, _css = front_end("explorer")

    def __init__(self, chat: Chat) -> None:
        # Of the latest exploration; all are changed by the publishing thread alone.
        self._live: list[LiveAnswer] = []
        self._found: list[Turn] = []
        self._told: list[dict[str, Any]] = []
        self._at = chat.head.id  # the head, as far as events have told
        super().__init__(chat)

    def take_snapshot(self) -> dict[str, Any]:
        """Return what each answer says so far, and the state of the finished ones."""
        return {"live": [live.snapshot() for live in self._live], "answers": self._answers()}

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return what each answer says now, and all answers if one of them changed."""
        change: dict[str, Any] = {}
        tokens: dict[int, list[TokenAdded]] = {}
        n_told = len(self._found)
        for event in events:
            self._at = head_after(event) or self._at
            if isinstance(event, TokenAdded) and event.branch is not None:
                if self._found:  # another exploration has begun
                    self._live, self._found, n_told, tokens = [], [], 0, {}
                    change = {"begins": True}
                tokens.setdefault(event.branch, []).append(event)
                self._begin_answers(event.branch + 1)
            elif isinstance(event, Committed) and not event.is_head:
                self._found.append(Turn(self.chat, self.tree[event.checkpoint]))
        self._begin_answers(len(self._found))
        live = [(branch, self._live[branch].add(added)) for branch, added in tokens.items()]
        for branch in range(n_told, len(self._found)):  # it may end before words that stop it
            self._live[branch] = LiveAnswer.whole(self._found[branch])
            live.append((branch, {"whole": self._live[branch].snapshot()}))
        if live:
            change["live"] = live
        if (answers := self._answers()) != self._told:
            self._told = change["answers"] = answers
        if change:
            yield change

    def begin_anew(self) -> None:
        """Show streaming answers from here on."""
        self._at = self.tree.head.id

    def _begin_answers(self, n: int) -> None:
        """Have ``n`` answers that stream, or did."""
        while len(self._live) < n:
            self._live.append(begin_answer(self.chat, self.tree[self._at]))

    def do_explore(self, text: str, n: int) -> None:
        """Generate several answers; without a text, to the last question."""
        with self.answering():
            self.chat.explore(text or None, n)

    @stops_first
    def do_keep(self, checkpoint: str) -> None:
        """Make an answer the head."""
        self._turn(checkpoint).keep()

    @stops_first
    def do_drop_others(self, checkpoint: str) -> None:
        """Keep an answer and remove the others."""
        Answers(self.chat, self._found).drop_others(self._turn(checkpoint))

    def draw_html(self) -> str:
        """Return the answers, one below the other."""
        answers = [ShownMessage.of(turn.message) for turn in self._found]
        return "<hr>".join(message_html(answer, render_markdown) for answer in answers)

    def _turn(self, identifier: str) -> Turn:
        for turn in self._found:
            if turn.checkpoint.id == identifier and turn.checkpoint in self.tree:
                return turn
        raise HistoryError("That answer no longer exists; explore again.")

    def _answers(self) -> list[dict[str, Any]]:
        found = list(self._found)
        said = {*chain(self.tree.head)} if found else set()
        return [
            {
                "settings": settings,
                "id": turn.checkpoint.id,
                "finish_reason": turn.finish_reason,
                "tokens": len(turn.tokens),
                "is_there": turn.checkpoint in self.tree,
                "is_kept": turn.checkpoint in said,
            }
            for turn, settings in zip(found, _varying(found), strict=True)
        ]

    def __repr__(self) -> str:
        n = len(self._found)
        return f"Explorer({n} answer{'s' * (n != 1)})"


def _varying(turns: Sequence[Turn]) -> list[str]:
    """How each answer was made, as far as that is not the same for all."""
    made = [_settings(turn) for turn in turns]
    names = {name: None for each in made for name in each}  # in their order
    varying = [name for name in names if len({repr(each.get(name)) for each in made}) > 1]
    return [" · ".join(f"{name} {_short(each.get(name))}" for name in varying) for each in made]


def _settings(turn: Turn) -> dict[str, Any]:
    notes, asked = turn.checkpoint.metadata, message_parts(turn.checkpoint)[0].parent
    variables = {} if asked is None else asked.metadata.chat_template_kwargs
    return {**vars(type(turn.chat.sampling)()), **notes.sampling, **notes.limits, **variables}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
