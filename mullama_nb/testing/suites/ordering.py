"""Ordering by common prefixes: the tree of token paths, walked so that each edge is evaluated once.

A path may fork from another anywhere, also within a message. Where others fork from it, or end, is
the same whichever of them are run, and in whichever order. So an evaluation that pauses there has
the same bits in any case, with neighbours and without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Order", "ordered"]

Path = Sequence[int]


@dataclass(frozen=True, slots=True)
class Order:
    """How paths are gone through.

    Attributes
    ----------
    indices : tuple of int
        Of the paths: each follows one that it has the longest prefix in common with, those given
        first as early as that allows.
    forks : tuple of tuple of int
        For each path as given: after how many of its tokens another forks from it, ends, or goes on
        from its end.
    n_evaluated : int
        Nodes of the tree: the tokens to evaluate.
    n_alone : int
        Tokens of all paths.
    """

    indices: tuple[int, ...]
    forks: tuple[tuple[int, ...], ...]
    n_evaluated: int
    n_alone: int


@dataclass(slots=True)
class _Fork:
    """A node of the compressed tree: where paths part, or end.

    Attributes
    ----------
    depth : int
        Tokens in front.
    first : int
        The lowest index of a path through it.
    ends : list of int
        The paths that end here.
    children : list of _Fork
    """

    depth: int
    first: int
    ends: list[int] = field(default_factory=list)
    children: list[_Fork] = field(default_factory=list)


def ordered(paths: Sequence[Path]) -> Order:
    """Return the order in which to evaluate paths, and what it takes.

    Parameters
    ----------
    paths : sequence of sequence of int
        The tokens of each; they may be equal, and empty.
    """
    forks: list[set[int]] = [set() for _ in paths]
    root, n_evaluated = _tree(paths)
    _note_forks(root, forks)
    return Order(
        tuple(_walk(root)),
        tuple(tuple(sorted(each)) for each in forks),
        n_evaluated,
        sum(map(len, paths)),
    )


def _tree(paths: Sequence[Path]) -> tuple[_Fork, int]:
    """The tree of paths, from those next to each other when they are sorted.

    Each is put behind the node where it parts from the one before, as in a suffix tree that is made
    from a suffix array.
    """
    by_tokens = sorted(range(len(paths)), key=lambda index: (tuple(paths[index]), index))
    root = _Fork(0, len(paths))
    line = [root]  # from the root to where the last path ends
    n_evaluated, before = 0, None
    for index in by_tokens:
        path = paths[index]
        common = 0 if before is None else _common_prefix(paths[before], path)
        n_evaluated += len(path) - common
        last = None
        while line[-1].depth > common:
            last = line.pop()
        if last is not None and line[-1].depth < common:  # the edge to it parts here
            line[-1].children.remove(last)
            middle = _Fork(common, last.first, children=[last])
            line[-1].children.append(middle)
            line.append(middle)
        if line[-1].depth < len(path):
            end = _Fork(len(path), index)
            line[-1].children.append(end)
            line.append(end)
        line[-1].ends.append(index)
        for node in line:
            node.first = min(node.first, index)
        before = index
    return root, n_evaluated


def _note_forks(root: _Fork, forks: Sequence[set[int]]) -> None:
    """Note for each path the nodes on it that are not its own end alone."""
    stack: list[tuple[_Fork, tuple[int, ...]]] = [(root, ())]
    while stack:
        node, above = stack.pop()
        is_shared = len(node.ends) + len(node.children) > 1
        here = (*above, node.depth) if is_shared and node.depth else above
        for index in node.ends:
            forks[index].update(here)
        stack += [(child, here) for child in node.children]


def _walk(root: _Fork) -> Iterator[int]:
    """The paths from the root on: those that end on the way first, then by what was given first."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield from sorted(node.ends)
        stack += sorted(node.children, key=lambda child: child.first, reverse=True)


def _common_prefix(a: Path, b: Path) -> int:
    n = min(len(a), len(b))
    if tuple(a[:n]) == tuple(b[:n]):
        return n
    low, high = 0, n  # the first `low` are equal, the first `high` are not
    while high - low > 1:
        middle = (low + high) // 2
        if tuple(a[low:middle]) == tuple(b[low:middle]):
            low = middle
        else:
            high = middle
    return low
