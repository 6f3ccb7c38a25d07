"""Where two checkpoints part, and how likely each way was."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..engine.sampler import log_probabilities
from .checkpoint import Checkpoint
from .paths import common_ancestor

if TYPE_CHECKING:
    from .tree import CheckpointTree

__all__ = ["Difference", "compare"]


@dataclass(frozen=True, repr=False)
class Difference:
    """How two checkpoints differ.

    Attributes
    ----------
    common : Checkpoint
        The last checkpoint that both paths have.
    position : int
        Tokens that both paths begin with.
    a_token, b_token : int or None
        The first tokens that differ; None where a path ends.
    a_text, b_text : str
        What each says from there.
    a_probability, b_probability : float or None
        The model's own probability of each token at that point.
    """

    common: Checkpoint
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
        cells = "".join(
            '<td style="text-align:left;vertical-align:top;white-space:pre-wrap">'
            f"{html.escape(text)}</td>"
            for text in (self.a_text, self.b_text)
        )
        heads = "".join(
            f"<th>{name}{'' if p is None else f' ({p:.1%})'}</th>"
            for name, p in (("a", self.a_probability), ("b", self.b_probability))
        )
        return f"<table><tr>{heads}</tr><tr>{cells}</tr></table>"


def compare(tree: CheckpointTree, a: Checkpoint, b: Checkpoint) -> Difference:
    """Find where two checkpoints of a tree part.

    Parameters
    ----------
    tree : CheckpointTree
    a, b : Checkpoint
    """
    common = common_ancestor(a, b)
    left, right = tree.tokens(a), tree.tokens(b)
    position = next(
        (i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y),
        min(len(left), len(right)),
    )
    a_token = left[position] if position < len(left) else None
    b_token = right[position] if position < len(right) else None
    probabilities: list[float | None] = [None, None]
    if position and (a_token is not None or b_token is not None):
        logs = log_probabilities(_logits(tree, a if position < len(left) else b, position))
        probabilities = [
            None if token is None else float(np.exp(logs[token])) for token in (a_token, b_token)
        ]
    detokenize = tree.context.model.detokenize
    return Difference(
        common,
        position,
        a_token,
        b_token,
        detokenize(left[position:], special=True),
        detokenize(right[position:], special=True),
        *probabilities,
    )


def _logits(tree: CheckpointTree, checkpoint: Checkpoint, position: int) -> np.ndarray:
    """The logits behind the first tokens of a path, the head's own where that has them too."""
    at = checkpoint
    while at.start >= position and at.parent is not None:
        at = at.parent
    if at.is_ancestor_of(tree.head):
        return tree.context.logits_at(position)
    with tree.visit(at):
        return tree.context.logits_at(position)
