"""Comparing two checkpoints: where they diverge, and how likely each way was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..engine.decoder import Logits
from ..engine.sampling.sampler import log_probabilities
from ..tables import WRAPPED, html_table
from .chosen_from import logits_in_front
from .graph import common_ancestor
from .node import Node
from .workspace import Workspace

__all__ = ["Difference", "compare"]

N = TypeVar("N", bound=Node)


@dataclass(frozen=True, repr=False)
class Difference:
    """How two checkpoints differ.

    Attributes
    ----------
    common : Checkpoint
        The last common checkpoint of both paths.
    position : int
        Length of the common prefix in tokens.
    a_token, b_token : int or None
        The first differing tokens; None where a path ends.
    a_text, b_text : str
        The texts from there on.
    a_probability, b_probability : float or None
        The model's own probability of each token at that point.
    """

    common: Node
    position: int
    a_token: int | None
    b_token: int | None
    a_text: str
    b_text: str
    a_probability: float | None
    b_probability: float | None

    @property
    def is_same(self) -> bool:
        """Whether both paths have the same tokens."""
        return self.a_token is None and self.b_token is None

    def __repr__(self) -> str:
        if self.is_same:
            return f"Difference(none in {self.position} tokens)"
        return f"Difference(from token {self.position} on)"

    def _repr_html_(self) -> str:
        if self.is_same:
            return f"<p>The same {self.position} tokens.</p>"
        heads = [
            name if p is None else f"{name} ({p:.1%})"
            for name, p in (("a", self.a_probability), ("b", self.b_probability))
        ]
        return html_table([(self.a_text, self.b_text)], heads, styles=(WRAPPED, WRAPPED))


def compare(workspace: Workspace[N], a: N, b: N) -> Difference:
    """Find where two checkpoints diverge, within an operation.

    Parameters
    ----------
    workspace : Workspace
    a, b : Node
    """
    common = common_ancestor(a, b)
    left, right = _tokens(workspace, a), _tokens(workspace, b)
    position = next(
        (i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y),
        min(len(left), len(right)),
    )
    a_token = left[position] if position < len(left) else None
    b_token = right[position] if position < len(right) else None
    probabilities: list[float | None] = [None, None]
    if position and (a_token is not None or b_token is not None):
        logs = log_probabilities(_logits(workspace, a if position < len(left) else b, position))
        probabilities = [
            None if token is None else float(np.exp(logs[token])) for token in (a_token, b_token)
        ]
    detokenize = workspace.context.model.detokenize
    return Difference(
        common,
        position,
        a_token,
        b_token,
        detokenize(left[position:], special=True),
        detokenize(right[position:], special=True),
        *probabilities,
    )


def _tokens(workspace: Workspace[N], node: N) -> tuple[int, ...]:
    return tuple(token for each in workspace.graph.path(node) for token in each.tokens)


def _logits(workspace: Workspace[N], node: N, position: int) -> Logits:
    """The logits that the token at a position of a path was chosen from."""
    at = node
    while at.start > position and at.parent is not None:
        at = at.parent
    return logits_in_front(workspace, at, position - at.start)
