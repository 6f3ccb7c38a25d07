"""HTML tables and cards for values that a notebook shows."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

__all__ = ["LEFT", "RIGHT", "WRAPPED", "Markup", "Styled", "html_card", "html_table"]

LEFT = "text-align:left"
RIGHT = "text-align:right"
WRAPPED = "text-align:left;vertical-align:top;white-space:pre-wrap"


_CARD = (
    "border-left:3px solid var(--jp-brand-color1, #1976d2);padding:2px 12px;max-width:48em;"
    "text-align:left"
)
_TYPED = "white-space:pre-wrap;overflow-wrap:break-word;margin-top:4px"


class Styled(str):
    """The text of a cell that is styled otherwise than its column."""

    style: str

    def __new__(cls, text: str, style: str) -> Styled:
        """Return a text with CSS."""
        made = super().__new__(cls, text)
        made.style = style
        return made


class Markup(str):
    """A cell's HTML, which is written as it is."""

    __slots__ = ()


def html_table(
    rows: Iterable[Sequence[str]],
    heads: Sequence[str] = (),
    *,
    styles: Sequence[str] = (),
    named_rows: bool = False,
    caption: str = "",
) -> str:
    """Return an HTML table; all texts are escaped but :class:`Markup`.

    Parameters
    ----------
    rows : iterable of sequence of str
    heads : sequence of str
        Headings of the columns.
    styles : sequence of str
        CSS for the cells of each column, but for those that are :class:`Styled`; empty for none.
    named_rows : bool
        Whether the first cell of a row is its name.
    caption : str
    """
    top = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    if heads:
        top += f"<tr>{''.join(f'<th>{html.escape(head)}</th>' for head in heads)}</tr>"
    return f"<table>{top}{''.join(_row(row, styles, named_rows) for row in rows)}</table>"


def html_card(title: str, facts: Iterable[tuple[str, str]], text: str = "") -> str:
    """Return a value as a card of HTML: a title, facts in one line, a text; all are escaped.

    It takes its colours from the page, so it suits light and dark themes, and reads well where a
    page drops styles.

    Parameters
    ----------
    title : str
    facts : iterable of (str, str)
        Names, which may be empty, and values.
    text : str
        Shown as it is typed.
    """
    said = " · ".join(html.escape(f"{name} {value}".strip()) for name, value in facts)
    below = f"<div>{said}</div>" if said else ""
    if text:
        below += f'<div style="{_TYPED}">{html.escape(text)}</div>'
    return f'<div style="{_CARD}"><div><strong>{html.escape(title)}</strong></div>{below}</div>'


def _row(cells: Sequence[str], styles: Sequence[str], is_named: bool) -> str:
    of_columns = [*styles, *[""] * (len(cells) - len(styles))]
    styles = [
        cell.style if isinstance(cell, Styled) else style
        for cell, style in zip(cells, of_columns, strict=True)
    ]
    tags = ["th" if is_named and i == 0 else "td" for i in range(len(cells))]
    written = "".join(
        f'<{tag} style="{style}">{_escaped(cell)}</{tag}>'
        if style
        else f"<{tag}>{_escaped(cell)}</{tag}>"
        for tag, style, cell in zip(tags, styles, cells, strict=True)
    )
    return f"<tr>{written}</tr>"


def _escaped(cell: str) -> str:
    return cell if isinstance(cell, Markup) else html.escape(cell)
