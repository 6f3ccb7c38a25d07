"""The KV rows of a tree's checkpoints: kept in a store, put back into the context.

Every checkpoint holds only the rows of its own tokens. A move drops rows back to the common
ancestor and appends the target's, so that its state is restored to the bit.
"""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from ..engine.adapters.loaded import text_of
from ..engine.context import Context
from ..engine.path import Progress
from ..errors import HistoryError, SessionError
from ..state.segment import Segment
from ..state.store import SegmentStore
from .lock import TreeLock
from .node import Node
from .shared_rows import SharedRows

__all__ = ["Cost", "ForeignRows", "KVRows", "LentRows"]

N = TypeVar("N", bound=Node)


class LentRows(NamedTuple):
    """Rows in a store; ``read`` returns those of an address, which is None if there are none."""

    address: str | None
    n_bytes: int
    read: Callable[[str], Segment]


class ForeignRows(NamedTuple):
    """Rows that another process computed, which are not used here.

    Attributes
    ----------
    address : str
        If those that are evaluated here have the same, they are the same.
    adapters : str
        What they were evaluated with, as ``LoadedAdapters.text``.
    why : str
        Why they are not used, in words.
    """

    address: str
    adapters: str
    why: str


class Cost(NamedTuple):
    """What it took to reach a checkpoint.

    Attributes
    ----------
    n_evaluated : int
        Tokens that were evaluated again.
    bytes_restored : int
        Bytes of segments that were put into the context.
    seconds : float
    """

    n_evaluated: int = 0
    bytes_restored: int = 0
    seconds: float = 0.0


class _Meter:
    """Adds up what a move takes."""

    def __init__(self) -> None:
        self.n_evaluated = self.bytes_restored = 0
        self._began = time.perf_counter()

    def lap(self) -> Cost:
        """Return what it took since the last lap."""
        now = time.perf_counter()
        cost = Cost(self.n_evaluated, self.bytes_restored, now - self._began)
        self.n_evaluated = self.bytes_restored = 0
        self._began = now
        return cost


