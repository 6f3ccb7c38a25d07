"""Values of JSON files that may come from strangers: what they can be at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NoReturn

__all__ = [
    "Unsound",
    "check_keys",
    "check_plain",
    "is_line",
    "is_log",
    "is_token",
    "need",
    "parsed",
    "refuse",
]

_MOST_CHARACTERS = 2**20
_MOST_DEPTH = 32


class Unsound(Exception):  # noqa: N818 - becomes a RecordingError that names the file
    """A value cannot be right; the message says which."""


def refuse(what: str) -> NoReturn:
    """Raise :class:`Unsound`."""
    raise Unsound(what)


def need(holds: bool, what: str) -> None:
    """Raise :class:`Unsound` unless a condition holds; ``what`` names the value."""
    if not holds:
        refuse(f"{what} cannot be right")


def parsed(data: bytes) -> Any:
    """Return the values of a JSON text.

    Raises
    ------
    Unsound
        When it is not JSON, has NaN or infinity, or a key that stands twice in an object.
    """
    try:
        text = data.decode("utf-8")
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        refuse(f"it is not JSON, or was cut short ({error})")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which each key stands once: people read the first, and JSON the last."""
    if len(values := dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return values


def check_keys(
    row: Mapping[str, Any], needed: AbstractSet[str], known: AbstractSet[str], what: str
) -> None:
    """Check that an object has the keys that it needs, and no unknown ones."""
    if missing := needed - row.keys():
        refuse(f"{what} lacks {', '.join(sorted(missing))}")
    if unknown := row.keys() - known:
        refuse(f"{what} has {', '.join(repr(key)[:40] for key in sorted(unknown))}, unknown here")


def check_plain(
    value: Any, what: str, *, is_shown: bool = False, most: int = _MOST_CHARACTERS
) -> None:
    """Check that a JSON value is small, shallow and made of whole characters, or of lines."""
    room = most
    stack = [(value, 0)]
    while stack:
        each, depth = stack.pop()
        room -= 1
        need(depth <= _MOST_DEPTH, f"the depth of {what}")
        if isinstance(each, dict):
            stack += [(v, depth + 1) for pair in each.items() for v in pair]
        elif isinstance(each, list):
            stack += [(v, depth + 1) for v in each]
        elif isinstance(each, str):
            room -= len(each)
            need(not any("\ud800" <= c <= "\udfff" for c in each), f"a lone surrogate in {what}")
            need(each.isprintable() or not is_shown, f"a text in {what}")
        elif isinstance(each, float):
            need(math.isfinite(each), f"a number in {what}")
        need(room >= 0, f"the size of {what}")


def is_line(value: Any) -> bool:
    """Return whether a value is a printable text of at most 200 characters."""
    return isinstance(value, str) and len(value) <= 200 and value.isprintable()


def is_token(value: Any) -> bool:
    """Return whether a value can be the id of a token."""
    return type(value) is int and 0 <= value < 2**31


def is_log(value: Any) -> bool:
    """Return whether a value can be the logarithm of a probability."""
    return type(value) in (int, float) and -1e30 < value <= 1e-3
