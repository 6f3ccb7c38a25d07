"""Markdown is rendered, and nothing that a model says can act."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mullama_nb.widgets.code_colours import _LANGUAGES
from mullama_nb.widgets.formulas import MATH_ATTRIBUTES, MATH_TAGS
from mullama_nb.widgets.markdown import Draft, render_markdown


def test_renders_what_models_write() -> None:
    html = render_markdown("# A\n\n**b** `c`\n\n```python\nx < 1\n```\n\n|d|e|\n|-|-|\n|f|g|\n")
    for part in ("<h1>A</h1>", "<strong>b</strong>", "<code>c</code>", "<td>g</td>"):
        assert part in html


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "</svg>", "<img src=x onerror=alert(1)>", "a <b onclick='x'>b"],
)
def test_markup_stays_text(text: str) -> None:
    html = render_markdown(text)
    assert "&lt;" in html
    assert html.replace("<p>", "").replace("</p>", "").count("<") == 0


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "/api/shutdown",
        "file:///a",
    ],
)
def test_only_links_that_lead_out_are_links(address: str) -> None:
    assert "<a" not in render_markdown(f"[here]({address}) <{address}>")


@pytest.mark.parametrize("address", ["https://a.example", "http://a.example", "mailto:a@b.example"])
def test_links_give_the_other_page_no_hold(address: str) -> None:
    html = render_markdown(f"[here]({address})")
    assert f'href="{address}"' in html
    assert 'rel="noopener noreferrer"' in html


class _Tags(HTMLParser):
    """The elements of an HTML text with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def words(html_text: str) -> str:
    """What a reader sees of an HTML text."""
    return html.unescape(re.sub("<[^>]*>", "", html_text))


@pytest.mark.slow
@pytest.mark.parametrize("language", [*sorted(_LANGUAGES), "unknown", ""])
def test_code_is_coloured_and_stays_what_it_is(language: str) -> None:
    code = "\n\nfor x in [1, 2]:\n\treturn 'a' < \"b\"  # c && d\n\n"
    shown = render_markdown(f"```{language}\n{code}```")
    assert words(shown).removesuffix("\n") + "\n" in (code, code + "\n")
    if language == "python":
        assert '<span class="k">for</span>' in shown


@pytest.mark.parametrize(
    "text",
    [
        *("$x^2$", "a $x$, b", r"\(x\)", r"a \[ x \] b", "$$x$$", "$$\nx\n+ y\n$$"),
        *("\\[\na\n- b\n= c\n\\]", "- \\[\n  x\n  \\]", "> $$x$$"),
        "\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}",
        "before\n\\begin{pmatrix} 1 & 2 \\end{pmatrix}\nbehind",
    ],
)
def test_formulas_are_drawn(text: str) -> None:
    shown = render_markdown(text)
    assert shown.count("<math display=") == 1
    assert "$" not in shown
    assert "\\" not in words(shown)


@pytest.mark.parametrize(
    "text",
    [
        *("It costs $5 and $10.", "`$x$`", "a $ b $ c", r"\$x\$", "$x", r"\(x", "$$\nx\n\ny"),
        "    $$x$$",
    ],
)
def test_what_is_no_formula_is_none(text: str) -> None:
    assert "<math" not in render_markdown(text)


def test_a_formula_that_is_not_understood_stays_to_be_read() -> None:
    assert render_markdown(r"a $\frac{$ b") == "<p>a <code>\\frac{</code> b</p>\n"
    assert "{{{{" in render_markdown(f"${'{' * 1500}$")
    assert "xxxx" in words(render_markdown(f"${'x' * 5000}$"))


