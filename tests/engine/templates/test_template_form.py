"""Templates get messages in the form that they read, whatever form they were given in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHATML, FIRST_OWN

from mullama_nb.engine.answers.generated_text import GeneratedText
from mullama_nb.errors import ChatTemplateError

LOOP = "{% for m in messages %}[{{ m.role }}]BODY{% endfor %}"
CALLS = "{% for c in m.tool_calls %}NAME(ARGS){% endfor %}"


def template(body: str) -> str:
    return LOOP.replace("BODY", body)


def calling(name: str, arguments: str) -> str:
    return CALLS.replace("NAME", "{{ " + name + " }}").replace("ARGS", "{{ " + arguments + " }}")


TEXT = "{{ m.content }}"
PARTS = (
    "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
)
MAPPING = calling("c.function.name", "c.function.arguments | tojson")
JSON = calling("c.function.name", "c.function.arguments")
FLAT = calling("c.name", "c.arguments | tojson")
EITHER = "{% if m.content is none %}" + MAPPING + "{% else %}" + TEXT + "{% endif %}"
NONE = (
    "{% if m.tool_calls and m.content is not none %}{{ raise_exception('no') }}{% endif %}"
    + MAPPING
)
SHORT = (
    "{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('9') }}{% endif %}"
)
SHORT += "{{ c.id }}:{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}"

QUESTION = {"role": "user", "content": "why?"}
arguments = st.dictionaries(
    st.text("ab\"'\\ \n<é", min_size=1, max_size=4),
    st.text("ab\"'\\ \n<é", max_size=4) | st.integers() | st.booleans(),
    max_size=3,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        MAPPING + TEXT,
        JSON + TEXT,
        FLAT + TEXT,
        EITHER,
        "{% if m.tool_calls %}" + NONE + "{% else %}" + TEXT + "{% endif %}",
        PARTS + MAPPING,
    ],
    ids=["mapping", "json", "flat", "either", "none", "parts"],
)
@given(
    said=arguments, as_json=st.booleans(), is_wrapped=st.booleans(), content=st.sampled_from("ne")
)
def test_calls_are_written_once(
    tiny: ModelMaker, body: str, said: dict[str, Any], as_json: bool, is_wrapped: bool, content: str
) -> None:
    model = tiny(chat_template=template(body))
    function = {"name": "find", "arguments": json.dumps(said) if as_json else said}
    call = {"type": "function", "function": function} if is_wrapped else function
    answer = {"role": "assistant", "content": None if content == "n" else "", "tool_calls": [call]}
    prompt = model.apply_chat_template([QUESTION, answer, {"role": "tool", "content": "found"}])
    written = json.dumps(said, ensure_ascii=False)
    assert prompt == f"[user]why?[assistant]find({written})[tool]found"


def test_ids_are_as_short_as_a_template_wants_them(tiny: ModelMaker) -> None:
    model = tiny(chat_template=template(SHORT + "{{ m.tool_call_id }}" + TEXT))
    call = {"id": "call_with_a_long_id", "function": {"name": "find", "arguments": {}}}
    calls = {"role": "assistant", "tool_calls": [call, {"name": "look", "arguments": {}}]}
    results = [
        {"role": "tool", "content": "found", "tool_call_id": "call_with_a_long_id"},
        {"role": "tool", "content": "seen"},
    ]
    assert model.apply_chat_template([QUESTION, calls, *results]) == (
        "[user]why?[assistant]call00000:find({})call00001:look({})[tool]call00000found"
        "[tool]call00001seen"
    )
    plain = tiny(chat_template=template(MAPPING + "{{ m.tool_call_id }}" + TEXT))
    assert "[tool]call_with_a_long_idfound" in plain.apply_chat_template(
        [QUESTION, calls, *results]
    )


@pytest.mark.parametrize("content", ["why?", ["why?"], [{"type": "text", "text": "why?"}]])
@pytest.mark.parametrize("body", [TEXT, PARTS])
def test_contents_are_read(tiny: ModelMaker, body: str, content: Any) -> None:
    model = tiny(chat_template=template(body))
    assert model.apply_chat_template([{"role": "user", "content": content}]) == "[user]why?"


def test_parts_stand_on_lines_of_their_own(tiny: ModelMaker) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    prompt = tiny(chat_template=CHATML).apply_chat_template([{"role": "user", "content": parts}])
    assert "user\na\nb<|im_end|>" in prompt


@pytest.mark.parametrize(
    "body",
    [
        "{{ m.reasoning_content }}|" + TEXT,
        "{{ m.reasoning }}|" + TEXT,
        "{{ m.thinking }}|" + TEXT,
        "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
        "{{ p.thinking ~ '|' if p.type == 'thinking' else p.text }}{% endfor %}{% endif %}",
    ],
    ids=["reasoning_content", "reasoning", "thinking", "parts"],
)
@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_come_under_the_name_that_is_read(tiny: ModelMaker, body: str, key: str) -> None:
    answer = {"role": "assistant", "content": "A", key: "hm"}
    prompt = tiny(chat_template=template(body)).apply_chat_template([QUESTION, answer])
    assert prompt.endswith("[assistant]hm|A")


def test_thoughts_without_a_name_stand_in_the_text(tiny: ModelMaker) -> None:
    answer = {"role": "assistant", "content": "A", "reasoning_content": "hm"}
    plain = tiny(chat_template=template(TEXT)).apply_chat_template([QUESTION, answer])
    assert plain.endswith("[assistant]<think>\nhm\n</think>\n\nA")
    marks = ("[THINK]", "[/THINK]")
    body = "{{ m.content.split('[/THINK]')[-1] if not loop.last else m.content }}"
    model = tiny(chat_template=template(body), control_tokens=marks)
    prompt = model.apply_chat_template([QUESTION, answer])
    assert prompt.endswith("[assistant][THINK]hm[/THINK]A")
    assert FIRST_OWN in prompt.tokens
    assert FIRST_OWN + 1 in prompt.tokens
    later = model.apply_chat_template([QUESTION, answer, QUESTION])
    assert "[assistant]A[user]" in later


def test_the_raw_text_stands_in_for_what_has_no_place(tiny: ModelMaker) -> None:
    raw = GeneratedText([("[THINK]", True), ("hm", False), ("[/THINK]", True), ("A", False)])
    answer = {"role": "assistant", "content": "A", "reasoning_content": "hm", "raw": raw}
    marks = ("[THINK]", "[/THINK]")
    model = tiny(chat_template=template(TEXT), control_tokens=marks)
    prompt = model.apply_chat_template([QUESTION, answer])
    assert prompt.endswith(f"[assistant]{raw}")
    assert prompt.tokens.count(FIRST_OWN) == prompt.tokens.count(FIRST_OWN + 1) == 1
    reads = tiny(chat_template=template("{{ m.thinking }}|" + TEXT), control_tokens=marks)
    assert reads.apply_chat_template([QUESTION, answer]).endswith("[assistant]hm|A")
    call = {"function": {"name": "find", "arguments": {}}}
    said = {"role": "assistant", "content": "", "tool_calls": [call], "raw": "call: find"}
    assert model.apply_chat_template([QUESTION, said]).endswith("[assistant]call: find")


def test_a_developer_speaks_as_the_system_where_there_is_none(tiny: ModelMaker) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, QUESTION]
    known = "{% if m.role in ROLES %}[{{ m.role }}]{{ m.content }}{% endif %}"
    loop = "{% for m in messages %}" + known + "{% endfor %}"
    model = tiny(chat_template=loop.replace("ROLES", "('system', 'user')"))
    assert model.apply_chat_template(messages) == "[system]Be brief.[user]why?"
    model = tiny(chat_template=loop.replace("ROLES", "('developer', 'system', 'user')"))
    assert model.apply_chat_template(messages) == "[developer]Be brief.[user]why?"
    model = tiny(chat_template=loop.replace("ROLES", "('user',)"))
    with pytest.warns(match="leaves out the system message"):
        assert model.apply_chat_template(messages) == "[user]why?"


@pytest.mark.parametrize(
    "source",
    [
        "{% for t in tools %}{{ t.function.name }}{% endfor %}" + LOOP.replace("BODY", TEXT),
        "{% if tools is defined and tools is not none %}T{% endif %}" + LOOP.replace("BODY", TEXT),
        "{% if functions is defined %}F{% endif %}" + LOOP.replace("BODY", TEXT),
        "{% if date_string is defined %}D{% endif %}" + LOOP.replace("BODY", TEXT),
    ],
)
def test_what_is_not_given_is_not_there(tiny: ModelMaker, source: str) -> None:
    prompt = tiny(chat_template=source).apply_chat_template([QUESTION])
    assert prompt == "[user]why?"


def test_what_a_template_fails_on_is_said_in_our_words(tiny: ModelMaker) -> None:
    for body in ("{{ m.content + 5 }}", "{{ m.a.b }}", "{{ m.content() }}"):
        model = tiny(chat_template="\n" + template(body))
        with pytest.raises(ChatTemplateError) as caught:
            model.apply_chat_template([QUESTION])
        assert "refuses this conversation: line 2 of it takes something for granted" in str(
            caught.value
        )
        for theirs in ("Undefined", "concatenate", "attribute", "object", "argument"):
            assert theirs not in str(caught.value)
