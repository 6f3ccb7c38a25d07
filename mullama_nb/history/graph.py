"""A graph of nodes: ids, parents, children and tags, independent of context, lock and model."""

from __future__ import annotations

import weakref
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from .changes import Changes
from .node import ROOT_ID, Contents, Node, identifier
from .paths import Redo, Totals

__all__ = ["Graph", "common_ancestor"]

N = TypeVar("N", bound=Node)


def common_ancestor(a: N, b: N) -> N:
    """Return the last common node of two paths, in as many steps as the longer way to it.

    Both paths are followed upwards in alternation until one meets a node that the other has passed;
    the first such node is the last common one.
    """
    passed_a: dict[N, None] = {}
    passed_b: dict[N, None] = {}
    at_a: N | None = a
    at_b: N | None = b
    while at_a is not None or at_b is not None:
        if at_a is not None:
            passed_a[at_a] = None
            if at_a in passed_b:
                return at_a
            at_a = at_a.parent
        if at_b is not None:
            passed_b[at_b] = None
            if at_b in passed_a:
                return at_b
            at_b = at_b.parent
    raise ValueError(f"{a!r} and {b!r} are in different trees")


class Graph(Generic[N]):
    """Nodes with their parents; the head, the tags, and the redo path.

    Iterating gives the nodes, parents first and without the root, which holds no tokens.

    Parameters
    ----------
    make : type
        Class of the nodes.
    contents : Contents, optional
        Source of texts and rows; not kept alive.

    Attributes
    ----------
    root, head : Node
    tags : mapping
        Nodes by their tags.
    redo : Redo or None
        The redo path.
    changes : Changes
        The changes since creation, for saving.
    n_made : int
        Number of nodes added so far, including removed ones.
    n_edits : int
        Number of changes to existing nodes: splits, removals, added notes.
    """

    def __init__(self, make: Callable[..., N], contents: Contents | None = None) -> None:
        self._make = make
        self._contents = None if contents is None else weakref.ref(contents)
        self._self = weakref.ref(self)
        self.changes = Changes()
        self.root: N = make(self._self, ROOT_ID, None, (), 0, {})
        self.head = self.root
        self.redo: Redo[N] | None = None
        self.n_made = 0
        self.n_edits = 0
        self._by_id: dict[str, N] = {self.root.id: self.root}
        self._tags: dict[str, N] = {}
        self._depths: Totals[N] = Totals(_step_up)
        self._sorted_ids: list[str] | None = None  # made when it is first asked for
        self._made: dict[str, int] = {}
        self._led: dict[str, list[N]] = {}  # by ids, those that came from there

    @property
    def contents(self) -> Contents | None:
        """The data behind the nodes; None if there is none, or it is gone."""
        return None if self._contents is None else self._contents()

    # -- look --------------------------------------------------------------------------------

    @property
    def tags(self) -> Mapping[str, N]:
        """Nodes by their tags."""
        return MappingProxyType(self._tags)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, Node):  # every graph gives out the same ids
            return self._by_id.get(item.id) is item
        return item in self._by_id

    def __iter__(self) -> Iterator[N]:
        return self.root.descendants()

    def __len__(self) -> int:
        return len(self._by_id) - 1

    def __bool__(self) -> bool:
        return True

    def path(self, node: N) -> list[N]:
        """Return the nodes from the root, exclusive, to one."""
        return list(node.lineage())[-2::-1]

    def node(self, identifier: str) -> N:
        """Return the node with an id, which must exist."""
        return self._by_id[identifier]

    def starting_with(self, prefix: str) -> list[N]:
        """Return the nodes, including the root, whose ids start with a prefix."""
        ids = self._sorted_ids
        if ids is None:
            ids = self._sorted_ids = sorted(self._by_id)
        found: list[N] = []
        for index in range(bisect_left(ids, prefix), len(ids)):
            if not ids[index].startswith(prefix):
                break
            found += filter(None, [self._by_id.get(ids[index])])
        return found

    def leaves(self) -> list[N]:
        """Return the ends of all branches."""
        return [node for node in self if not node._children]

    def depth(self, node: N) -> int:
        """Return the number of steps from the root to a node; counts are cached."""
        return self._depths.at(node, self.n_edits)

    def counts(self, node: N) -> tuple[int, int]:
        """Return how many children and splits a node ever had: ids depend on them."""
        return self._made.get(node.id, 0), self._made.get(_cuts(node.id), 0)

    def next_ordinal(self, node: N) -> int:
        """Return the ordinal that the next child of a node gets."""
        return self._made.get(node.id, 0)

    def leave_out(self, node: N, n: int) -> None:
        """Have the next child of a node get a later ordinal, as if ``n`` had been made before."""
        if n:
            self._made[node.id] = self.next_ordinal(node) + n
            self.changes.note(node.id)

    def previous(self, node: N) -> N | None:
        """Return the node before one in the conversation: mostly the parent; None for the root."""
        before = node.metadata.get("came_from")
        return node.parent if before is None else self._by_id.get(before, node.parent)

    def followers(self, node: N) -> list[N]:
        """Return the nodes that go on from one in the conversation, mostly its children."""
        elsewhere = [
            each for each in self._led.get(node.id, ()) if each.parent is not node and each in self
        ]
        return [each for each in (*node._children, *elsewhere) if self.previous(each) is node]

    def note_change(self, identifier: str) -> None:
        """Note a change to something saved of the node with an id."""
        self.changes.note(identifier)
        node = self._by_id.get(identifier)
        if node is not None:
            self._note_origin(node)

    # -- change ------------------------------------------------------------------------------

    def add(
        self,
        parent: N,
        tokens: tuple[int, ...],
        metadata: Mapping[str, Any],
        logprobs: tuple[float, ...] = (),
    ) -> N:
        """Make a child of a node."""
        ordinal = self._count(parent.id)
        name = identifier(parent.id, ordinal)
        node = self._make(self._self, name, parent, tokens, ordinal, metadata, logprobs=logprobs)
        parent._children.append(node)
        self._enter(node)
        self.n_made += 1
        self.changes.note(node.id)
        return node

    def restore(
        self,
        name: str,
        parent: N | None,
        tokens: tuple[int, ...],
        ordinal: int,
        metadata: Mapping[str, Any],
        logprobs: tuple[float, ...],
        *,
        made: int,
        cuts: int,
    ) -> N:
        """Add a saved node, after its elder siblings; without a parent it is the root.

        Parameters
        ----------
        name : str
            The node's id.
        parent, tokens, ordinal, metadata, logprobs
            As for ``Node``.
        made, cuts : int
            As ``counts`` gave them.
        """
        if parent is None:
            node = self.root
            node.metadata.update(metadata)
        else:
            node = self._make(
                self._self, name, parent, tokens, ordinal, metadata, logprobs=logprobs
            )
            parent._children.append(node)
            # A parent's count is saved with it, and its later children say more.
            self._made[parent.id] = max(self._made.get(parent.id, 0), ordinal + 1)
            self._enter(node)
        for key, n in ((node.id, made), (_cuts(node.id), cuts)):
            if n:
                self._made[key] = max(n, self._made.get(key, 0))
        return node

    def split(self, node: N, n_tokens: int) -> N:
        """Insert a node with the first tokens before a node, which keeps its id and the rest."""
        parent = node.parent
        assert parent is not None
        key = _cuts(node.id)
        first = self._make(
            self._self,
            identifier(key, self._count(key)),
            parent,
            node.tokens[:n_tokens],
            node.ordinal,
            node.metadata.of_beginning(len(node.tokens) - n_tokens),
            logprobs=node.logprobs[:n_tokens],
        )
        first.rows_exact = node.rows_exact
        node.logprobs = node.logprobs[n_tokens:]
        node.tokens = node.tokens[n_tokens:]
        node.start, node.parent, node.ordinal = first.stop, first, 0
        node.metadata.begin_later(len(node.tokens))
        parent._children[parent._children.index(node)] = first
        first._children.append(node)
        self._count(first.id)
        self._enter(first)
        origin = first.metadata.came_from
        if origin is not None:  # it takes the node's place among those that go on from there
            led = [first if each is node else each for each in self._led[origin]]
            self._led[origin] = [*dict.fromkeys(led)]
        self.changes.note(first.id, node.id)
        self.n_edits += 1
        return first

    def remove(self, node: N) -> list[N]:
        """Remove a node and its descendants, and return them; the head must not be among them."""
        assert node.parent is not None
        gone = {each.id: each for each in (node, *node.descendants())}
        node.parent._children.remove(node)
        self._tags = {name: each for name, each in self._tags.items() if each.id not in gone}
        self.redo = Redo.of([each for each in self.redo or () if each.id not in gone])
        self._sorted_ids = None
        self.n_edits += 1
        for name in gone:
            del self._by_id[name]
            self._led.pop(name, None)
            self._made.pop(name, None)
            self._made.pop(_cuts(name), None)
        self.changes.note(node.parent.id, *gone)
        return [*gone.values()]

    def tag(self, name: str, node: N) -> None:
        """Tag a node, moving the tag if another node has it."""
        self._tags[name] = node
        self.changes.note()

    def untag(self, name: str) -> None:
        """Remove a tag."""
        del self._tags[name]
        self.changes.note()

    def _note_origin(self, node: N) -> None:
        origin = node.metadata.came_from
        if origin is not None and node not in (led := self._led.setdefault(origin, [])):
            led.append(node)

    def _enter(self, node: N) -> None:
        self._by_id[node.id] = node
        self._note_origin(node)
        if self._sorted_ids is not None:
            insort(self._sorted_ids, node.id)

    def _count(self, key: str) -> int:
        """How often a place was counted before: ids must not depend on what was removed."""
        n = self._made.get(key, 0)
        self._made[key] = n + 1
        return n


def _cuts(name: str) -> str:
    """The key under which cuts inside a node are counted."""
    return f"{name} cut"


def _step_up(node: N) -> tuple[int, N | None]:
    return int(node.parent is not None), node.parent
