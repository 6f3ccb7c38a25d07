"""Buttons that move a chat back and forth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..history.asking import question_at
from ..history.chat import Chat
from ..history.events import Event, Progress, TokenAdded
from ..history.message import chain, message_versions
from .actions import stops_first
from .base import ChatWidget
from .esm import front_end

__all__ = ["UndoRedo"]


class UndoRedo(ChatWidget):
    """Undo, redo, regenerate, and a step to other versions of the last message.

    Parameters
    ----------
    chat : Chat
    """

    _esm, _css = front_end("undo_redo")
    can_turn = True

    def __init__(self, chat: Chat) -> None:
        self._told: dict[str, Any] = {}
        super().__init__(chat)

    def take_snapshot(self) -> dict[str, Any]:
        """Return the number of steps in each direction."""
        return self._steps()

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return the steps if they changed."""
        if all(isinstance(event, TokenAdded | Progress) for event in events):
            return
        steps = self._steps()
        if steps != self._told:
            self._told = steps
            yield steps

    def do_regenerate(self) -> None:
        """Generate another answer."""
        with self.answering():
            self.chat.regenerate()

    @stops_first
    def do_sibling(self, step: int) -> None:
        """Move the head to another version of the last message, if there is one."""
        siblings = message_versions(self.tree.head)
        place = siblings.index(self.tree.head) + step
        if 0 <= place < len(siblings):
            self.chat.checkout(siblings[place])

    def draw_html(self) -> str:
        """Return the steps in words."""
        steps = self._steps()
        return (
            f"<p>undo {steps['undo']}, redo {steps['redo']}, "
            f"answer {steps['sibling']}/{steps['siblings']}</p>"
        )

    def _steps(self) -> dict[str, Any]:
        head = self.tree.head
        siblings = message_versions(head)
        return {
            "undo": self.chat.undo_steps,
            "redo": self.chat.redo_steps,
            "sibling": siblings.index(head) + 1,
            "siblings": len(siblings),
            "answered": question_at(head) is not None
            or any(c.metadata.is_answer for c in chain(head)),
        }
