"""What lies in the cells of a context, live: one strip of tokens for each branch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import traitlets

from ..history.cells import LiveCells, cell_map
from ..history.chat import Chat
from ..history.events import Committed, Event, Moved, Pruned, TokenAdded
from ..history.tree import CheckpointTree
from .actions import stops_first
from .base import TreeWidget
from .cell_drawing import draw_cells
from .esm import front_end

__all__ = ["CellMap"]

_SECONDS_BETWEEN_TOKENS = 1 / 12  # each message takes time from the answer


class CellMap(TreeWidget):
    """One strip of cells for each branch, each cell a token; what branches share is drawn once.

    It follows the tree: tokens as they come, undo and redo, rows that leave memory. A click checks
    out the checkpoint of a cell; a click with Shift branches off in front of the cell.

    Parameters
    ----------
    source : Chat or CheckpointTree

    Attributes
    ----------
    is_busy : bool
        Whether an action of a view is running.
    """

    # Written by the thread for actions alone.
    is_busy = traitlets.Bool(False).tag(sync=True)

    _esm, _css = front_end("cell_map")

    def __init__(self, source: Chat | CheckpointTree) -> None:
        self._live: LiveCells | None = None
        self._beginning = threading.Lock()
        # Tokens that wait for the next message; of the publishing thread alone.
        self._waiting: list[Event] = []
        self._spoke = 0.0
        super().__init__(source)

    def take_snapshot(self) -> dict[str, Any]:
        """Return all strips."""
        return self._cells.message()

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return what is new or other in the strips, and whether the head moved."""
        self._waiting += events
        now = time.monotonic()
        is_early = now < self._spoke + _SECONDS_BETWEEN_TOKENS
        if is_early and all(isinstance(event, TokenAdded) for event in self._waiting):
            return  # what ends an answer sends the last of them
        heard, self._waiting, self._spoke = self._waiting, [], now
        change = self._cells.update(heard) or {}
        if any(map(_moves_head, heard)):
            change |= {"moved": True, "cost": _cost(heard)}
        if change:
            yield change

    def begin_anew(self) -> None:
        """Look at the whole tree again, as some changes were missed."""
        self._waiting = []
        self._cells.restart()

    def handle(self, action: str, arguments: dict[str, Any]) -> None:
        """Call ``do_<action>`` with checked arguments; the widget is busy meanwhile."""
        self.is_busy = True
        try:
            super().handle(action, arguments)
        finally:
            self.is_busy = False

    @stops_first
    def do_checkout(self, checkpoint: str) -> None:
        """Move the head to a checkpoint."""
        self._target.checkout(checkpoint)

    @stops_first
    def do_fork(self, checkpoint: str, token: int) -> None:
        """Start a branch in front of a token of a checkpoint."""
        self.tree.fork(checkpoint, token=token)

    @stops_first
    def do_undo(self) -> None:
        """Move the head one step back."""
        self._target.undo()

    def do_redo(self) -> None:
        """Take the last undo back."""
        self._target.redo()

    def draw_html(self) -> str:
        """Return the strips as SVG."""
        return f'<div style="overflow-x:auto">{self._draw()}</div>'

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**options)
        return {**bundle, "image/svg+xml": self._draw()}, metadata

    def _draw(self) -> str:
        return draw_cells(cell_map(self._target))

    @property
    def _target(self) -> Chat | CheckpointTree:
        return self.tree if self.chat is None else self.chat

    @property
    def _cells(self) -> LiveCells:
        """Begun when first needed, by when every later change is heard of."""
        with self._beginning:
            if self._live is None:
                self.listen()
                self._live = LiveCells(self._target)
            return self._live


def _moves_head(event: Event) -> bool:
    is_commit = isinstance(event, Committed) and event.is_head
    return is_commit or isinstance(event, (Moved, Pruned))


def _cost(events: Sequence[Event]) -> dict[str, float] | None:
    """What moves cost; None where the head went on instead."""
    moves = [event for event in events if isinstance(event, Moved)]
    if not moves:
        return None
    return {
        "evaluated": sum(move.n_evaluated for move in moves),
        "bytes": sum(move.bytes_restored for move in moves),
        "seconds": sum(move.seconds for move in moves),
    }
