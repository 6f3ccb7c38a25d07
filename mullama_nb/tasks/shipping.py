"""When rows are sent to a worker, and when it evaluates their tokens again."""

from __future__ import annotations

__all__ = ["ships_rows"]

# Where the figures come from: docs/scaling.md.
_BYTES_PER_SECOND = 1e8  # a network of one gigabit; files of one machine are faster
_PARAMETER_TOKENS_PER_SECOND = 2e10  # a prompt on one CPU core


def ships_rows(
    n_bytes: int,
    n_tokens: int,
    n_parameters: int,
    *,
    bytes_per_second: float = _BYTES_PER_SECOND,
    parameter_tokens_per_second: float = _PARAMETER_TOKENS_PER_SECOND,
) -> bool:
    """Return whether rows come to a worker sooner than it could evaluate their tokens.

    Parameters
    ----------
    n_bytes : int
        Of the rows.
    n_tokens : int
        Of the prefix whose rows they are.
    n_parameters : int
        Of the model: evaluating a token takes two operations for each.
    bytes_per_second : float
        How fast rows travel.
    parameter_tokens_per_second : float
        Parameters times tokens of a prompt that a worker gets through in a second.
    """
    seconds_to_ship = n_bytes / bytes_per_second
    return seconds_to_ship <= n_tokens * n_parameters / parameter_tokens_per_second
