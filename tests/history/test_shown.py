"""What people are shown of a message: thought, text and calls, whatever they hold."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mullama_nb.history.display import chat_html
from mullama_nb.history.export import as_markdown
from mullama_nb.history.shown import ShownCall, ShownMessage

PIECES = (
    *("</details>", "<script>alert(1)</script>", "</p></pre>", "<img src=x onerror=y>", "&lt;"),
    *("```", "````json", "`", "**", "---", '"', "'", "{", "\\", "\n", "\n\n", " ", "word"),
)
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE, inner, max_size=3),
    max_leaves=6,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["assistant", "tool", "developer"]) | HOSTILE, "content": HOSTILE},
    optional={
        "name": HOSTILE,
        "reasoning_content": HOSTILE,
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {"function": st.fixed_dictionaries({"name": HOSTILE, "arguments": JSON})}
            ),
            max_size=2,
        ),
    },
)


class Tags(HTMLParser):
    """The elements and the text of a document; it must be well formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert attrs in ([], [("style", "white-space:pre-wrap")])
        self.tags.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.slow
@given(messages=st.lists(MESSAGE, min_size=1, max_size=3))
def test_html_shows_all_that_was_said_as_text(messages: list[dict[str, Any]]) -> None:
    page = Tags(chat_html(messages))
    assert page.tags <= {"p", "strong", "code", "details", "summary", "pre"}
    shown = "".join(page.texts)
    for message in messages:
        assert message.get("reasoning_content", "").strip() in shown
        for call in ShownMessage.of(message).calls:
            assert call.text in shown
        if message["role"] != "tool":
            assert message["content"] in shown


@pytest.mark.slow
@given(messages=st.lists(MESSAGE, min_size=1, max_size=3))
@example(messages=[{"role": "assistant", "content": "", "reasoning_content": "a\n```\n</details>"}])
@example(messages=[{"role": "assistant", "content": "", "reasoning_content": "\n\n"}])
def test_markdown_holds_thoughts_and_calls_in_blocks(messages: list[dict[str, Any]]) -> None:
    said = [{**message, "content": "", "role": "assistant"} for message in messages]
    tokens = MarkdownIt("commonmark").parse(as_markdown(said))
    blocks = [token.content.removesuffix("\n") for token in tokens if token.type == "fence"]
    shown = [ShownMessage.of(message) for message in said]
    expected = [
        text
        for each in shown
        for text in [*filter(None, [each.reasoning.strip()]), *(c.arguments for c in each.calls)]
    ]
    assert [_lines(block) for block in blocks] == [_lines(text) for text in expected]
    html = {token.content.strip() for token in tokens if token.type == "html_block"}
    assert html <= {"<details>\n<summary>Thought</summary>", "</details>"}


def _lines(text: str) -> list[str]:
    """The lines of a text, as Markdown reads it: it knows neither CR nor NUL."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd").split("\n")


@pytest.mark.slow
@given(message=st.dictionaries(st.sampled_from(["role", "content", "name", "thinking"]), JSON))
@example(message={"tool_calls": [None, {"function": "f"}, {"name": 3, "arguments": "{"}]})
@example(message={"tool_calls": "none"})
@example(message={"content": [{"type": "text", "text": "a"}, {"type": "image_url"}, "b", 3]})
def test_fields_of_any_shape_are_shown(message: dict[str, Any]) -> None:
    shown = ShownMessage.of(message)
    assert all(isinstance(part, str) for part in (shown.role, shown.name, shown.text))
    assert Tags(chat_html([message])).open == []
    assert as_markdown([message]).endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"a": 2, "b": 3}, '{"a": 2, "b": 3}'),
        ('{"a":2}', '{"a": 2}'),
        ("{a: 2}", "{a: 2}"),
        ({"text": "x" * 80}, json.dumps({"text": "x" * 80}, indent=2)),
        ({}, "{}"),
    ],
)
def test_arguments_are_json_that_is_easy_to_read(arguments: object, expected: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    [found] = ShownMessage.of({"role": "assistant", "tool_calls": [call]}).calls
    assert found == ShownCall("add", expected)


def test_what_plain_messages_look_like_stays() -> None:
    said = [{"role": "user", "content": "a < b"}, {"role": "assistant", "content": ""}]
    assert chat_html(said) == (
        '<p><strong>user</strong></p><p style="white-space:pre-wrap">a &lt; b</p>'
        '<p><strong>assistant</strong></p><p style="white-space:pre-wrap"></p>'
    )
    assert as_markdown(said) == "**user**\n\na < b\n\n---\n\n**assistant**\n\n\n"
    assert chat_html([]) == "<p><em>Nothing has been said yet.</em></p>"
