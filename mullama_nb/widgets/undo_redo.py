"""Buttons that move a chat back and forth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..history.asking import question_at
from ..history.chat import Chat
from ..history.drawing import label
from ..history.events import Event, Progress, TokenAdded
from ..history.message import chain, message_versions, messages_back
from ..history.moving import step_ahead
from ..history.paths import Redo
from ..history.tree import Checkpoint
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
        """Return the number of steps in each direction, and what the next ones are about."""
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
            "undoes": _undone_next(head),
            "redoes": _redone_next(self.tree._graph.redo),
            "sibling": siblings.index(head) + 1,
            "siblings": len(siblings),
            "answered": question_at(head) is not None
            or any(c.metadata.is_answer for c in chain(head)),
        }


def _undone_next(head: Checkpoint) -> str:
    """Return the beginning of the question that an undo takes back; empty if there is none."""
    said = messages_back(head)
    return next((label(parts[-1]) for parts in said if parts[0].metadata.begins_turn), "")


def _redone_next(way: Redo[Checkpoint] | None) -> str:
    """Return the beginning of the question that a redo brings back; empty if there is none."""
    while way is not None:
        begins, rest = step_ahead(way)
        if begins:
            return label(way.checkpoint)
        way = rest
    return ""
