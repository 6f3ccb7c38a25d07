"""A graph and its context, kept in step; the basis of trees and chats.

``CheckpointTree`` has the public methods. Here is what it is built on, and what a chat needs
besides: committing tokens that were evaluated directly, returning after a failure, adding
checkpoints from elsewhere.
"""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..engine.adapters.values import Adapter
from ..engine.context import Context
from ..engine.path import Progress
from ..engine.scoring import Score
from ..engine.threads.lock import CancelToken
from ..engine.warn import warn
from ..errors import HistoryError, InexactWarning, ParameterError
from ..state.segment import Segment
from ..tracebacks import render_in_one_line
from .adapters import TreeAdapters
from .events import (
    AdaptersChanged,
    Committed,
    Event,
    Moved,
    Observers,
    Pruned,
    Recalled,
    Spilled,
    Split,
    Tagged,
)
from .graph import Graph, common_ancestor
from .kv_rows import Cost, ForeignRows, KVRows, LentRows
from .lock import TreeLock
from .message import keep_said
from .node import Node
from .notes import check_notes
from .readings import Readings
from .refs import resolve
from .stage import Stages

__all__ = ["Away", "Workspace"]

N = TypeVar("N", bound=Node)


@dataclass
class Away(Generic[N]):
    """Where a thread is that looks elsewhere, while all others find the head where it was.

    Attributes
    ----------
    at : Node
    adapters : tuple of LoRA and ControlVector
        What is on at the head.
    """

    at: N
    adapters: tuple[Adapter, ...]


