"""Buttons that take a chat back and forth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..history.chat import Chat
from ..history.events import Event, Progress, TokenAdded
from .base import TreeWidget, front_end
from .versions import versions

__all__ = ["UndoRedo"]


class UndoRedo(TreeWidget):
    """Undo, redo, regenerate, and a step to the last message's other versions.

    Parameters
    ----------
    chat : Chat
    """

    _esm, _css = front_end("undo_redo")

    def __init__(self, chat: Chat) -> None:
        self._told: dict[str, Any] = {}
        super().__init__(chat)

    def take_snapshot(self) -> dict[str, Any]:
        """How many steps there are each way."""
        return self._steps()

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """The steps anew, where they are others than before."""
        if all(isinstance(event, TokenAdded | Progress) for event in events):
            return
        steps = self._steps()
        if steps != self._told:
            self._told = steps
            yield steps

    def handle(self, action: str, arguments: dict[str, Any]) -> None:
        """Move the head, or answer again."""
        chat = self.chat
        if chat is None:
            super().handle(action, arguments)
        elif action == "undo":
            chat.undo()
        elif action == "redo":
            chat.redo()
        elif action == "regenerate":
            chat.regenerate()
        elif action == "sibling":
            siblings = versions(self.tree.head)
            place = siblings.index(self.tree.head) + int(arguments["step"])
            if 0 <= place < len(siblings):
                chat.checkout(siblings[place])
        else:
            super().handle(action, arguments)

    def draw_html(self) -> str:
        """The steps in words."""
        steps = self._steps()
        return (
            f"<p>undo {steps['undo']}, redo {steps['redo']}, "
            f"answer {steps['sibling']}/{steps['siblings']}</p>"
        )

    def _steps(self) -> dict[str, Any]:
        head, chat = self.tree.head, self.chat
        siblings = versions(head)
        return {
            "undo": chat.undo_steps if chat else self.tree.undo_steps,
            "redo": chat.redo_steps if chat else len(self.tree.redo_path),
            "sibling": siblings.index(head) + 1,
            "siblings": len(siblings),
            "answered": any(c.metadata.get("role") == "assistant" for c in head.lineage()),
        }
