"""Files of suites as plain values that know their lines: YAML, and JSON lines, without trust."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ...errors import SessionFormatError, SuiteError, shown
from ...state.reading import open_regular
from .plain import (
    JSON_LINES,
    LINE_END,
    MOST_DEPTH,
    TOO_DEEP,
    Mistake,
    Place,
    not_finite,
    whole,
)
from .plain_yaml import plain_yaml

__all__ = ["SUFFIXES", "Document", "named", "read_document"]

SUFFIXES = (".suite.yaml", ".suite.yml", JSON_LINES)
"""How the names of suites end."""

_MOST_BYTES = 2**20  # of YAML, for which its parser takes 3 s
_MOST_BYTES_OF_LINES = 64 * 2**20
_MOST_CASES = 100_000
_CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Document:
    """What a file says.

    Attributes
    ----------
    name : str
        Of the file.
    folder : Path
        Where it lies: paths in it begin there.
    value : object
        Mappings, lists, texts, numbers, switches and None.
    lines : mapping of tuple to int
        Where values begin, counted from 1. Of a value that is not there, the one that it is in
        tells.
    """

    name: str
    folder: Path
    value: Any
    lines: Mapping[Place, int]

    def holds(self, place: Place) -> bool:
        """Return whether there is a value at a place."""
        value = self.value
        try:
            for key in place:
                value = value[key]
        except (LookupError, TypeError):
            return False
        return True

    def line(self, place: Place) -> int:
        """Return the line of a value, or of what is around it."""
        for n in range(len(place), 0, -1):
            if place[:n] in self.lines:
                return self.lines[place[:n]]
        return self.lines.get((), 1)


def named(place: Place) -> str:
    """Return a place as it is written, such as ``cases[3].checks[0].likelier.by``."""
    words = [f"[{key}]" if isinstance(key, int) else f".{shown(key, 40)}" for key in place]
    return "".join(words).removeprefix(".")


def read_document(path: Path) -> Document:
    """Return what a file says.

    Raises
    ------
    SuiteError
        When it is missing, too large, or neither YAML nor JSON lines.
    """
    is_lines = path.name.endswith(JSON_LINES)
    try:
        text = _text(path, _MOST_BYTES_OF_LINES if is_lines else _MOST_BYTES)
        value, lines = _of_lines(text) if is_lines else plain_yaml(text)
    except Mistake as error:
        raise SuiteError(f"{path.name}, {shown(str(error), 400)}") from None
    return Document(path.name, path.parent, value, lines)


def _text(path: Path, most: int) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise SuiteError(f"there is no file {shown(path.name, 200)}") from None
    except (OSError, ValueError, SessionFormatError) as error:
        raise SuiteError(
            f"{shown(path.name, 200)} cannot be read: {shown(str(error), 200)}"
        ) from None
    if len(data) > most:
        more = "" if most > _MOST_BYTES else f"; write many cases as NAME{JSON_LINES}"
        raise SuiteError(f"{path.name} is larger than {most:,} bytes{more}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Mistake(line, f"it is not UTF-8: byte 0x{data[error.start]:02X}") from None
    if (odd := _CONTROL.search(text)) is not None:
        line = len(LINE_END.findall(text, 0, odd.start())) + 1
        raise Mistake(
            line,
            f"a control character, U+{ord(odd[0]):04X}; between quotes it is \\x{ord(odd[0]):02x}",
        )
    return text


# --- JSON lines -------------------------------------------------------------------------------


def _of_lines(text: str) -> tuple[Any, dict[Place, int]]:
    """The head on the first line, and a case on each other."""
    rows = [
        (n, _of_line(n, line))
        for n, line in enumerate(text.split("\n"), 1)
        if line and not line.isspace()
    ]
    if not rows:
        raise Mistake(1, "the file is empty; its first line is the head of the suite")
    (first, head), *cases = rows
    if not isinstance(head, dict):
        raise Mistake(
            first, f"the first line is the head of the suite, an object, not {shown(head)}"
        )
    if "cases" in head:
        raise Mistake(first, "cases: each case has its own line after the first")
    if len(cases) > _MOST_CASES:
        raise Mistake(cases[_MOST_CASES][0], f"there are more than {_MOST_CASES:,} cases")
    lines: dict[Place, int] = {(): first, ("cases",): first}
    lines |= {(key,): first for key in head}
    lines |= {("cases", i): n for i, (n, _) in enumerate(cases)}
    return head | {"cases": [case for _, case in cases]}, lines


def _of_line(n: int, line: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(values := dict(pairs)) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise Mistake(n, f"{shown(repr(twice))} stands twice in an object")
        return values

    def refuse(name: str) -> NoReturn:
        raise Mistake(n, not_finite(name))

    try:
        value = json.loads(line, parse_constant=refuse, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise Mistake(n, f"it is not JSON: {error.msg}, at character {error.colno}") from None
    except RecursionError:
        raise Mistake(n, TOO_DEEP) from None
    except ValueError:  # too many digits
        raise Mistake(n, "a number that is too large") from None
    _check_plain(n, value)
    return value


def _check_plain(n: int, value: Any) -> None:
    """Check that a JSON value is shallow, finite and made of whole characters."""
    stack = [(value, 0)]
    while stack:
        each, depth = stack.pop()
        if depth > MOST_DEPTH:
            raise Mistake(n, TOO_DEEP)
        if isinstance(each, dict):
            stack += [(v, depth + 1) for pair in each.items() for v in pair]
        elif isinstance(each, list):
            stack += [(v, depth + 1) for v in each]
        elif isinstance(each, str):
            whole(n, each)
        elif isinstance(each, float) and not math.isfinite(each):
            raise Mistake(n, "a number that is too large")
