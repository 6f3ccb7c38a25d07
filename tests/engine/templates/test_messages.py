"""Messages in the shapes that people have them in, brought into one form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.engine.answers.generated_text import GeneratedText
from mullama_nb.engine.templates.messages import normalized
from mullama_nb.errors import ChatTemplateError

CALL = {"type": "function", "function": {"name": "find", "arguments": {"what": "a"}}}


def one(**message: Any) -> dict[str, Any]:
    (made,) = normalized([{"role": "assistant", **message}])
    del made["role"]
    return made


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
arguments = st.dictionaries(st.text(max_size=8), values, max_size=3)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"),
        (["a"], "a"),
        ([{"type": "text", "text": "a"}], "a"),
        ([{"text": "a"}], "a"),
        ([{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}], "a\nb"),
        ([{"type": "refusal", "refusal": "no"}], "no"),
        ([], ""),
    ],
)
def test_contents_are_texts(content: Any, text: str) -> None:
    assert one(content=content) == {"content": text}


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_have_one_name(key: str) -> None:
    assert one(content="a", **{key: "hm"}) == {"content": "a", "reasoning_content": "hm"}
    assert one(**{key: "hm"}) == {"content": "", "reasoning_content": "hm"}
    assert one(content="a", **{key: None}) == {"content": "a"}


def test_thoughts_may_be_parts() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]
    assert one(content=parts) == {"content": "a", "reasoning_content": "hm"}
    nested = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    assert one(content=nested) == {"content": "", "reasoning_content": "hm"}


@given(arguments, st.booleans(), st.booleans(), st.sampled_from(["missing", "none", "text"]))
def test_calls_have_one_form(
    given_arguments: dict[str, Any], as_json: bool, is_wrapped: bool, content: str
) -> None:
    said = json.dumps(given_arguments) if as_json else given_arguments
    function = {"name": "find", "arguments": said}
    call = {"type": "function", "function": function} if is_wrapped else function
    message = {"missing": {}, "none": {"content": None}, "text": {"content": "a"}}[content]
    assert one(**message, tool_calls=[call]) == {
        "content": "a" if content == "text" else "",
        "tool_calls": [{**CALL, "function": {"name": "find", "arguments": given_arguments}}],
    }


def test_an_old_call_of_a_function_is_a_call() -> None:
    old = {"name": "find", "arguments": '{"what": "a"}'}
    assert one(content=None, function_call=old) == {"content": "", "tool_calls": [CALL]}
    assert one(content="a", function_call=None, tool_calls=None) == {"content": "a"}


def test_ids_and_other_keys_stay() -> None:
    made = one(content="a", tool_calls=[{"id": "x", **CALL}], name="me")
    assert made["tool_calls"][0]["id"] == "x"
    assert made["name"] == "me"


def test_a_generated_text_stays_one() -> None:
    text = GeneratedText([("[X]", True), ("a", False)])
    assert one(content=text)["content"] is text


def test_what_is_given_is_not_changed() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "x", **CALL}]}
    before = json.dumps(message)
    normalized([message])[0]["tool_calls"][0]["function"]["arguments"]["what"] = "b"
    assert json.dumps(message) == before


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": None}, 'message 0 has "content": None, and calls no tool'),
        ({}, 'message 0 has no "content"'),
        ({"contents": "a"}, r"has no \"content\" \(there is 'contents'\)"),
        ({"content": 5}, "message 0: the content is a text or a list of parts, not 5"),
        ({"content": {"text": "a"}}, "a text or a list of parts, not {'text'"),
        ({"content": [{"type": "image_url"}]}, "has a part of type 'image_url', and only text"),
        ({"content": [{"type": "input_audio"}]}, "part of type 'input_audio'"),
        ({"content": [{"type": "text"}]}, "has a part without a text"),
        ({"content": [None]}, "has a part without a text"),
        ({"content": "a", "thinking": 5}, "thoughts are a text, not 5"),
        ({"tool_calls": "x"}, "tool_calls are a list, not x"),
        ({"tool_calls": [5]}, "call 0 of message 0 is a mapping, not 5"),
        ({"tool_calls": [{}]}, "call 0 of message 0 does not name a function"),
        ({"tool_calls": [{"function": None}]}, "does not name a function"),
        ({"tool_calls": [{"name": "f", "arguments": "{"}]}, "its arguments are no JSON: '{'"),
        ({"tool_calls": [{"name": "f", "arguments": "[1]"}]}, r"a mapping of names .* not \[1\]"),
        ({"tool_calls": [{"name": "f", "arguments": 5}]}, "a mapping of names to values, not 5"),
    ],
)
def test_what_is_no_message_is_refused_in_words(message: dict[str, Any], reason: str) -> None:
    with pytest.raises(ChatTemplateError, match=reason):
        one(**message)


anything = st.recursive(
    values | st.floats() | st.binary(max_size=3) | st.sampled_from([CALL, "text", "thinking"]),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=4,
)
keys = st.sampled_from(
    ["content", "tool_calls", "function_call", "reasoning_content", "thinking", "name", "raw"]
)


@pytest.mark.slow
@given(st.lists(st.dictionaries(keys, anything, max_size=4), max_size=2))
def test_nothing_else_is_ever_raised(messages: list[dict[str, Any]]) -> None:
    try:
        made = normalized([{"role": "assistant", **message} for message in messages])
    except ChatTemplateError:
        return
    for message in made:
        assert isinstance(message["content"], str)
        assert normalized([message]) == [message], "once is enough"
