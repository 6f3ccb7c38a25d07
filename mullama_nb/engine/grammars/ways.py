"""Counting the ways in which a grammar parses a text, as llama.cpp would follow them.

llama.cpp keeps a stack for every place in the grammar where a text may be. When it tries a token it
goes on from each of them, character by character, and only those that it comes to from one stack
are told apart: where two stacks lead to the same one, that is followed twice. Here all texts of
some length are read like that, with the ways counted and not followed.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Alternatives", "Item", "Ways"]

_CHARACTER = re.compile(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)|.", re.DOTALL)
_CONTROL = {"n": "\n", "r": "\r", "t": "\t"}
_LAST = 0x10FFFF
_END = 0  # the place behind everything


@dataclass(frozen=True)
class Item:
    """A repeatable item: a rule, a text or a set; a group is a rule of its own."""

    name: str = ""
    text: str = ""
    low: int = 1
    high: int | None = 1


Alternatives: TypeAlias = list[list[Item]]
_Ranges: TypeAlias = Sequence[tuple[int, int]]
# A stack: number of a sequence, of an item in it, how often that was read, and the stack below.
_Place: TypeAlias = tuple[int, int, int, int]
# A character that may come: the item's place, which of its characters, and the place behind it.
_Reading: TypeAlias = tuple[int, int, int]
_Stack: TypeAlias = int | _Reading  # a place, or within a text


class Ways:
    """Counts the ways to parse texts.

    Parameters
    ----------
    rules : mapping of str to Alternatives
    n_steps : int
        Limit of steps in all.
    """

    def __init__(self, rules: Mapping[str, Alternatives], n_steps: int) -> None:
        self._steps = n_steps
        self._sequences: list[Sequence[Item]] = []
        self._rules = {
            name: [self._add(sequence) for sequence in alternatives]
            for name, alternatives in rules.items()
        }
        self._places: list[_Place] = [(-1, 0, 0, _END)]
        self._numbers: dict[_Place, int] = {}
        self._closures: dict[int, list[_Reading]] = {}
        self._characters: dict[str, list[_Ranges]] = {}

    def _add(self, sequence: Sequence[Item]) -> int:
        self._sequences.append(sequence)
        return len(self._sequences) - 1

    def most(self, item: Item, n_characters: int, enough: int) -> int | None:
        """Return the most ways in which any text of up to ``n_characters`` can be parsed.

        Parameters
        ----------
        item : Item
        n_characters : int
        enough : int
            The count stops at the first number above.

        Returns
        -------
        int or None
            None if the limit of steps was reached.
        """
        begin: Counter[_Stack] = Counter({self._place(self._add([item]), 0, 0, _END): 1})
        most, left = 0, {frozenset[tuple[_Stack, int]](begin.items()): n_characters}
        # Where there are many ways already comes first: where there are too many that says so soon.
        order = itertools.count()
        heap: list[tuple[int, int, int, Counter[_Stack]]]
        heap = [(0, next(order), n_characters, begin)]
        while heap:
            _, _, n_left, stacks = heapq.heappop(heap)
            for after in self._read(self._ways(stacks)):
                n = sum(k * self._n_ways(stack) for stack, k in after.items())
                if self._steps < 0:
                    return None
                most = max(most, n)
                if most > enough:
                    return most
                key = frozenset(after.items())
                if n_left > 1 and left.get(key, 0) < n_left - 1:
                    left[key] = n_left - 1
                    heapq.heappush(heap, (-n, next(order), n_left - 1, after))
        return most

    def most_at_once(self, first: Mapping[str, int]) -> int:
        """Return in how many of these ways one character can be parsed.

        Parameters
        ----------
        first : mapping of str to int
            Ways by the text or set that they begin with.
        """
        changes: Counter[int] = Counter()
        for text, n in first.items():
            for ranges in self._spelled(text)[:1]:
                for low, high in ranges:
                    changes[low] += n
                    changes[high + 1] -= n
        return max(itertools.accumulate(n for _, n in sorted(changes.items())), default=0)

    def _n_ways(self, stack: _Stack) -> int:
        return len(self._closure(stack)) if isinstance(stack, int) else 1

    def _ways(self, stacks: Counter[_Stack]) -> Counter[_Reading]:
        ways: Counter[_Reading] = Counter()
        for stack, n in stacks.items():
            for reading in self._closure(stack) if isinstance(stack, int) else [stack]:
                ways[reading] += n
        self._steps -= len(ways)
        return ways

    def _read(self, ways: Counter[_Reading]) -> Iterator[Counter[_Stack]]:
        """Go on by each character of which one is read in as many ways as any other, or more."""
        singles: dict[int, list[_Reading]] = {}
        sets: list[tuple[_Ranges, _Reading]] = []
        for reading in ways:
            ranges = self._ranges(reading)
            if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
                singles.setdefault(ranges[0][0], []).append(reading)
            else:
                sets.append((ranges, reading))
        for character in {*singles, *(low for ranges, _ in sets for low, _ in ranges)}:
            self._steps -= len(sets)
            after: Counter[_Stack] = Counter()
            for reading in singles.get(character, ()):
                after[self._behind(reading)] += ways[reading]
            for ranges, reading in sets:
                if any(low <= character <= high for low, high in ranges):
                    after[self._behind(reading)] += ways[reading]
            self._steps -= len(after)
            yield after

    def _behind(self, reading: _Reading) -> _Stack:
        place, offset, behind = reading
        if offset + 1 < len(self._spelled(self._item(place).text)):
            return place, offset + 1, behind
        return behind

    # -- places ------------------------------------------------------------------------------

    def _item(self, place: int) -> Item:
        sequence, index, _, _ = self._places[place]
        return self._sequences[sequence][index]

    def _place(self, sequence: int, index: int, done: int, below: int) -> int:
        """Return the number of a place, or the one below it where its sequence has ended."""
        if index == len(self._sequences[sequence]):
            return below
        place = (sequence, index, done, below)
        if place not in self._numbers:
            self._numbers[place] = len(self._places)
            self._places.append(place)
        return self._numbers[place]

    def _closure(self, place: int) -> list[_Reading]:
        """Return what may be read next, each once."""
        if place not in self._closures:
            self._closures[place] = [*dict.fromkeys(self._readings(place))]
        return self._closures[place]

    def _readings(self, start: int) -> Iterator[_Reading]:
        todo, seen = [start], {_END}
        while todo:
            place = todo.pop()
            if place in seen:
                continue
            seen.add(place)
            self._steps -= 1
            sequence, index, done, below = self._places[place]
            item = self._sequences[sequence][index]
            behind = self._place(sequence, index + 1, 0, below)
            if done >= item.low:
                todo.append(behind)
            if done == item.high:
                continue
            if item.high is None and done >= item.low:  # from here on a rule that refers to itself
                done = item.low
                place = self._place(sequence, index, done + 1, below)
            done += 1
            after = behind if done == item.high else self._place(sequence, index, done, below)
            if item.name:
                todo += [self._place(each, 0, 0, after) for each in self._rules.get(item.name, ())]
            elif self._spelled(item.text):
                yield place, 0, after
            else:
                todo.append(after)

    # -- characters --------------------------------------------------------------------------

    def _ranges(self, reading: _Reading) -> _Ranges:
        place, offset, _ = reading
        return self._spelled(self._item(place).text)[offset]

    def _spelled(self, text: str) -> list[_Ranges]:
        """Return the characters of a text or a set, each as the ranges that it may lie in."""
        if text not in self._characters:
            self._characters[text] = _spelled(text)
        return self._characters[text]


def _spelled(text: str) -> list[_Ranges]:
    if text.startswith('"'):
        return [[(code, code)] for _, code in _codes(text[1:])]
    if not text.startswith("["):  # any character, or a token
        return [[(0, _LAST)]]
    is_other = text.startswith("[^")
    codes = [*_codes(text[2 if is_other else 1 : -1])]
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < len(codes):
        low = high = codes[at][1]
        if at + 2 < len(codes) and codes[at + 1][0] == "-":
            at += 2
            high = codes[at][1]
        ranges.append((low, high))
        at += 1
    return [_others(ranges) if is_other else ranges]


def _others(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    others, begin = [], 0
    for low, high in sorted(ranges):
        if low > begin:
            others.append((begin, low - 1))
        begin = max(begin, high + 1)
    return [*others, (begin, _LAST)]


def _codes(text: str) -> Iterator[tuple[str, int]]:
    """Characters as they are written, each with what it stands for."""
    for written in _CHARACTER.findall(text):
        escaped = written[1:]
        if len(escaped) > 1:
            yield written, int(escaped[1:], 16)
        else:
            yield written, ord(_CONTROL.get(escaped, escaped or written))
