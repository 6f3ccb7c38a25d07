"""Numbers as pages show them, by the same rules as in front_end/format.js."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

__all__ = ["percent"]

_LEAST = 0.0005  # what is shown as 0.1 %
_WHOLE = 0.0995  # what is shown as 10 %


def percent(probability: float) -> str:
    """Return a probability in per cent; below ten of them with a decimal.

    Parameters
    ----------
    probability : float
        From 0 to 1.
    """
    if 0 < probability < _LEAST:
        return "< 0.1 %"
    step = Decimal(1) if probability > _WHOLE else Decimal("0.1")
    return f"{Decimal(100 * probability).quantize(step, ROUND_HALF_UP)} %"
