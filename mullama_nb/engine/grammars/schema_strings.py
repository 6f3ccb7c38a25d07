"""Strings of JSON schemas as grammars: characters, constants and formats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "CHARACTER",
    "FORMATS",
    "Range",
    "character_set",
    "literal",
    "other_than",
    "plain_set",
    "quoted",
]

Range = tuple[int, int]
"""Code points from the first to the last."""

_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_ESCAPES = {
    ord('"'): '"',
    ord("\\"): "\\",
    ord("\b"): "b",
    ord("\f"): "f",
    ord("\n"): "n",
    ord("\r"): "r",
    ord("\t"): "t",
}

# One character each: half a surrogate pair would be none, and the other half another one.
CHARACTER = (
    r'[^"\\\x00-\x1F\x7F\uD800-\uDFFF\U00110000-\U001FFFFF] | "\\" (["\\/bfnrt]'
    r' | "u" ([0-9a-cefA-CEF] hex hex hex | [dD] [0-7] hex hex))'
)

_DATE = (
    '([1-9] [0-9]{3} "-" (("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])'
    ' | ("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30")'
    ' | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8]))'
    ' | [1-9] [0-9] ("0" [48] | [2468] [048] | [13579] [26]) "-02-29")'
)
_HOUR_MINUTE = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]'
_TIME = f'{_HOUR_MINUTE} ":" [0-5] [0-9] ("." [0-9]{{1,6}})? ("Z" | [+-] {_HOUR_MINUTE})'
_BYTE = '("25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9]? [0-9])'
_LABEL = "[a-z] [a-z0-9]{0,30}"
_HOST = f'{_LABEL} ("." {_LABEL}){{1,4}}'
_HEX4 = "[0-9a-f]{4}"

FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "duration": '"P" ([0-9]{1,4} "D" | "T" [0-9]{1,4} [HMS])',
    "uuid": f'{_HEX4} {_HEX4} "-" {_HEX4} "-" {_HEX4} "-" {_HEX4} "-" {_HEX4} {_HEX4} {_HEX4}',
    "ipv4": f'{_BYTE} ("." {_BYTE}){{3}}',
    "ipv6": f'{_HEX4} (":" {_HEX4}){{7}}',
    "hostname": _HOST,
    "email": f'[a-z0-9] [a-z0-9_]{{0,30}} ("." [a-z0-9_]{{1,30}}){{0,3}} "@" {_HOST}',
    "uri": f'"http" "s"? "://" {_HOST} ("/" [a-zA-Z0-9._~-]{{1,40}}){{0,8}} "/"?',
}
"""What is between the quotes. Each is a part of what the format allows: all of it is valid."""


def literal(value: object) -> str:
    """Return the grammar of one JSON value, in one way to write it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if any(_SURROGATES[0] <= ord(c) <= _SURROGATES[1] for c in text):
        text = json.dumps(value)
    return quoted(text)


def quoted(text: str) -> str:
    """Return the grammar of a text."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return '"' + escaped.replace("\n", r"\n").replace("\r", r"\r") + '"'


def character_set(ranges: Iterable[Range]) -> str | None:
    """Return the grammar of one character of a set, as JSON strings have it; None if empty."""
    ranges = _merged(ranges)
    parts = []
    plain = plain_set(ranges)
    if plain is not None:
        parts.append(plain)
    short = [code for code in _ESCAPES if any(low <= code <= high for low, high in ranges)]
    if short:
        letters = [ord(_ESCAPES[code]) for code in short]
        parts.append(f'"\\\\" {_brackets([(letter, letter) for letter in letters])}')
    if not parts:  # other control characters alone
        codes = [c for low, high in ranges for c in range(low, min(high, 0x1F) + 1)]
        parts = [f'"\\\\u{code:04x}"' for code in codes]
    if not parts:
        return None
    return plain if parts == [plain] else f"({' | '.join(parts)})"


def plain_set(ranges: Iterable[Range]) -> str | None:
    """Return the grammar of one character of a set that JSON need not escape; None if empty."""
    kept = _merged(ranges)
    for low, high in ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), _SURROGATES):
        kept = [
            part
            for a, b in kept
            for part in ((a, min(b, low - 1)), (max(a, high + 1), b))
            if part[0] <= part[1]
        ]
    return _brackets(kept) if kept else None


def _merged(ranges: Iterable[Range]) -> list[Range]:
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, min(high, _LAST)))
    return merged


def _brackets(ranges: Sequence[Range]) -> str:
    spelled = [_spelled(a) if a == b else f"{_spelled(a)}-{_spelled(b)}" for a, b in ranges]
    return f"[{''.join(spelled)}]"


def _spelled(code: int) -> str:
    character = chr(code)
    if character.isascii() and character.isalnum():
        return character
    if code < 0x100:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def other_than(names: Sequence[str]) -> str:
    """The grammar of plain characters that are none of some names."""
    trie: dict[str, Any] = {}
    for name in names:
        if all(plain_set([(ord(c), ord(c))]) for c in name):
            at = trie
            for character in name:
                at = at.setdefault(character, {})
            at[""] = {}
    return _behind(trie)


def _behind(trie: Mapping[str, Any]) -> str:
    """What may follow where names begin like this."""
    nexts = sorted(character for character in trie if character)
    gaps, at = [], 0
    for code in map(ord, nexts):
        if at < code:
            gaps.append((at, code - 1))
        at = code + 1
    ways = [f"{plain_set([*gaps, (at, _LAST)])} plain*"]
    ways += [f"{quoted(c)} {_behind(trie[c])}" for c in nexts]
    return f"({' | '.join(ways)}){'' if '' in trie else '?'}"
