"""The checkpoint tree: commit, checkout, undo, redo, fork, tag, prune, diff."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..engine.context import Context
from ..engine.live import Live
from ..errors import ContextError, HistoryError
from ..state.segment import Segment
from .compare import Difference, compare
from .drawing import draw_svg, draw_text
from .events import Event, Subscription
from .forking import fork, fork_at
from .node import Node
from .paths import check_steps
from .refs import check_tag
from .sizes import KVBytes, MemoryReport, count_bytes, report_memory
from .workspace import Workspace

__all__ = ["Checkpoint", "CheckpointTree"]


class Checkpoint(Node, Live):
    """A point of a tree: its parent, the tokens since, and what was noted about them.

    Checkpoints are made by ``CheckpointTree`` and never change, but for their tags, their notes,
    and their beginning when a fork cuts them in two.

    Attributes
    ----------
    id : str
        Depends on the place in the tree, not on tokens or rows: the same steps give the same ids
        with any model and on any machine.
    parent : Checkpoint or None
        None for the root, which holds no tokens.
    tokens : tuple of int
        Since the parent.
    logprobs : tuple of float
        Of the tokens where they were generated, else empty.
    metadata : Notes
        A dict of what ``commit`` was given: role, finish reason, sampling.
    """

    _instead_of_a_copy = "its id and its tokens are values; Chat.save(name) keeps it with its tree"

    __slots__ = ()

    @property
    def tree(self) -> CheckpointTree:
        """The tree that it belongs to.

        Raises
        ------
        HistoryError
            When that is gone.
        """
        contents = self._contents
        tree = contents.owner() if isinstance(contents, Workspace) and contents.owner else None
        if not isinstance(tree, CheckpointTree):
            raise self._gone()
        return tree


class CheckpointTree(Live):
    """A tree of checkpoints over one context, which it owns.

    Iterating gives its checkpoints, parents first and without the root, which holds no tokens.
    ``tree[ref]`` is the checkpoint of a ref: a tag, an id or its beginning, ``"HEAD~2"``.

    Parameters
    ----------
    context : Context
        What it holds already becomes the first checkpoint.
    max_bytes : int, optional
        Memory for rows; what was used longest ago moves to a temporary folder. None: a share of
        the memory that is free.

    Raises
    ------
    HistoryError
        When another tree owns the context.

    Attributes
    ----------
    context : Context
    root : Checkpoint

    Notes
    -----
    The context may be used directly, which the tree takes in at its next operation: appended tokens
    are committed, a rewind moves the head, a loaded session is a new branch at the root.

    One thread at a time changes the tree, and an operation is done as a whole or, should something
    fail, leaves the head where it was. A ``KeyboardInterrupt`` ends what is being evaluated and is
    raised once the tree is in order.
    """

    _instead_of_a_copy = "Chat.save(name) keeps a chat with its tree, and Chat.open(name) is a copy"

    def __init__(self, context: Context, *, max_bytes: int | None = None) -> None:
        try:
            context.claim(self)
        except ContextError as error:
            raise HistoryError(str(error)) from None
        self.context = context
        self._workspace: Workspace[Checkpoint] = Workspace(context, Checkpoint, max_bytes)
        self._workspace.owner = weakref.ref(self)
        self._graph = self._workspace.graph
        self.root = self._graph.root
        with self._workspace.changing():
            pass  # what the context holds is committed

    @property
    def head(self) -> Checkpoint:
        """The checkpoint that the context stands on, or behind it with uncommitted tokens."""
        return self._workspace.head

    @property
    def tags(self) -> Mapping[str, Checkpoint]:
        """Checkpoints by their tags."""
        return self._graph.tags

    @property
    def uncommitted(self) -> int:
        """Tokens that the context holds behind the head."""
        return self._workspace.uncommitted

    @property
    def keeps_snapshots(self) -> bool:
        """Whether rows cannot be cut, so that each checkpoint keeps the whole state."""
        return self._workspace.keeps_snapshots

    @property
    def undo_steps(self) -> int:
        """How many times ``undo`` can be called."""
        return self._graph.depth(self.head)

    @property
    def redo_path(self) -> tuple[Checkpoint, ...]:
        """The checkpoints that ``redo`` would go to, one after the other."""
        return tuple(self._graph.redo or ())

    @property
    def is_held_by_cell(self) -> bool:
        """Whether the main thread, which runs a notebook's cells, is changing the tree."""
        return self._workspace.lock.is_on_main_thread

    def __getitem__(self, ref: Checkpoint | str) -> Checkpoint:
        return self._workspace.resolve(ref)

    def __contains__(self, item: object) -> bool:
        return item in self._graph

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter(self._graph)

    def __len__(self) -> int:
        return len(self._graph)

    def __bool__(self) -> bool:
        return True

    def path(self, ref: Checkpoint | str = "HEAD") -> list[Checkpoint]:
        """Return the checkpoints from the root, which is left out, to a ref."""
        return self._graph.path(self[ref])

    def log(self, ref: Checkpoint | str = "HEAD") -> list[Checkpoint]:
        """Return the path, newest first."""
        return self.path(ref)[::-1]

    def children(self, ref: Checkpoint | str = "HEAD") -> tuple[Checkpoint, ...]:
        """Return the checkpoints that follow a ref."""
        return self[ref].children

    def siblings(self, ref: Checkpoint | str = "HEAD") -> tuple[Checkpoint, ...]:
        """Return the checkpoints that follow from the same point, the ref included."""
        return self[ref].siblings

    def leaves(self) -> list[Checkpoint]:
        """Return the ends of all branches."""
        return self._graph.leaves()

    def find(self, text: str) -> list[Checkpoint]:
        """Return the checkpoints that say a text, upper and lower case alike."""
        wanted = text.casefold()
        return [checkpoint for checkpoint in self if wanted in checkpoint.text.casefold()]

    def tokens(self, ref: Checkpoint | str = "HEAD") -> tuple[int, ...]:
        """Return all tokens up to a ref."""
        return tuple(token for checkpoint in self.path(ref) for token in checkpoint.tokens)

    def segment(self, ref: Checkpoint | str) -> Segment | None:
        """Return a checkpoint's rows; None where it has no tokens, or they are lost."""
        return self._workspace.rows.get(self[ref])

    def kv_bytes(self) -> KVBytes:
        """Return what the rows take, and what full snapshots would have taken."""
        return count_bytes(self._graph, keeps_snapshots=self.keeps_snapshots)

    @property
    def memory(self) -> MemoryReport:
        """Where the rows of each checkpoint are."""
        return report_memory(self._graph, self._workspace.rows.max_bytes)

    def diff(self, a: Checkpoint | str, b: Checkpoint | str = "HEAD") -> Difference:
        """Say where two checkpoints part, what each says from there, and how likely that was."""
        with self._workspace.changing():
            return compare(self._workspace, self[a], self[b])

    def on_change(self, callback: Callable[[Event], object]) -> Subscription:
        """Tell every later change to a callback, in order, on a thread of the tree's own.

        Parameters
        ----------
        callback : callable
            Gets one of the events of ``mullama_nb.history.events``. One that fails is logged.
        """
        return self._workspace.observers.add(callback)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until observers have heard everything so far; False when that took too long.

        Without a timeout not inside ``turn``, ``visit`` and the like, if an observer may wait for
        the tree.
        """
        return self._workspace.observers.flush(timeout)

    def turn(self) -> AbstractContextManager[None]:
        """Hold the tree for several operations in a row; other threads wait."""
        return self._workspace.turn()

    def commit(
        self, *, logprobs: Sequence[float] = (), allow_empty: bool = False, **metadata: Any
    ) -> Checkpoint:
        """Make a checkpoint of the tokens that the context holds behind the head.

        Parameters
        ----------
        logprobs : sequence of float
            Of the tokens, where they were generated.
        allow_empty : bool
            Whether to make a checkpoint without tokens where there are none.
        **metadata
            Notes: plain values that JSON can hold.

        Returns
        -------
        Checkpoint
            The new head; without new tokens the old one, with the notes added.
        """
        return self._workspace.commit(metadata, logprobs=logprobs, allow_empty=allow_empty)

    def spill(self, ref: Checkpoint | str) -> None:
        """Move a checkpoint's rows from memory to the temporary folder."""
        with self._workspace.operation():
            self._workspace.rows.spill(self[ref])

    def checkout(self, ref: Checkpoint | str) -> Checkpoint:
        """Make the context stand on a checkpoint, exactly as it did; return that, the new head.

        Uncommitted tokens are committed first.

        Warns
        -----
        InexactWarning
            When rows were lost for want of room, and came out differently when their tokens were
            evaluated again.
        """
        with self._workspace.changing():
            target = self[ref]
            self._workspace.checkout(target)
            return target

    def undo(self, n: int = 1) -> Checkpoint:
        """Go back to the parent, ``n`` times, and remember the way; stops at the root.

        Uncommitted tokens are committed first, and count as a step.
        """
        check_steps(n)
        return self._workspace.undo(n)

    def redo(self, n: int = 1) -> Checkpoint:
        """Follow the way back that ``undo`` remembered, ``n`` times at the most."""
        check_steps(n)
        return self._workspace.redo(n)

    def fork(
        self,
        ref: Checkpoint | str = "HEAD",
        *,
        token: int | None = None,
        choose: str | int | None = None,
        **metadata: Any,
    ) -> Checkpoint:
        """Stand in front of a token inside a checkpoint, and go another way from there.

        Parameters
        ----------
        ref : Checkpoint or str
        token : int, optional
            Counted from the checkpoint's first token, 0; -1 is its last. None: behind all of them.
        choose : str or int, optional
            A text or token to go on with; it is committed.
        **metadata
            Notes for that commit.

        Returns
        -------
        Checkpoint
            The new head. Checkpoints in front of and behind the token remain.
        """
        with self._workspace.changing():
            return fork(self._workspace, self[ref], token, choose, metadata)

    def fork_at(self, position: int) -> Checkpoint:
        """Stand behind the first ``position`` tokens of the present path."""
        return fork_at(self._workspace, position)

    def visit(self, ref: Checkpoint | str) -> AbstractContextManager[Checkpoint]:
        """Stand on a checkpoint for a while, then again where the head was."""
        return self._workspace.visit(ref)

    def tag(self, name: str, ref: Checkpoint | str = "HEAD", *, force: bool = False) -> Checkpoint:
        """Name a checkpoint.

        Parameters
        ----------
        name : str
        ref : Checkpoint or str
        force : bool
            Whether a tag of that name moves here.
        """
        check_tag(name)
        with self._workspace.operation():
            if ref == "HEAD":
                self._workspace.commit_appended()
            checkpoint = self[ref]
            if self.tags.get(name, checkpoint) is not checkpoint and not force:
                raise HistoryError(
                    f"the tag {name!r} is on {self.tags[name]!r}; give force=True to move it"
                )
            self._workspace.tag(name, checkpoint)
            return checkpoint

    def untag(self, name: str) -> None:
        """Take a tag away; the checkpoint stays."""
        with self._workspace.operation():
            if name not in self.tags:
                self[name]  # names the candidates
                raise HistoryError(f"{name!r} is no tag")
            self._workspace.tag(name, None)

    def prune(self, ref: Checkpoint | str, *, force: bool = False) -> int:
        """Remove a checkpoint and all that follow it; return how many those are.

        This is the one thing that forgets.

        Parameters
        ----------
        ref : Checkpoint or str
        force : bool
            Needed where tags would go, or the head, which then moves to the parent; uncommitted
            tokens go with it.
        """
        with self._workspace.operation():
            checkpoint = self[ref]
            if checkpoint.parent is None:
                raise HistoryError("the root cannot be pruned; prune its children")
            gone = {checkpoint, *checkpoint.descendants()}
            what = [f"the tag {name!r}" for name, c in self.tags.items() if c in gone]
            what += ["the head"] * (self._graph.head in gone)
            if what and not force:
                raise HistoryError(
                    f"pruning {checkpoint!r} would remove {' and '.join(what)}; give force=True"
                )
            if self._graph.head in gone:
                self._workspace.go(checkpoint.parent)
            return self._workspace.remove(checkpoint)

    def _ipython_key_completions_(self) -> list[str]:
        return [*self.tags, "HEAD", "ROOT", *(checkpoint.short_id for checkpoint in self)]

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto">{draw_svg(self)}</div>'

    def __str__(self) -> str:
        return draw_text(self)

    def __repr__(self) -> str:
        names = ((len(self), "checkpoint", "checkpoints"), (len(self.leaves()), "leaf", "leaves"))
        counts = ", ".join(f"{n} {one if n == 1 else more}" for n, one, more in names)
        return f"CheckpointTree({counts})"
