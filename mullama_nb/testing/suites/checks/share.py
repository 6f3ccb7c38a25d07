"""How many of several draws passed, and between what the share lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from ....checks import check_integer, check_number
from ....errors import ParameterError
from ..cell import CheckResult
from .check import Finding

__all__ = ["CONFIDENCE", "combined", "wilson"]

CONFIDENCE = 0.95


def wilson(n_passed: int, n_drawn: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval in which a share lies, after some draws of which some passed.

    Parameters
    ----------
    n_passed, n_drawn : int
        At least one was drawn.
    confidence : float
        How often such intervals hold the share, more than 0 and less than 1.

    Returns
    -------
    (float, float)
        Within 0 to 1, around ``n_passed / n_drawn``.

    Notes
    -----
    Wilson's score interval: E. B. Wilson, "Probable inference, the law of succession, and
    statistical inference", Journal of the American Statistical Association 22 (1927), 209-212. It
    holds for few draws and for shares near 0 and 1, where the usual one has no width.
    """
    n = check_integer("n_drawn", n_drawn, 1)
    passed = check_integer("n_passed", n_passed, 0, n)
    confidence = check_number("confidence", confidence, 0, 1)
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence={confidence} must be more than 0 and less than 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, z2 = passed / n, z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # Exactly 0 and 1 at the ends, where rounding leaves a little.
    low = 0.0 if passed == 0 else max(0.0, centre - half)
    return low, 1.0 if passed == n else min(1.0, centre + half)


def combined(findings: Sequence[Finding]) -> CheckResult:
    """Return what a check found in all draws together: it passes if all of them do.

    Details and values are of the first draw that did not pass, or else of the first. A share has an
    interval where more than one was drawn.

    Parameters
    ----------
    findings : sequence of Finding
        Of one check, one for each answer that was drawn; one in all for a check that needs no
        answer.

    Raises
    ------
    ParameterError
        When there are none, or they are of several checks.
    """
    names = {finding.check for finding in findings}
    if len(names) != 1:
        raise ParameterError(f"findings of one check are combined, not of {len(names)}")
    n, n_passed = len(findings), sum(finding.passed for finding in findings)
    telling = next((finding for finding in findings if not finding.passed), findings[0])
    return CheckResult(
        telling.check,
        n_passed == n,
        telling.detail,
        telling.value,
        telling.token,
        n_passed,
        n,
        wilson(n_passed, n) if n > 1 else None,
    )
