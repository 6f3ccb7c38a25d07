"""Markdown is rendered, and nothing that a model says can act."""

from __future__ import annotations

import pytest

from mullama_nb.widgets.markdown import Draft, render_markdown


def test_renders_what_models_write() -> None:
    html = render_markdown("# A\n\n**b** `c`\n\n```python\nx < 1\n```\n\n|d|e|\n|-|-|\n|f|g|\n")
    for part in ("<h1>A</h1>", "<strong>b</strong>", "<code>c</code>", "x &lt; 1", "<td>g</td>"):
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
