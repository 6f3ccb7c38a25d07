"""The strips of a tree, kept in step with it: only those around a change are walked again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..graph import Graph
from ..node import Node

__all__ = ["Growth", "Track", "Tracks"]


class Growth:
    """Tokens that lie in the context and are no checkpoint yet.

    Attributes
    ----------
    at : Node
        The checkpoint that they follow.
    branch : int or None
        Which of the answers that are being explored they are.
    tokens : list of int
    logprobs : list of float
        NaN for a token that was given.
    """

    __slots__ = ("at", "branch", "logprobs", "tokens")

    def __init__(self, at: Node, branch: int | None) -> None:
        self.at = at
        self.branch = branch
        self.tokens: list[int] = []
        self.logprobs: list[float] = []

    @property
    def id(self) -> str:
        """A name that no checkpoint has."""
        return "~" if self.branch is None else f"~{self.branch}"


@dataclass(slots=True, eq=False)
class Track:
    """A strip, as it is kept.

    Attributes
    ----------
    number : int
        Never given to another one.
    id : str
    parent : int or None
        Number of the one that it goes on from.
    nodes : list of Node
        Its checkpoints.
    growth : Growth or None
        What comes after the last of them.
    lane : int
    """

    number: int
    id: str
    parent: int | None
    nodes: list[Node]
    growth: Growth | None
    lane: int = 0

    @property
    def last(self) -> Node:
        """The last checkpoint, or the one before its growth."""
        if self.nodes:
            return self.nodes[-1]
        assert self.growth is not None
        return self.growth.at

    @property
    def start(self) -> int:
        """The position of its first token."""
        return self.nodes[0].start if self.nodes else self.last.stop


class Tracks:
    """All strips of a graph.

    Parameters
    ----------
    graph : Graph

    Attributes
    ----------
    by_number : dict of int to Track
    growths : dict of int or None to Growth
        Those of answers that are being explored, and that of the head.
    """

    def __init__(self, graph: Graph[Any]) -> None:
        self._graph = graph
        self._n_made = 0
        self._numbers: dict[str, int] = {}  # of the strip that each checkpoint or growth is in
        self.by_number: dict[int, Track] = {}
        self.growths: dict[int | None, Growth] = {}
        self.derive([graph.root.id])

    def of(self, identifier: str) -> Track | None:
        """Return the strip of a checkpoint or a growth."""
        return self.by_number.get(self._numbers.get(identifier, -1))

    def forget(self, identifiers: Iterable[str]) -> list[str]:
        """Forget checkpoints and growths that are gone; return what to derive again."""
        found = list[str]()
        for identifier in identifiers:
            track = self.of(identifier)
            self._numbers.pop(identifier, None)
            if track is not None and track.id == identifier:
                above = track.nodes[0].parent if track.nodes else track.last
                found += [] if above is None else [above.id]
                del self.by_number[track.number]
            elif track is not None:
                found.append(track.id)
        return [name for name in found if name in self._graph]

    def derive(self, identifiers: Iterable[str]) -> set[int]:
        """Walk the strips of checkpoints again, those before and behind them that are new included.

        Returns
        -------
        set of int
            Numbers of strips that were walked, or got another one before them.
        """
        walked: set[int] = set()
        moved: set[int] = set()
        for identifier in dict.fromkeys(identifiers):
            if identifier in self._graph:
                node = self._graph.node(identifier)
                if node.is_root:
                    new = (each for each in self._behind(node) if self.of(each.id) is None)
                    self._derive([(each, None) for each in new], walked, moved)
                    continue
                # New ones before it come first, one in each round.
                while (track := self.of(identifier)) is None or track.number not in walked:
                    self._derive([self._first(node)], walked, moved)
        return walked | (moved & self.by_number.keys())

    def lay_out(self) -> list[Track]:
        """Give each strip its lane, and return all, parents before their children."""
        found, n_lanes = list[Track](), 0
        stack: list[tuple[Track, int | None]] = [(t, None) for t in self._next(self._graph.root)]
        while stack:
            track, lane = stack.pop()
            if lane is None:
                lane, n_lanes = n_lanes, n_lanes + 1
            track.lane = lane
            found.append(track)
            if track.growth is None:
                following = self._next(track.last)
                stack += [(each, None) for each in following[:-1]]
                stack += [(each, lane) for each in following[-1:]]
        return found

    def _next(self, node: Node) -> list[Track]:
        """The strips behind a node, last first."""
        found = [self.of(each.id) for each in reversed(self._behind(node))]
        return [track for track in found if track is not None]

    def _behind(self, node: Node) -> list[Node | Growth]:
        return [*node.children, *(each for each in self.growths.values() if each.at is node)]

    def _first(self, node: Node) -> tuple[Node | Growth, int | None]:
        """Where the strip of a node begins, and the one before that."""
        while (above := node.parent) is not None and not above.is_root:
            if len(self._behind(above)) > 1:
                track = self.of(above.id)
                if track is not None:
                    return node, track.number
            node = above
        return node, None

    def _derive(
        self,
        stack: list[tuple[Node | Growth, int | None]],
        walked: set[int],
        moved: set[int],
    ) -> None:
        while stack:
            first, parent = stack.pop()
            track = self.of(first.id)
            if track is None or track.id != first.id:
                track = Track(self._n_made, first.id, parent, [], None)
                self._n_made += 1
                self.by_number[track.number] = track
            track.parent = parent
            track.nodes, track.growth, behind = self._walk(first)
            walked.add(track.number)
            names = [node.id for node in track.nodes]
            names += [] if track.growth is None else [track.growth.id]
            for name in names:
                other = self.of(name)
                if other is not None and other is not track and other.id == name:
                    del self.by_number[other.number]  # they are one strip now
                    walked.discard(other.number)
                self._numbers[name] = track.number
            for each in reversed(behind):
                following = self.of(each.id)
                if following is None or following.id != each.id:
                    stack.append((each, track.number))
                elif following.parent != track.number:
                    following.parent = track.number
                    moved.add(following.number)

    def _walk(self, first: Node | Growth) -> tuple[list[Node], Growth | None, list[Node | Growth]]:
        """The checkpoints of a strip, its growth, and what is behind it."""
        nodes = list[Node]()
        behind = [first]
        while len(behind) == 1:
            (at,) = behind
            if isinstance(at, Growth):
                return nodes, at, []
            nodes.append(at)
            behind = self._behind(at)
        return nodes, None, behind
