"""Fitting seconds to a linear model of cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Fit", "fit"]


@dataclass(frozen=True)
class Fit:
    """A linear model of seconds.

    Attributes
    ----------
    coefficients : tuple of float
    residual : float
        Root mean square of the relative differences.
    """

    coefficients: tuple[float, ...]
    residual: float

    def __call__(self, *terms: float) -> float:
        """The seconds of these terms."""
        return sum(c * term for c, term in zip(self.coefficients, terms, strict=True))


def fit(terms: Sequence[Sequence[float]], seconds: Sequence[float]) -> Fit:
    """Fit seconds to a sum of terms, each times a coefficient that is not negative.

    Least squares of the relative differences. A term whose coefficient would be negative is left
    out: nothing takes less than no time.

    Parameters
    ----------
    terms : sequence of sequence of float
        Of each measurement, the terms.
    seconds : sequence of float
    """
    matrix = np.asarray(terms, float) / np.asarray(seconds, float)[:, None]
    kept = [*range(matrix.shape[1])]
    while True:
        found, *_ = np.linalg.lstsq(matrix[:, kept], np.ones(len(matrix)), rcond=None)
        if len(kept) == 1 or found.min() >= 0:
            break
        del kept[int(found.argmin())]
    coefficients = np.zeros(matrix.shape[1])
    coefficients[kept] = found
    residual = float(np.sqrt(np.mean((matrix @ coefficients - 1) ** 2)))
    return Fit(tuple(map(float, coefficients)), residual)
