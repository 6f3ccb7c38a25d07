"""A node of the graph: a point of a conversation, with the tokens since its parent.

The same steps give the same ids with any model and on any machine, as an id follows from the place
in the graph.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from blake3 import blake3

from ..errors import HistoryError
from ..tables import html_card
from .notes import Notes

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ROOT_ID", "Contents", "Node", "Surroundings", "identifier"]

_SHORT = 7


def identifier(parent: str, ordinal: int) -> str:
    """Return the id of a parent's child."""
    return blake3(f"{parent}/{ordinal}".encode()).hexdigest(length=10)


ROOT_ID = identifier("", 0)


class Contents(Protocol):
    """The data behind the nodes of a graph, which does not know it itself."""

    @property
    def keeps_snapshots(self) -> bool:
        """Whether each node keeps the whole state, as rows cannot be cut."""

    def text_of(self, tokens: tuple[int, ...]) -> str:
        """Return the text of tokens, including control tokens."""

    def spoken_by(self, tokens: tuple[int, ...], given: str = "") -> str:
        """Return the text of an answer, behind a beginning that was given.

        It has the control tokens that do not end it.
        """

    def answer_message(self, raw: str, before: tuple[int, ...]) -> dict[str, Any]:
        """Return the message that an answer is, with thoughts and calls apart from its text.

        Parameters
        ----------
        raw : str
        before : tuple of int
            The tokens in front of it, as many as tell whether they open a thought.
        """

    def bytes_of(self, node: Node) -> int:
        """Return the bytes of a node's own rows."""

    def place_of(self, node: Node) -> str:
        """Return where the rows are: ``"memory"``, ``"disk"`` or ``"lost"``."""


class Surroundings(Protocol):
    """What a node asks of its graph."""

    @property
    def tags(self) -> Mapping[str, Node]:
        """Nodes by their tags."""

    @property
    def contents(self) -> Contents | None:
        """The data behind the nodes; None if there is none, or it is gone."""

    def previous(self, node: Any) -> Any:
        """Return the node before one in the conversation; None for the root."""

    def followers(self, node: Any) -> list[Any]:
        """Return the nodes that go on from one in the conversation."""

    def note_change(self, identifier: str) -> None:
        """Note a change to something saved of the node with an id."""


