"""Which words of an answer differ from those of another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher

__all__ = ["mark_differing", "words_of"]

# A word: an entity of HTML, a character of a script without spaces, letters and digits, a sign.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"&#?\w+;|[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+|[^\w\s]")
_MOST_WORDS = 500  # above which frequent words are no anchors: their number of pairs is squared


def words_of(text: str) -> list[str]:
    """Return the words and signs of a text.

    Parameters
    ----------
    text : str
    """
    return _WORD.findall(text)


def mark_differing(
    first: Iterable[str], pieces: Sequence[str], mark: Callable[[str], str]
) -> list[str]:
    """Return the pieces of a text, with marks around the words that another text does not have.

    Parameters
    ----------
    first : iterable of str
        The pieces of the other text.
    pieces : sequence of str
        They are compared as one text; no mark goes beyond a piece.
    mark : callable
        Puts marks around some words of a piece, with the spaces between them.
    """
    other = [word for piece in first for word in words_of(piece)]
    found = [[*_WORD.finditer(piece)] for piece in pieces]
    flags = _differing(other, [match[0] for matches in found for match in matches])
    return [
        _marked(piece, [(match.span(), next(flags)) for match in matches], mark)
        for piece, matches in zip(pieces, found, strict=True)
    ]


def _differing(first: Sequence[str], words: Sequence[str]) -> Iterator[bool]:
    is_long = max(len(first), len(words)) > _MOST_WORDS
    same = SequenceMatcher(None, first, words, autojunk=is_long).get_matching_blocks()
    at = 0
    for _, begin, n in same:
        yield from [True] * (begin - at)
        yield from [False] * n
        at = begin + n


def _marked(
    piece: str, words: Sequence[tuple[tuple[int, int], bool]], mark: Callable[[str], str]
) -> str:
    """A piece with a mark around each run of words that differ."""
    runs: list[list[int]] = []
    was_differing = False
    for (begin, end), differs in words:
        if differs and was_differing:
            runs[-1][1] = end
        elif differs:
            runs.append([begin, end])
        was_differing = differs
    parts, at = [], 0
    for begin, end in runs:
        parts += [piece[at:begin], mark(piece[begin:end])]
        at = end
    return "".join([*parts, piece[at:]])
