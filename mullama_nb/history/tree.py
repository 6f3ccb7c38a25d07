"""The checkpoint tree: commit, checkout, undo, redo, fork, tag, prune, diff."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..checks import check_list, check_number
from ..engine.adapters.values import Adapter
from ..engine.context import Context
from ..engine.live import Live
from ..errors import ContextError, HistoryError
from ..state.segment import Segment
from .cell_map.live import CellMap, cell_map
from .compare import Difference, compare
from .drawing import draw_html, draw_svg, draw_text
from .events import Event, Subscription
from .files import write_text
from .forking import fork, fork_at
from .node import Node
from .paths import check_steps
from .refs import check_tag
from .sizes import KVBytes, MemoryReport, count_bytes, report_memory
from .undoing import redo, undo
from .visiting import visit
from .workspace import Workspace

__all__ = ["Checkpoint", "CheckpointTree"]


class Checkpoint(Node, Live):
    """A point of a tree: its parent, the tokens since, and notes on them.

    Checkpoints are made by ``CheckpointTree``. They never change, except for their tags, their
    notes, and their beginning when a fork cuts them in two.

    Attributes
    ----------
    id : str
        Depends on the place in the tree, not on tokens or rows: the same steps give the same ids
        with any model on any machine.
    parent : Checkpoint or None
        None for the root, which holds no tokens.
    tokens : tuple of int
        Since the parent.
    logprobs : tuple of float
        Of generated tokens; empty otherwise.
    metadata : Notes
        The notes given to ``commit``: role, finish reason, sampling.
    """

    _instead_of_a_copy = "its id and its tokens are values; Chat.save(name) keeps it with its tree"

    __slots__ = ()

    @property
    def tree(self) -> CheckpointTree:
        """The tree of this checkpoint.

        Raises
        ------
        HistoryError
            When the tree no longer exists.
        """
        contents = self._contents
        tree = contents.owner() if isinstance(contents, Workspace) and contents.owner else None
        if not isinstance(tree, CheckpointTree):
            raise self._gone()
        return tree


class CheckpointTree(Live):
    """A tree of checkpoints over one context, which it owns.

    Iterating gives its checkpoints, parents first and without the root, which holds no tokens.
    ``tree[ref]`` is the checkpoint of a ref: a tag, an id or a prefix of one, ``"HEAD~2"``.

    Parameters
    ----------
    context : Context
        Tokens that it already holds become the first checkpoint.
    max_bytes : int, optional
        Memory for rows; the least recently used ones move to a temporary folder. None: a share of
        the free memory.

    Attributes
    ----------
    context : Context
    root : Checkpoint

    Raises
    ------
    HistoryError
        When another tree owns the context.

    Notes
    -----
    The context may be used directly; the tree follows at its next operation: appended tokens are
    committed, a rewind moves the head, a loaded session is a new branch at the root.

    One thread at a time changes the tree. An operation that fails leaves the head where it was. A
    ``KeyboardInterrupt`` stops the running evaluation and is raised once the tree is consistent.
    """

    _instead_of_a_copy = (
        "Chat.save(name) keeps a chat with its tree, and Chat.open(name) is a copy. "
        "chat.explore(executor=...) lets other processes decode for a tree"
    )

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
        """The current checkpoint; the context may hold uncommitted tokens after it."""
        return self._workspace.head

    @property
    def tags(self) -> Mapping[str, Checkpoint]:
        """Checkpoints by their tags."""
        return self._graph.tags

    @property
    def uncommitted(self) -> int:
        """The tokens that the context holds after the head."""
        return self._workspace.uncommitted

    @property
    def keeps_snapshots(self) -> bool:
        """Whether each checkpoint keeps the whole state, as its rows cannot be cut."""
        return self._workspace.keeps_snapshots

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The LoRAs and control vectors that are on; see ``Context.adapters``.

        Each checkpoint notes what its tokens were evaluated with. A checkout switches to that; undo
        to what was on before the step that it takes back, unless others were set since.
        """
        return self._workspace.adapters_on

    @adapters.setter
    def adapters(self, values: Sequence[Adapter]) -> None:
        self._workspace.set_adapters(values)

    @property
    def undo_steps(self) -> int:
        """The number of steps that ``undo`` can go back."""
        return self._graph.depth(self.head)

    @property
    def redo_path(self) -> tuple[Checkpoint, ...]:
        """The checkpoints that ``redo`` would move to, in order."""
        return tuple(self._graph.redo or ())

    @property
    def is_held_by_cell(self) -> bool:
        """Whether the main thread, which runs a notebook's cells, is changing the tree."""
        return self._workspace.lock.is_on_main_thread

    @property
    def is_held(self) -> bool:
        """Whether a thread is changing the tree, as while the model answers."""
        return self._workspace.lock.is_held

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
        """Return the checkpoints from the root, exclusive, to a ref."""
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
        """Return the checkpoints whose text contains a string, ignoring case."""
        wanted = text.casefold()
        return [checkpoint for checkpoint in self if wanted in checkpoint.text.casefold()]

    def tokens(self, ref: Checkpoint | str = "HEAD") -> tuple[int, ...]:
        """Return all tokens up to a ref."""
        return tuple(token for checkpoint in self.path(ref) for token in checkpoint.tokens)

    def segment(self, ref: Checkpoint | str) -> Segment | None:
        """Return a checkpoint's rows; None if it has no tokens or the rows are lost."""
        return self._workspace.rows.get(self[ref])

    def kv_bytes(self) -> KVBytes:
        """Return the bytes of the rows, and of the full snapshots that they replace."""
        return count_bytes(self._graph, keeps_snapshots=self.keeps_snapshots)

    def cells(self) -> CellMap:
        """Return which token lies in which cell, what branches share, and what is kept outside."""
        return cell_map(self)

    @property
    def memory(self) -> MemoryReport:
        """Return where the rows of each checkpoint are."""
        return report_memory(self._graph, self._workspace.rows.max_bytes)

    def diff(self, a: Checkpoint | str, b: Checkpoint | str = "HEAD") -> Difference:
        """Return where two checkpoints diverge, the texts from there, and how likely each was."""
        with self._workspace.changing():
            return compare(self._workspace, self[a], self[b])

    def on_change(self, callback: Callable[[Event], object]) -> Subscription:
        """Call a function for every later change, in order, on a thread of the tree's own.

        Parameters
        ----------
        callback : callable
            Called with an event of ``mullama_nb.history.events``. Its exceptions are logged.
        """
        return self._workspace.observers.add(callback)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all events so far are delivered; return False on timeout.

        Give a timeout inside ``turn``, ``visit`` and the like if an observer may wait for the tree.
        """
        return self._workspace.observers.flush(timeout)

    def turn(self) -> AbstractContextManager[None]:
        """Hold the tree for several operations in a row; other threads wait."""
        return self._workspace.turn()

    def commit(
        self, *, logprobs: Sequence[float] = (), allow_empty: bool = False, **metadata: Any
    ) -> Checkpoint:
        """Make a checkpoint of the tokens that the context holds after the head.

        Parameters
        ----------
        logprobs : sequence of float
            Of the tokens, if they were generated.
        allow_empty : bool
            Whether to make a checkpoint even without new tokens.
        **metadata
            Notes: values that JSON can hold.

        Returns
        -------
        Checkpoint
            The new head; without new tokens the old head, with the notes added.
        """
        values = [check_number("logprobs", n) for n in check_list("logprobs", logprobs, "numbers")]
        return self._workspace.commit(metadata, logprobs=values, allow_empty=allow_empty)

    def spill(self, ref: Checkpoint | str) -> None:
        """Move a checkpoint's rows from memory to the temporary folder."""
        with self._workspace.operation():
            self._workspace.rows.spill(self[ref])

    def checkout(self, ref: Checkpoint | str) -> Checkpoint:
        """Restore the context to a checkpoint, exactly; return it as the new head.

        Uncommitted tokens are committed first.

        Warns
        -----
        InexactWarning
            When rows were lost for lack of room and differ after their tokens were evaluated again.
        """
        with self._workspace.changing():
            target = self[ref]
            self._workspace.checkout(target)
            return target

    def undo(self, n: int = 1) -> Checkpoint:
        """Move the head to its parent, ``n`` times, remembering the way; stop at the root.

        Uncommitted tokens are committed first, and count as a step.
        """
        n = check_steps(n)
        return undo(self._workspace, n)

    def redo(self, n: int = 1) -> Checkpoint:
        """Take back ``undo``, at most ``n`` steps."""
        n = check_steps(n)
        return redo(self._workspace, n)

    def fork(
        self,
        ref: Checkpoint | str = "HEAD",
        *,
        token: int | None = None,
        choose: str | int | None = None,
        **metadata: Any,
    ) -> Checkpoint:
        """Branch off before a token inside a checkpoint.

        Parameters
        ----------
        ref : Checkpoint or str
        token : int, optional
            Index of a token in the checkpoint; -1 is the last. None: after all of them.
        choose : str or int, optional
            A text or token to continue with; it is committed.
        **metadata
            Notes for that commit.

        Returns
        -------
        Checkpoint
            The new head. The checkpoints before and after the token remain.
        """
        with self._workspace.changing():
            return fork(self._workspace, self[ref], token, choose, metadata)

    def fork_at(self, position: int) -> Checkpoint:
        """Branch off after the first ``position`` tokens of the current path."""
        return fork_at(self._workspace, position)

    def visit(self, ref: Checkpoint | str) -> AbstractContextManager[Checkpoint]:
        """Check out a checkpoint for a ``with`` block, then return to the head."""
        return visit(self._workspace, ref)

    def tag(self, name: str, ref: Checkpoint | str = "HEAD", *, force: bool = False) -> Checkpoint:
        """Tag a checkpoint with a name.

        Parameters
        ----------
        name : str
        ref : Checkpoint or str
        force : bool
            Whether to move an existing tag of that name.
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
        """Remove a tag; the checkpoint stays."""
        with self._workspace.operation():
            if name not in self.tags:
                self[name]  # names the candidates
                raise HistoryError(f"{name!r} is not a tag")
            self._workspace.tag(name, None)

    def prune(self, ref: Checkpoint | str, *, force: bool = False) -> int:
        """Remove a checkpoint and its descendants; return the number removed.

        No other operation forgets checkpoints.

        Parameters
        ----------
        ref : Checkpoint or str
        force : bool
            Needed where tags would be removed, or the head, which then moves to the parent;
            uncommitted tokens are removed with it.
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
                on = self._workspace.adapters.of(checkpoint)
                self._workspace.go(checkpoint.parent, adapters=on)
            return self._workspace.remove(checkpoint)

    def to_svg(self, path: str | os.PathLike[str]) -> None:
        """Write the tree as a picture, at most 200 rows, including the head.

        Parameters
        ----------
        path : str or path
            Its ending must be ``.svg``.
        """
        write_text(path, ".svg", draw_svg(self))

    def _ipython_key_completions_(self) -> list[str]:
        return [*self.tags, "HEAD", "ROOT", *(checkpoint.short_id for checkpoint in self)]

    def _repr_html_(self) -> str:
        return draw_html(self)

    def __str__(self) -> str:
        return draw_text(self)

    def __repr__(self) -> str:
        names = ((len(self), "checkpoint", "checkpoints"), (len(self.leaves()), "leaf", "leaves"))
        counts = ", ".join(f"{n} {one if n == 1 else more}" for n, one, more in names)
        return f"CheckpointTree({counts})"
