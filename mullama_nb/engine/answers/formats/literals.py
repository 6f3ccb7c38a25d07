"""Values as models write them in calls: JSON, Python's literals, Gemma's."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["Literals", "json_value", "plain_value"]

_DEEPEST = 64
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NAME = re.compile(r"[^\W\d][\w.-]*")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse)


def json_value(text: str, at: int = 0) -> tuple[Any, int]:
    """Return the JSON value that begins at a place, and where it ends.

    Newlines may stand in strings as they are.

    Raises
    ------
    ValueError
        When there is none, or a text in it has an unpaired surrogate.
    """
    try:
        value, end = _DECODER.raw_decode(text, at)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("the arguments nest too deeply") from None
    return value, end


def plain_value(text: str) -> Any:
    """Return a value without quotes: JSON, or a literal of Python's, else the text itself."""
    plain = text.strip()
    if plain in _WORDS:
        return _WORDS[plain]
    try:
        value, end = json_value(plain)
    except ValueError:
        if plain[:1] not in ("{", "["):
            return text
        literals = Literals(plain, 0)
        try:
            value = literals.value()
        except ValueError:
            return text
        end = literals.at
    return text if plain[end:] else value


class Literals:
    """Values in a text, read one after another.

    Parameters
    ----------
    text : str
    at : int
        Where to begin.
    quotes : sequence of str
        What strings stand between.
    escapes : bool
        Whether a backslash in a string has a meaning.

    Attributes
    ----------
    at : int
        Where the next value begins.
    """

    def __init__(
        self, text: str, at: int, quotes: tuple[str, ...] = ('"', "'"), *, escapes: bool = True
    ) -> None:
        self.text = text
        self.at = at
        self._quotes = quotes
        self._escapes = escapes

    def takes(self, expected: str) -> bool:
        """Step over a text, and whitespace before it, if it comes next."""
        self._skip()
        if not self.text.startswith(expected, self.at):
            return False
        self.at += len(expected)
        return True

    def need(self, expected: str) -> None:
        """Step over a text that has to come next."""
        if not self.takes(expected):
            raise ValueError(f"{expected!r} is missing at {self.text[self.at : self.at + 20]!r}")

    def name(self) -> str:
        """Return the name that comes next."""
        self._skip()
        return self._matched(_NAME, "a name")

    def value(self, depth: int = 0) -> Any:
        """Return the value that comes next."""
        if depth > _DEEPEST:
            raise ValueError("the arguments nest too deeply")
        self._skip()
        if self.takes("{"):
            return self.pairs("}", ":", depth)
        if self.takes("["):
            return self._items(depth)
        for quote in self._quotes:
            if self.text.startswith(quote, self.at):
                return self._string(quote)
        if _NUMBER.match(self.text, self.at):
            number = self._matched(_NUMBER, "a number")
            return int(number) if number.lstrip("-").isdecimal() else float(number)
        word = self._matched(_NAME, "a value")
        if word not in _WORDS:
            raise ValueError(f"{word!r} is not a value")
        return _WORDS[word]

    def pairs(self, closing: str, between: str, depth: int = 0) -> dict[str, Any]:
        """Return keys and values up to a closing bracket, which is stepped over."""
        pairs: dict[str, Any] = {}
        while not self.takes(closing):
            if pairs:
                self.need(",")
                if self.takes(closing):
                    break
            self._skip()
            quote = next((q for q in self._quotes if self.text.startswith(q, self.at)), None)
            key = self.name() if quote is None else self._string(quote)
            self.need(between)
            pairs[key] = self.value(depth + 1)
        return pairs

    def _items(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not self.takes("]"):
            if items:
                self.need(",")
                if self.takes("]"):
                    break
            items.append(self.value(depth + 1))
        return items

    def _string(self, quote: str) -> str:
        at = self.at + len(quote)
        characters = []
        while not self.text.startswith(quote, at):
            if at >= len(self.text):
                raise ValueError("a text in the arguments does not end")
            if self._escapes and self.text[at] == "\\" and at + 1 < len(self.text):
                at += 1
                characters.append(_ESCAPES.get(self.text[at], self.text[at]))
            else:
                characters.append(self.text[at])
            at += 1
        self.at = at + len(quote)
        return "".join(characters)

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self.at)
        assert space is not None
        self.at = space.end()

    def _matched(self, pattern: re.Pattern[str], what: str) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"{what} is missing at {self.text[self.at : self.at + 20]!r}")
        self.at = match.end()
        return match.group()
