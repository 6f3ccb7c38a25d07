"""What strips hold: their tokens with roles and probabilities, and where the rows of each are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ContextClosedError
from ..message import message_parts
from ..node import Node
from ..workspace import Workspace
from .message import Packed, Runs
from .roles import TEXT, TokenRoles
from .tracks import Growth, Track, Tracks

__all__ = ["Contents", "Tokens"]

_ANSWER = "assistant"
_CONTEXT, _DROPPED = "context", "dropped"
_NAN = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Tokens with their probabilities, and the roles of runs of them."""

    ids: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]
    roles: Runs

    @classmethod
    def of(cls, ids: Sequence[int], logprobs: Sequence[float], roles: Sequence[str]) -> Tokens:
        """Make it of values for each token; logprobs that are missing are of tokens given."""
        logs = np.full(len(ids), _NAN, np.float32)
        logs[: len(logprobs)] = logprobs[: len(ids)]
        stops = [i for i in range(1, len(roles)) if roles[i] != roles[i - 1]]
        runs = [(stop, roles[stop - 1]) for stop in (*stops, len(roles)) if stop]
        return cls(np.array(ids, np.int32), np.exp(logs), tuple(runs))

    @classmethod
    def joined(cls, parts: Iterable[Tokens]) -> Tokens:
        """Return several as one."""
        several, runs, start = [_NONE, *parts], list[tuple[int, str]](), 0
        for part in several:
            if part.roles and runs and runs[-1][1] == part.roles[0][1]:
                runs.pop()
            runs += [(start + stop, role) for stop, role in part.roles] if start else part.roles
            start += len(part.ids)
        return cls(
            np.concatenate([part.ids for part in several]),
            np.concatenate([part.probabilities for part in several]),
            tuple(runs),
        )


_NONE = Tokens(np.zeros(0, np.int32), np.zeros(0, np.float32), ())


@dataclass(slots=True, eq=False)
class _Content:
    start: int = -1
    checkpoints: tuple[tuple[str, int], ...] = ()
    n_bytes: tuple[int, ...] = ()  # of each checkpoint
    places: tuple[str, ...] = ()  # of each, outside of the context
    committed: Tokens = _NONE
    tokens: Tokens = _NONE


