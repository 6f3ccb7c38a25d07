"""Thoughts while an answer is generated: parts, budgets, and grammars that begin behind them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ModelMaker
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mullama_nb import Context, ContextParams, Model
from mullama_nb.engine.answers.format import AnswerFormat
from mullama_nb.engine.completion import Limits, Token
from mullama_nb.errors import ParameterError, ParameterWarning

ASKED = [{"role": "user", "content": "Why?"}]
LOOP = "{%- for m in messages -%}{%- if m.role != 'assistant' -%}<|im_start|>{{ m.content }}"
SAID = "{%- else -%}<|im_start|>{{ m.content }}{%- endif -%}<|im_end|>{%- endfor -%}"
THOUGHT = (
    "{%- else -%}<|im_start|><think>{{ m.reasoning_content or '' }}</think>{{ m.content }}"
    "{%- endif -%}<|im_end|>{%- endfor -%}"
)
ASKS = "{%- if add_generation_prompt -%}<|im_start|>"
OPENING = LOOP + THOUGHT + ASKS + "<think>{%- endif -%}"
THINKING = LOOP + THOUGHT + ASKS + "{%- endif -%}"
CHANNELS = (
    "{%- for m in messages -%}{%- if m.role == 'assistant' -%}<|start|>assistant<|channel|>final"
    "<|message|>{{ m.content }}<|end|>{%- else -%}<|start|>{{ m.role }}<|message|>{{ m.content }}"
    "<|end|>{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}<|start|>assistant"
    "{%- endif -%}"
)
MARKS = ("<think>", "</think>")
PARAMS = ContextParams(n_ctx=512, n_threads=1)
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}


@pytest.fixture(scope="module")
def opening(tiny: ModelMaker) -> Model:
    """Its prompts open a thought."""
    return tiny(chat_template=OPENING, control_tokens=MARKS, n_layer=1)


@pytest.fixture(scope="module")
def thinking(tiny: ModelMaker) -> Model:
    """It opens its thoughts itself."""
    return tiny(chat_template=THINKING, control_tokens=MARKS, n_layer=1)


def parts(tokens: tuple[Token, ...]) -> list[str]:
    return [token.part for token in tokens]


def mark(model: Model, text: str) -> int:
    (token,) = model.vocabulary.tokenize(text, special=True)
    return token


def asked(model: Model, **options: Any) -> Any:
    return Context(model, PARAMS).generate(messages=ASKED, **options)


@settings(max_examples=12)
@given(budget=st.integers(0, 12), seed=st.integers(0, 50), temperature=st.sampled_from([0.0, 1.5]))
@example(budget=10, seed=9, temperature=1.5)
def test_a_thought_ends_at_its_budget(
    opening: Model, budget: int, seed: int, temperature: float
) -> None:
    how: dict[str, Any] = {"seed": seed, "temperature": temperature}
    free = asked(opening, max_tokens=budget + 3, **how)
    assert parts(free.tokens) == ["reasoning"] * (budget + 3)
    said = asked(opening, max_tokens=budget + 9, reasoning_budget=budget, **how)
    n = next(n for n in range(budget, budget + 4) if said.tokens[n].id == mark(opening, "</think>"))
    assert [token.id for token in said.tokens[:n]] == [token.id for token in free.tokens[:n]]
    assert parts(said.tokens)[: n + 1] == ["reasoning"] * (n + 1)
    assert "text" in parts(said.tokens)
    assert "".join(token.text for token in said.tokens) == said
    # What follows is what would follow if the mark had been the model's own.
    other = Context(opening, PARAMS)
    other.evaluate(messages=ASKED)
    for token in said.tokens[: n + 1]:  # rows of a batch may differ in their last bits
        other.evaluate([token.id])
    rest = other.generate(max_tokens=budget + 8 - n, n_said=n + 1, **how)
    assert [token.id for token in rest.tokens] == [token.id for token in said.tokens[n + 1 :]]
    assert parts(rest.tokens) == parts(said.tokens)[n + 1 :]


def test_a_budget_holds_in_every_way_to_generate(opening: Model) -> None:
    how: dict[str, Any] = {"reasoning_budget": 3, "temperature": 1.2, "seed": 4}
    said = asked(opening, max_tokens=12, **how)
    stream = Context(opening, PARAMS).stream(messages=ASKED, max_tokens=12, **how)
    assert tuple(stream) == said.tokens
    context = Context(opening, PARAMS)
    context.evaluate(messages=ASKED)
    for exact in (True, False):
        (branch, *_) = context.explore(3, 12, exact=exact, **how)
        assert parts(branch.completion.tokens)[3:5] == ["reasoning", "text"]
    assert context.explore(1, 12, exact=True, **how)[0].completion.tokens == said.tokens


@pytest.mark.parametrize("controls", [MARKS, ()], ids=["one token", "several"])
def test_a_budget_goes_on_where_an_answer_does(tiny: ModelMaker, controls: tuple[str, ...]) -> None:
    """Also within the closing mark."""
    model = tiny(chat_template=OPENING, control_tokens=controls, n_layer=1)
    how: dict[str, Any] = {"reasoning_budget": 6, "temperature": 1.2, "seed": 4}
    whole = asked(model, max_tokens=14, **how)
    for n in range(1, 14):
        context = Context(model, PARAMS)
        first = context.generate(messages=ASKED, max_tokens=n, **how)
        rest = context.generate(max_tokens=14 - n, n_said=n, **how)
        assert (*first.tokens, *rest.tokens) == whole.tokens


def test_answers_that_are_explored_know_what_was_said(opening: Model) -> None:
    how: dict[str, Any] = {"reasoning_budget": 6, "temperature": 1.2, "seed": 4}
    whole = asked(opening, max_tokens=14, **how)
    for n in range(1, 14):
        context = Context(opening, PARAMS)
        first = context.generate(messages=ASKED, max_tokens=n, **how)
        (branch,) = context.explore(1, 14 - n, n_said=n, exact=True, **how)
        assert (*first.tokens, *branch.completion.tokens) == whole.tokens
        for branch in context.explore(3, 14 - n, n_said=n, **how):
            tokens = (*first.tokens, *branch.completion.tokens)
            assert [token.id for token in tokens].index(mark(opening, "</think>")) in range(6, 10)
            assert "text" in parts(tokens)


def test_a_model_that_opens_a_thought_itself(thinking: Model) -> None:
    think, end = (mark(thinking, text) for text in MARKS)
    bias = {think: 40.0}
    said = asked(thinking, max_tokens=12, reasoning_budget=2, logit_bias=bias, seed=1)
    ids = [token.id for token in said.tokens]
    assert ids[0] == think
    assert ids.index(end) in (2, 3)  # the mark that opens it does not count
    at_once = asked(thinking, max_tokens=4, reasoning_budget=0, logit_bias=bias, seed=1)
    assert [token.id for token in at_once.tokens[:2]] == [think, end]
    assert thinking.answer_format.parse(str(at_once)[: len("<think></think>")]).reasoning is None


@pytest.mark.parametrize("budget", [None, 0, 3])
def test_a_grammar_begins_behind_the_thought(opening: Model, budget: int | None) -> None:
    end = mark(opening, "</think>")
    how: dict[str, Any] = {"json_schema": SCHEMA, "seed": 2, "max_tokens": 60}
    if budget is None:  # it ends the thought itself, as the first thing
        how["logit_bias"] = {end: 40.0}
    said = asked(opening, reasoning_budget=budget, **how)
    answer = opening.answer_format.parse(said, begins_in_thought=True)
    assert isinstance(json.loads(answer.text)["a"], bool)
    assert said.finish_reason == "stop"


@pytest.mark.slow
@pytest.mark.parametrize("controls", [MARKS, ()], ids=["one token", "several"])
@pytest.mark.parametrize("budget", [0, 3])
def test_a_grammar_goes_on_where_an_answer_does(
    tiny: ModelMaker, controls: tuple[str, ...], budget: int
) -> None:
    model = tiny(chat_template=OPENING, control_tokens=controls, n_layer=1)
    how: dict[str, Any] = {"json_schema": SCHEMA, "seed": 2, "reasoning_budget": budget}
    whole = asked(model, max_tokens=60, **how)
    assert whole.finish_reason == "stop"
    for n in range(1, len(whole.tokens) + 1):
        context = Context(model, PARAMS)
        first = context.generate(messages=ASKED, max_tokens=n, **how)
        (branch,) = context.explore(1, 60, n_said=n, exact=True, **how)
        rest = context.generate(max_tokens=60, n_said=n, **how)
        assert (*first.tokens, *rest.tokens) == whole.tokens
        assert (*first.tokens, *branch.completion.tokens) == whole.tokens


@pytest.mark.parametrize("begun", ["Here it is:", "It", '{ "b'])
def test_a_grammar_begins_behind_what_does_not_follow_it(thinking: Model, begun: str) -> None:
    context = Context(thinking, PARAMS)
    n_said = context.evaluate(messages=ASKED) and context.evaluate(begun)
    said = context.generate(json_schema=SCHEMA, seed=2, max_tokens=60, n_said=n_said)
    assert isinstance(json.loads(said)["a"], bool)


def test_a_grammar_where_the_model_may_think_first(thinking: Model) -> None:
    plain = asked(thinking, json_schema=SCHEMA, seed=2, max_tokens=60)
    assert isinstance(json.loads(plain)["a"], bool)
    bias = {mark(thinking, "<think>"): 40.0}
    how: dict[str, Any] = {"json_schema": SCHEMA, "seed": 2, "max_tokens": 60, "logit_bias": bias}
    said = asked(thinking, reasoning_budget=3, **how)
    assert said.startswith("<think>")
    assert isinstance(json.loads(thinking.answer_format.parse(said).text)["a"], bool)


def test_a_grammar_in_a_channel(tiny: ModelMaker) -> None:
    controls = ("<|start|>", "<|end|>", "<|channel|>", "<|message|>")
    model = tiny(chat_template=CHANNELS, control_tokens=controls, n_layer=1)
    said = asked(model, json_schema=SCHEMA, seed=2, max_tokens=60)
    assert said.startswith("<|channel|>final<|message|>")
    assert isinstance(json.loads(model.answer_format.parse(said).text)["a"], bool)


def test_a_mark_that_is_several_tokens_is_held_back_until_it_is_known(tiny: ModelMaker) -> None:
    model = tiny(chat_template=OPENING, n_layer=1)
    tokens = model.vocabulary.tokenize("</think>")
    assert len(tokens) > 1
    said = asked(model, max_tokens=2 + len(tokens) + 4, reasoning_budget=2, seed=3)
    n = parts(said.tokens).index("text")
    assert [token.id for token in said.tokens[n - len(tokens) : n]] == tokens
    assert "".join(token.text for token in said.tokens) == said


def test_a_budget_without_thoughts_is_warned_of(tiny: ModelMaker) -> None:
    model = tiny(n_layer=1)
    context = Context(model, PARAMS)
    how: dict[str, Any] = {"max_tokens": 2, "reasoning_budget": 3}
    context.evaluate("Why?")
    ways: dict[str, Callable[[], object]] = {
        "generate": lambda: context.generate(**how),
        "stream": lambda: [*context.stream(**how)],
        "explore": lambda: context.explore(2, **how),
        "agenerate": lambda: asyncio.run(context.agenerate(**how)),
    }
    for way in ways.values():
        with pytest.warns(ParameterWarning, match="no thoughts") as warned:
            way()
        assert [(each.filename, len(warned)) for each in warned] == [(__file__, 1)]
    context.generate(max_tokens=2, reasoning_budget=3, answer_format=AnswerFormat(closing="]"))


@pytest.mark.parametrize("budget", [-1, 1.5, "9", True])
def test_a_budget_is_a_number_of_tokens(budget: Any) -> None:
    with pytest.raises(ParameterError, match="reasoning_budget"):
        Limits(reasoning_budget=budget)
    assert Limits(reasoning_budget=0).changed() == {"reasoning_budget": 0}
    assert "reasoning_budget" not in Limits(5).changed()
