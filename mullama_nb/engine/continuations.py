"""Likely continuations: a tree of possible next tokens, worked out in batches beside the path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..checks import check_integer, check_number
from ..state.layout import ByteArray
from .decoder import Logits
from .model import Model
from .path import ActivePath
from .sampling.sampler import log_probabilities
from .scratch import Scratch, beside

__all__ = ["Continuation", "Continuations", "Reach", "continuations"]

_DEEPEST = 64  # a tree of more levels is an answer


@dataclass(frozen=True, slots=True)
class Continuation:
    """A possible token, and what may follow it.

    Attributes
    ----------
    token : int
    text : str
        With control tokens written out; U+FFFD where it ends within a character.
    probability : float
        The model's own after the tokens before it, before any sampler.
    joint : float
        The product of the probabilities from the start of the tree to here.
    children : tuple of Continuation
        The likeliest tokens after it, best first.
    is_end : bool
        Whether it ends an answer, so that nothing follows.
    """

    token: int
    text: str
    probability: float
    joint: float
    children: tuple[Continuation, ...] = ()
    is_end: bool = False

    def __repr__(self) -> str:
        n = len(self.children)
        children = f", {n} child{'ren' * (n != 1)}" if n else ""
        return f"Continuation({self.text!r}, {self.probability:.1%}{children})"


@dataclass(frozen=True)
class Reach:
    """How far a tree of continuations reaches, checked on creation.

    Attributes
    ----------
    depth : int
        Tokens of the longest branch, 1 to 64.
    min_p : float
        The least probability of a token after those before it.
    width : int
        The most children of one token.
    """

    depth: int = 4
    min_p: float = 0.05
    width: int = 6

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", check_integer("depth", self.depth, 1, _DEEPEST))
        object.__setattr__(self, "min_p", check_number("min_p", self.min_p, 0, 1))
        object.__setattr__(self, "width", check_integer("width", self.width, 1))


@dataclass(frozen=True)
class Continuations:
    """The tree that was found.

    Attributes
    ----------
    roots : tuple of Continuation
        The likeliest next tokens, best first.
    n_evaluated : int
        Tokens that were evaluated for it.
    """

    roots: tuple[Continuation, ...]
    n_evaluated: int


@dataclass(eq=False, slots=True)
class _Node:
    token: int
    probability: float
    joint: float
    is_end: bool
    behind: ByteArray | None = None  # the rows between the path and here
    children: list[_Node] = field(default_factory=list)


def continuations(
    path: ActivePath,
    model: Model,
    reach: Reach,
    n_tokens: int | None = None,
    after: Sequence[int] = (),
) -> Continuations:
    """Work out what may follow the first tokens of a path, which does not change by a bit.

    As many tokens as there are scratch sequences, with cells for them, are evaluated in one batch.
    Their rows are kept as bytes until their children were evaluated. What follows the tokens of a
    batch is worked out before the next batch of the same level, so that the rows of a few batches
    are all that is ever kept.

    Parameters
    ----------
    path : ActivePath
    model : Model
    reach : Reach
    n_tokens : int, optional
        None: all.
    after : sequence of int
        Tokens between the path and the tree, which are evaluated first.

    Raises
    ------
    Aborted
        When the stop flag was set.
    ContextError
        When the path is empty.
    ContextFullError
        When there are fewer free cells than levels whose tokens have to be evaluated.
    """
    with beside(path, n_tokens) as scratch:
        # The last level's tokens are not evaluated.
        scratch.check_room(len(after) + reach.depth - 1)
        grown = _Growth(scratch, model, reach, len(after))
        last = scratch.logits
        if after:
            for logits in scratch.follow(after):
                last = logits
        roots = grown.children(last, 1.0)
        if after and reach.depth > 1:
            rows = scratch.rows(0, len(after))
            for root in roots:
                root.behind = rows
        grown.grow(roots)
    return Continuations(_frozen(roots, model), len(after) + grown.n_evaluated)


class _Growth:
    """A tree that grows, level below level."""

    def __init__(self, scratch: Scratch, model: Model, reach: Reach, n_before: int) -> None:
        self.n_evaluated = 0
        self._n_before = n_before
        self._scratch = scratch
        self._reach = reach
        self._is_end = model.vocabulary.is_end

    def children(self, logits: Logits, joint: float) -> list[_Node]:
        logs, width = log_probabilities(logits), min(self._reach.width, logits.size)
        best = np.argpartition(logs, -width)[-width:]  # a fifth of the time of sorting all
        best = best[np.lexsort((best, -logs[best]))]
        found = []
        for token in map(int, best):
            probability = float(np.exp(logs[token], dtype=np.float64))
            if probability < self._reach.min_p:
                break
            is_end = self._is_end(token)
            found.append(_Node(token, probability, joint * probability, is_end))
        return found

    def grow(self, roots: list[_Node]) -> None:
        scratch = self._scratch
        waiting = [_going_on(roots)]  # the nodes to evaluate, by level
        while waiting:
            level, nodes = len(waiting), waiting[-1]
            if not nodes or level == self._reach.depth:
                waiting.pop()
                continue
            n = min(scratch.n_sequences, scratch.n_free // (self._n_before + level))
            batch = nodes[:n]
            del nodes[:n]
            waiting.append(_going_on(self._evaluate(batch, level)))

    def _evaluate(self, nodes: list[_Node], level: int) -> list[_Node]:
        scratch = self._scratch
        behind, n_behind = [node.behind for node in nodes], self._n_before + level - 1
        rows_of_logits = scratch.decode([node.token for node in nodes], behind, n_behind)
        self.n_evaluated += len(nodes)
        goes_deeper = level + 1 < self._reach.depth
        for i, (node, logits) in enumerate(zip(nodes, rows_of_logits, strict=True)):
            node.children = self.children(logits, node.joint)
            node.behind = None
            if goes_deeper and _going_on(node.children):
                rows = scratch.rows(i, n_behind + 1)
                for child in node.children:
                    child.behind = rows
        return [child for node in nodes for child in node.children]


def _going_on(nodes: list[_Node]) -> list[_Node]:
    return [node for node in nodes if not node.is_end]


def _frozen(nodes: list[_Node], model: Model) -> tuple[Continuation, ...]:
    return tuple(
        Continuation(
            node.token,
            model.detokenize([node.token], special=True),
            node.probability,
            node.joint,
            _frozen(node.children, model),
            node.is_end,
        )
        for node in nodes
    )
