"""The explorer: several answers to one question, growing side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import HistoryError
from ..history.chat import Chat
from ..history.events import Committed, Event, TokenAdded
from ..history.turn import Answers, Turn
from .actions import stops_first
from .base import ChatWidget
from .esm import front_end
from .markdown import Draft, render_markdown

__all__ = ["Explorer"]


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
        self._drafts: list[Draft] = []
        self._found: list[Turn] = []
        self._told: list[dict[str, Any]] = []
        super().__init__(chat)

    def take_snapshot(self) -> dict[str, Any]:
        """Return each answer's text so far, and the state of the finished ones."""
        return {"texts": [draft.html for draft in self._drafts], "answers": self._answers()}

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return the new text of each answer, and all answers if one of them changed."""
        change: dict[str, Any] = {}
        texts: dict[int, str] = {}
        n_told = len(self._found)
        for event in events:
            if isinstance(event, TokenAdded) and event.branch is not None:
                if self._found:  # another exploration has begun
                    self._drafts, self._found, n_told, texts = [], [], 0, {}
                    change = {"begins": True}
                texts[event.branch] = texts.get(event.branch, "") + event.text
            elif isinstance(event, Committed) and not event.is_head:
                self._found.append(Turn(self.chat, self.tree[event.checkpoint]))
        n = max(max(texts, default=-1) + 1, len(self._found))
        self._drafts += [Draft() for _ in range(n - len(self._drafts))]
        pieces = [(branch, *self._drafts[branch].add(text)) for branch, text in texts.items()]
        for branch in range(
            n_told, len(self._found)
        ):  # an answer ends before the words that stop it
            whole = Draft()
            piece = whole.add(self._found[branch].text)
            if whole.html != self._drafts[branch].html:
                self._drafts[branch] = whole
                pieces.append((branch, *piece))
        if pieces:
            change["texts"] = pieces
        if (answers := self._answers()) != self._told:
            self._told = change["answers"] = answers
        if change:
            yield change

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
        return "<hr>".join(render_markdown(turn.text) for turn in self._found)

    def _turn(self, identifier: str) -> Turn:
        for turn in self._found:
            if turn.checkpoint.id == identifier and turn.checkpoint in self.tree:
                return turn
        raise HistoryError("That answer is not there any more; explore again.")

    def _answers(self) -> list[dict[str, Any]]:
        return [
            {
                "id": turn.checkpoint.id,
                "finish_reason": turn.finish_reason,
                "tokens": len(turn.tokens),
                "is_there": turn.checkpoint in self.tree,
                "is_kept": turn.checkpoint.is_ancestor_of(self.tree.head),
            }
            for turn in list(self._found)
        ]

    def __repr__(self) -> str:
        n = len(self._found)
        return f"Explorer({n} answer{'s' * (n != 1)})"
