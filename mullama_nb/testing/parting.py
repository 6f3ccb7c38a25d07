"""Where two answers part, and how far apart their tokens are there."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

__all__ = ["first_difference", "gap"]


def first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Return the index of the first token that differs, which may be the end of one."""
    if tuple(a) == tuple(b):
        return None
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def gap(
    drawn: tuple[int, float],
    other: int,
    recorded: Sequence[tuple[int, float]],
    here: Sequence[tuple[int, float]],
    *,
    is_likeliest: bool,
) -> float:
    """Return how far apart two tokens were; of a draw, how far any probability has moved.

    Parameters
    ----------
    drawn : tuple of (int, float)
        The recorded token, with its log-probability.
    other : int
        The token here.
    recorded, here : sequence of (int, float)
        The likeliest tokens on both sides, with their log-probabilities; empty where not known.
    is_likeliest : bool
        Whether the likeliest token was taken each time.
    """
    known = dict(recorded)
    if is_likeliest:
        own = known.get(*drawn)
        return abs(exp(own) - exp(known[other])) if other in known else exp(own)
    now = dict(here)
    moved = [abs(exp(value) - exp(now.get(token, -1e9))) for token, value in recorded]
    return max(moved, default=1.0)
