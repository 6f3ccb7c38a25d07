"""Looking at a tree: finding checkpoints, counting, drawing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ..engine.context import Context
from ..engine.live import Live
from ..state.segment import Segment
from .changes import Changes
from .checkpoint import ROOT_ID, Checkpoint
from .drawing import draw_svg, draw_text
from .order import Order
from .paths import Redo, Totals
from .refs import resolve
from .rows import Rows
from .sizes import KVBytes, MemoryReport, count_bytes, report_memory

__all__ = ["TreeView", "cuts_key"]


class TreeView(Live):
    """What can be seen of a tree; ``CheckpointTree`` adds what changes it.

    Iterating gives its checkpoints, parents first and without the root, which holds no tokens.

    Parameters
    ----------
    context : Context
    max_bytes : int, optional
        Memory for rows.

    Attributes
    ----------
    context : Context
    changes : Changes
        What has changed, for those who save it.
    order : Order
        Whose turn it is to change the tree.
    root : Checkpoint
    n_made : int
        Checkpoints that were committed so far, pruned ones included.
    n_edits : int
        Changes to what was there already: cuts, removals, notes that were added.
    """

    _instead_of_a_copy = "Chat.save(name) keeps a chat with its tree, and Chat.open(name) is a copy"

    def __init__(self, context: Context, max_bytes: int | None) -> None:
        self.context = context
        self.changes = Changes()
        self.root = Checkpoint(self, ROOT_ID, None, (), 0, {}, None)
        self.n_made = 0
        self.n_edits = 0
        self.order = Order(context)
        self._rows = Rows(context, self.order, max_bytes)
        self._head = self.root
        self._by_id: dict[str, Checkpoint] = {self.root.id: self.root}
        self._tags: dict[str, Checkpoint] = {}
        self._redo: Redo | None = None
        self._depths = Totals(_step_up)
        self._sorted_ids: list[str] | None = None  # made when it is first asked for
        self._made: dict[str, int] = {}

    @property
    def head(self) -> Checkpoint:
        """The checkpoint that the context stands on, or behind it with uncommitted tokens."""
        return self._head

    @property
    def tags(self) -> Mapping[str, Checkpoint]:
        """Checkpoints by their tags."""
        return MappingProxyType(self._tags)

    @property
    def uncommitted(self) -> int:
        """Tokens that the context holds behind the head."""
        head = self.head
        return max(0, self.context.token_count() - head.stop)

    @property
    def keeps_snapshots(self) -> bool:
        """Whether rows cannot be cut, so that each checkpoint keeps the whole state."""
        return self._rows.are_whole

    @property
    def undo_steps(self) -> int:
        """How many times ``undo`` can be called."""
        return self._depths.at(self.head, self.n_edits)

    @property
    def redo_path(self) -> tuple[Checkpoint, ...]:
        """The checkpoints that ``redo`` would go to, one after the other."""
        return tuple(self._redo or ())

    @property
    def redo_way(self) -> Redo | None:
        """The same as a chain, which costs nothing to get; None where there is none."""
        return self._redo

    def __getitem__(self, ref: Checkpoint | str) -> Checkpoint:
        return resolve(self, ref)

    def __contains__(self, item: object) -> bool:
        """Whether a checkpoint, or the one with that id, is in this tree and was not pruned."""
        if isinstance(item, Checkpoint):  # every tree gives out the same ids
            return self._by_id.get(item.id) is item
        return item in self._by_id

    def __iter__(self) -> Iterator[Checkpoint]:
        return self.root.descendants()

    def __len__(self) -> int:
        return len(self._by_id) - 1

    def __bool__(self) -> bool:
        return True

    def checkpoint(self, identifier: str) -> Checkpoint:
        """The checkpoint with an id, which is known to be here."""
        return self._by_id[identifier]

    def path(self, ref: Checkpoint | str = "HEAD") -> list[Checkpoint]:
        """The checkpoints from the root, which is left out, to a ref."""
        return list(resolve(self, ref).lineage())[-2::-1]

    def log(self, ref: Checkpoint | str = "HEAD") -> list[Checkpoint]:
        """The path, newest first."""
        return self.path(ref)[::-1]

    def children(self, ref: Checkpoint | str = "HEAD") -> tuple[Checkpoint, ...]:
        """The checkpoints that follow a ref."""
        return resolve(self, ref).children

    def siblings(self, ref: Checkpoint | str = "HEAD") -> tuple[Checkpoint, ...]:
        """The checkpoints that follow from the same point, the ref included."""
        return resolve(self, ref).siblings

    def leaves(self) -> list[Checkpoint]:
        """The ends of all branches."""
        return [checkpoint for checkpoint in self if not checkpoint.children]

    def find(self, text: str) -> list[Checkpoint]:
        """The checkpoints that say a text, upper and lower case alike."""
        wanted = text.casefold()
        return [checkpoint for checkpoint in self if wanted in checkpoint.text.casefold()]

    def beginning_with(self, prefix: str) -> list[Checkpoint]:
        """The checkpoints, the root included, whose ids begin so."""
        ids = self._sorted_ids
        if ids is None:
            ids = self._sorted_ids = sorted(self._by_id)
        found: list[Checkpoint] = []
        for index in range(bisect_left(ids, prefix), len(ids)):
            if not ids[index].startswith(prefix):
                break
            found += filter(None, [self._by_id.get(ids[index])])
        return found

    def tokens(self, ref: Checkpoint | str = "HEAD") -> tuple[int, ...]:
        """All tokens up to a ref."""
        return tuple(token for checkpoint in self.path(ref) for token in checkpoint.tokens)

    def bytes_of(self, checkpoint: Checkpoint) -> int:
        """Bytes of a checkpoint's own rows, wherever they are."""
        return self._rows.n_bytes(checkpoint)

    def segment(self, ref: Checkpoint | str) -> Segment | None:
        """A checkpoint's rows; None where it has no tokens, or they are lost."""
        return self._rows.get(resolve(self, ref))

    def place_of(self, checkpoint: Checkpoint) -> str:
        """Where a checkpoint's rows are: ``"memory"``, ``"disk"`` or ``"lost"``."""
        return self._rows.place(checkpoint)

    def kv_bytes(self) -> KVBytes:
        """What the rows of all checkpoints take, and what full snapshots would have taken."""
        return count_bytes(self)

    @property
    def memory(self) -> MemoryReport:
        """Where the rows of each checkpoint are."""
        return report_memory(self, self._rows.max_bytes)

    def counts_of(self, checkpoint: Checkpoint) -> tuple[int, int]:
        """Children that a checkpoint ever had, and cuts inside it: ids depend on that."""
        return self._made.get(checkpoint.id, 0), self._made.get(cuts_key(checkpoint.id), 0)

    def next_ordinal(self, ref: Checkpoint | str = "HEAD") -> int:
        """The ordinal that the next child of a checkpoint gets."""
        return self._made.get(resolve(self, ref).id, 0)

    def _ipython_key_completions_(self) -> list[str]:
        return [*self._tags, "HEAD", "ROOT", *(checkpoint.short_id for checkpoint in self)]

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto">{draw_svg(self)}</div>'

    def __str__(self) -> str:
        return draw_text(self)

    def __repr__(self) -> str:
        names = ((len(self), "checkpoint", "checkpoints"), (len(self.leaves()), "leaf", "leaves"))
        counts = ", ".join(f"{n} {one if n == 1 else more}" for n, one, more in names)
        return f"CheckpointTree({counts})"


def cuts_key(identifier: str) -> str:
    """The key under which cuts inside a checkpoint are counted."""
    return f"{identifier} cut"


def _step_up(checkpoint: Checkpoint) -> tuple[int, Checkpoint | None]:
    return int(checkpoint.parent is not None), checkpoint.parent