class Contents:
    """What the strips of a tree hold.

    Parameters
    ----------
    workspace : Workspace
    tracks : Tracks
        The strips.
    """

    def __init__(self, workspace: Workspace[Any], tracks: Tracks) -> None:
        self._workspace = workspace
        self._tracks = tracks
        self._roles = TokenRoles(workspace)
        self._pieces: dict[str, tuple[object, Tokens]] = {}  # by ids of checkpoints
        self._texts: dict[int, str] = {}
        self._of: dict[int, _Content] = {}  # by numbers of strips
        self._active: dict[int, int] = {}  # how many tokens the context holds, if any

    # -- follow ------------------------------------------------------------------------------

    def forget_others(self) -> None:
        """Forget strips that are no more, and checkpoints that were in them."""
        if len(self._of) > len(self._tracks.by_number):
            self._of = {n: self._of[n] for n in self._tracks.by_number if n in self._of}
        if len(self._pieces) > 2 * len(self._workspace.graph):
            graph = self._workspace.graph
            self._pieces = {name: each for name, each in self._pieces.items() if name in graph}

    def fill(self, track: Track) -> None:
        """Take in the checkpoints of a strip."""
        content = self._of.setdefault(track.number, _Content())
        checkpoints = tuple((node.id, node.stop) for node in track.nodes)
        content.committed = Tokens.joined(map(self._piece, track.nodes))
        if (track.start, checkpoints) != (content.start, content.checkpoints):
            content.start = track.start
            content.checkpoints = checkpoints
            content.n_bytes = (0,) * len(checkpoints)
            content.places = (_DROPPED,) * len(checkpoints)
            self.look(track, range(len(checkpoints)))
        self.grow(track)

    def grow(self, track: Track) -> None:
        """Take in what comes after the checkpoints of a strip."""
        content, growth = self._of[track.number], track.growth
        content.tokens = content.committed
        if growth is not None:
            content.tokens = Tokens.joined([content.committed, _grown(growth)])

    def _piece(self, node: Node) -> Tokens:
        n, made_of = len(node.tokens), self._roles.basis(node)
        known = self._pieces.get(node.id)
        if known is None or known[0] != made_of:
            roles = (self._roles.of(node) + [TEXT] * n)[:n]
            known = made_of, Tokens.of(node.tokens[:n], node.logprobs, roles)
            self._pieces[node.id] = known
        return known[1]

    def activate(self) -> set[int]:
        """Find which tokens the context holds, and look where the rows of the others are.

        Returns
        -------
        set of int
            Strips of which it holds more or less than before.
        """
        before, self._active = self._active, self._count_active()
        changed = {
            number
            for number in before.keys() | self._active.keys()
            if number in self._of and before.get(number) != self._active.get(number)
        }
        for number in changed:
            track, content = self._tracks.by_number[number], self._of[number]
            bounds = sorted((before.get(number, 0), self._active.get(number, 0)))
            first, stop = (self._first_behind(content, track.start + n) for n in bounds)
            self.look(track, range(first, stop))
        return changed

    def _first_behind(self, content: _Content, position: int) -> int:
        """The index of the first checkpoint that ends behind a position."""
        return bisect_right(content.checkpoints, position, key=lambda each: each[1])

    def _count_active(self) -> dict[int, int]:
        tracks, found = self._tracks, dict[int, int]()
        n_held = self.n_held
        if n_held is None:
            return found
        for growth in tracks.growths.values():
            track = tracks.of(growth.id)
            if track is not None:
                found[track.number] = len(growth.tokens)
        head = self._workspace.graph.head
        track, stop = tracks.of(head.id), min(head.stop, n_held)
        while track is not None:
            own = found.get(track.number, 0) + max(0, stop - track.start)
            found[track.number] = own
            stop = min(stop, track.start)
            track = None if track.parent is None else tracks.by_number.get(track.parent)
        return {number: n for number, n in found.items() if n}

    def look(self, track: Track, indices: Iterable[int]) -> None:
        """Look where the rows of some of a strip's checkpoints are, and how large they are."""
        content = self._of[track.number]
        n_bytes, places = [*content.n_bytes], [*content.places]
        for i in indices:
            node = track.nodes[i]
            place = node.place
            n_bytes[i], places[i] = node.n_bytes, _DROPPED if place == "lost" else place
        content.n_bytes, content.places = tuple(n_bytes), tuple(places)

    # -- look --------------------------------------------------------------------------------

    @property
    def n_held(self) -> int | None:
        """How many tokens the context holds; None when it is closed."""
        try:
            return self._workspace.n_held
        except ContextClosedError:
            return None

    def packed(self, track: Track) -> Packed:
        """Return what there is of a strip."""
        if track.number not in self._of:
            self.fill(track)
        content, n_active = self._of[track.number], self._active.get(track.number, 0)
        return Packed(
            *(track.number, track.id, track.parent, track.start, n_active),
            *(content.tokens.ids, content.tokens.probabilities),
            *(content.checkpoints, content.n_bytes),
            *(content.tokens.roles, self._places(track, content, n_active)),
            tuple(_again(track)),
        )

    def _places(self, track: Track, content: _Content, n_active: int) -> Runs:
        """Where rows are: in the context those that it holds, whatever else is kept of them."""
        runs = [(n_active, _CONTEXT)] if n_active else []
        for i in range(self._first_behind(content, track.start + n_active), len(content.places)):
            n, place = content.checkpoints[i][1] - track.start, content.places[i]
            if runs and runs[-1][1] == place:
                runs.pop()
            runs.append((n, place))
        n_tokens = len(content.tokens.ids)
        if n_tokens > (runs[-1][0] if runs else 0):  # a closed context held them
            runs.append((n_tokens, _DROPPED))
        return tuple(runs)

    def n_committed(self, track: Track) -> int:
        """Return how many tokens a strip's checkpoints have."""
        return len(self._of[track.number].committed.ids)

    def text(self, token: int) -> str:
        """Return the text of a token, with control tokens written out."""
        if token not in self._texts:
            vocabulary = self._workspace.context.model.vocabulary
            self._texts[token] = vocabulary.piece(token, special=True).decode("utf-8", "replace")
        return self._texts[token]

    @property
    def facts(self) -> dict[str, Any]:
        """What ``CellMap`` says besides its strips."""
        kind = self._workspace.context.memory_kind
        memory = "window" if kind.has_window else "cells"
        if kind.is_hybrid:
            memory = "hybrid"
        elif not kind.can_cut and not kind.has_window:
            memory = "state"
        explored = (growth for growth in self._tracks.growths.values() if growth.branch is not None)
        n_held = self.n_held
        n_used = 0 if n_held is None else n_held + sum(len(each.tokens) for each in explored)
        return {
            "n_ctx": self._workspace.context.n_ctx,
            "n_used": n_used,
            "memory": memory,
            "window": kind.window,
            "keeps_states": self._workspace.keeps_snapshots,
        }


def _grown(growth: Growth) -> Tokens:
    roles = [TEXT if logprob != logprob else _ANSWER for logprob in growth.logprobs]
    return Tokens.of(growth.tokens, growth.logprobs, roles)


def _again(track: Track) -> Iterator[tuple[int, int]]:
    """Where tokens were evaluated again, as it was noted with what was said."""
    for node in track.nodes:
        n = int(node.metadata.evaluated_again.get("tokens", 0))
        if n:
            begin = message_parts(node)[0].start
            start, stop = max(begin, track.start), min(begin + n, node.stop)
            if start < stop:
                yield start, stop
