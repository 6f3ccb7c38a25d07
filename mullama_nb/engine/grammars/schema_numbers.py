"""Numbers of JSON schemas as grammars: ranges of integers and decimals, and multiples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ...checks import is_number
from .schema_keywords import NUMBER_FORMATS, OF_TYPES, refused

__all__ = ["ANY_INTEGER", "ANY_NUMBER", "number"]

ANY_INTEGER = '"-"? ("0" | [1-9] [0-9]{0,15})'
_FRACTION = '("." [0-9]{1,15})?'
# Two digits: with more a float would overflow.
ANY_NUMBER = f"{ANY_INTEGER} {_FRACTION} ([eE] [-+]? [0-9] [0-9]?)?"

_MOST = 10**16 - 1  # of a number without a bound
_MOST_MULTIPLES = 1_000
_TINY = Decimal("1e-15")
_EXACT = 2**53  # from here on floats are integers
_MORE = "[0-9]{0,15}"


def integers(low: int | None, high: int | None) -> str:
    """Return the grammar of the integers from ``low`` to ``high``, if there is one."""
    lowest = min(-_MOST, (high or 0) * 10 - 10) if low is None else low
    highest = max(_MOST, (low or 0) * 10 + 10) if high is None else high
    parts = []
    if lowest < 0:
        parts.append(f'"-" {_magnitudes(max(1, -highest), -lowest)}')
    if highest >= 0:
        parts.append(_magnitudes(max(0, lowest), highest))
    return _either(parts)


def multiples(divisor: int, low: int | None, high: int | None) -> list[int] | None:
    """Return the multiples in a range; None if there are too many to name."""
    if low is None or high is None or (high - low) // divisor > _MOST_MULTIPLES:
        return None
    return [n * divisor for n in range(-(-low // divisor), high // divisor + 1)]


def endless_multiples(divisor: int, low: int | None) -> str | None:
    """Return the grammar of all multiples from ``low`` on, 0 or 1, or of all that there are.

    None where the last three digits do not tell the multiples.
    """
    n_digits = next((n for n in (1, 2, 3) if 10**n % divisor == 0), None)
    if n_digits is None or low not in (None, 0, 1):
        return None
    ends = [f'"{n:0{n_digits}}"' for n in range(0, 10**n_digits, divisor)]
    short = [f'"{n}"' for n in range(divisor, 10**n_digits, divisor)]
    long = f"[1-9] [0-9]{{0,12}} {_either(ends)}"
    positive = _either([*short, long])
    zero = [] if low == 1 else ['"0"']
    return _either([*zero, f'"-"? {positive}' if low is None else positive])


def decimals(low: float | None, high: float | None, *, above: bool, below: bool) -> str | None:
    """Return the grammar of the decimal numbers in a range; None if it has none.

    Parameters
    ----------
    low, high : number, optional
    above, below : bool
        Whether the bounds themselves are left out.
    """
    least = None if low is None else _reachable(low, math.inf if above else None)
    most = None if high is None else _reachable(high, -math.inf if below else None)
    if least is not None and most is not None and least > most:
        return None
    parts = []
    if least is None or least < 0:
        nearest = Decimal(0) if most is None or most >= 0 else -most
        parts.append(f'"-" {_between(nearest, None if least is None else -least)}')
    if most is None or most >= 0:
        nearest = Decimal(0) if least is None or least < 0 else least
        parts.append(_between(nearest, most))
    return _either(parts)


def _reachable(value: float, towards: float | None) -> Decimal:
    """A bound as a decimal that may be reached; its float lies on the right side."""
    if towards is not None and value == 0:
        return _TINY if towards > 0 else -_TINY
    if towards is not None:
        value = math.nextafter(value, towards)
    if isinstance(value, int) or abs(value) >= _EXACT:
        return Decimal(int(value))
    return Decimal(repr(value))


# -- a schema -------------------------------------------------------------------------------------


def number(schema: Mapping[str, Any], place: str) -> str:
    """Return the grammar of a schema of numbers.

    Raises
    ------
    GrammarError
        When no number is left, or no grammar says the same.
    """
    is_whole = schema["type"] == "integer"
    for keyword in sorted(OF_TYPES["number"] & {*schema}):
        value = schema[keyword]
        if isinstance(value, bool) and keyword.startswith("exclusive"):
            raise refused(keyword, place, "is a bool, as in draft 4; give the bound")
        if not is_number(value) or not math.isfinite(value):
            raise refused(keyword, place, "is not a number")
    low, above = _bound(schema, "minimum", "exclusiveMinimum", max)
    high, below = _bound(schema, "maximum", "exclusiveMaximum", min)
    bits = NUMBER_FORMATS.get(schema.get("format", ""))
    if bits is not None:
        low = -(2**bits) if low is None or low < -(2**bits) else low
        high = 2**bits - 1 if high is None or high >= 2**bits else high
    divisor = schema.get("multipleOf")
    if divisor is not None and (divisor <= 0 or divisor != int(divisor)):
        raise refused("multipleOf", place, f"is {divisor}; only integers are supported")
    if is_whole or divisor is not None:
        least = None if low is None else math.ceil(low) + (above and low == math.ceil(low))
        most = None if high is None else math.floor(high) - (below and high == math.floor(high))
        if least is not None and most is not None and least > most:
            raise refused("minimum", place, "and the maximum leave no number")
        if divisor is not None and divisor != 1:
            return _multiples(int(divisor), least, most, place)
        text = ANY_INTEGER if least is most is None else integers(least, most)
    else:
        found = decimals(low, high, above=above, below=below)
        if found is None:
            raise refused("minimum", place, "and the maximum leave no number")
        text = ANY_NUMBER if low is high is None else found
    return text


def _bound(
    schema: Mapping[str, Any], keyword: str, exclusive: str, choose: Any
) -> tuple[Any, bool]:
    """The tighter of two bounds, and whether it is left out."""
    if exclusive not in schema:
        return schema.get(keyword), False
    if keyword not in schema:
        return schema[exclusive], True
    value = choose(schema[keyword], schema[exclusive])
    return value, value == schema[exclusive]


def _multiples(divisor: int, low: int | None, high: int | None, place: str) -> str:
    numbers = multiples(divisor, low, high)
    if numbers is not None:
        if not numbers:
            raise refused("multipleOf", place, "and the bounds leave no number")
        return _either([f'"{number}"' for number in numbers])
    text = endless_multiples(divisor, low) if high is None else None
    if text is None:
        why = "needs a minimum and a maximum, with at most 1,000 multiples between them"
        raise refused("multipleOf", place, why)
    return text


# -- without a sign ------------------------------------------------------------------------------


def _either(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


def _digits(first: int, last: int) -> str:
    return f'"{first}"' if first == last else f"[{first}-{last}]"


def _magnitudes(low: int, high: int) -> str:
    """Integers from 0 on."""
    parts = []
    n, n_high = len(str(low)), len(str(high))
    while n <= n_high:
        first = max(low, 10 ** (n - 1) if n > 1 else 0)
        last = min(high, 10**n - 1)
        if n > 1 and first == 10 ** (n - 1) and high >= 10**n - 1:  # all of these lengths
            n_last = n_high if high == 10**n_high - 1 else n_high - 1
            parts.append(f"[1-9] [0-9]{{{n - 1},{n_last - 1}}}")
            n = n_last + 1
            continue
        parts.append(_same_length(str(first), str(last)))
        n += 1
    return _either(parts)


def _same_length(low: str, high: str) -> str:
    n = len(low)
    if low == high:
        return f'"{low}"'
    if low == "0" * n and high == "9" * n:
        return f"[0-9]{{{n}}}"
    if n == 1:
        return f"[{low}-{high}]"
    if low[0] == high[0]:
        return f'"{low[0]}" {_same_length(low[1:], high[1:])}'
    parts = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * (n - 1):
        parts.append(f'"{first}" {_same_length(low[1:], "9" * (n - 1))}')
        first += 1
    if high[1:] != "9" * (n - 1):
        parts.append(f'"{last}" {_same_length("0" * (n - 1), high[1:])}')
        last -= 1
    if first <= last:
        parts.append(f"{_digits(first, last)} [0-9]{{{n - 1}}}")
    return _either(parts)


def _between(low: Decimal, high: Decimal | None) -> str:
    """Decimals from 0 on."""
    first, behind_first = _split(low)
    if high is None:
        last, behind_last = max(_MOST, first * 10 + 10), "9"
    else:
        last, behind_last = _split(high)
    if first == last:
        return f'"{first}" {_fraction(behind_first, behind_last)}'
    parts = []
    if behind_first:
        parts.append(f'"{first}" "." {_from(behind_first)}')
        first += 1
    if high is not None:
        parts.append(f'"{last}" {_fraction("", behind_last)}')
        last -= 1
    if first <= last:
        parts.append(f"{_magnitudes(first, last)} {_FRACTION}")
    return _either(parts)


def _split(value: Decimal) -> tuple[int, str]:
    """The digits in front of the point, and those behind it."""
    whole, _, behind = f"{value:f}".partition(".")
    return int(whole), behind.rstrip("0")


def _fraction(low: str, high: str) -> str:
    """What may stand behind the same integer."""
    if low:
        return f'"." {_digits_between(low, high)}'
    if not high:
        return '("." "0"{1,15})?'
    return f'("." {_some_to(high)})?'


def _from(low: str) -> str:
    """Digits that continue a fraction to at least this."""
    if not low:
        return _MORE
    digit = int(low[0])
    parts = [f'"{digit}" {_from(low[1:])}']
    if digit < 9:
        parts.append(f"{_digits(digit + 1, 9)} {_MORE}")
    return _either(parts)


def _to(high: str) -> str:
    """Digits that continue a fraction to at most this; there may be none."""
    return f"{_some_to(high)}?" if high else '"0"{0,15}'


def _some_to(high: str) -> str:
    digit = int(high[0])
    parts = [f'"{digit}" {_to(high[1:])}']
    if digit > 0:
        parts.append(f"{_digits(0, digit - 1)} {_MORE}")
    return f"({' | '.join(parts)})"


def _digits_between(low: str, high: str) -> str:
    if not low:
        return _to(high)
    first, last = int(low[0]), int(high[0])
    if first == last:
        return f'"{first}" {_digits_between(low[1:], high[1:])}'
    parts = [f'"{first}" {_from(low[1:])}', f'"{last}" {_to(high[1:])}']
    if first + 1 < last:
        parts.append(f"{_digits(first + 1, last - 1)} {_MORE}")
    return _either(parts)
