"""The explorer: several answers to one question, growing side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import traitlets

from ..errors import HistoryError, ParameterError
from ..history.chat import Chat
from ..history.events import Event, TokenAdded
from ..history.turn import Answers
from .base import TreeWidget, front_end
from .markdown import render_markdown

__all__ = ["Explorer"]


class Explorer(TreeWidget):
    """Several answers to one question, to keep one of.

    Parameters
    ----------
    chat : Chat

    Attributes
    ----------
    is_busy : bool
        Whether answers are being generated.
    answers : list of dict
        The answers that are whole: their HTML, why they ended, and whether they are still there.
    """

    _esm, _css = front_end("explorer")

    # Both are written by the thread for actions alone.
    is_busy = traitlets.Bool(False).tag(sync=True)
    answers: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)

    def __init__(self, chat: Chat) -> None:
        if not isinstance(chat, Chat):
            raise ParameterError(f"Explorer shows a Chat, not a {type(chat).__name__}.")
        self._chat = chat
        self._found: Answers | None = None
        super().__init__(chat)

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """The new text of each answer, while this widget generates."""
        texts: dict[int, str] = {}
        for event in events:
            if self.is_busy and isinstance(event, TokenAdded):
                texts[event.branch] = texts.get(event.branch, "") + event.text
        if texts:
            yield {"texts": [[branch, text] for branch, text in sorted(texts.items())]}

    def handle(self, action: str, arguments: dict[str, Any]) -> None:
        """Do what a view asks for."""
        if action == "explore":
            self.is_busy, self.answers = True, []
            try:
                text = str(arguments.get("text", "")) or None
                self._found = self._chat.explore(text, int(arguments.get("n", 4)))
            finally:
                self.is_busy = False
        elif action in ("keep", "drop_others"):
            if self._found is None:
                raise HistoryError("There are no answers yet; explore first.")
            turn = self._found[int(arguments["branch"])]
            turn.keep() if action == "keep" else self._found.drop_others(turn)
        else:
            super().handle(action, arguments)
        self.answers = [
            {
                "html": render_markdown(turn.text),
                "finish_reason": turn.finish_reason,
                "is_there": turn.checkpoint in self.tree,
            }
            for turn in self._found or ()
        ]

    def draw_html(self) -> str:
        """The answers, one below the other."""
        return "".join(f"{answer['html']}<hr>" for answer in self.answers)

    def __repr__(self) -> str:
        n = len(self.answers)
        return f"Explorer({n} answer{'s' * (n != 1)})"