_HOSTILE = [
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</code></pre><b onclick='x'>"),
    *(r"\text{<img src=x onerror=alert(1)>}", r"\href{javascript:alert(1)}{x}", "&lt;b&gt;"),
    *(r"\style{position:fixed}{x}", "</math><a href='/api/shutdown'>x</a>", r"\class{k}{x}"),
    *("]]>", "\x00", "\ud800", "&#x3c;script&#x3e;", r"\mathmakebox{<svg onload=x>}"),
]
_AROUND = [
    *("{}", "${}$", "$${}$$", "$$\n{}\n$$", "\\({}\\)", "\\[\n{}\n\\]", "```html\n{}\n```"),
    *(
        "```\n{}",
        "```{}\nx\n```",
        "\\begin{{align}}\n{}\n\\end{{align}}",
        "|a|\n|:-|\n|{}|",
        "- `{}`",
    ),
]
_SAFE = {
    **{tag: set[str]() for tag in ("blockquote", "br", "code", "del", "em", "hr", "li", "p")},
    **{tag: set[str]() for tag in ("s", "strong", "table", "tbody", "thead", "tr", "ul")},
    **{f"h{n}": set[str]() for n in range(1, 7)},
    **{tag: MATH_ATTRIBUTES.get(tag, set()) for tag in MATH_TAGS},
    "td": {"align"},
    "th": {"align"},
    "pre": {"class"},
    "span": {"class"},
    "ol": {"start"},
    "a": {"href", "rel", "target"},
}


@given(
    parts=st.lists(
        st.tuples(st.sampled_from(_AROUND), st.sampled_from(_HOSTILE) | st.text(max_size=12)),
        max_size=4,
    )
)
def test_nothing_that_a_text_says_can_act(parts: list[tuple[str, str]]) -> None:
    shown = render_markdown("\n\n".join(around.format(text) for around, text in parts))
    for tag, attributes in _Tags(shown).found:
        assert attributes.keys() <= _SAFE[tag]
        assert (attributes.get("href") or "https:").startswith(("http:", "https:", "mailto:"))


_PIECES = st.sampled_from(
    [
        *(
            "$",
            "$$",
            "\\[",
            "\\]",
            "\\(",
            "\\)",
            "\n",
            "\n\n",
            "x",
            "+ y",
            "- z",
            "= a",
            " ",
            "|",
            "---",
        ),
        *(
            "```",
            "```python\n",
            "def f(): 'a\n",
            "\\begin{align}",
            "\\end{align}",
            "\\frac",
            "{b}",
            "&",
        ),
        *(
            "\\begin{matrix*}\n",
            "\\end{matrix*}",
            "# ",
            "> ",
            "1. ",
            "**",
            "\t",
            "\r",
            "\U0001f600",
            "<b>",
        ),
    ]
)


@given(pieces=st.lists(_PIECES, max_size=30))
@example(pieces=["\\[", "\n", "+ y", "\n\n", "x", "\\]"])
@example(pieces=["def f(): 'a\n", "$", "$", "$", "$", "$"])
@example(pieces=["def f(): 'a\n", "$$", "```python\n", "$", "$$"])
@example(pieces=["x\n", "$$", "\n", "x", "$$", "x"])
@example(pieces=["x\n", "|x|", "\n", "|---|", "x", "\n", "|x|"])
@example(pieces=["- z\n", "|x\n", "\t---", "x"])
@example(pieces=["a\n", "#", "b"])
@example(pieces=["$$", "\n", "- z", "\n", "$$", "x", "\n", "+ y"])
def test_what_streams_is_always_what_the_whole_text_gives(pieces: list[str]) -> None:
    draft, there, so_far = Draft(), b"", ""
    for piece in pieces:
        so_far += piece
        at, html_text = draft.add(piece)
        there = there[: 2 * at] + html_text.encode("utf-16-le")
        assert there.decode("utf-16-le") == draft.html == render_markdown(so_far)


def test_no_image_is_fetched() -> None:
    html = render_markdown("![a](https://a.example/b.png)")
    assert "<img" not in html


_LONG = """# Head

Some **bold** and *it* with `code` \U0001f600 and <script>hurt()</script>.
Second line

- a

  more of it
- b

```py
x = 1

y < 2
```

| a | b |
|---|---|
| 1 | 2 |

Set\rext
===
[out](https://a.example) [in](javascript:hurt())\x0bone\u2028line

end
"""


@pytest.mark.parametrize("step", [1, 2, 7, 50])
def test_a_draft_grows_into_what_the_whole_text_gives(step: int) -> None:
    draft, there = Draft(), b""
    for start in range(0, len(_LONG), step):
        at, piece = draft.add(_LONG[start : start + step])
        there = there[: 2 * at] + piece.encode("utf-16-le")  # as a browser counts
        assert there.decode("utf-16-le") == draft.html == render_markdown(_LONG[: start + step])