class Node:
    """A point of a graph: its parent, the tokens since, and notes on them.

    Attributes
    ----------
    id : str
    parent : Node or None
        None for the root, which holds no tokens.
    tokens : tuple of int
        Since the parent.
    start : int
        Number of tokens before them.
    ordinal : int
        Number of siblings made before it.
    metadata : Notes
        The notes given to ``commit``, and those of the history itself.
    address : str or None
        Of the rows of the tokens; None if there are none.
    logprobs : tuple of float
        Of generated tokens; empty otherwise.
    rows_exact : bool
        Whether the rows are the ones computed first.
    """

    __slots__ = (
        "__weakref__",
        "_children",
        "_graph",
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

    if TYPE_CHECKING:
        parent: Self | None
        _children: list[Self]

    def __init__(
        self,
        graph: weakref.ref[Surroundings],
        identifier: str,
        parent: Self | None,
        tokens: tuple[int, ...],
        ordinal: int,
        metadata: Mapping[str, Any],
        address: str | None = None,
        logprobs: tuple[float, ...] = (),
    ) -> None:
        # Not the graph itself, so that its tree is freed once unused.
        self._graph = graph
        self._children = []
        self.id = identifier
        self.parent = parent
        self.tokens = tokens
        self.start = 0 if parent is None else parent.stop
        self.ordinal = ordinal
        self.metadata = Notes(metadata, weakref.ref(self))
        self.address = address
        self.logprobs = logprobs
        self.rows_exact = True

    def changed(self) -> None:
        """Note a change to something that is saved."""
        graph = self._graph()
        if graph is not None:
            graph.note_change(self.id)

    def _gone(self) -> HistoryError:
        return HistoryError(
            f"the tree of checkpoint {self.short_id} is gone; keep the Chat or CheckpointTree "
            "as long as its checkpoints"
        )

    @property
    def _contents(self) -> Contents:
        graph = self._graph()
        contents = None if graph is None else graph.contents
        if contents is None:
            raise self._gone()
        return contents

    @property
    def stop(self) -> int:
        """The number of tokens up to and including the last one."""
        return self.start + len(self.tokens)

    @property
    def short_id(self) -> str:
        """The id, shortened for display."""
        return self.id[:_SHORT]

    @property
    def children(self) -> tuple[Self, ...]:
        """The checkpoints that follow this one, in order of creation."""
        return tuple(self._children)

    @property
    def siblings(self) -> tuple[Self, ...]:
        """The children of the parent, including this one."""
        return (self,) if self.parent is None else self.parent.children

    @property
    def previous(self) -> Self | None:
        """The checkpoint before this one in the conversation; None for the root.

        It is the parent, unless the chat template rewrote earlier text: what was said then lies on
        a branch of its own.
        """
        graph = self._graph()
        found: Self | None = self.parent if graph is None else graph.previous(self)
        return found

    @property
    def followers(self) -> tuple[Self, ...]:
        """The checkpoints that go on from this one in the conversation, mostly its children."""
        graph = self._graph()
        return self.children if graph is None else tuple(graph.followers(self))

    @property
    def is_root(self) -> bool:
        """Whether this is the root, which has no tokens."""
        return self.parent is None

    @property
    def is_exact(self) -> bool:
        """Whether all rows up to here are the ones computed first.

        False once rows were dropped for lack of room and evaluated again. Where a checkpoint keeps
        the whole state, only that counts.
        """
        lineage = (node for node in self.lineage() if node.tokens)
        if self._contents.keeps_snapshots:
            return next((node.rows_exact for node in lineage), True)
        return all(node.rows_exact for node in lineage)

    @property
    def is_unfinished(self) -> bool:
        """Whether this ends an answer that was stopped or hit a limit, and was not resumed."""
        was_cut_short = self.metadata.was_cut_short
        return was_cut_short and not any(c.metadata.continues for c in self._children)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of this checkpoint."""
        graph = self._graph()
        if graph is None:
            raise self._gone()
        return tuple(sorted(name for name, node in graph.tags.items() if node is self))

    @property
    def text(self) -> str:
        """The text of the tokens since the parent, including control tokens."""
        return self._contents.text_of(self.tokens)

    @property
    def spoken(self) -> str:
        """The text of the tokens as an answer's, which has control tokens that do not end it."""
        return self._contents.spoken_by(self.tokens)

    @property
    def n_bytes(self) -> int:
        """The bytes of the tokens' own rows."""
        return self._contents.bytes_of(self)

    @property
    def place(self) -> str:
        """Where the rows are: ``"memory"``, ``"disk"`` or ``"lost"``."""
        return self._contents.place_of(self)

    def lineage(self) -> Iterator[Self]:
        """Yield the checkpoint, its parent, and so on to the root."""
        at: Self | None = self
        while at is not None:
            yield at
            at = at.parent

    def descendants(self) -> Iterator[Self]:
        """Yield all checkpoints after this one, parents first."""
        stack = list(reversed(self._children))
        while stack:
            node = stack.pop()
            yield node
            stack += reversed(node._children)

    def is_ancestor_of(self, other: Node) -> bool:
        """Return whether ``other`` descends from here; a checkpoint is its own ancestor."""
        return any(node is self for node in other.lineage())

    def __repr__(self) -> str:
        if self.is_root:
            return "Checkpoint(root)"
        n = len(self.tokens)
        notes = [self.short_id, f"{n} token{'s' * (n != 1)}"]
        if role := self.metadata.role:
            notes.insert(1, str(role))
        if self._graph() is not None:
            notes += [f"tag {name!r}" for name in self.tags]
        return f"Checkpoint({', '.join(notes)})"

    def _repr_html_(self) -> str:
        if self.is_root:
            return html_card("Checkpoint root", [("", "where every branch begins")])
        notes, n = self.metadata, len(self.tokens)
        facts = [("", str(notes.role or "text")), ("", f"{n} token{'s' * (n != 1)}")]
        if notes.finish_reason:
            facts.append(("ended by", notes.finish_reason))
        if self._graph() is not None:
            facts += [("tag", name) for name in self.tags]
        return html_card(f"Checkpoint {self.short_id}", facts)
