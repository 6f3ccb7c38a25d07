"""Human-readable numbers of bytes, the same in widgets, figures and the terminal."""

from __future__ import annotations

import math

__all__ = ["size"]

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(n_bytes: float) -> str:
    """Return a number of bytes with three significant digits and its decimal unit.

    Parameters
    ----------
    n_bytes : float
        Rounded to whole bytes first, halves up.

    Notes
    -----
    The widgets' scripts have the same rule in ``widgets/front_end/format.js``. Both use integers:
    the number formats of the two languages round halves differently.
    """
    whole = math.floor(n_bytes + 0.5)
    step = 10 ** max(len(str(whole)) - 3, 0)  # what the last of three digits counts
    rounded = (whole + step // 2) // step * step
    power = min((len(str(rounded)) - 1) // 3, len(_UNITS) - 1)
    units, rest = divmod(rounded, 1000**power)
    decimals = f"{rest:0{3 * power}}".rstrip("0") if rest else ""
    return f"{units:,}{decimals and '.'}{decimals} {_UNITS[power]}"
