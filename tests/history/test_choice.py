"""How a token was chosen: every recorded token, named again by the code that drew it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from template_models import make_template_model
from tiny_models import CHATML
from tree_walk import Walk

from mullama_nb import Chat, Checkpoint, Context, ContextParams, ControlVector, Model, Turn
from mullama_nb.engine.sampling.choice import Choice
from mullama_nb.engine.sampling.params import SAMPLERS
from mullama_nb.errors import GrammarError, ParameterError
from mullama_nb.history.choice import choice as choice_of
from mullama_nb.history.chosen_from import _together, first_of_generation

TEMPLATES = Path(__file__).parents[1] / "templates"

ChatMaker = Callable[..., Chat]

SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
LONG_SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
    "required": ["a", "b"],
}
MARKS = {"qwen3_thoughts": "<tool_call>", "mistral_last_question": "[TOOL_CALLS]"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "tide_at",
            "description": "High water.",
            "parameters": {
                "type": "object",
                "properties": {"hours": {"type": "integer"}, "place": {"type": "string"}},
                "required": ["hours", "place"],
                "additionalProperties": False,
            },
        },
    }
]
WIDE: dict[str, Any] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
VARIETY: dict[str, dict[str, Any]] = {
    "as usual": {},
    "greedy": {"temperature": 0},
    "greedy, penalties": {"temperature": 0, "repetition_penalty": 1.3},
    "greedy, grammar": {"temperature": 0, "grammar": "root ::= [a-z ]+"},
    "no samplers": {"samplers": []},
    "order": {"samplers": ["temperature", "min_p", "top_k"], "temperature": 1.7},
    "biases": {"logit_bias": {30: 5.0, 31: "-inf"}, "frequency_penalty": 0.5},
    "penalties": {"repetition_penalty": 1.2, "presence_penalty": 0.4, "penalty_window": -1},
    "dry": {"dry_multiplier": 0.8, "dry_window": -1, "dry_allowed_length": 1},
    "xtc": {"xtc_probability": 0.5, "xtc_threshold": 0.01, **WIDE},
    "xtc first": {
        "samplers": ["xtc", "dry"],
        "xtc_probability": 0.9,
        "xtc_threshold": 0.0,
        "dry_multiplier": 1,
        **WIDE,
    },
    "sigma": {"top_n_sigma": 1.0, **WIDE},
    "dynamic": {"temperature": 0.6, "dynamic_temperature_range": 1.0},
    "typical": {"typical_p": 0.8, "top_k": 0},
    "mirostat 1": {"mirostat": 1, "mirostat_eta": 0.4},
    "mirostat 2": {"mirostat": 2, "mirostat_tau": 3.0},
    "mirostat without surprise": {"mirostat": 2, "mirostat_tau": 0.0, "mirostat_eta": 1.0},
    "adaptive-p": {"adaptive_p_target": 0.3},
    "adaptive-p, xtc": {
        "adaptive_p_target": 0.02,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.01,
    },
    "grammar": {"grammar": "root ::= [a-z ]+"},
    "grammar, xtc": {
        "grammar": "root ::= [a-z ]+",
        "xtc_probability": 0.5,
        "xtc_threshold": 0.01,
    },
}


def choices(turn: Turn) -> Iterator[Choice]:
    """How each token of an answer was chosen, checked."""
    for index, token in enumerate(turn.tokens):
        choice = turn.choice(index)
        assert choice.token == token
        check(choice)
        yield choice


def check(choice: Choice) -> None:
    """Check a choice of a token that was drawn, or was the likeliest."""
    assert "from these logits" not in choice.note, choice
    assert choice.how in ("drawn", "likeliest"), choice
    n = None
    for step in choice.steps:
        assert n is None or step.before == n
        assert step.after <= step.before
        assert 0 < len(step.candidates) == min(40, step.after)
        assert len(step.removed) == min(40, step.before - step.after)
        n = step.after
        assert sum(each.probability for each in step.candidates) < 1 + 1e-6
        values = [each.probability for each in step.candidates]
        assert values == sorted(values, reverse=True)
        assert not {c.token for c in step.candidates} & {c.token for c in step.removed}
    if choice.how == "likeliest":
        assert choice.draw is None
        last = choice.steps[-1].candidates if choice.steps else choice.model
        assert choice.token in [each.token for each in last]
        return
    draw = choice.draw
    assert draw is not None
    assert draw.low <= draw.number < draw.high
    (own,) = (each for each in draw.bar if each.token == choice.token)
    assert (own.low, own.high, own.text) == (draw.low, draw.high, choice.text)
    candidates = choice.steps[-1].candidates if choice.steps else choice.model
    by_token = {each.token: each.probability for each in candidates}
    for stretch in draw.bar:
        if stretch.token in by_token and choice.steps[-1:] != ():
            width = stretch.high - stretch.low
            assert math.isclose(width, by_token[stretch.token], abs_tol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("how", VARIETY)
def test_each_token_is_named_again(new_chat: ChatMaker, how: str) -> None:
    chat = new_chat(seed=7)
    turn = chat.ask("hello there", max_tokens=24, **VARIETY[how])
    assert turn.tokens
    found = list(choices(turn))
    assert {step.name for choice in found for step in choice.steps} <= {
        *VARIETY[how].get("samplers", ()),
        *("penalties", "dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc"),
        *("temperature", "logit_bias", "grammar", "mirostat", "adaptive_p"),
    }


# -- whatever the parameters and the ways of an answer are -----------------------------------


@st.composite
def samplings(draw: st.DrawFn) -> dict[str, Any]:
    """Parameters of sampling, as many as go together."""
    p: dict[str, Any] = {"seed": draw(st.integers(0, 2**40))}

    def may(*names: str, **values: st.SearchStrategy[Any]) -> None:
        if draw(st.booleans()):
            p.update({name: draw(values[name]) for name in names or values})

    fraction = st.floats(0, 1)
    may(temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]))
    may(logit_bias=st.dictionaries(st.integers(17, 511), st.floats(-9, 9), max_size=5))
    may(repetition_penalty=st.floats(0.5, 2), penalty_window=st.integers(-1, 80))
    may(frequency_penalty=st.floats(-1, 1), presence_penalty=st.floats(-1, 1))
    may(
        dry_multiplier=st.floats(0, 3),
        dry_allowed_length=st.integers(0, 3),
        dry_window=st.integers(-1, 40),
    )
    may(top_k=st.integers(0, 600), top_p=fraction, min_p=fraction)
    p["top_k"] = max(p.get("top_k", 40), 0)
    is_hot = p.get("temperature", 0.8) > 0
    last = draw(st.sampled_from(["", "mirostat", "adaptive_p"])) if is_hot else ""
    if last == "mirostat":
        p["mirostat"] = draw(st.sampled_from([1, 2]))
        may(mirostat_tau=st.floats(0, 9), mirostat_eta=fraction)
    elif last == "adaptive_p":
        p["adaptive_p_target"] = draw(fraction)
        may(adaptive_p_decay=st.floats(0, 0.99))
    if last != "mirostat":
        may(typical_p=st.floats(0.1, 1))
        may(top_n_sigma=st.floats(0, 4))
        if is_hot:
            may(dynamic_temperature_range=st.floats(0, 2))
            may(xtc_probability=fraction, xtc_threshold=st.floats(0, 0.3))
    if draw(st.booleans()):
        p["samplers"] = draw(st.permutations(SAMPLERS))
    how = draw(st.sampled_from(["", "", "grammar", "json_schema"]))
    if how == "grammar":
        p["grammar"] = draw(st.sampled_from(["root ::= [a-z ]+", 'root ::= ("ab" | [^a])*']))
    elif how == "json_schema":
        p["json_schema"] = SCHEMA
    return p


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sampling=samplings(), n=st.integers(1, 6))
def test_each_token_is_named_under_any_parameters(
    new_chat: ChatMaker, sampling: dict[str, Any], n: int
) -> None:
    chat = new_chat()
    turn = _unless_xtc_leaves_nothing(chat.ask, "hello there hello there", max_tokens=n, **sampling)
    assert len([*choices(turn)]) == len(turn.tokens)
    turn = _unless_xtc_leaves_nothing(chat.regenerate, max_tokens=n, **sampling)
    if turn.is_complete:
        return
    turn = _unless_xtc_leaves_nothing(chat.resume, max_tokens=n, **sampling)
    assert len([*choices(turn)]) == len(turn.tokens)
    half = len(turn.tokens) // 2
    fork = _unless_xtc_leaves_nothing(chat.fork, turn, token=half, max_tokens=n, **sampling)
    for each in (fork, turn):
        assert len([*choices(each)]) == len(each.tokens)


def _unless_xtc_leaves_nothing(say: Callable[..., Turn], *values: Any, **sampling: Any) -> Turn:
    """What is said; another case if XTC takes all that a grammar allows."""
    try:
        return say(*values, **sampling)
    except GrammarError:
        if not sampling.get("xtc_probability"):
            raise
        return reject()


WALKS: list[dict[str, Any]] = [
    {},
    {"mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.4},
    {"xtc_probability": 0.5, "xtc_threshold": 0.01, "dry_multiplier": 0.5, "dry_window": -1},
    {"mirostat": 1, "mirostat_tau": 4.0, "mirostat_eta": 0.4},
    {"adaptive_p_target": 0.1, "top_n_sigma": 2.0, "dynamic_temperature_range": 0.3},
]


OTHERS = [pytest.param(n, marks=pytest.mark.slow) for n in range(1, len(WALKS))]


class Stroll(Walk):
    """A walk whose steps others check."""

    def check(self, *, all_rows: bool = True) -> None:
        del all_rows


def all_choices(chat: Chat) -> Iterator[tuple[Checkpoint, Choice]]:
    """How each token was chosen that some checkpoint of a chat has generated."""
    for end in [*chat.tree]:
        n = len(end.tokens) if end.metadata.is_generated else 0
        for index in range(-n, 0):
            choice = choice_of(chat._workspace, end, index)
            assert choice.token == end.tokens[index]
            yield end, choice


@pytest.mark.slow
@pytest.mark.parametrize("thinks", [False, True])
@pytest.mark.parametrize("seed", [0, *OTHERS])
def test_each_token_is_named_wherever_a_walk_has_led(
    chat_model: Model, tmp_path: Path, seed: int, thinks: bool
) -> None:
    """Resumed, forked, edited, explored, pruned around, spilled, behind thoughts with a budget."""
    model, limits = chat_model, dict[str, Any]()
    if thinks:
        template = TEMPLATES / "qwq_opens_thought.jinja"
        model = Model.load(make_template_model(tmp_path / "m.gguf", template.read_text("utf-8")))
        limits["reasoning_budget"] = 3
    context = Context(model, ContextParams(n_ctx=1024, n_threads=1, n_parallel=4))
    chat = Chat(context, seed=seed, max_bytes=200_000, **WALKS[seed])
    walk = Stroll(chat, seed, **limits)
    for _ in range(100):
        walk.step()
    chat.tree.checkout(chat.head)  # what was appended directly is committed
    before = chat.head, chat.context.tokens, chat.tree.redo_path
    found = [*all_choices(chat)]
    assert before == (chat.head, chat.context.tokens, chat.tree.redo_path)
    assert len(found) > 60
    for end, choice in found:
        if choice.how == "forced":
            assert (choice.steps, choice.draw) == ((), None)
            assert "budget" in choice.note
        elif "from these logits" in choice.note:
            assert _together(first_of_generation(end)) is None  # one of the others is gone
            assert (choice.how, choice.draw) == ("drawn", None)
        else:
            check(choice)
    assert any(choice.how == "forced" for _, choice in found) is thinks


# -- wherever an answer comes from -------------------------------------------------------------


def check_all(chat: Chat) -> list[Choice]:
    """Check all tokens that a chat has generated; there is none that could not be explained."""
    found = [choice for _, choice in all_choices(chat)]
    for choice in found:
        if choice.how != "forced":
            check(choice)
    return found


def lead(chat: Chat) -> None:
    """An answer that is resumed, forked and answered otherwise, and some that are explored."""
    turn = chat.ask("hello " * 20, max_tokens=8)
    chat.ask("again", max_tokens=5)
    turn = turn if turn.is_complete else chat.resume(max_tokens=4)
    chat.fork(turn, token=3, max_tokens=4)
    chat.explore("and now?", n=3, max_tokens=5)
    chat.explore("and now?", n=2, max_tokens=5, exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
def test_each_token_is_named_with_every_kind_of_memory(tiny: ModelMaker, architecture: str) -> None:
    """And with no warning of an evaluation that was not exact."""
    chat = Chat(tiny(architecture, chat_template=CHATML), n_ctx=512, n_threads=1, mirostat=2)
    lead(chat)
    before = chat.head, chat.context.tokens, chat.context.logits.tobytes()
    assert len(check_all(chat)) > 30
    assert before == (chat.head, chat.context.tokens, chat.context.logits.tobytes())


@pytest.mark.slow
def test_each_token_is_named_with_the_adapters_it_was_made_with(tiny: ModelMaker) -> None:
    model = tiny("llama", chat_template=CHATML)
    rows = np.random.default_rng(0).normal(0, 2, (model.n_layers, model.n_embd))
    rows[0] = 0  # llama.cpp adds nothing there
    chat = Chat(model, n_ctx=512, n_threads=1, seed=3)
    for scale in (0.0, 1.0, -1.0):
        chat.adapters = [ControlVector.from_array(rows, name="push", scale=scale)] if scale else []
        lead(chat)
    assert len(check_all(chat)) > 90


@pytest.mark.slow
def test_each_token_is_named_in_a_chat_that_was_opened(new_chat: ChatMaker, tmp_path: Path) -> None:
    chat = new_chat(seed=3, mirostat=1)
    lead(chat)
    found = check_all(chat)
    chat.save("kept", tmp_path)
    opened = Chat.open("kept", chat.model, tmp_path)
    assert [*map(repr, check_all(opened))] == [*map(repr, found)]


@pytest.mark.slow
@pytest.mark.parametrize("begun", ["Sure, ", '{"a"'])
def test_each_token_is_named_behind_a_beginning_that_was_given(
    new_chat: ChatMaker, begun: str
) -> None:
    """A grammar begins behind one that does not follow it, also where the answer is cut since."""
    chat = new_chat(seed=3)
    asked = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": begun}]
    how: dict[str, Any] = {"json_schema": LONG_SCHEMA, "temperature": 1.5, "max_tokens": 24}
    turn = chat.ask(asked, **how)
    n_given = len(turn.parts[0].tokens)
    assert {turn.choice(i).how for i in range(n_given)} == {"given"}
    assert "begun" in turn.choice(n_given - 1).note
    n = len(turn.tokens)
    for at in (n_given + 2, n_given + 5, n - 1):
        chat.fork(turn, token=at, **how)
    assert len(turn.parts) == 5
    assert len(check_all(chat)) > 40


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3_thoughts", "mistral_last_question"])
def test_each_token_is_named_in_calls_of_tools(tmp_path: Path, name: str) -> None:
    """They follow a grammar of the tools' schemas from the opening mark on."""
    template = (TEMPLATES / f"{name}.jinja").read_text("utf-8")
    model = Model.load(make_template_model(tmp_path / "m.gguf", template))
    bias = {model.tokenize(MARKS[name], special=True)[0]: 12.0}
    hot: dict[str, Any] = {"temperature": 1.5, **WIDE, "logit_bias": bias}
    chat = Chat(model, n_ctx=1024, n_threads=1, seed=5, tools=TOOLS, **hot)
    budget = {"reasoning_budget": 3} if "thoughts" in name else {}
    turn = chat.ask("When?", max_tokens=40, **budget)
    chat.fork(turn, token=len(turn.tokens) // 2, max_tokens=12)
    found = check_all(chat)
    assert any(step.name == "grammar" for choice in found for step in choice.steps)


def test_answers_that_were_not_drawn_say_who_gave_them(new_chat: ChatMaker, tmp_path: Path) -> None:
    chat = new_chat(seed=3)
    chat.ask("hello", max_tokens=4)
    edited = chat.edit("my own words", chat.turns[-1])
    assert "in place of the answer" in edited.choice(-1).note
    chat.export(tmp_path / "said.json")
    imported = Chat.from_transcript(chat.model, tmp_path / "said.json", n_ctx=256, n_threads=1)
    answer = imported.turns[-1]
    assert (answer.role, answer.choice(-1).how) == ("assistant", "given")
    chat.context.evaluate("directly")
    chat.tree.commit()
    assert "directly" in choice_of(chat._workspace, chat.head, -1).note


def test_an_answer_that_a_trim_took_over_says_where_it_was_drawn(
    new_chat: ChatMaker, tmp_path: Path
) -> None:
    chat = new_chat(seed=3)
    for question in ("one", "two", "three"):
        turn = chat.ask(question, max_tokens=6)
    chat.trim(keep=1)
    copy = chat.turns[-1]
    assert copy.tokens == turn.tokens
    choice = copy.choice(2)
    assert (choice.how, choice.token, choice.draw) == ("given", turn.tokens[2], None)
    assert turn.checkpoint.short_id in choice.note
    assert chat.tree[turn.checkpoint.short_id] is turn.checkpoint
    check(turn.choice(2))
    rest = chat.resume(max_tokens=3)
    assert [choice.how for choice in map(rest.choice, (5, 6))] == ["given", "drawn"]
    chat.save("trimmed", tmp_path)
    opened = Chat.open("trimmed", chat.model, tmp_path)
    assert repr(opened.turns[-1].choice(2)) == repr(choice)


def test_answers_that_were_explored_together_are_explored_again(smollm2: Model) -> None:
    """Rows of a batch differ from those of tokens alone, more so in a cache of many tokens."""
    rule = "Answer in one short sentence, and never say that you do not know. " * 10
    chat = Chat(smollm2, rule, n_ctx=1024, seed=1, temperature=1.0)
    chat.explore("Suggest a name for a small red boat.", n=6, max_tokens=16)
    assert len(check_all(chat)) > 60


def test_the_next_ordinal_is_what_another_answer_draws(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=3, xtc_probability=0.5, xtc_threshold=0.01)
    first = chat.ask("hello there", max_tokens=8)
    second = chat.regenerate(max_tokens=8)
    draw = first.choice(0).draw
    assert draw is not None
    assert (draw.next_token, draw.next_number) == (
        second.tokens[0],
        second.choice(0).draw.number,  # type: ignore[union-attr]
    )


def test_the_next_ordinal_may_find_nothing(new_chat: ChatMaker) -> None:
    """XTC in front of all others takes what a grammar allows, if its number has it act."""
    settings = {"seed": 212, "xtc_probability": 0.5, "xtc_threshold": 0.0}
    settings |= {"samplers": ["xtc", "temperature"], "grammar": "root ::= [a-z ]+"}
    found = []
    for n in range(1, 8):
        chat = new_chat()
        with contextlib.suppress(GrammarError):
            chat.ask("hello there " * n, max_tokens=8, **settings)
        turn = chat.turns[-1]
        found += [turn.choice(i) for i in range(len(turn.tokens)) if turn.role == "assistant"]
    draws = [choice.draw for choice in found]
    nothing = [draw is not None and draw.next_token is None for draw in draws]
    assert True in nothing
    assert False in nothing
    lost = found[nothing.index(True)]
    assert lost.draw is not None
    assert lost.draw.next_text is None


def test_what_was_not_chosen_says_so(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=3)
    turn = chat.ask("hello there", max_tokens=8)
    question = chat.turns[0]
    assert question.choice(0).how == "given"
    assert question.choice(0).model == ()
    asked = question.choice(-1)
    assert (asked.how, asked.steps, asked.draw) == ("given", (), None)
    assert "user" in asked.note
    assert asked.model
    forked = chat.fork(turn, token=3, choose=turn.tokens[3] + 1, max_tokens=3)
    assert [choice.how for choice in map(forked.choice, range(7))] == [
        *["drawn"] * 3,
        "given",
        *["drawn"] * 3,
    ]
    assert "by hand" in forked.choice(3).note
    with pytest.raises(ParameterError, match="token=7"):
        forked.choice(7)


def test_it_is_shown_without_what_a_model_could_put_into_a_page(new_chat: ChatMaker) -> None:
    choice = new_chat(seed=7).ask("hello there", max_tokens=2, **VARIETY["biases"]).choice(1)
    page = choice._repr_html_()
    assert "logit_bias" in page
    hostile = Choice(1, "<img src=x>", 3, "drawn", "<b>")
    assert "<img" not in hostile._repr_html_()
    assert "<b>" not in hostile._repr_html_()
    assert repr(hostile) == "Choice('<img src=x>' was drawn; <b>)"
