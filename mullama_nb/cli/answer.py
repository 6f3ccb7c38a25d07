"""An answer as it is printed: its text on stdout, and beside it, on stderr, what leads there."""

from __future__ import annotations

import click

from ..engine.answers.format import Reader
from ..engine.completion import Part, Token
from ..history.answer_reader import answer_reader
from ..history.chat import Chat

__all__ = ["AnswerPrinter"]


class AnswerPrinter:
    """Prints an answer while it grows; to be called with each token.

    Its text goes to stdout, so that a pipe gets nothing else. Thoughts and calls of tools go to
    stderr, dim in a terminal, and each on lines of their own.

    Parameters
    ----------
    chat : Chat
        Whose head is the question when the first token comes, or what there is of the answer.
    is_whole : bool
        Whether to print what there is of the answer, too.
    """

    def __init__(self, chat: Chat, *, is_whole: bool = False) -> None:
        self._chat = chat
        self._is_whole = is_whole
        self._reader: Reader | None = None
        self._n_pieces = self._n_characters = 0  # what was printed: whole pieces, and of the next
        self._part: Part = "text"
        self._is_in_line = False

    def __call__(self, token: Token) -> None:
        """Print what has become certain."""
        if self._reader is None:
            self._reader = answer_reader(self._chat, self._chat.head)
            self._part = self._reader.part
            self._print(silently=not self._is_whole)
        self._reader.feed(token.text)
        self._print()

    def finish(self) -> None:
        """Print the rest, and end the line."""
        if self._reader is not None:
            self._reader.finish()
            self._print()
        if self._part != "text" and self._is_in_line:
            click.echo(err=True)
        click.echo()

    def _print(self, *, silently: bool = False) -> None:
        assert self._reader is not None
        pieces = self._reader.pieces
        for n, piece in enumerate(pieces[self._n_pieces :], self._n_pieces):
            text = piece.text[self._n_characters if n == self._n_pieces else 0 :]
            if text and not silently and not (piece.is_mark and piece.part != "tool_call"):
                self._write(piece.part, text)
            self._n_pieces, self._n_characters = n, len(piece.text)

    def _write(self, part: Part, text: str) -> None:
        if part != self._part and self._is_in_line:
            click.echo(err=True)
        self._part, self._is_in_line = part, not text.endswith("\n")
        if part == "text":
            click.echo(text, nl=False)
        else:
            click.echo(click.style(text, dim=True), err=True, nl=False)
