"""HTML tables for values that a notebook shows as rows."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

__all__ = ["LEFT", "RIGHT", "WRAPPED", "html_table"]

LEFT = "text-align:left"
RIGHT = "text-align:right"
WRAPPED = "text-align:left;vertical-align:top;white-space:pre-wrap"


def html_table(
    rows: Iterable[Sequence[str]],
    heads: Sequence[str] = (),
    *,
    styles: Sequence[str] = (),
    named_rows: bool = False,
    caption: str = "",
) -> str:
    """Return an HTML table; all texts are escaped.

    Parameters
    ----------
    rows : iterable of sequence of str
    heads : sequence of str
        Headings of the columns.
    styles : sequence of str
        CSS for the cells of each column; empty for none.
    named_rows : bool
        Whether the first cell of a row is its name.
    caption : str
    """
    top = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    if heads:
        top += f"<tr>{''.join(f'<th>{html.escape(head)}</th>' for head in heads)}</tr>"
    return f"<table>{top}{''.join(_row(row, styles, named_rows) for row in rows)}</table>"


def _row(cells: Sequence[str], styles: Sequence[str], is_named: bool) -> str:
    styles = [*styles, *[""] * (len(cells) - len(styles))]
    tags = ["th" if is_named and i == 0 else "td" for i in range(len(cells))]
    written = "".join(
        f'<{tag} style="{style}">{html.escape(cell)}</{tag}>'
        if style
        else f"<{tag}>{html.escape(cell)}</{tag}>"
        for tag, style, cell in zip(tags, styles, cells, strict=True)
    )
    return f"<tr>{written}</tr>"
