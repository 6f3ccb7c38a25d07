"""What both kinds of files of suites have in common: what is plain, and what is wrong."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TypeAlias

from ...errors import shown

__all__ = [
    "JSON_LINES",
    "LINE_END",
    "MOST_DEPTH",
    "TOO_DEEP",
    "Mistake",
    "Place",
    "not_finite",
    "whole",
]

JSON_LINES = ".suite.jsonl"
"""How the names of files end that have a case on each line."""

LINE_END = re.compile(r"\r\n|\r|\n")
MOST_DEPTH = 32
TOO_DEEP = f"values lie within more than {MOST_DEPTH} others"

Place: TypeAlias = "tuple[str | int, ...]"
"""The keys and indices that lead to a value."""


class Mistake(Exception):  # noqa: N818 - becomes a SuiteError that names the file
    """Something that cannot stand in the file, with its line, counted from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")


def whole(line: int, text: str) -> str:
    """Return a text in which pairs of escapes, as JSON writes an emoji, are one character.

    Raises
    ------
    Mistake
        When half of such a pair is missing.
    """
    with suppress(UnicodeError):
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    raise Mistake(line, f"half a character in {shown(repr(text))}")


def not_finite(name: str) -> str:
    """Return why a word such as NaN is refused."""
    return f'{name} is not a number that JSON has; a logit_bias takes "-inf" between quotes'
