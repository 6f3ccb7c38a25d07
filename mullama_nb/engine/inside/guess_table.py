"""What each layer of a look would have said next, as a table for notebooks and terminals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from ...signs import signs
from ...tables import LEFT, html_table
from ..sampling.probability import TokenProbability

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Guesses", "guesses_html", "guesses_table", "settles_at"]

Guesses: TypeAlias = Sequence[Sequence[TokenProbability]]
"""By the number of layers, from none to all: the likeliest tokens, in order."""

_MARK = " ◂"


def settles_at(guesses: Guesses) -> int:
    """Return after how many layers the last one's first guess is the first guess, and stays it."""
    final = guesses[-1][0].id
    changes = [n for n, row in enumerate(guesses) if row[0].id != final]
    return changes[-1] + 1 if changes else 0


def guesses_html(guesses: Guesses, caption: str, *, most: int | None = None) -> str:
    """Return an HTML table; a mark is where the first guess settles.

    Parameters
    ----------
    guesses : sequence
    caption : str
    most : int, optional
        Rows, from 3 on: the first and the last one, the one with the mark, and some in between.
        None: all.
    """
    shown = _some(len(guesses), settles_at(guesses), most)
    heads = ["after layers", *map(str, range(1, len(guesses[0]) + 1))]
    styles = ["", *[LEFT] * len(guesses[0])]
    rows = [row for n, row in enumerate(_rows(guesses)) if n in shown]
    return html_table(rows, heads, styles=styles, named_rows=True, caption=caption)


def guesses_table(guesses: Guesses, caption: str) -> Table:
    """Return a table for rich; the row where the first guess settles is bold."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(caption))
    table.add_column("after layers", justify="right")
    for n in range(1, len(guesses[0]) + 1):
        table.add_column(str(n))
    settled = settles_at(guesses)
    for n, row in enumerate(_rows(guesses)):
        # A model's words are no markup.
        table.add_row(*map(Text, row), style="bold" if n == settled else "")
    return table


def _some(n: int, settled: int, most: int | None) -> set[int]:
    """Which of ``n`` rows are shown."""
    if most is None or n <= most:
        return set(range(n))
    return {settled, *(round(i * (n - 1) / (most - 2)) for i in range(most - 1))}


def _rows(guesses: Guesses) -> list[list[str]]:
    settled = settles_at(guesses)
    return [
        [
            (str(n) if n else "embedding") + _MARK * (n == settled),
            *(f"{signs(guess.text)} {guess.probability:.0%}" for guess in row),
        ]
        for n, row in enumerate(guesses)
    ]
