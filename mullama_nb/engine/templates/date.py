"""The date that a chat template was told, read back from a text that it rendered."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

__all__ = ["Clock", "date_in"]

_WORD = "mzqdate"
_AROUND = 12  # characters after the date that have to be the same


class Clock(Protocol):
    """What a template asks for the time: a ``datetime``, or what stands in for one."""

    def strftime(self, format: str, /) -> str:  # noqa: A002 - as it is called there
        """Return the time in a format."""


class _Asked:
    """Stands in for a date, and notes the formats that a template asks for."""

    def __init__(self) -> None:
        self.formats: list[str] = []

    def strftime(self, format: str, /) -> str:  # noqa: A002
        """Return a word in place of the date."""
        self.formats.append(format)
        return f"{_WORD}{len(self.formats) - 1}x"


def date_in(text: str, render: Callable[[Clock], str]) -> datetime | None:
    """Return the date that a template was told when it rendered a text.

    Parameters
    ----------
    text : str
        A rendered conversation.
    render : callable
        Renders the beginning of a conversation with a clock.

    Returns
    -------
    datetime or None
        As exact as the template writes it. None if it writes none, or the text does not begin so.
    """
    asked = _Asked()
    parts = re.split(f"{_WORD}([0-9]+)x", render(asked))
    if len(parts) == 1:
        return None
    parts[-1] = parts[-1][:_AROUND]
    pattern = "".join(
        "(.{1,80}?)" if index % 2 else re.escape(part) for index, part in enumerate(parts)
    )
    found = re.match(pattern, text)
    if found is None:
        return None
    formats = [asked.formats[int(number)] for number in parts[1::2]]
    try:
        return datetime.strptime("\n".join(found.groups()), "\n".join(formats))
    except (ValueError, re.error):  # it writes the same twice, or what cannot be read back
        return None
