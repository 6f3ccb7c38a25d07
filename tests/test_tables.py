"""Tables show their rows, and nothing that a row says becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.tables import LEFT, RIGHT, html_table

ROWS = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.text(), min_size=n, max_size=n), max_size=4)
)


class Reader(HTMLParser):
    """Reads a table back: its tags, and the text of each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, _: object) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.rows[-1][-1] += data


@pytest.mark.slow
@given(rows=ROWS, named=st.booleans())
def test_cells_come_back_as_they_were(rows: list[list[str]], named: bool) -> None:
    reader = Reader()
    reader.feed(html_table(rows, styles=(LEFT,), named_rows=named))
    reader.close()
    assert reader.rows == rows
    assert set(reader.tags) <= {"table", "tr", "td", "th"}
    assert reader.tags.count("th") == (len(rows) if named else 0)


def test_heads_styles_and_caption() -> None:
    assert html_table([("a<b", "1")], ("x", "y"), styles=("", RIGHT), caption="&") == (
        "<table><caption>&amp;</caption><tr><th>x</th><th>y</th></tr>"
        '<tr><td>a&lt;b</td><td style="text-align:right">1</td></tr></table>'
    )
    assert html_table([("a", "b")], named_rows=True) == (
        "<table><tr><th>a</th><td>b</td></tr></table>"
    )
