"""Parsing answers into thoughts, text and calls, by what a chat template shows of itself."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from conftest import ModelMaker
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CHATML

from mullama_nb.engine.answers.format import AnswerFormat, ParsedAnswer
from mullama_nb.engine.answers.formats.marks import ANYTHING, Mark, Rule

LOOP = "{%- for m in messages -%}{%- if m.role != 'assistant' -%}[{{ m.role }}]{{ m.content }}"
NAME = "(c.function if c.function else c).name"
ARGUMENTS = "(c.function if c.function else c).arguments"


def template(answer: str, *, header: str = "[answer]", end: str = "[end]", prompt: str = "") -> str:
    """A template whose answers are written so, and whose prompt ends so."""
    return (
        f"{LOOP}{{%- else -%}}{header}{answer}{{%- endif -%}}{end}{{%- endfor -%}}"
        f"{{%- if add_generation_prompt -%}}{header}{prompt}{{%- endif -%}}"
    )


THOUGHT = "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
EACH = "{% for c in m.tool_calls or [] %}"
HERMES = (
    EACH
    + '\n<tool_call>\n{"name": "{{ '
    + NAME
    + ' }}", "arguments": {{ '
    + ARGUMENTS
    + " | tojson }}}\n</tool_call>{% endfor %}"
)
XML = (
    EACH + "\n<tool_call>\n<function={{ " + NAME + " }}>\n"
    "{% for k, v in " + ARGUMENTS + ".items() %}"
    "<parameter={{ k }}>\n{{ v if v is string else v | tojson }}\n</parameter>\n{% endfor %}"
    "</function>\n</tool_call>{% endfor %}"
)
KEYS = (
    EACH + "<tool_call>{{ " + NAME + " }}{% for k, v in " + ARGUMENTS + ".items() %}"
    "<arg_key>{{ k }}</arg_key><arg_value>{{ v if v is string else v | tojson }}</arg_value>"
    "{% endfor %}</tool_call>{% endfor %}"
)
MISTRAL = EACH + "[TOOL_CALLS]{{ " + NAME + " }}[ARGS]{{ " + ARGUMENTS + " | tojson }}{% endfor %}"
SECTION = (
    "{% if m.tool_calls %}<|calls_begin|>{% for c in m.tool_calls %}<|call_begin|>function<|sep|>"
    "{{ " + NAME + " }}\n```json\n{{ " + ARGUMENTS + " | tojson }}\n```<|call_end|>{% endfor %}"
    "<|calls_end|>{% endif %}"
)
LIST = (
    "{% if m.tool_calls %}<|ACTION_START|>[{% for c in m.tool_calls %}"
    '{"tool_name": "{{ ' + NAME + ' }}", "parameters": {{ ' + ARGUMENTS + " | tojson }}}"
    "{% if not loop.last %}, {% endif %}{% endfor %}]<|ACTION_END|>{% endif %}"
)
SINGLE = (
    "{% if m.tool_calls %}<|tools_prefix|>[{% for c in m.tool_calls %}"
    '{"{{ ' + NAME + ' }}": {{ ' + ARGUMENTS + " | tojson }}}"
    "{% if not loop.last %}, {% endif %}{% endfor %}]<|tools_suffix|>{% endif %}"
)
BARE = (
    "{% if m.tool_calls %}{% for c in m.tool_calls[:1] %}"
    '{"name": "{{ ' + NAME + ' }}", "parameters": {{ ' + ARGUMENTS + " | tojson }}}"
    "{% endfor %}{% endif %}"
)
CHANNELS = (
    "{%- for m in messages -%}{%- if m.role == 'assistant' -%}"
    "{%- if m.thinking or m.reasoning_content -%}<|start|>assistant<|channel|>analysis<|message|>"
    "{{ m.thinking or m.reasoning_content }}<|end|>{%- endif -%}"
    "{%- for c in m.tool_calls or [] -%}<|start|>assistant to=functions.{{ " + NAME + " }}"
    "<|channel|>commentary json<|message|>{{ " + ARGUMENTS + " | tojson }}<|call|>{%- endfor -%}"
    "{%- if m.content -%}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>"
    "{%- endif -%}{%- else -%}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{%- endif -%}"
    "{%- endfor -%}{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}"
)
CONTENT = "{{ m.content or '' }}"


class Family(NamedTuple):
    """A kind of templates, and what its answers can say."""

    source: str
    has_thoughts: bool = False
    calls: str | None = None  # what may be among the arguments: any JSON, or texts
    most_calls: int = 3
    both: bool = True  # text beside a call


FAMILIES = {
    "thoughts and JSON": Family(template(THOUGHT + CONTENT + HERMES), True, "json"),
    "thoughts and tags": Family(template(THOUGHT + CONTENT + XML), True, "words"),
    "the prompt opens": Family(
        template(
            "<think>{{ m.reasoning_content or '' }}</think>" + CONTENT + KEYS, prompt="<think>"
        ),
        True,
        "words",
    ),
    "thoughts in brackets": Family(
        template(
            "{% if m.reasoning_content %}[THINK]{{ m.reasoning_content }}[/THINK]{% endif %}"
            + CONTENT
            + MISTRAL
        ),
        True,
        "json",
    ),
    "sections": Family(template(CONTENT + SECTION), False, "json"),
    "a list": Family(template(CONTENT + LIST), False, "json"),
    "a list of names": Family(template(CONTENT + SINGLE), False, "json"),
    "nothing but JSON": Family(template(BARE + CONTENT), False, "json", 1, both=False),
    "channels": Family(CHANNELS, True, "json", 1, both=False),
    "texts with marks": Family(
        template(
            "{% if m.reasoning_content %}<|THINKS|>{{ m.reasoning_content }}<|/THINKS|>{% endif %}"
            "{% if m.content %}<|START_TEXT|>{{ m.content }}<|END_TEXT|>{% endif %}" + LIST
        ),
        True,
        "json",
    ),
    "plain": Family(CHATML),
}
NAMES = sorted(FAMILIES)

WORDS = st.text(
    st.sampled_from("ab z.,:;'\"\\/{}[]()0é漢🙂\n\t") | st.characters(exclude_categories=["Cs"]),
    max_size=24,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
NAMED = st.from_regex(r"[a-z]{2,8}(_[a-z]{2,6})?", fullmatch=True)


@pytest.fixture(scope="module")
def formats(tiny: ModelMaker) -> dict[str, AnswerFormat]:
    made = {}
    for name, family in FAMILIES.items():
        model = tiny(chat_template=family.source, n_layer=1)
        made[name] = AnswerFormat.of(model.chat_template, model.vocabulary)
    return made


def calls_of(answer: ParsedAnswer) -> list[tuple[str, Any]]:
    assert all(call.error is None for call in answer.tool_calls), answer
    return [(call.name, dict(call.arguments)) for call in answer.tool_calls]


def is_sayable(text: str) -> bool:
    """Whether a text has nothing in it that a reader would take for a mark."""
    return not any(mark in text for mark in ("<", "[", "{")) and text == text.strip() != ""


@st.composite
def answers(draw: st.DrawFn, family: Family) -> dict[str, Any]:
    text = draw(WORDS.map(str.strip).filter(lambda text: is_sayable(text)))
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if family.has_thoughts and draw(st.booleans()):
        thought = draw(WORDS.map(str.strip).filter(lambda text: is_sayable(text)))
        message["reasoning_content"] = thought
    if family.calls is not None and draw(st.booleans()):
        words = WORDS.map(str.strip).filter(lambda text: is_sayable(text))
        values = VALUES if family.calls == "json" else words.map("x".__add__)
        arguments = st.dictionaries(NAMED, values, min_size=1, max_size=3)
        calls = draw(st.lists(st.tuples(NAMED, arguments), min_size=1, max_size=family.most_calls))
        message["tool_calls"] = [
            {"id": "call00000", "type": "function", "function": {"name": n, "arguments": a}}
            for n, a in calls
        ]
        if not family.both or draw(st.booleans()):
            message["content"] = ""
    return message


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(data=st.data())
def test_what_a_template_writes_is_read_again(
    tiny: ModelMaker, formats: dict[str, AnswerFormat], name: str, data: st.DataObject
) -> None:
    family, form = FAMILIES[name], formats[name]
    message = data.draw(answers(family))
    model = tiny(chat_template=family.source, n_layer=1)
    asked = [{"role": "user", "content": "?"}]
    prompt = model.apply_chat_template(asked)
    whole = model.apply_chat_template([*asked, message], add_generation_prompt=False)
    if not whole.startswith(prompt):  # an answer without a thought, where the prompt opens one
        prompt = model.apply_chat_template(asked, add_generation_prompt=False)
    raw = whole[len(prompt) :].removesuffix("[end]").removesuffix("<|im_end|>\n")
    answer = form.parse(raw, begins_in_thought=form.prompt_opens_thought(prompt))
    assert answer.text == message["content"]
    assert answer.reasoning == message.get("reasoning_content")
    wanted = [call["function"] for call in message.get("tool_calls", ())]
    assert calls_of(answer) == [(each["name"], each["arguments"]) for each in wanted]


MARKS = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "[THINK]", "[/THINK]", "[TOOL_CALLS]"),
    *("[ARGS]", "<|end|>", "<|calls_begin|>", "<|calls_end|>", "<|sep|>", "```json", "<|channel|>"),
    *("<|message|>", "<|start|>assistant", "analysis", "final", " to=functions.f", "<|THINKS|>"),
    *("<|START_TEXT|>", "<|END_TEXT|>", "<|ACTION_START|>", "<|ACTION_END|>", "<|tools_prefix|>"),
    *('{"name":"f","parameters":{', '"arguments":', "<function=f>", "</function>", "<parameter=a>"),
    *("</parameter>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "{}", "[]", '"'),
    *("}", "\\", "\n", " ", "f(", "a=1", ")", "<|/THINKS|>"),
]
RAW = st.lists(st.sampled_from(MARKS) | WORDS, max_size=14).map("".join)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50)
@given(raw=RAW, in_thought=st.booleans(), data=st.data())
def test_any_text_is_read_alike_however_it_arrives(
    formats: dict[str, AnswerFormat], name: str, raw: str, in_thought: bool, data: st.DataObject
) -> None:
    form = formats[name]
    answer = form.parse(raw, begins_in_thought=in_thought)
    json.dumps([call.as_message() for call in answer.tool_calls])
    assert set(answer.as_message()) <= {"role", "content", "reasoning_content", "tool_calls"}
    whole, streamed = (form.reader(begins_in_thought=in_thought) for _ in range(2))
    whole.feed(raw)
    at = n_labelled = 0
    labels = []
    while at < len(raw):
        step = data.draw(st.integers(1, 9))
        streamed.feed(raw[at : at + step])
        at += step
        assert streamed.n_certain + len(streamed.pending) == min(at, len(raw))
        labels += [streamed.part_at(n + 1) for n in range(n_labelled, streamed.n_certain)]
        n_labelled = streamed.n_certain
    found = streamed.finish()
    labels += [streamed.part_at(n + 1) for n in range(n_labelled, len(raw))]
    assert found == whole.finish()
    assert "".join(piece.text for piece in found) == raw
    parts = [piece.part for piece in found for _ in piece.text]
    if labels != parts:  # a thought ended that had not begun: that it was one shows at its end
        n = parts.index("text") if "text" in parts else len(parts)
        assert form.ends_unopened
        assert set(parts[: n or None]) <= {"reasoning", "tool_call"}


@settings(max_examples=50)
@given(raw=st.text())
def test_without_marks_an_answer_is_its_text(raw: str) -> None:
    assert AnswerFormat().parse(raw) == ParsedAnswer(None, raw)


# -- single answers --------------------------------------------------------------------------


def test_a_thought_that_was_cut_off_has_no_text(formats: dict[str, AnswerFormat]) -> None:
    form = formats["the prompt opens"]
    assert form.parse("let me see", begins_in_thought=True) == ParsedAnswer("let me see", "")
    assert form.parse("<think>let me see") == ParsedAnswer("let me see", "")
    again = form.parse("<think>\nlet me see</think>Yes.", begins_in_thought=True)
    assert again == ParsedAnswer("let me see", "Yes.")


def test_a_closing_mark_alone_ends_a_thought_where_prompts_may_open_one(
    tiny: ModelMaker, formats: dict[str, AnswerFormat]
) -> None:
    for name in ("the prompt opens", "thoughts and JSON"):  # both of a family that opens them
        assert formats[name].parse("x\n</think>\n\nA") == ParsedAnswer("x", "A")
    raw = "x<|/THINKS|>A"
    assert formats["texts with marks"].parse(raw) == ParsedAnswer(None, raw)
    source = FAMILIES["texts with marks"].source
    source += "{% if 0 %}{{ '<|/THINKS|>' in messages[0].content }}{% endif %}"
    model = tiny(chat_template=source, n_layer=1)  # it reads old answers so
    splitting = AnswerFormat.of(model.chat_template, model.vocabulary)
    assert splitting.parse(raw) == ParsedAnswer("x", "A")


def test_a_later_closing_mark_is_text(formats: dict[str, AnswerFormat]) -> None:
    raw = "<think>a</think>Close it with </think>."
    assert formats["the prompt opens"].parse(raw) == ParsedAnswer("a", "Close it with </think>.")


def test_an_empty_thought_is_none(formats: dict[str, AnswerFormat]) -> None:
    for name in ("thoughts and JSON", "thoughts and tags"):
        assert formats[name].parse("<think>\n\n</think>\n\nHello ") == ParsedAnswer(None, "Hello ")


def test_spaces_of_a_text_without_marks_stay(formats: dict[str, AnswerFormat]) -> None:
    assert formats["thoughts and JSON"].parse(" Hello \n").text == " Hello \n"


def test_channels(formats: dict[str, AnswerFormat]) -> None:
    form = formats["channels"]
    raw = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>"
        "I will look.<|end|><|start|>assistant<|channel|>commentary to=functions.tide_at "
        '<|constrain|>json<|message|>{"place": "Whitby"}'
    )
    answer = form.parse(raw)
    assert (answer.reasoning, answer.text) == ("Hm.", "I will look.")
    assert calls_of(answer) == [("tide_at", {"place": "Whitby"})]
    beside = form.parse(
        ' to=functions.tide_at<|channel|>commentary json<|message|>{"place": "Hull"}'
    )
    assert calls_of(beside) == [("tide_at", {"place": "Hull"})]
    assert form.parse("<|channel|>final<|message|>Yes.").text == "Yes."
    assert form.parse("no channel at all").text == "no channel at all"
    assert form.closing.endswith("final<|message|>")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ('<tool_call>\n{"name": "f", "arguments": {\n</tool_call>', "cannot be read"),
        ('<tool_call>{"name": "f"', "cannot be read"),
        ("<tool_call></tool_call>", "no JSON"),
        ('<tool_call>{"arguments": {}}</tool_call>', "no name"),
        ('<tool_call>{"name": "f", "arguments": [1]}</tool_call>', "no JSON object"),
        ('<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>', "NaN"),
        ("<tool_call>" + '{"name": "f", "arguments": ' + "[" * 5000 + "</tool_call>", "read"),
    ],
)
def test_a_call_that_cannot_be_read_says_so(
    formats: dict[str, AnswerFormat], raw: str, why: str
) -> None:
    answer = formats["thoughts and JSON"].parse(f"Look: {raw}")
    (call,) = answer.tool_calls
    assert call.error is not None
    assert why in call.error
    assert (call.raw, answer.text) == (raw, "Look:")
    assert answer.as_message() == {"role": "assistant", "content": f"Look:{raw}"}


def test_a_mark_in_a_string_of_a_call_does_not_end_it(formats: dict[str, AnswerFormat]) -> None:
    argument = '"</tool_call> \\" </tool_call>"'
    raw = f'<tool_call>{{"name": "f", "arguments": {{"a": {argument}}}}}</tool_call>ok'
    answer = formats["thoughts and JSON"].parse(raw)
    assert calls_of(answer) == [("f", {"a": '</tool_call> " </tool_call>'})]
    assert answer.text == "ok"


def test_arguments_without_quotes_have_the_types_of_the_tool(
    formats: dict[str, AnswerFormat],
) -> None:
    parameters = "".join(f"<parameter={key}>\n12\n</parameter>\n" for key in "ab")
    raw = f"<tool_call>\n<function=f>\n{parameters}</function>\n</tool_call>"
    properties = {"a": {"type": "string"}, "b": {"type": "integer"}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": properties}}}
    answer = formats["thoughts and tags"].parse(raw, tools=[tool])
    assert calls_of(answer) == [("f", {"a": "12", "b": 12})]


def test_ids_are_nine_letters_or_digits_and_stay(formats: dict[str, AnswerFormat]) -> None:
    raw = "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]f[ARGS]{}"
    first, second = formats["thoughts in brackets"].parse(raw).tool_calls
    assert first.id != second.id
    assert all(len(call.id) == 9 and call.id.isalnum() for call in (first, second))
    again = formats["thoughts in brackets"].parse(raw).tool_calls
    assert [call.id for call in again] == [first.id, second.id]
    own = formats["thoughts in brackets"].parse("[TOOL_CALLS]f[CALL_ID]a1b2c3d4e[ARGS]{}")
    assert own.tool_calls[0].id == "a1b2c3d4e"


def test_a_call_as_nothing_but_json_stands_alone(formats: dict[str, AnswerFormat]) -> None:
    form = formats["nothing but JSON"]
    call = '{"name": "f", "parameters": {"a": 1}}'
    assert calls_of(form.parse(call)) == [("f", {"a": 1})]
    for text in ('{"name": "Ada", "born": 1815}', f"Like this: {call}"):
        assert form.parse(text) == ParsedAnswer(None, text)


def test_control_tokens_are_told_from_what_looks_like_them() -> None:
    mark = Mark(("<|think|>",), frozenset({"<|think|>"}))
    form = AnswerFormat((Rule("text", mark, "reasoning"),))
    reader = form.reader()
    reader.feed("say <|think|> ", is_control=False)
    assert (reader.part, reader.pending) == ("text", "")
    reader.feed("<|think|>", is_control=True)
    reader.feed("so", is_control=False)
    assert [(piece.part, piece.text) for piece in reader.finish()] == [
        ("text", "say <|think|> "),
        ("reasoning", "<|think|>"),
        ("reasoning", "so"),
    ]


def test_a_header_that_does_not_end_is_text() -> None:
    form = AnswerFormat((Rule("text", Mark(("<|", ANYTHING, "|>")), "reasoning"),))
    reader = form.reader()
    reader.feed("<|" + "x" * 200)
    assert reader.pending == ""
    assert [piece.part for piece in reader.finish()] == ["text"]
