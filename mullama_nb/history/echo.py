"""Printing an answer as it comes, without a break inside a word."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Callable

__all__ = ["Echo", "echo_to_screen"]

_WIDTH = 76  # a notebook says nothing of its own width, and breaks longer lines anywhere
_FENCE = "```"


class Echo:
    """Writes text in lines that end between words, whatever pieces it comes in.

    Nothing changes but single blanks that become line ends. Lines of code between fences stay as
    they are, as do words that are longer than a line.

    Parameters
    ----------
    write : callable
        Takes each piece of text.
    width : int
        The most columns of a line.
    """

    def __init__(self, write: Callable[[str], object], width: int) -> None:
        self.has_written = False
        self._write = write
        self._width = width
        self._column = 0
        self._blanks = ""
        self._word = ""
        self._word_width = 0
        self._line = ""  # its beginning, to see a fence
        self._in_code = False

    def feed(self, text: str) -> None:
        """Write a piece, but for a word at its end that may go on."""
        for character in text:
            self._take(character)
        if self._in_code or self._column + len(self._blanks) + self._word_width > self._width:
            self._end_word()

    def end(self) -> None:
        """Write what is held, and end the line."""
        self._end_word()
        self._put(self._blanks)
        self._blanks = ""
        if self.has_written:
            self._put("\n")

    def _take(self, character: str) -> None:
        if character == "\n":
            self._end_word()
            self._put(f"{self._blanks}\n")
            self._blanks, self._column = "", 0
            if self._line.lstrip().startswith(_FENCE):
                self._in_code = not self._in_code
            self._line = ""
            return
        if len(self._line) < self._width:
            self._line += character
        if character == " ":
            self._end_word()
            self._blanks += " "
            return
        n = _columns(character)
        if n == 2:  # scripts without blanks may break before any character
            self._end_word()
        self._word += character
        self._word_width += n

    def _end_word(self) -> None:
        if not self._word:
            return
        blanks = self._blanks
        is_code = self._in_code or self._line.lstrip().startswith(_FENCE)
        if (
            not is_code
            and self._column
            and self._column + len(blanks) + self._word_width > self._width
        ):
            is_wide = not blanks and _columns(self._word[0]) == 2
            if blanks == " " or is_wide:
                self._put("\n")
                blanks, self._column = "", 0
        self._put(blanks + self._word)
        self._column += len(blanks) + self._word_width
        self._blanks = self._word = ""
        self._word_width = 0

    def _put(self, text: str) -> None:
        if text:
            self.has_written = True
            self._write(text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def echo_to_screen() -> Echo:
    """Return what prints in lines as wide as the terminal, or as most notebooks show."""
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else _WIDTH

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    return Echo(write, max(1, width))
