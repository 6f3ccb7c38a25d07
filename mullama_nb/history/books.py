"""What changes a tree: making, cutting and removing checkpoints, and telling observers."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..state.segment import Segment
from .checkpoint import Checkpoint, identifier
from .events import Committed, Event, Moved, Observers, Pruned, Spilled, Split, Subscription
from .paths import Redo
from .view import TreeView, cuts_key

__all__ = ["TreeBooks"]

_OF_A_WHOLE_MESSAGE = ("message", "history", "finish_reason", "hidden")


class TreeBooks(TreeView):
    """Keeps a tree's checkpoints in step with each other; where the context stands is not its job.

    Whatever begins with an underscore is to be called within an operation.

    Parameters
    ----------
    context : Context
    max_bytes : int, optional
        Memory for rows.
    """

    def __init__(self, context: Any, max_bytes: int | None) -> None:
        super().__init__(context, max_bytes)
        self._observers = Observers()
        self._rows.on_spill(self._tell_spilled)

    # -- observers ---------------------------------------------------------------------------

    def on_change(self, callback: Callable[[Event], object]) -> Subscription:
        """Tell every later change to a callback, in order, on a thread of the tree's own.

        Parameters
        ----------
        callback : callable
            Gets one of the events of ``mullama_nb.history.events``. One that fails is logged.
        """
        return self._observers.add(callback)

    def tell(self, event: Event) -> None:
        """Tell observers of a change that is none of the tree's, such as a generated token."""
        self._observers.tell(event)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until observers have heard everything so far; False when that took too long.

        Without a timeout not inside ``turn``, ``visit`` and the like, if an observer may wait for
        the tree.
        """
        return self._observers.flush(timeout)

    def _tell_spilled(self, address: str) -> None:
        for checkpoint in self._rows.holders(address):
            self._observers.tell(Spilled(checkpoint.id))

    # -- make --------------------------------------------------------------------------------

    def _attach(
        self,
        segment: Segment | None,
        metadata: Mapping[str, Any],
        logprobs: Sequence[float],
        *,
        is_head: bool,
    ) -> Checkpoint:
        """A new child of the head, and the head itself if so asked."""
        parent = self._head
        ordinal = self._count(parent.id)
        checkpoint = Checkpoint(
            self,
            identifier(parent.id, ordinal),
            parent,
            () if segment is None else segment.tokens,
            ordinal,
            metadata,
            None if segment is None else self._rows.keep(segment),
            tuple(logprobs),
        )
        parent._children.append(checkpoint)
        self._add(checkpoint)
        self.n_made += 1
        self.changes.note(checkpoint.id)
        if is_head:
            self._head = checkpoint
            self._redo = None
            self.context.mark()
        self._observers.tell(Committed(checkpoint.id, parent.id, is_head))
        return checkpoint

    # -- keep elsewhere ----------------------------------------------------------------------

    def segment_at(self, address: str) -> Segment | None:
        """The rows of an address; None when they are lost."""
        return self._rows.at(address)

    def place_of_address(self, address: str) -> str:
        """Where the rows of an address are."""
        return self._rows.place_of(address)

    def take(
        self,
        checkpoint: Checkpoint,
        n_bytes: int,
        read: Callable[[str], Segment],
        made: int = 0,
        cuts: int = 0,
    ) -> None:
        """Take a checkpoint in that was saved, behind its elder siblings; rows stay there."""
        parent = checkpoint.parent
        if parent is not None:
            parent._children.append(checkpoint)
            # A parent's count is saved with it, and its later children say more.
            self._made[parent.id] = max(self._made.get(parent.id, 0), checkpoint.ordinal + 1)
            self._add(checkpoint)
        for key, n in ((checkpoint.id, made), (cuts_key(checkpoint.id), cuts)):
            if n:
                self._made[key] = max(n, self._made.get(key, 0))
        if checkpoint.address is not None:
            self._rows.lend(checkpoint.address, n_bytes, read)

    def graft(
        self,
        parent: Checkpoint,
        tokens: tuple[int, ...],
        metadata: Mapping[str, Any],
        address: str | None,
        logprobs: tuple[float, ...],
        n_bytes: int,
        read: Callable[[str], Segment],
    ) -> Checkpoint:
        """Make a child of a checkpoint whose rows lie elsewhere; the head stays where it is."""
        ordinal = self._count(parent.id)
        name = identifier(parent.id, ordinal)
        made = Checkpoint(self, name, parent, tokens, ordinal, metadata, address, logprobs)
        self.take(made, n_bytes, read)
        self.n_made += 1
        self.changes.note(made.id)
        self._observers.tell(Committed(made.id, parent.id, False))
        return made

    def _add(self, checkpoint: Checkpoint) -> None:
        """Have a checkpoint found by its id, and by the address of its rows."""
        self._by_id[checkpoint.id] = checkpoint
        if self._sorted_ids is not None:
            insort(self._sorted_ids, checkpoint.id)
        self._rows.assign(checkpoint, checkpoint.address)

    def _count(self, key: str) -> int:
        """How often a place was counted before: ids must not depend on what was pruned."""
        n = self._made.get(key, 0)
        self._made[key] = n + 1
        return n

    def _set_head(self, checkpoint: Checkpoint) -> None:
        before, self._head = self._head, checkpoint
        self.context.mark()
        if before is not checkpoint:
            self._observers.tell(Moved(checkpoint.id, before.id))

    # -- cut and remove ----------------------------------------------------------------------

    def _cut_at(self, checkpoint: Checkpoint, position: int) -> Checkpoint:
        """The checkpoint that ends at a position of a path; splits one where it must."""
        at = checkpoint
        while at.start >= position and at.stop > position:
            assert at.parent is not None
            at = at.parent
        return at if at.stop <= position else self._split(at, position - at.start)

    def _split(self, checkpoint: Checkpoint, n_tokens: int) -> Checkpoint:
        """Put a checkpoint of the first tokens in front of one, which keeps the others."""
        parent = checkpoint.parent
        assert parent is not None
        first_address, rest_address = self._rows.split(checkpoint, n_tokens)
        key = cuts_key(checkpoint.id)
        first = Checkpoint(
            self,
            identifier(key, self._count(key)),
            parent,
            checkpoint.tokens[:n_tokens],
            checkpoint.ordinal,
            {k: v for k, v in checkpoint.metadata.items() if k not in _OF_A_WHOLE_MESSAGE},
            first_address,
            checkpoint.logprobs[:n_tokens],
        )
        first.metadata["cut"] = True
        if "finish_reason" in checkpoint.metadata:
            first.metadata["finish_reason"] = "stopped"
        first.rows_exact = checkpoint.rows_exact
        checkpoint.logprobs = checkpoint.logprobs[n_tokens:]
        checkpoint.tokens = checkpoint.tokens[n_tokens:]
        checkpoint.start, checkpoint.parent, checkpoint.ordinal = first.stop, first, 0
        self._rows.assign(checkpoint, rest_address)
        checkpoint.metadata["continues"] = True
        checkpoint.metadata.pop("came_from", None)
        parent._children[parent._children.index(checkpoint)] = first
        first._children.append(checkpoint)
        self._count(first.id)
        self._add(first)
        self.changes.note(first.id, checkpoint.id)
        self.n_edits += 1
        self._observers.tell(Split(checkpoint.id, first.id))
        return first

    def _remove(self, checkpoint: Checkpoint) -> int:
        """Forget a checkpoint and all behind it; none of them is the head."""
        assert checkpoint.parent is not None
        gone = {c.id: c for c in (checkpoint, *checkpoint.descendants())}
        checkpoint.parent._children.remove(checkpoint)
        self._tags = {name: c for name, c in self._tags.items() if c.id not in gone}
        self._redo = Redo.of([c for c in self._redo or () if c.id not in gone])
        self._sorted_ids = None
        self.n_edits += 1
        for identifier_, c in gone.items():
            del self._by_id[identifier_]
            self._made.pop(identifier_, None)
            self._made.pop(cuts_key(identifier_), None)
            self._rows.drop(c)
        self.changes.note(checkpoint.parent.id, *gone)
        self._observers.tell(Pruned(tuple(gone)))
        return len(gone)