class KVRows:
    """Keeps the rows of each checkpoint, and restores the context to a checkpoint.

    Methods that move the context must be called within an operation of ``lock``.

    Parameters
    ----------
    context : Context
    lock : TreeLock
    max_bytes : int, optional
        Memory for rows; None for a share of what is free.

    Attributes
    ----------
    warnings : list of str
        About rows that differed when evaluated again, since the last report.
    shared : SharedRows, optional
        Rows that other chats on the context have evaluated.
    """

    def __init__(self, context: Context, lock: TreeLock, max_bytes: int | None) -> None:
        self._context = context
        self._lock = lock
        self._store = SegmentStore(max_bytes)
        self.are_whole = not context.memory_kind.can_cut
        self.warnings: list[str] = []
        self.shared: SharedRows | None = None
        self._holders: dict[str, dict[str, Node]] = {}  # by address and id
        self._meter = _Meter()  # of the latest move
        self._tell_recalled: Callable[[str], None] = lambda _: None

    @property
    def max_bytes(self) -> int:
        """The limit of the rows in memory."""
        return self._store.max_bytes

    def on_move(self, spilled: Callable[[str], None], recalled: Callable[[str], None]) -> None:
        """Report addresses whose rows left memory, or are back, to methods.

        They do not keep their owner alive.
        """
        self._store.on_spill = _weakly(spilled)
        self._store.on_recall = self._tell_recalled = _weakly(recalled)

    def n_bytes(self, checkpoint: Node) -> int:
        """Return the bytes of a checkpoint's rows, wherever they are."""
        return 0 if checkpoint.address is None else self._store.bytes_of(checkpoint.address)

    def place(self, checkpoint: Node) -> str:
        """Return where a checkpoint's rows are."""
        if not checkpoint.tokens:
            return "memory"
        return "lost" if checkpoint.address is None else self._store.place(checkpoint.address)

    def spill(self, checkpoint: Node) -> None:
        """Move a checkpoint's rows out of memory."""
        if checkpoint.address is not None:
            self._store.spill(checkpoint.address)

    def capture(self, parent: Node) -> Segment:
        """Return the rows that the context holds after a checkpoint."""
        return self._context.capture(parent.stop, parent=parent.address)

    def keep_state(self, checkpoint: Node) -> None:
        """Keep the context's whole state for its checkpoint, if that has none."""
        if checkpoint.tokens and checkpoint.address is None:
            assert checkpoint.parent is not None
            self.assign(checkpoint, self.keep(self.capture(checkpoint.parent)))
            checkpoint.changed()

    def keep(self, segment: Segment) -> str:
        """Keep rows; return their address."""
        return self._store.put(segment)

    def at(self, address: str) -> Segment | None:
        """Return the rows at an address; None if they are lost."""
        return self._store.get(address)

    def lend(self, checkpoint: Node, rows: LentRows) -> None:
        """Have a checkpoint's rows read from a store when needed."""
        self.assign(checkpoint, rows.address)
        if rows.address is not None:
            self._store.lend(rows.address, rows.n_bytes, rows.read)

    def pass_on(self, checkpoint: Node, other: KVRows, twin: Node) -> None:
        """Give the rows of a checkpoint to another tree's, which needs this one no longer.

        What is in memory is shared, and what is in a file is read when needed.
        """
        address, store = checkpoint.address, self._store
        if address is None or self.place(checkpoint) == "lost":
            other.assign(twin, None)
            return

        def read(address: str) -> Segment:
            segment = store.get(address)
            if segment is None:
                raise SessionError(f"the rows are lost: {store.why_lost(address)}")
            return segment

        if self.place(checkpoint) == "memory":
            other.assign(twin, other.keep(read(address)))
        else:
            other.lend(twin, LentRows(address, self.n_bytes(checkpoint), read))

    def know(self, checkpoint: Node, rows: ForeignRows) -> None:
        """Note what a checkpoint's rows were elsewhere; they are evaluated when needed."""
        self.assign(checkpoint, rows.address)
        self._store.note_lost(rows.address, rows.why)

    def assign(self, checkpoint: Node, address: str | None) -> None:
        """Assign rows to a checkpoint; several checkpoints may have equal rows."""
        checkpoint.address = address
        if address is not None:
            self._holders.setdefault(address, {})[checkpoint.id] = checkpoint

    def holders(self, address: str) -> list[Node]:
        """Return the checkpoints that have the rows of an address."""
        return list(self._holders.get(address, {}).values())

    def drop(self, checkpoint: Node) -> None:
        """Forget a checkpoint's rows."""
        if checkpoint.address is not None:
            holders = self._holders.get(checkpoint.address, {})
            holders.pop(checkpoint.id, None)
            if not holders:
                self._holders.pop(checkpoint.address, None)
            self._store.release(checkpoint.address)

    def get(self, checkpoint: Node) -> Segment | None:
        """Return a checkpoint's rows; None if it has none, or they are lost."""
        return None if checkpoint.address is None else self._store.get(checkpoint.address)

    def split(self, checkpoint: Node, n_tokens: int) -> tuple[str | None, str | None]:
        """Split a checkpoint's rows, and return the addresses of both parts.

        A state that cannot be cut belongs to the end; the beginning is evaluated when needed.
        """
        if self.are_whole:
            return None, checkpoint.address
        segment = self.get(checkpoint)
        parts: tuple[Segment, ...] = ()
        if segment is not None:
            structure, _ = self._context.layout
            parts = segment.split(n_tokens, structure)
        first, rest = map(self.keep, parts) if parts else (None, None)
        self.drop(checkpoint)
        return first, rest

    def evaluate(self, tokens: Sequence[int], progress: Progress | None = None) -> None:
        """Evaluate tokens after the context's; all of them or none.

        Raises
        ------
        HistoryError
            When the operation was stopped.
        """
        if not tokens:
            return
        evaluate = self._context.evaluate if self.shared is None else self.shared.evaluate
        if self._lock.is_stopped or evaluate(tokens, progress=progress) == 0:
            raise HistoryError(
                f"it was stopped while {len(tokens)} tokens were to be evaluated; none of them was "
                "added"
            )

    def stand_on(
        self,
        target: N,
        common: N,
        ahead: Sequence[N],
        reached: Callable[[N, Callable[[], Cost]], None],
    ) -> None:
        """Restore the context to a checkpoint, exactly.

        Parameters
        ----------
        target : Node
        common : Node
            The last one that is also on the current path.
        ahead : sequence of Node
            From ``common``, exclusive, to ``target``.
        reached : callable
            Called with each checkpoint reached, the target last, and what gives the cost since it
            was last asked.
        """
        meter = self._meter = _Meter()

        def reach(node: N) -> None:
            reached(node, meter.lap)

        if self.are_whole:
            self._stand_on_whole(target, reach)
        elif not ahead:
            meter.n_evaluated += self._context.rewind(common.stop)
            reach(target)
        else:
            with self._store.pinned([c.address for c in ahead if c.address is not None]):
                self._put_back(common, ahead, reach)

    def _restore(self, segments: Sequence[Segment], keep: int = 0) -> None:
        self._meter.n_evaluated += self._context.restore(segments, keep=keep)
        self._meter.bytes_restored += sum(segment.n_bytes for segment in segments)

    def _put_back(
        self,
        common: N,
        ahead: Sequence[N],
        reached: Callable[[N], None],
    ) -> None:
        """Memory that can be cut: stored rows in one go, tokens again only where rows are lost."""
        begin, before = common, common
        segments: list[Segment] = []
        for checkpoint in ahead:
            segment = self.get(checkpoint)
            if segment is not None:
                segments.append(segment)
            elif checkpoint.tokens:
                self._restore(segments, begin.stop)
                reached(before)
                self._evaluate_again(checkpoint)
                begin, segments = checkpoint, []
                reached(begin)
            before = checkpoint
        if segments or begin is common:
            self._restore(segments, begin.stop)
        reached(before)

    def _stand_on_whole(self, target: N, reached: Callable[[N], None]) -> None:
        """Memory that cannot be cut: the nearest ancestor with a state, then tokens again."""
        again: list[N] = []
        at, segment = target, self.get(target)
        while segment is None and at.parent is not None:
            again.append(at)
            at = at.parent
            segment = self.get(at)
        if segment is None:
            self._context.clear()
        else:
            path = list(at.lineage())[::-1]
            tokens = tuple(token for checkpoint in path for token in checkpoint.tokens)
            made = {c.start: text_of(c.metadata.adapters) for c in path if c.tokens}
            adapters = tuple(made.items()) if any(made.values()) else ()
            self._restore([dataclasses.replace(segment, start=0, tokens=tokens, adapters=adapters)])
        reached(at)
        for checkpoint in reversed(again):
            if checkpoint.tokens:
                self._evaluate_again(checkpoint)
            reached(checkpoint)

    def _evaluate_again(self, checkpoint: Node) -> None:
        """Work lost rows out from their tokens, in the steps in which it was done before."""
        why = None if checkpoint.address is None else self._store.why_lost(checkpoint.address)
        context = self._context
        context.adapters = context.known_adapters.of(checkpoint.metadata.adapters)
        alone = bool(checkpoint.logprobs)  # generated, one token at a time
        for tokens in [[t] for t in checkpoint.tokens] if alone else [checkpoint.tokens]:
            self.evaluate(tokens)
            self._meter.n_evaluated += len(tokens)
        assert checkpoint.parent is not None
        address = self.keep(self.capture(checkpoint.parent))
        never_had_any = self.are_whole and checkpoint.address is None  # a cut inside its tokens
        if address != checkpoint.address and not never_had_any:  # the address is the rows' hash
            checkpoint.rows_exact = False
            self.warnings.append(
                f"{len(checkpoint.tokens)} tokens of checkpoint {checkpoint.short_id} were "
                f"evaluated again{f', as {why}' if why else ''}"
            )
        self.drop(checkpoint)
        self.assign(checkpoint, address)
        self._tell_recalled(address)
        checkpoint.changed()


def _weakly(callback: Callable[[str], None]) -> Callable[[str], None]:
    weak = weakref.WeakMethod(callback)

    def tell(address: str) -> None:
        method = weak()
        if method is not None:
            method(address)

    return tell
