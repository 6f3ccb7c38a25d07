r"""Regular expressions of JSON schemas as grammars of JSON strings.

Only what means the same in ECMAScript and in Python is taken; classes such as ``\w`` are ASCII.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TypeAlias

from ...errors import GrammarError, shown
from .schema_strings import Range, character_set

__all__ = ["pattern_string"]

_LAST = 0x10FFFF
_DIGITS: list[Range] = [(48, 57)]
_WORD: list[Range] = [(48, 57), (65, 90), (95, 95), (97, 122)]
_SPACE: list[Range] = [(9, 13), (32, 32)]
_NO_LINE: list[Range] = [(10, 10), (13, 13), (0x2028, 0x2029)]
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_TIMES = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_BRACES = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
_NAMED = re.compile(r"\?P?<[A-Za-z_]\w*>")
_MOST_REPETITIONS = 100
_MOST_WAYS = 64  # of alternatives with anchors, written out


@dataclass(frozen=True)
class _Set:
    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class _Anchor:
    sign: str


@dataclass(frozen=True)
class _Group:
    ways: tuple[_Sequence, ...]


@dataclass(frozen=True)
class _Repeated:
    item: _Set | _Group
    low: int
    high: int | None


_Term: TypeAlias = "_Set | _Anchor | _Group | _Repeated"


@dataclass(frozen=True)
class _Sequence:
    terms: tuple[_Term, ...] = field(default=())


def pattern_string(pattern: str, low: int, high: int | None, place: str) -> str:
    """Return the grammar of what is between the quotes of a string that a pattern is found in.

    Parameters
    ----------
    pattern : str
    low, high : int
        Least and most characters.
    place : str
        Where it stands in the schema.

    Raises
    ------
    GrammarError
        When no grammar says the same.
    """
    reader = _Reader(pattern, place)
    ways = _anchored(reader.read(), reader)
    parts = []
    for starts, found, ends in ways:
        sequence = _fitted(found, low, high)
        least, most = _lengths(sequence)
        body = " ".join(_grammar(term, reader) for term in sequence.terms) or '""'
        room: float = math.inf if high is None else high - most
        is_open = not (starts and ends)
        if least < low or room < 0:
            raise reader.refused("together with minLength or maxLength")
        times = "*" if room == math.inf else f"{{0,{int(room) // (2 - starts - ends or 1)}}}"
        free = f"char{times}" if is_open and times != "{0,0}" else ""
        parts.append(" ".join(filter(None, ["" if starts else free, body, "" if ends else free])))
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


class _Reader:
    """Reads a regular expression."""

    def __init__(self, pattern: str, place: str) -> None:
        self._text = pattern
        self._place = place
        self._at = 0

    def refused(self, what: str) -> GrammarError:
        return GrammarError(
            f"json_schema: pattern {shown(repr(self._text))} at {shown(self._place)} has no "
            f"grammar: {what} is not supported"
        )

    def read(self) -> _Group:
        try:
            group = self._ways()
        except RecursionError:
            raise self.refused("its nesting") from None
        if self._at < len(self._text):
            raise self.refused("a ) without its (")
        return group

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        if not character:
            raise self.refused("its end")
        self._at += 1
        return character

    def _ways(self) -> _Group:
        ways, terms = [], list[_Term]()
        while (character := self._peek()) not in ("", ")"):
            if character == "|":
                self._at += 1
                ways.append(_Sequence(tuple(terms)))
                terms = []
            else:
                terms.append(self._repeated(self._term()))
        return _Group((*ways, _Sequence(tuple(terms))))

    def _term(self) -> _Term:
        character = self._next()
        if character in "^$":
            return _Anchor(character)
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == ".":
            return _Set(tuple(_without(_NO_LINE)))
        if character == "\\":
            return _Set(tuple(self._escape(within=False)))
        if character in "*+?{":
            raise self.refused(f"{character} without an item")
        return _one(character)

    def _group(self) -> _Group:
        if self._peek() == "?":
            named = _NAMED.match(self._text, self._at)
            if self._text.startswith("?:", self._at):
                self._at += 2
            elif named:
                self._at = named.end()
            else:
                raise self.refused(f"({self._text[self._at : self._at + 3]}")
        group = self._ways()
        if self._next() != ")":
            raise self.refused("a ( without its )")
        return group

    def _repeated(self, term: _Term) -> _Term:
        character = self._peek()
        if character in _TIMES:
            self._at += 1
            low, high = _TIMES[character]
        elif character == "{":
            match = _BRACES.match(self._text, self._at)
            if match is None:
                raise self.refused("a { that begins no number of repetitions")
            self._at = match.end()
            low = int(match[1])
            high = low if match[2] is None else int(match[3]) if match[3] else None
        else:
            return term
        if self._peek() == "?":  # as few as possible: the same texts
            self._at += 1
        if isinstance(term, (_Anchor, _Repeated)) or self._peek() in ("*", "+", "{"):
            raise self.refused("what it repeats")
        if max(low, high or 0) > _MOST_REPETITIONS or (high is not None and low > high):
            raise self.refused(f"{{{low},{'' if high is None else high}}}")
        return _Repeated(term, low, high)

    def _class(self) -> _Set:
        is_negated = self._peek() == "^"
        self._at += is_negated
        ranges: list[Range] = []
        is_first = True
        while (character := self._next()) != "]" or is_first:
            is_first = False
            if character == "[" and self._peek() == ":":
                raise self.refused("[:")
            found = self._escape(within=True) if character == "\\" else [_code(character)]
            behind = self._text[self._at + 1 : self._at + 2]
            is_range = self._peek() == "-" and behind not in ("]", "")
            if is_range and len(found) == 1 and found[0][0] == found[0][1]:
                self._at += 1
                last = self._next()
                end = self._escape(within=True) if last == "\\" else [_code(last)]
                if len(end) != 1 or end[0][0] != end[0][1] or end[0][0] < found[0][0]:
                    raise self.refused("a range in a set")
                found = [(found[0][0], end[0][0])]
            ranges += found
        return _Set(tuple(_without(ranges) if is_negated else ranges))

    def _escape(self, *, within: bool) -> list[Range]:
        character = self._next()
        if character in _CLASSES:
            return _CLASSES[character]
        if character.lower() in _CLASSES:  # others than ASCII are sorted differently
            others = _without(_CLASSES[character.lower()])
            return [(low, min(high, 0x7E)) for low, high in others if low < 0x7F]
        if character in _CONTROLS:
            return [(_CONTROLS[character], _CONTROLS[character])]
        if character == "b" and within:
            return [(8, 8)]
        if character in "xu":
            n = 2 if character == "x" else 4
            digits = self._text[self._at : self._at + n]
            if re.fullmatch(r"[0-9a-fA-F]+", digits) and len(digits) == n:
                self._at += n
                return [(int(digits, 16), int(digits, 16))]
        if character.isascii() and character.isalnum():
            raise self.refused(f"\\{character}")
        return [_code(character)]


def _code(character: str) -> Range:
    return ord(character), ord(character)


def _one(character: str) -> _Set:
    return _Set((_code(character),))


def _without(ranges: list[Range]) -> list[Range]:
    kept, at = [], 0
    for low, high in sorted(ranges):
        if at < low:
            kept.append((at, low - 1))
        at = max(at, high + 1)
    return [*kept, (at, _LAST)] if at <= _LAST else kept


# -- anchors -------------------------------------------------------------------------------------


def _anchored(group: _Group, reader: _Reader) -> list[tuple[bool, _Sequence, bool]]:
    """The ways to find a pattern: whether each begins and ends with the string."""
    ways = [(False, sequence, False) for sequence in group.ways]
    found: list[tuple[bool, _Sequence, bool]] = []
    while ways:
        starts, sequence, ends = ways.pop(0)
        terms = sequence.terms
        if len(ways) + len(found) > _MOST_WAYS:
            raise reader.refused("so many alternatives with ^ or $")
        if terms and terms[0] == _Anchor("^"):
            ways.insert(0, (True, _Sequence(terms[1:]), ends))
        elif terms and terms[-1] == _Anchor("$"):
            ways.insert(0, (starts, _Sequence(terms[:-1]), True))
        elif terms and isinstance(terms[0], _Group) and _has_anchor(terms[0]):
            ways[:0] = [
                (starts, _Sequence((*way.terms, *terms[1:])), ends) for way in terms[0].ways
            ]
        elif terms and isinstance(terms[-1], _Group) and _has_anchor(terms[-1]):
            ways[:0] = [
                (starts, _Sequence((*terms[:-1], *way.terms)), ends) for way in terms[-1].ways
            ]
        elif any(map(_has_anchor, terms)):
            raise reader.refused("a ^ or $ within")
        else:
            found.append((starts, sequence, ends))
    return found


def _has_anchor(term: _Term) -> bool:
    if isinstance(term, _Repeated):
        return _has_anchor(term.item)
    if isinstance(term, _Group):
        return any(_has_anchor(each) for way in term.ways for each in way.terms)
    return isinstance(term, _Anchor)


# -- lengths, and the grammar --------------------------------------------------------------------


def _lengths(part: _Term | _Sequence) -> tuple[int, float]:
    """The least and the most characters."""
    if isinstance(part, _Set):
        return 1, 1
    if isinstance(part, _Sequence):
        pairs = [_lengths(term) for term in part.terms]
        return sum(low for low, _ in pairs), sum(high for _, high in pairs)
    if isinstance(part, _Group):
        pairs = [_lengths(way) for way in part.ways]
        return min(low for low, _ in pairs), max(high for _, high in pairs)
    assert isinstance(part, _Repeated)
    low, high = _lengths(part.item)
    if part.high is None:
        return low * part.low, math.inf if high else 0
    return low * part.low, high * part.high


def _fitted(sequence: _Sequence, low: int, high: int | None) -> _Sequence:
    """A sequence in which the only repetition is bounded by the lengths that are allowed."""
    terms = sequence.terms
    places = [i for i, term in enumerate(terms) if isinstance(term, _Repeated)]
    if len(places) != 1 or (low, high) == (0, None):
        return sequence
    (place,), rest = places, _Sequence((*terms[: places[0]], *terms[places[0] + 1 :]))
    term, (least, most) = terms[place], _lengths(rest)
    assert isinstance(term, _Repeated)
    if least != most or not isinstance(term.item, _Set):
        return sequence
    lowest = max(term.low, low - least)
    highs = [n for n in (term.high, None if high is None else high - least) if n is not None]
    highest = min(highs, default=None)
    if highest is not None and lowest > highest:
        return sequence
    fitted = _Repeated(term.item, lowest, highest)
    return _Sequence((*terms[:place], fitted, *terms[place + 1 :]))


def _grammar(term: _Term, reader: _Reader) -> str:
    if isinstance(term, _Set):
        found = character_set(term.ranges)
        if found is None:
            raise reader.refused("an empty set")
        return found
    if isinstance(term, _Repeated):
        item, low, high = _grammar(term.item, reader), term.low, term.high
        if high == 0:
            return '""'
        times = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((low, high))
        times = times or f"{{{low},{'' if high is None else high}}}"
        return f"{item}{times}"
    assert isinstance(term, _Group)
    ways = [" ".join(_grammar(each, reader) for each in way.terms) or '""' for way in term.ways]
    return f"({' | '.join(ways)})"
