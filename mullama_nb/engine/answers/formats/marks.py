"""Marks: the texts that begin and end the parts of an answer, matched while they arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from ...completion import Part

__all__ = ["ANYTHING", "SPACE", "Gap", "Mark", "Match", "Rule", "opens", "until"]

_LONGEST = 96  # characters of a channel's header; what is longer is none


class Gap(Enum):
    """Text between two literals of a mark."""

    SPACE = "whitespace or nothing"
    ANYTHING = "any text up to the next literal, of at most 96 characters"


SPACE, ANYTHING = Gap.SPACE, Gap.ANYTHING

Controls: TypeAlias = Mapping[int, int] | None
"""Where control tokens begin and end in a text; None where nobody knows."""


class Match(Enum):
    """A mark that is not there, or not yet."""

    NO = 0
    MAYBE = 1


@dataclass(frozen=True)
class Mark:
    """A text that begins or ends a part.

    Parameters
    ----------
    elements : sequence of str or Gap
        Literals, and what may stand between two of them.
    controls : frozenset of str
        The literals that are control tokens: the same letters in plain text are no mark.
    """

    elements: tuple[str | Gap, ...]
    controls: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """The literals of the mark."""
        return "".join(element for element in self.elements if isinstance(element, str))

    @property
    def first(self) -> str:
        """The character that it begins with; empty if that may be any."""
        element = self.elements[0]
        return element[:1] if isinstance(element, str) else ""

    def match(self, text: str, at: int, controls: Controls) -> int | Match:
        """Return where the mark that begins at a place ends.

        Parameters
        ----------
        text : str
            What has arrived.
        at : int
        controls : mapping of int to int, optional
            Beginnings and ends of the control tokens in ``text``.

        Returns
        -------
        int or Match
            ``NO`` where it does not begin there, ``MAYBE`` where that depends on what follows.
        """
        gap: Gap | None = None
        for element in self.elements:
            if isinstance(element, Gap):
                gap = element
                continue
            end = self._literal(text, at, controls, element, gap)
            if isinstance(end, Match):
                return end
            at, gap = end, None
        return at

    def _literal(
        self, text: str, at: int, controls: Controls, literal: str, gap: Gap | None
    ) -> int | Match:
        if gap is ANYTHING:
            last = at + _LONGEST
            at = text.find(literal, at, last + len(literal))
            if at < 0:
                return Match.MAYBE if len(text) < last + len(literal) else Match.NO
        elif gap is SPACE:
            while at < len(text) and text[at].isspace():
                at += 1
        end = at + len(literal)
        if at < len(text) and controls is not None and literal in self.controls:
            return end if controls.get(at) == end and text[at:end] == literal else Match.NO
        if text.startswith(literal, at):
            return end
        return Match.MAYBE if literal.startswith(text[at:]) else Match.NO


@dataclass(frozen=True)
class Rule:
    """A mark's effect.

    Attributes
    ----------
    within : Part
        Where the mark counts.
    mark : Mark
    then : Part or callable
        What follows it. A channel's header says that by its text; None: no header.
    at_start : bool
        Whether nothing but whitespace and thoughts may stand before it; within a thought, nothing
        of that.
    outside_strings : bool
        Whether it counts only where no JSON string is open in the call so far.
    opens_text : bool
        Whether it is a header, or part of one, without which there is no text.
    """

    within: Part
    mark: Mark
    then: Part | Callable[[str], Part | None]
    at_start: bool = False
    outside_strings: bool = False
    opens_text: bool = False

    def part_after(self, found: str) -> Part | None:
        """Return what follows a mark that was found; None if it is none."""
        return self.then(found) if callable(self.then) else self.then


def opens(part: Part, *elements: str | Gap, at_start: bool = False) -> Rule:
    """Return the rule of a mark in the text that begins a part."""
    return Rule("text", Mark(elements), part, at_start=at_start)


def until(part: Part, *elements: str | Gap, outside_strings: bool = False) -> Rule:
    """Return the rule of a mark that ends a part; text follows."""
    return Rule(part, Mark(elements), "text", outside_strings=outside_strings)