class Workspace(Generic[N]):
    """Changes a graph, its rows and its context together, and notifies observers.

    Parameters
    ----------
    context : Context
    make : type
        Class of the nodes.
    max_bytes : int, optional
        Memory for rows; None for a share of what is free.

    Attributes
    ----------
    graph : Graph
    rows : KVRows
    readings : Readings
    lock : TreeLock
    adapters : TreeAdapters
    observers : Observers
    stages : Stages
    owner : weak reference, optional
        The tree on this workspace.
    away : Away, optional
        During a look; see ``visiting.look``.
    after_turn : callable, optional
        Called at the end of ``turn``, on its thread and still holding the lock.
    scores : mapping
        Of nodes that were asked for: where their tokens began, and how likely these are.
    """

    def __init__(self, context: Context, make: Callable[..., N], max_bytes: int | None) -> None:
        self.context = context
        self.lock = TreeLock(context)
        self.rows = KVRows(context, self.lock, max_bytes)
        self.readings = Readings(context.model)
        self.graph: Graph[N] = Graph(make, self)
        self.observers = Observers()
        self.stages = Stages()
        self.owner: weakref.ref[Any] | None = None
        self.after_turn: Callable[[], object] | None = None
        self.system: str | None = None  # the chat's
        self.scores: MutableMapping[N, tuple[int, Score]] = weakref.WeakKeyDictionary()
        self.rows.on_move(self._notify_spilled, self._notify_recalled)
        self.adapters = TreeAdapters(context, self.graph.root, self._notify_adapters)
        self.away: Away[N] | None = None
        context.mark()

    # -- what lies behind the nodes ----------------------------------------------------------

    @property
    def keeps_snapshots(self) -> bool:
        """Whether each node keeps the whole state, as rows cannot be cut."""
        return self.rows.are_whole

    def text_of(self, tokens: tuple[int, ...]) -> str:
        """Return the text of tokens, including control tokens."""
        return self.readings.text_of(tokens)

    def spoken_by(self, tokens: tuple[int, ...], given: str = "") -> str:
        """Return the text of an answer, behind a beginning that was given.

        It has the control tokens that do not end it.
        """
        return self.readings.spoken_by(tokens, given)

    def answer_message(self, raw: str, before: tuple[int, ...]) -> dict[str, Any]:
        """Return the message that an answer is, with thoughts and calls apart from its text."""
        return self.readings.message(raw, before)

    def bytes_of(self, node: Node) -> int:
        """Return the bytes of a node's own rows, wherever they are."""
        return self.rows.n_bytes(node)

    def place_of(self, node: Node) -> str:
        """Return where a node's rows are: ``"memory"``, ``"disk"`` or ``"lost"``."""
        return self.rows.place(node)

    # -- look --------------------------------------------------------------------------------

    @property
    def head(self) -> N:
        """The current node; the context may hold uncommitted tokens after it."""
        self._follow_if_free()
        return self._seen

    @property
    def _seen(self) -> N:
        """The head, or where this thread is looking."""
        away = self.away
        return self.graph.head if away is None or not self.lock.is_mine else away.at

    @property
    def _here(self) -> N:
        """The head, or where the thread that holds the lock is looking."""
        return self.graph.head if self.away is None else self.away.at

    @_here.setter
    def _here(self, node: N) -> None:
        if self.away is None:
            self.graph.head = node
        else:
            self.away.at = node

    @property
    def n_held(self) -> int:
        """The number of tokens that the context holds, or held before another thread's look.

        Raises
        ------
        ContextClosedError
        """
        is_here = self.away is None or self.lock.is_mine
        return self.context.token_count() if is_here else self.graph.head.stop

    @property
    def uncommitted(self) -> int:
        """The tokens that the context holds after the head."""
        head = self.head
        return max(0, self.n_held - head.stop)

    @property
    def adapters_on(self) -> tuple[Adapter, ...]:
        """What the next token after the head is evaluated with."""
        away = self.away
        return self.adapters.on if away is None or self.lock.is_mine else away.adapters

    def resolve(self, ref: N | str) -> N:
        """Return the node of a ref; see ``refs.resolve``."""
        return resolve(self.graph, ref, self.head)

    def notify(self, event: Event) -> None:
        """Notify observers of an event."""
        self.observers.notify(event)

    def _notify_spilled(self, address: str) -> None:
        for node in self.rows.holders(address):
            self.notify(Spilled(node.id))

    def _notify_recalled(self, address: str) -> None:
        for node in self.rows.holders(address):
            self.notify(Recalled(node.id))

    # -- one at a time -----------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the lock for several operations in a row; other threads wait."""
        is_outermost = not self.lock.is_mine
        with self.lock.turn():
            try:
                yield
            except KeyboardInterrupt as interrupt:
                render_in_one_line(interrupt, self._interrupted())
                raise
            finally:
                if is_outermost and self.after_turn is not None:
                    self.after_turn()

    def _interrupted(self) -> str:
        """What a notebook shows of an interrupt."""
        notes = self.head.metadata
        if notes.finish_reason == "stopped":
            n = len(self.head.tokens)
            return (
                f"Interrupted: {n} token{'s' * (n != 1)} of the answer {'is' if n == 1 else 'are'} "
                "kept, and resume() goes on with it"
            )
        if notes.is_message and not notes.is_answer:
            return "Interrupted: the question is kept, and resume() answers it"
        return "Interrupted: what was said before is kept"

    @contextmanager
    def operation(self) -> Iterator[CancelToken]:
        """Hold the lock for one operation: interrupts are raised when it has ended."""
        with self.lock.operation() as cancel:
            self._follow_context()
            yield cancel
        self._give_warnings()

    @contextmanager
    def changing(self) -> Iterator[N]:
        """Hold the lock for one operation, after committing directly appended tokens."""
        with self.lock.operation():  # as above, without a second context manager around it
            self._follow_context()
            yield self.commit_appended()
        self._give_warnings()

    def _give_warnings(self) -> None:
        if self.rows.warnings and not self.lock.is_running:
            warnings, self.rows.warnings = self.rows.warnings, []
            warn(
                f"{'; '.join(warnings)}. What follows may differ in its last bits from what was "
                "there, and with them now and then in a token",
                InexactWarning,
            )

    @contextmanager
    def going_back_on_error(self, *, always: bool = False) -> Iterator[None]:
        """Return to the present head if the block fails.

        Parameters
        ----------
        always : bool
            Even if the block has committed something by then; that node remains.
        """
        graph = self.graph
        home, redo, n_made = self._here, graph.redo, graph.n_made
        on, are_chosen = self.adapters.on, self.adapters.are_chosen
        try:
            yield
        except BaseException:
            if (always or graph.n_made == n_made) and home in graph:
                self.go(home, adapters=on)
                self.adapters.switch(on)
                self.adapters.are_chosen = are_chosen
                graph.redo = redo
            raise

    def _follow_if_free(self) -> None:
        if self.context.watermark < self._seen.stop:
            with self.lock.free() as is_free:
                if is_free:  # else another thread is moving it
                    self._follow_context()

    def _follow_context(self) -> None:
        """Follow what was done to the context directly."""
        kept = self.context.watermark
        if kept < self._here.stop:
            self._set_head(self.cut_at(self._here, kept))
            self.graph.redo = None
            if self.keeps_snapshots and not self.uncommitted:
                self.rows.keep_state(self._here)

    def set_adapters(self, values: Sequence[Adapter]) -> None:
        """Set the adapters that what follows the head is evaluated with."""
        with self.changing() as head:
            self.adapters.choose(values, head)

    def _notify_adapters(self) -> None:
        if self.away is None:
            self.notify(AdaptersChanged(self.graph.head.id))

    # -- commit ------------------------------------------------------------------------------

    def commit_appended(self) -> N:
        """Commit tokens appended directly to the context; return the head."""
        head = self._here
        if self.context.token_count() <= head.stop:
            return head
        return self.commit({"source": "context"})

    def commit(
        self,
        notes: Mapping[str, Any],
        *,
        logprobs: Sequence[float] = (),
        allow_empty: bool = False,
    ) -> N:
        """Make a node of the tokens after the head; see ``CheckpointTree.commit``."""
        check_notes(notes)
        with self.operation():
            n, head = self.uncommitted, self._here
            if logprobs and len(logprobs) != n:
                raise ParameterError(f"{len(logprobs)} logprobs do not fit {n} new tokens")
            if not n and not allow_empty:
                head.metadata.update(notes)
                self.graph.n_edits += 1
                return head
            began = time.perf_counter()
            segment = self.rows.capture(head) if n else None
            node = self._add(segment, notes, logprobs)
            self._here, self.graph.redo = node, None
            self.adapters.are_chosen = False
            self.context.mark()
            self.notify(Committed(node.id, head.id, self.away is None))
            if segment is not None:
                self._cut_where_adapters_begin(node, segment)
            if self.stages.are_told:
                kept = {"checkpoint": node.id, "bytes": node.n_bytes}
                self.stages.tell("capture", n, began, **kept)
            return node

    def _cut_where_adapters_begin(self, node: N, segment: Segment) -> None:
        """Give a node for each of the adapters that its tokens were evaluated with."""
        before = ""
        for first, text in segment.adapters:
            if first > segment.start:
                part = self._split(node, first - node.start)
                notes = self.adapters.noted(part.metadata, before)
                part.metadata.clear()
                part.metadata.update(notes)
            before = text

    def commit_beside(
        self,
        segment: Segment | None,
        notes: Mapping[str, Any],
        *,
        logprobs: Sequence[float] = (),
    ) -> N:
        """Make a child of the head from rows captured elsewhere; the head stays."""
        check_notes(notes)
        with self.operation():
            head = self._here
            if segment is not None and segment.start != head.stop:
                raise HistoryError(
                    f"rows that start at token {segment.start} cannot follow the head, "
                    f"which ends at {head.stop}"
                )
            if segment is not None:  # equal rows after the same ones have the same address
                segment = dataclasses.replace(segment, parent=head.address)
            node = self._add(segment, notes, logprobs)
            self.notify(Committed(node.id, head.id, False))
            return node

    def commit_decoded_elsewhere(
        self,
        tokens: tuple[int, ...],
        rows: ForeignRows,
        notes: Mapping[str, Any],
        *,
        logprobs: Sequence[float] = (),
    ) -> N:
        """Make a child of the head from tokens whose rows are evaluated when they are needed.

        Parameters
        ----------
        tokens : tuple of int
        rows : ForeignRows
        notes : mapping
        logprobs : sequence of float
        """
        check_notes(notes)
        with self.operation():
            head = self._here
            notes = self.adapters.noted(notes, rows.adapters)
            node = self.graph.add(head, tokens, notes, tuple(logprobs))
            self.rows.know(node, rows)
            self.notify(Committed(node.id, head.id, False))
            return node

    def _add(
        self, segment: Segment | None, notes: Mapping[str, Any], logprobs: Sequence[float]
    ) -> N:
        address = None if segment is None else self.rows.keep(segment)
        tokens = () if segment is None else segment.tokens
        if segment is not None:
            notes = self.adapters.noted(notes, segment.adapters[-1][1] if segment.adapters else "")
        node = self.graph.add(self._here, tokens, notes, tuple(logprobs))
        self.rows.assign(node, address)
        return node

    def graft(
        self,
        parent: N,
        tokens: tuple[int, ...],
        notes: Mapping[str, Any],
        logprobs: tuple[float, ...],
        rows: LentRows,
    ) -> N:
        """Make a child of any node, with rows stored elsewhere; the head stays."""
        node = self.graph.add(parent, tokens, notes, logprobs)
        self.adapters.remember(node.metadata.adapters)
        self.rows.lend(node, rows)
        self.notify(Committed(node.id, parent.id, False))
        return node

    def evaluate(self, tokens: Sequence[int], progress: Progress | None = None) -> None:
        """Evaluate tokens after the head within an operation; all of them or none.

        Raises
        ------
        HistoryError
            When the operation was stopped.
        """
        began, position = time.perf_counter(), self.context.token_count()
        self.rows.evaluate(tokens, progress)
        if tokens:
            self.stages.tell("evaluate", len(tokens), began, position=position)

    # -- move --------------------------------------------------------------------------------

    def go(self, target: N, *, adapters: Sequence[Adapter] | None = None) -> None:
        """Move the context and the head.

        Parameters
        ----------
        target : Node
        adapters : sequence of LoRA and ControlVector, optional
            What is on afterwards. None: what the target was made with.
        """
        head = self._here
        if target is head:
            return
        adapters = self.adapters.of(target) if adapters is None else adapters
        common = common_ancestor(head, target)
        ahead = []
        at = target
        while at is not common:
            ahead.append(at)
            assert at.parent is not None
            at = at.parent
        self.rows.stand_on(target, common, ahead[::-1], self._set_head)
        self.adapters.switch(adapters)

    def drop_uncommitted(self) -> None:
        """Drop the tokens that the context holds after the head, whose state is as it was."""
        with self.operation():
            head = self._here
            self.rows.stand_on(head, head, (), self._set_head)

    def _set_head(self, node: N, lap: Callable[[], Cost] = Cost) -> None:
        before, self._here = self._here, node
        self.adapters.are_chosen = False
        self.context.mark()
        if before is not node and self.away is None:
            self.notify(Moved(node.id, before.id, *lap()))

    def checkout(self, target: N, *, adapters: Sequence[Adapter] | None = None) -> None:
        """Move the context and the head, or neither; clear the redo path; see :meth:`go`."""
        with self.going_back_on_error():
            if target is self._here:
                self.adapters.switch(self.adapters.of(target) if adapters is None else adapters)
            self.go(target, adapters=adapters)
        self.graph.redo = None

    # -- cut, remove and name ----------------------------------------------------------------

    def cut_at(self, node: N, position: int) -> N:
        """Return the node that ends at a position of a path; split one if necessary."""
        at = node
        while at.start >= position and at.stop > position:
            assert at.parent is not None
            at = at.parent
        return at if at.stop <= position else self._split(at, position - at.start)

    def _split(self, node: N, n_tokens: int) -> N:
        first_address, rest_address = self.rows.split(node, n_tokens)
        first = self.graph.split(node, n_tokens)
        self.rows.assign(node, rest_address)
        self.rows.assign(first, first_address)
        self.notify(Split(node.id, first.id))
        return first

    def remove(self, node: N) -> int:
        """Remove a node and its descendants, without the head; return how many."""
        keep_said(node)
        gone = self.graph.remove(node)
        for each in gone:
            self.rows.drop(each)
        self.notify(Pruned(tuple(each.id for each in gone)))
        return len(gone)

    def tag(self, name: str, node: N | None) -> None:
        """Tag a node, or with None remove the tag."""
        if node is None:
            self.graph.untag(name)
        else:
            self.graph.tag(name, node)
        self.notify(Tagged(name, None if node is None else node.id))
