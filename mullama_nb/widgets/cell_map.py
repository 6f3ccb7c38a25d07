"""What lies in the cells of a context, live: one strip of tokens for each branch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import traitlets

from ..errors import ParameterError
from ..history.cell_map.live import LiveCells, cell_map
from ..history.chat import Chat
from ..history.events import Committed, Event, Moved, Pruned, TokenAdded
from ..history.stepping import Steps
from ..history.tree import CheckpointTree
from ..history.turn import Turn
from .actions import stops_first
from .base import TreeWidget
from .cell_drawing import draw_cells
from .esm import front_end
from .pictures import picture_or_words
from .publishing import publish_soon, run_in_turn

__all__ = ["CellMap"]

# Of a change: what is the same as long as there is the context, or is not shown.
_KNOWN = ("whole", "n_ctx", "memory", "window", "keeps_states", "places", "token_ids")
_MOST_STAGES = 40  # that are shown
# A message takes time from the answer, and some 250 bytes besides its tokens.
_SECONDS_BETWEEN_TOKENS, _FEW_TOKENS, _LONGEST_WAIT = 1 / 10, 5, 0.3


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
        self._spoke = 0.0  # when events were sent the last time
        self._steps: Steps[Turn] | None = None  # of the question that is asked step by step
        self._asked = ""
        self._made: list[list[str]] = []  # its stages so far
        super().__init__(source)

    def take_snapshot(self) -> dict[str, Any]:
        """Return all strips, and the stages of a question that is asked step by step."""
        return {**self._cells.message(), "steps": self._stages()}

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return what is new or other in the strips, whether the head moved, and what that cost."""
        change = _in_short(self._cells.update(events) or {})
        if any(map(_moves_head, events)):
            change |= {"moved": True, "cost": _cost(events)}
        if change:
            yield change

    def publish(self) -> None:
        """Send what was gathered; tokens that come fast are sent together."""
        now = time.monotonic()
        with self._lock:
            has_events, n = bool(self._events), len(self._events)
            waits = not self._queued and all(isinstance(e, TokenAdded) for e in self._events)
        enough = _SECONDS_BETWEEN_TOKENS if n >= _FEW_TOKENS else _LONGEST_WAIT
        if has_events and waits and now < self._spoke + enough:
            publish_soon(self._reference)
            return
        if has_events:
            self._spoke = now
        super().publish()

    def begin_anew(self) -> None:
        """Look at the whole tree again, as some changes were missed."""
        self._cells.restart()

    def stop_generation(self) -> None:
        """Stop the answer of the chat, also one that is asked step by step."""
        super().stop_generation()
        if self._steps is not None:
            run_in_turn(self._acts_on, self._close_steps)

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

    def do_step(self, question: str) -> None:
        """Ask a question as far as the end of its next stage."""
        if self.chat is None:
            raise ParameterError("a tree without a chat answers no question: show CellMap(chat)")
        if self._steps is None:
            self._steps, self._asked, self._made = self.chat.steps(question), question, []
        stage = None
        try:
            stage = next(self._steps, None)
        finally:
            if stage is None:  # it has ended, or failed
                self._steps = None
            else:
                self._made.append([stage.name, stage.in_words, _duration(stage.seconds)])
            self.queue_change({"steps": self._stages()})

    def do_finish(self) -> None:
        """Let the question that is asked step by step go on to its end."""
        while self._steps is not None:
            self.do_step(self._asked)

    def _close_steps(self) -> None:
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()
            self.queue_change({"steps": self._stages()})

    def _stages(self) -> dict[str, Any]:
        return {
            "question": self._asked,
            "made": self._made[-_MOST_STAGES:],
            "n_made": len(self._made),
            "is_over": self._steps is None,
        }

    def draw_html(self) -> str:
        """Return the strips as SVG, and their sums as a table."""
        cells = cell_map(self._target)
        return picture_or_words(draw_cells(cells), cells._repr_html_())

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


def _in_short(message: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a change what pages have, or do without."""
    said = {name: value for name, value in message.items() if name not in _KNOWN}
    for table, first in (("texts", "first_text"), ("names", "first_name")):
        if not said.get(table):
            said.pop(first, None)
    return {name: value for name, value in said.items() if value not in (b"", [])}


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
