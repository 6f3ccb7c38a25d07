"""Texts that a grammar generates, without a model."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from mullama_nb.engine.grammars.grammar import _rules
from mullama_nb.engine.grammars.json_schema import gbnf
from mullama_nb.engine.grammars.ways import Item

_SPELLED = re.compile(r"\\x(..)|\\u(.{4})|\\U(.{8})|\\(.)|(.)", re.DOTALL)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_CHARACTERS = [*'\x1f "\\/aAbzZ09-_.@:{}[],\x7fé\u2028\ud7ff🙂\u0660\t\n\x00', "\U0010ffff"]


def spelled(text: str) -> str:
    """A literal or a set without its escapes."""
    found = []
    for match in _SPELLED.finditer(text):
        code = match[1] or match[2] or match[3]
        known = _CONTROLS.get(match[4] or "", match[4] or match[5])
        found.append(chr(min(int(code, 16), 0x10FFFF)) if code else known)
    return "".join(found)


def of_set(text: str, rng: random.Random) -> str:
    """A character of a set."""
    is_negated = text.startswith("[^")
    parts = list(_SPELLED.finditer(text[1 + is_negated : -1]))
    ranges, i = [], 0
    while i < len(parts):
        first = spelled(parts[i][0])
        if i + 2 < len(parts) and parts[i + 1][0] == "-":
            ranges.append((first, spelled(parts[i + 2][0])))
            i += 3
        else:
            ranges.append((first, first))
            i += 1
    if not is_negated:
        low, high = rng.choice(ranges)
        ends = [low, high, chr(rng.randint(ord(low), ord(high)))]
        return rng.choice([c for c in ends if not "\ud800" <= c <= "\udfff"])
    allowed = [c for c in _CHARACTERS if not any(low <= c <= high for low, high in ranges)]
    return rng.choice(allowed)


class Deriver:
    """Texts that a grammar generates, at random; those that get long are given up."""

    def __init__(self, grammar: str, rng: random.Random) -> None:
        self.rules, self.rng = _rules(grammar), rng
        self.found: list[str] = []

    def text(self, name: str = "root") -> str | None:
        self.found, self.n = [], 0
        try:
            self.follow(name, 0)
        except RecursionError:
            return None
        return "".join(self.found)

    def follow(self, name: str, depth: int) -> None:
        self.n += 1
        if depth > 90 or self.n > 3000:
            raise RecursionError
        ways = self.rules[name]
        plain = [way for way in ways if all(not item.name or item.low == 0 for item in way)]
        for item in self.rng.choice(plain if plain and depth > 12 else ways):
            self.repeat(item, depth)

    def repeat(self, item: Item, depth: int) -> None:
        high = item.low + 3 if item.high is None else item.high
        n = item.low if depth > 14 else self.rng.randint(item.low, min(high, item.low + 4))
        if item.high is not None and self.rng.random() < 0.2 and high < 60:
            n = high if depth <= 14 else n
        for _ in range(n):
            if item.name:
                self.follow(item.name, depth + 1)
            elif item.text.startswith('"'):
                self.found.append(spelled(item.text[1:]))
            else:
                self.found.append(of_set(item.text, self.rng))


def texts(schema: Any, n: int, seed: int = 0) -> Iterator[str]:
    deriver = Deriver(gbnf(schema), random.Random(seed))
    for _ in range(n):
        text = deriver.text()
        if text is not None:
            yield text
