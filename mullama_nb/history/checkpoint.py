"""A checkpoint: a point of the history, with the tokens since its parent."""

from __future__ import annotations

import html
import json
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from ..engine.live import Live
from ..errors import HistoryError, ParameterError

if TYPE_CHECKING:
    from .view import TreeView

__all__ = ["ROOT_ID", "Checkpoint", "check_notes", "identifier"]

_SHORT = 7


def identifier(parent: str, ordinal: int) -> str:
    """The id of a parent's child."""
    return blake3(f"{parent}/{ordinal}".encode()).hexdigest(length=10)


ROOT_ID = identifier("", 0)


def check_notes(notes: Mapping[str, Any]) -> None:
    """Check that notes could be saved.

    Raises
    ------
    ParameterError
        When JSON cannot hold them, or a text in them has half a character.
    """
    try:
        json.dumps(notes, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError(
            f"what is noted must be plain values and whole texts, which JSON can hold: {error}"
        ) from None


class _Notes(dict[str, Any]):
    """A checkpoint's notes, which say when they change."""

    __slots__ = ("_checkpoint",)

    def __init__(self, values: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        super().__init__(values)
        self._checkpoint = weakref.ref(checkpoint)

    def _changed(self) -> None:
        checkpoint = self._checkpoint()
        if checkpoint is not None:
            checkpoint.changed()

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._changed()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._changed()

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def update(self, *values: Any, **named: Any) -> None:
        super().update(*values, **named)
        self._changed()

    def setdefault(self, key: str, default: Any = None) -> Any:
        value = super().setdefault(key, default)
        self._changed()
        return value

    def pop(self, *arguments: Any) -> Any:
        value = super().pop(*arguments)
        self._changed()
        return value

    def popitem(self) -> tuple[str, Any]:
        item = super().popitem()
        self._changed()
        return item

    def clear(self) -> None:
        super().clear()
        self._changed()

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class Checkpoint(Live):
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
    start : int
        Tokens in front of them.
    ordinal : int
        Siblings made before it.
    logprobs : tuple of float
        Of the tokens where they were generated, else empty.
    metadata : dict
        What ``commit`` was given: role, finish reason, sampling.
    """

    _instead_of_a_copy = "its id and its tokens are values; Chat.save(name) keeps it with its tree"

    __slots__ = (
        "__weakref__",
        "_children",
        "_tree",
        "address",
        "id",
        "logprobs",
        "metadata",
        "ordinal",
        "parent",
        "rows_exact",
        "start",
        "tokens",
    )

    def __init__(
        self,
        tree: TreeView,
        identifier: str,
        parent: Checkpoint | None,
        tokens: tuple[int, ...],
        ordinal: int,
        metadata: Mapping[str, Any],
        address: str | None,
        logprobs: tuple[float, ...] = (),
    ) -> None:
        # Not the tree itself: that and its context are to go as soon as nobody uses them.
        self._tree = weakref.ref(tree)
        self._children: list[Checkpoint] = []
        self.id = identifier
        self.parent = parent
        self.tokens = tokens
        self.start = 0 if parent is None else parent.stop
        self.ordinal = ordinal
        self.metadata: dict[str, Any] = _Notes(metadata, self)
        self.address = address
        self.logprobs = logprobs
        self.rows_exact = True

    @property
    def tree(self) -> TreeView:
        """The tree that it belongs to.

        Raises
        ------
        HistoryError
            When that is gone.
        """
        tree = self._tree()
        if tree is None:
            raise HistoryError(
                f"the tree of checkpoint {self.short_id} is gone; keep the Chat or CheckpointTree "
                "as long as its checkpoints"
            )
        return tree

    def changed(self) -> None:
        """Note that something of it changed that is saved."""
        tree = self._tree()
        if tree is not None:
            tree.changes.note(self.id)

    @property
    def stop(self) -> int:
        """Tokens up to and with the last one."""
        return self.start + len(self.tokens)

    @property
    def short_id(self) -> str:
        """The first characters of the id, as they are shown."""
        return self.id[:_SHORT]

    @property
    def children(self) -> tuple[Checkpoint, ...]:
        """Checkpoints that follow this one, in the order in which they were made."""
        return tuple(self._children)

    @property
    def siblings(self) -> tuple[Checkpoint, ...]:
        """The children of the parent, this one included."""
        return (self,) if self.parent is None else self.parent.children

    @property
    def is_root(self) -> bool:
        """Whether this is where the tree begins, without tokens."""
        return self.parent is None

    @property
    def is_exact(self) -> bool:
        """Whether all rows up to here are those that were computed first.

        False once rows had to be dropped for want of room and were evaluated again. Where a
        checkpoint keeps the whole state, that alone counts.
        """
        lineage = (checkpoint for checkpoint in self.lineage() if checkpoint.tokens)
        if self.tree.keeps_snapshots:
            return next((checkpoint.rows_exact for checkpoint in lineage), True)
        return all(checkpoint.rows_exact for checkpoint in lineage)

    @property
    def is_unfinished(self) -> bool:
        """Whether an answer ends here that was stopped or ran into a limit, and was not resumed."""
        cut_short = self.metadata.get("finish_reason") not in (None, "stop")
        return cut_short and not any(c.metadata.get("continues") for c in self._children)

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of this checkpoint."""
        return tuple(sorted(name for name, c in self.tree.tags.items() if c is self))

    @property
    def text(self) -> str:
        """What the tokens since the parent say, control tokens included."""
        return self.tree.context.model.detokenize(self.tokens, special=True)

    @property
    def n_bytes(self) -> int:
        """Bytes of the tokens' own rows."""
        return self.tree.bytes_of(self)

    @property
    def place(self) -> str:
        """Where the rows are: ``"memory"``, ``"disk"`` or ``"lost"``."""
        return self.tree.place_of(self)

    def lineage(self) -> Iterator[Checkpoint]:
        """The checkpoint, its parent, and so on to the root."""
        at: Checkpoint | None = self
        while at is not None:
            yield at
            at = at.parent

    def descendants(self) -> Iterator[Checkpoint]:
        """All checkpoints behind this one, parents first."""
        stack = list(reversed(self._children))
        while stack:
            checkpoint = stack.pop()
            yield checkpoint
            stack += reversed(checkpoint._children)

    def is_ancestor_of(self, other: Checkpoint) -> bool:
        """Whether ``other`` follows from here; a checkpoint is its own ancestor."""
        return any(checkpoint is self for checkpoint in other.lineage())

    def __repr__(self) -> str:
        if self.is_root:
            return "Checkpoint(root)"
        n = len(self.tokens)
        notes = [self.short_id, f"{n} token{'s' * (n != 1)}"]
        if role := self.metadata.get("role"):
            notes.insert(1, str(role))
        if self._tree() is not None:
            notes += [f"tag {name!r}" for name in self.tags]
        return f"Checkpoint({', '.join(notes)})"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"
