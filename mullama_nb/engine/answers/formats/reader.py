"""Reading an answer's parts while its text arrives."""

from __future__ import annotations

import copy
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from ...completion import Part
from .marks import Match, Rule

__all__ = ["Piece", "Reader"]

_STRING = re.compile(r'"(?:[^"\\]|\\.)*("?)', re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """A run of an answer's text.

    Attributes
    ----------
    part : Part
        A mark belongs to the part that it begins or ends.
    text : str
    is_mark : bool
        Whether it is a mark, or the whitespace after one.
    begins : bool
        Whether it is the mark at the beginning of a part.
    """

    part: Part
    text: str
    is_mark: bool = False
    begins: bool = False


class Reader:
    """The parts of one answer, read as its text arrives.

    The same pieces come out however the text is divided. Text that may turn out to begin a mark
    waits until that is known.

    Parameters
    ----------
    rules : sequence of Rule
        In order of precedence.
    part : Part
        Where the answer begins.
    ends_unopened : bool
        Whether a thought's closing mark without an opening one makes a thought of everything before
        it, since prompts of this kind may have opened it.

    Attributes
    ----------
    pieces : list of Piece
        What is certain.
    part : Part
        What the next text belongs to.
    has_thought : bool
        Whether a thought has begun.
    is_opened : bool
        Whether a header that begins a text was read last.
    n_calls : int
        How many calls have begun.
    call_mark : str
        What the last of them began with.
    """

    def __init__(
        self, rules: Sequence[Rule], part: Part = "text", *, ends_unopened: bool = False
    ) -> None:
        self.pieces: list[Piece] = []
        self.part: Part = part
        self.has_thought = part == "reasoning"
        self.is_opened = False
        self.n_calls = 0
        self.call_mark = ""
        self._rules = tuple(rules)
        self._ends_unopened = ends_unopened
        self._text = ""  # what is not certain
        self._controls: dict[int, int] | None = None
        self._after_mark: Part | None = part if part != "text" else None
        self._n_blank = 0  # characters of whitespace at the beginning of that
        self._call = ""  # the present call so far
        self._is_start = True  # nothing but whitespace, marks and thoughts so far
        self._ends: list[int] = []  # of the pieces, as they were when they became certain
        self._labels: list[Part] = []
        self._n = 0
        self._begin = re.compile(
            "|".join(sorted({re.escape(rule.mark.first) for rule in rules})) or r"(?!)"
        )

    # -- what is known -----------------------------------------------------------------------

    @property
    def n_certain(self) -> int:
        """The number of characters whose part is certain."""
        return self._n

    @property
    def pending(self) -> str:
        """The text that may begin a mark."""
        return self._text

    @property
    def call(self) -> str:
        """The text of the last call so far, behind its mark."""
        return self._call[len(self.call_mark) :] + self._text

    @property
    def is_in_string(self) -> bool:
        """Whether a JSON string is open in a call."""
        return self.part == "tool_call" and _in_string(self._call + self._text)

    def part_at(self, n_characters: int) -> Part:
        """Return the part of the last of the first ``n_characters``, as it seemed at the time."""
        at = bisect_left(self._ends, n_characters)
        return self._labels[at] if at < len(self._labels) else self.part

    def copy(self) -> Reader:
        """Return a reader that goes on from here by itself."""
        other = copy.copy(self)
        other.pieces, other._ends, other._labels = [*self.pieces], [*self._ends], [*self._labels]
        other._controls = None if self._controls is None else dict(self._controls)
        return other

    # -- reading -----------------------------------------------------------------------------

    def feed(self, text: str, *, is_control: bool | None = None) -> None:
        """Read more text.

        Parameters
        ----------
        text : str
        is_control : bool, optional
            Whether it is a control token, or has none. None: nobody knows, so that marks count
            wherever they are spelled.
        """
        if is_control is not None:
            self._controls = self._controls or {}
            if is_control and text:
                self._controls[len(self._text)] = len(self._text) + len(text)
        self._text += text
        self._advance(at_end=False)

    def finish(self) -> list[Piece]:
        """Return all pieces: nothing follows."""
        self._advance(at_end=True)
        return self.pieces

    def _advance(self, *, at_end: bool) -> None:
        at = 0
        self._n_blank = _leading_space(self._text)
        while at < len(self._text) and (found := self._begin.search(self._text, at)) is not None:
            at = found.start()
            rule, end = self._rule_at(at, at_end=at_end)
            if end is Match.MAYBE:
                return self._release(at)
            if rule is None or isinstance(end, Match):
                at += 1
                continue
            self._release(at)
            self._take(rule, end - at)
            self._n_blank = _leading_space(self._text)
            at = 0
        return self._release(len(self._text))

    def _rule_at(self, at: int, *, at_end: bool) -> tuple[Rule | None, int | Match]:
        for rule in self._rules:
            if rule.within != self.part and not self._is_stray_end(rule):
                continue
            if rule.at_start and not self._is_at_start(at):
                continue
            end = rule.mark.match(self._text, at, self._controls)
            if end is Match.MAYBE and not at_end:
                return rule, end
            if not isinstance(end, Match) and self._counts(rule, at, end):
                return rule, end
        return None, Match.NO

    def _is_at_start(self, at: int) -> bool:
        """Whether nothing was said before a place, or thought where a thought goes on."""
        began = self._after_mark is not None if self.part == "reasoning" else self._is_start
        return began and at <= self._n_blank

    def _counts(self, rule: Rule, at: int, end: int) -> bool:
        if rule.part_after(self._text[at:end]) is None:
            return False
        is_certain = self._controls is not None and rule.mark.text in rule.mark.controls
        if is_certain or not rule.outside_strings:
            return True
        return not _in_string(self._call + self._text[:at])

    def _is_stray_end(self, rule: Rule) -> bool:
        return (
            self._ends_unopened
            and self.part == "text"
            and rule.within == "reasoning"
            and not self.has_thought
            and all(piece.part == "text" for piece in self.pieces)
        )

    def _take(self, rule: Rule, n: int) -> None:
        """Take a mark from the beginning of what is not certain."""
        if rule.within == "reasoning" and self.part == "text":
            self.pieces = [Piece("reasoning", p.text, p.is_mark) for p in self.pieces]
        then = rule.part_after(self._text[:n])
        assert then is not None
        owner = rule.within if then == "text" and rule.within != "text" else then
        if then == "tool_call":
            self._call = ""
            self.n_calls += 1
            self.call_mark = self._text[:n]
        self.has_thought = self.has_thought or owner == "reasoning"
        self.is_opened = rule.opens_text and then == "text"
        self._put(Piece(owner, self._text[:n], is_mark=True, begins=then == owner))
        self.part, self._after_mark = then, owner

    def _release(self, n: int) -> None:
        """What comes before a place is not a mark."""
        text = self._text[:n]
        if self._after_mark is not None and text:
            n_space = _leading_space(text)
            if n_space:
                self._put(Piece(self._after_mark, text[:n_space], is_mark=True))
            text = text[n_space:]
            if text:
                self._after_mark = None
        if text:
            self._put(Piece(self.part, text))

    def _put(self, piece: Piece) -> None:
        n = len(piece.text)
        self._text = self._text[n:]
        if self._controls is not None:
            self._controls = {
                begin - n: end - n for begin, end in self._controls.items() if begin >= n
            }
        self._n += n
        if piece.part == "tool_call":
            self._call += piece.text
        if piece.part == "tool_call" or (piece.part == "text" and not piece.is_mark):
            self._is_start = self._is_start and not piece.text.strip()
        last = self.pieces[-1] if self.pieces else None
        if last is not None and not piece.begins and _kind(last) == _kind(piece):
            self.pieces[-1] = Piece(piece.part, last.text + piece.text, piece.is_mark, last.begins)
        else:
            self.pieces.append(piece)
        if self._labels and self._labels[-1] == piece.part:
            self._ends[-1] = self._n
        else:
            self._ends.append(self._n)
            self._labels.append(piece.part)


def _leading_space(text: str) -> int:
    return len(text) - len(text.lstrip())


def _kind(piece: Piece) -> tuple[Part, bool]:
    return piece.part, piece.is_mark


def _in_string(call: str) -> bool:
    """Return whether a JSON string is open at the end of a call."""
    begin = min((at for at in (call.find("{"), call.find("[{")) if at >= 0), default=-1)
    if begin < 0:
        return False
    closing = '"'
    for string in _STRING.finditer(call, begin):  # the last one matters
        closing = string.group(1)
    return not closing
