"""Marking a model's words in a notebook's output, as they differ between machines."""

from __future__ import annotations

from pathlib import Path

__all__ = ["sanitize_file", "words"]

_MARK = "▏"


def words(text: object) -> str:
    """Return a model's words, marked as such: each line begins with ``▏``.

    nbval leaves lines with that mark out of the comparison when given :func:`sanitize_file`, which
    the pytest plugin does by itself. So a cell can show an answer and still have all its other
    output compared.

    Parameters
    ----------
    text : object
        A ``Turn``, a ``Completion`` or any text.

    Examples
    --------
    >>> print(words(chat.ask("Hello!")))
    ▏Hello! How can I help you?
    """
    # Of all the characters that end a line somewhere, none may begin a line without the mark.
    lines = str(text).splitlines() or [""]
    return "\n".join(f"{_MARK}{line}" for line in lines)


def sanitize_file() -> Path:
    """Return the file for ``pytest --nbval --nbval-sanitize-with``; see :func:`words`."""
    return Path(__file__).with_name("nbval_sanitize.cfg")
