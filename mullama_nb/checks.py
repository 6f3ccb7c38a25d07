"""Checks of arguments: integers, numbers, switches, lists, and names to choose from."""

from __future__ import annotations

import contextlib
import difflib
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from .errors import ParameterError, shown

__all__ = [
    "check_bool",
    "check_integer",
    "check_list",
    "check_names",
    "check_number",
    "close_names",
    "did_you_mean",
    "is_integer",
    "is_number",
]


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer, perhaps numpy's; True and False are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a real number, perhaps numpy's; True and False are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_integer(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """Return an integer from ``low`` to ``high`` as Python's own, which JSON and ctypes take.

    Raises
    ------
    ParameterError
        When it is not.
    """
    if not is_integer(value):
        raise ParameterError(f"{name} must be an integer, not {_quoted(value)}")
    _check_range(name, value, low, high)
    return int(value)


def check_number(
    name: str, value: object, low: float | None = None, high: float | None = None
) -> float:
    """Return a number from ``low`` to ``high`` as Python's own; an integer stays one.

    Raises
    ------
    ParameterError
        When it is not.
    """
    if not is_number(value):
        raise ParameterError(f"{name} must be a number, not {_quoted(value)}")
    _check_range(name, value, low, high)
    return int(value) if is_integer(value) else float(value)


def check_bool(name: str, value: object) -> None:
    """Check that a value is True or False.

    Raises
    ------
    ParameterError
        When it is not.
    """
    if not isinstance(value, bool):
        raise ParameterError(f"{name} must be a bool, not {_quoted(value)}")


def check_list(name: str, values: object, what: str) -> list[Any]:
    """Return the items of a list or of anything like it; a text and a mapping are none.

    Parameters
    ----------
    name : str
    values : object
    what : str
        What the items are, for the message.

    Raises
    ------
    ParameterError
        When it is no list.
    """
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes, bytearray, Mapping)):
        with contextlib.suppress(TypeError):  # an array of no dimensions says that it has items
            return [*values]
    raise ParameterError(f"{name}={_quoted(values)} must be a list of {what}")


def check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check that all names are known.

    Raises
    ------
    TypeError
        When one is not; the message suggests the closest name and lists all.
    """
    known = list(known)
    unknown = [
        f"{shown(repr(name))}{f' ({hint})' if (hint := did_you_mean(name, known)) else ''}"
        for name in given
        if name not in known
    ]
    if unknown:
        raise TypeError(f"{what} has no {', '.join(unknown)}; it has {', '.join(known)}")


def close_names(name: str, known: Iterable[str], n: int = 3, least: float = 0.6) -> list[str]:
    """Return up to ``n`` names with a similar spelling, 0 to 1, the closest first."""
    return difflib.get_close_matches(name, list(known), n, least)


def did_you_mean(name: str, known: Iterable[str], least: float = 0.6) -> str:
    """Return a "did you mean" with the closest name; empty if none is close."""
    close = close_names(name, known, 1, least)
    return f"did you mean {shown(repr(close[0]))}?" if close else ""


def _check_range(name: str, value: float, low: float | None, high: float | None) -> None:
    if high is None:
        if low is not None and not low <= value:
            raise ParameterError(f"{name}={shown(value)} must be {low} or more")
    elif not (low is None or low <= value) or not value <= high:
        raise ParameterError(
            f"{name}={shown(value)} is out of range: it must lie in {low} to {high}"
        )


def _quoted(value: object) -> str:
    return shown(repr(value) if isinstance(value, str) else value)
