"""Calls of tools that follow the tools' schemas, from the opening mark to the closing one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from template_models import make_template_model
from tiny_models import make_model

from mullama_nb import Context, ContextParams, Model
from mullama_nb.engine.answers.format import AnswerFormat, ParsedAnswer
from mullama_nb.engine.completion import Completion

FOLDER = Path(__file__).parents[2] / "templates"
PARAMS = ContextParams(n_ctx=1024, n_threads=1)
HOT: dict[str, Any] = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "tide_at",
            "description": "High water.",
            "parameters": {
                "type": "object",
                "properties": {
                    "hours": {"type": "integer", "minimum": 0, "maximum": 48},
                    "unit": {"enum": ["m", "ft"]},
                    "place": {"type": "string", "maxLength": 6},
                },
                "required": ["hours", "place"],
                "additionalProperties": False,
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "count-boats",
            "description": "Boats.",
            "parameters": {
                "type": "object",
                "properties": {"fast": {"type": "boolean"}},
                "required": ["fast"],
                "additionalProperties": False,
            },
        },
    },
]
MARKS = {
    "qwen3_thoughts": "<tool_call>",
    "chatml_tools": "<tool_call>",
    "granite_roles": "<|tool_call|>",
    "mistral_last_question": "[TOOL_CALLS]",
    "mistral_thoughts": "[TOOL_CALLS]",
    "r1_opens_thought": "<\uff5ctool▁calls▁begin\uff5c>",
    "v3_thinking_switch": "<\uff5ctool▁call▁begin\uff5c>",
    "arguments_as_text": "<tool_call>",
    "gptoss_channels": "<|channel|>commentary to=functions.tide_at<|message|>",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    return {
        name: Model.load(
            make_template_model(
                folder / f"{name}.gguf", (FOLDER / f"{name}.jinja").read_text("utf-8")
            )
        )
        for name in MARKS
    }


def calling(model: Model, tools: list[Any] = TOOLS) -> AnswerFormat:
    made = model.find_chat_template(None, tools).answer_format.calling(tools, model.vocabulary)
    assert made.call_grammar is not None
    return made


def opened(model: Model, mark: str) -> tuple[Context, int]:
    """A context in which an answer has opened a call."""
    context = Context(model, PARAMS)
    context.evaluate("When?")
    begun = model.tokenize(mark, special=True)
    context.evaluate(begun)
    return context, len(begun)


def parsed(model: Model, mark: str, said: Completion) -> ParsedAnswer:
    made = calling(model)
    begun = model.tokenize(mark, special=True)
    raw = model.vocabulary.generated_text([*begun, *(token.id for token in said.tokens)])
    return made.parse(raw, tools=TOOLS)


def check(name: str, arguments: dict[str, Any]) -> None:
    if name == "count-boats":
        assert [*map(type, arguments.values())] == [bool]
        assert [*arguments] == ["fast"]
        return
    assert name == "tide_at"
    assert {"hours", "place"} <= {*arguments} <= {"hours", "place", "unit"}
    assert type(arguments["hours"]) is int
    assert 0 <= arguments["hours"] <= 48
    assert len(arguments["place"].replace("\ufffd", "")) <= 6  # what is no character counts as one
    assert arguments.get("unit", "m") in ("m", "ft")


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("name", MARKS)
def test_every_call_is_well_formed(models: dict[str, Model], name: str, seed: int) -> None:
    model, mark = models[name], MARKS[name]
    context, n_said = opened(model, mark)
    said = context.generate(
        max_tokens=200, seed=seed, n_said=n_said, answer_format=calling(model), **HOT
    )
    parts = [token.part for token in said.tokens]
    assert parts[0] == "tool_call"
    first = parts.index("text") if "text" in parts else len(parts)
    if first == len(parts) and said.finish_reason != "stop":
        return  # it goes on calling
    answer = parsed(model, mark, said)
    assert answer.tool_calls
    for call in answer.tool_calls[:1] if "text" in parts else answer.tool_calls:
        assert call.error is None
        check(call.name, dict(call.arguments))
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", MARKS)
def test_a_call_goes_on_where_it_was_cut(models: dict[str, Model], name: str) -> None:
    model, mark = models[name], MARKS[name]
    how: dict[str, Any] = {"seed": 7, "answer_format": calling(model), **HOT}
    context, n_said = opened(model, mark)
    whole = context.generate(max_tokens=40, n_said=n_said, **how)
    for n in range(1, len(whole.tokens), 5):
        context, n_said = opened(model, mark)
        first = context.generate(max_tokens=n, n_said=n_said, **how)
        rest = context.generate(max_tokens=40 - n, n_said=n_said + n, **how)
        assert (*first.tokens, *rest.tokens) == whole.tokens
        context.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3_thoughts", "mistral_last_question", "r1_opens_thought"])
def test_several_calls_at_once(models: dict[str, Model], name: str) -> None:
    model, mark = models[name], MARKS[name]
    context, n_said = opened(model, mark)
    how: dict[str, Any] = {"seed": 3, "answer_format": calling(model), **HOT}
    request: dict[str, Any] = {**how, "max_tokens": 60}
    alone = context.exploration(3, exact=True, **request).run(n_said=n_said)
    together = context.exploration(3, **request).run(n_said=n_said)
    for sibling, branch in enumerate(alone):
        other, n_said = opened(model, mark)
        said = other.generate(n_said=n_said, sibling=sibling, **request)
        assert branch.completion.tokens == said.tokens
        other.close()
    for branch in (*alone, *together):
        answer = parsed(model, mark, branch.completion)
        if branch.completion.finish_reason == "stop" or answer.text:
            assert answer.tool_calls[0].error is None
    context.close()


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 5))
def test_nothing_else_changes(models: dict[str, Model], seed: int, n: int) -> None:
    model = models["qwen3_thoughts"]
    (token,) = model.tokenize("<tool_call>", special=True)
    how: dict[str, Any] = {"seed": seed, "max_tokens": 40, "logit_bias": {token: -30.0}, **HOT}
    context = Context(model, PARAMS)
    context.evaluate("When?" * n)
    plain = model.chat_template.answer_format
    (free,) = context.explore(1, exact=True, answer_format=plain, **how)
    (held,) = context.explore(1, exact=True, answer_format=calling(model), **how)
    assert free.completion.tokens == held.completion.tokens
    context.close()


def test_a_grammar_of_ones_own_is_the_only_one(models: dict[str, Model]) -> None:
    model = models["qwen3_thoughts"]
    grammar = 'root ::= "<tool_call>" "x"{8}'
    context = Context(model, PARAMS)
    context.evaluate("When?")
    begun = context.model.tokenize("<think></think>", special=True)
    context.evaluate(begun)
    said = context.generate(
        max_tokens=20, answer_format=calling(model), grammar=grammar, n_said=len(begun)
    )
    assert said == "<tool_call>xxxxxxxx"


def test_a_schema_that_no_grammar_follows_leaves_any_object(models: dict[str, Model]) -> None:
    model = models["mistral_thoughts"]
    function = {"name": "f", "parameters": {"properties": {"a": {"not": {"type": "null"}}}}}
    form = calling(model, [{"type": "function", "function": function}])
    assert form.call_grammar is not None
    text = form.call_grammar.text("[TOOL_CALLS]")
    assert text is not None
    assert '"f"' in text
    assert "t0-member" in text


def test_what_the_vocabulary_cannot_say_is_not_asked_of_it(models: dict[str, Model]) -> None:
    model, mark = models["qwen3_thoughts"], "<tool_call>"
    pieces = (model.vocabulary.whole_piece(token) or "" for token in range(model.n_vocab))
    bias = {token: float("-inf") for token, piece in enumerate(pieces) if "{" in piece}
    how: dict[str, Any] = {"seed": 5, "logit_bias": bias, "answer_format": calling(model), **HOT}
    context, n_said = opened(model, mark)
    said = context.generate(max_tokens=12, n_said=n_said, **how)
    assert len(said.tokens) == 12
    for n in (1, 2, 7):
        context, n_said = opened(model, mark)
        first = context.generate(max_tokens=n, n_said=n_said, **how)
        rest = context.generate(max_tokens=12 - n, n_said=n_said + n, **how)
        assert (*first.tokens, *rest.tokens) == said.tokens


def test_neighbouring_control_tokens_are_marks_each(models: dict[str, Model]) -> None:
    """DeepSeek's mark of all calls stands right before that of the first."""
    model = models["r1_opens_thought"]
    arguments = '{"hours": 3, "place": "Hull"}'
    begin, end = "<\uff5ctool▁call{}▁begin\uff5c>", "<\uff5ctool▁call{}▁end\uff5c>"
    raw = (
        f"{begin.format('s')}{begin.format('')}function<\uff5ctool▁sep\uff5c>tide_at\n```json\n"
        f"{arguments}\n```{end.format('')}{end.format('s')}"
    )
    said = model.vocabulary.generated_text(model.tokenize(raw, special=True))
    assert said == raw
    (call,) = calling(model).parse(said, tools=TOOLS).tool_calls
    assert (call.name, call.arguments) == ("tide_at", {"hours": 3, "place": "Hull"})


