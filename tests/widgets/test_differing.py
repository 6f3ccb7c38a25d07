"""Marks in rendered answers leave its elements whole."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.widgets.differing import mark_html
from mullama_nb.widgets.markdown import render_markdown

WORD = st.sampled_from(
    [
        "tide",
        "**turns**",
        "`a<b>`",
        "# Sea",
        "- foam",
        '[a](http://x/?q=">)',
        "| a | b |",
        "<i>",
        "&",
    ]
)
MARKDOWN = st.lists(st.tuples(WORD, st.sampled_from([" ", "\n", "\n\n"]))).map(
    lambda pairs: "".join(a + b for a, b in pairs)
)


class Read(HTMLParser):
    """All that a page has but marks, and whether those are well nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.said: list[object] = []
        self.is_marked = False
        self.text = ""
        self.feed(html)
        self.close()
        self._end()

    def _end(self) -> None:
        if self.text:
            self.said.append(self.text)
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert not self.is_marked
        if tag == "mark":
            self.is_marked = True
            return
        self._end()
        self.said.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag == "mark":
            assert self.is_marked
            self.is_marked = False
            return
        assert not self.is_marked
        self._end()
        self.said.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(MARKDOWN, MARKDOWN)
def test_marks_are_within_texts(first: str, second: str) -> None:
    html, other = render_markdown(second), render_markdown(first)
    marked = mark_html(html, other)
    assert Read(marked).said == Read(html).said
    assert mark_html(html, html) == html


def test_formulas_are_left_alone() -> None:
    formula = '<p>so <math><mi alttext="a>b">x</mi></math> holds</p>'
    marked = '<p><mark>so</mark> <math><mi alttext="a>b">x</mi></math> <mark>holds</mark></p>'
    assert mark_html(formula, "<p></p>") == marked
