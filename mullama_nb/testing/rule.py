"""What may differ between a replay and its recording."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ParameterError

__all__ = ["LEVELS", "MARGIN", "TOLERANCE", "Rule"]

LEVELS = ("exact", "near-ties", "probabilities")
MARGIN = 0.2
TOLERANCE = 1.0


@dataclass(frozen=True)
class Rule:
    """The permitted differences; see :func:`mullama_nb.testing.replay`.

    Raises
    ------
    ParameterError
        When a value is out of range.
    """

    level: str = "probabilities"
    margin: float = MARGIN
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ParameterError(f"level={self.level!r} must be one of {', '.join(LEVELS)}")
        if not 0 <= self.margin <= 1:
            raise ParameterError(f"margin={self.margin!r} is a probability: 0 to 1")
        if not self.tolerance >= 0:
            raise ParameterError(f"tolerance={self.tolerance!r} must be 0 or more")

    def allows(self, gap: float | None, largest: float, *, is_same: bool) -> bool:
        """Return whether a checkpoint's differences are permitted."""
        if self.level == "exact":
            return is_same
        if self.level == "near-ties":
            return gap is None or gap <= self.margin
        return largest <= self.tolerance