PLAIN_MARKS = (
    "{{ tools | tojson if tools }}{%- for m in messages -%}"
    "{%- if m.role == 'assistant' -%}A: {{ m.content or '' }}"
    "{%- for c in m.tool_calls or [] -%}[CALLS]{{ c.function.name }}"
    "{{ c.function.arguments | tojson }}{%- endfor -%}"
    "{%- else -%}{{ m.role }}: {{ m.content }}{%- endif -%}{{ '\\n' }}{%- endfor -%}"
)


def test_a_token_with_more_than_the_mark(tmp_path: Path) -> None:
    """The mark is in plain letters, and one token has its end and a comma."""
    model = Model.load(
        make_model(tmp_path / "m.gguf", "llama", n_layer=1, n_vocab=2048, chat_template=PLAIN_MARKS)
    )
    (more,) = model.tokenize("],")
    context = Context(model, PARAMS)
    context.evaluate("When?")
    begun = model.tokenize("[CALLS")
    context.evaluate(begun)
    how: dict[str, Any] = {"seed": 3, "logit_bias": {more: 60.0}, "n_said": len(begun), **HOT}
    (free,) = context.explore(1, 1, **{k: v for k, v in how.items() if k != "n_said"})
    assert free.completion == "],"
    made = calling(model)
    said = context.generate(max_tokens=60, answer_format=made, **how)
    assert said.startswith(("]tide_at{", "]count-boats{"))
    (call, *_) = made.parse("[CALLS" + said, tools=TOOLS).tool_calls
    assert call.error is None or said.finish_reason == "length"
    whole = [*begun, *(token.id for token in said.tokens)]
    again = Context(model, PARAMS)
    again.evaluate("When?")
    again.evaluate(begun)
    for n in range(len(said.tokens)):  # one at a time, each from what is there
        (token,) = again.generate(
            max_tokens=1, answer_format=made, **{**how, "n_said": len(begun) + n}
        ).tokens
        assert token.id == whole[len(begun) + n]
