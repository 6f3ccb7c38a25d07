"""Answers to one question under different settings."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from tiny_models import CHATML
from waiting import in_thread

from mullama_nb import Chat
from mullama_nb.engine.completion import Token
from mullama_nb.errors import ParameterError
from mullama_nb.history.exploring import settings_for
from mullama_nb.history.options import recalled
from mullama_nb.testing import record, replay

from .conftest import ChatMaker
from .test_lock import check_every_checkpoint

MOODY = CHATML + "{% if add_generation_prompt and mood %}{{ mood }}{% endif %}"


def test_each_answer_has_its_own_setting(chat: Chat) -> None:
    answers = chat.explore("Why?", vary={"temperature": [0, 0.7, 1.2]}, max_tokens=6, seed=3)
    notes = [answer.checkpoint.metadata for answer in answers]
    assert [each["sampling"] for each in notes] == [
        {"temperature": 0, "seed": 3},
        {"temperature": 0.7, "seed": 3},
        {"temperature": 1.2, "seed": 3},
    ]
    assert [each["sibling"] for each in notes] == [0, 1, 2]
    assert [each["explored"] for each in notes] == [{"n": 3, "n_parallel": 3}] * 3
    assert [dict(varied) for varied in answers.varied] == [
        {"temperature": 0},
        {"temperature": 0.7},
        {"temperature": 1.2},
    ]
    assert {answer.checkpoint.parent for answer in answers} == {chat.head}
    check_every_checkpoint(chat)


@pytest.mark.parametrize(
    "vary",
    [
        {"temperature": [0, 0.9, 1.5], "max_tokens": [3, 9]},
        {"seed": range(4), "min_p": np.array([0.0, 0.3])},
        {"mirostat": [0, 1, 2], "seed": [5]},
        {
            "xtc_probability": [0.0, 1.0],
            "samplers": [["xtc", "temperature"], ["temperature", "xtc"]],
        },
        {"grammar": [None, 'root ::= "yes" | "no"'], "stop": ["a", ["b", "c"]]},
    ],
    ids=lambda vary: " ".join(vary),
)
def test_exact_answers_are_what_asking_would_say(new_chat: ChatMaker, vary: dict[str, Any]) -> None:
    """One after the other, in the order of the settings, with the same siblings."""
    asked, explored = new_chat(), new_chat()
    common = {} if "max_tokens" in vary else {"max_tokens": 7}
    answers = explored.explore("Why?", vary=vary, exact=True, **common)
    assert len(answers) == np.prod([len(list(values)) for values in vary.values()])
    for i, (mine, varied) in enumerate(zip(answers, answers.varied, strict=True)):
        theirs = (asked.regenerate if i else lambda **o: asked.ask("Why?", **o))(**common, **varied)
        assert mine.checkpoint.tokens == theirs.checkpoint.tokens
        assert mine.checkpoint.logprobs == theirs.checkpoint.logprobs
        assert mine.checkpoint.metadata == theirs.checkpoint.metadata
    check_every_checkpoint(explored)


def test_several_answers_under_each_setting(chat: Chat) -> None:
    answers = chat.explore("Why?", 2, vary={"top_k": [1, 50]}, max_tokens=4, temperature=1.5)
    assert [varied["top_k"] for varied in answers.varied] == [1, 1, 50, 50]
    assert answers[0].checkpoint.tokens == answers[1].checkpoint.tokens
    assert len(chat.explore(vary={"max_tokens": [1, 2]})) == 2
    assert len(chat.explore(max_tokens=1)) == 8
    assert len(chat.tree.root.children) == 1


def test_a_question_that_is_put_otherwise_has_answers_beside_it(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=MOODY), n_ctx=512, n_threads=1)
    heard: dict[int, int] = {}

    def count(index: int, _token: Token) -> None:
        heard[index] = heard.get(index, 0) + 1

    moods = [None, {"mood": "Well"}, {"mood": "Alas"}]
    vary = {"seed": [1, 2], "chat_template_kwargs": moods}
    answers = chat.explore("Why?", vary=vary, max_tokens=4, on_token=count)
    assert [dict(varied) for varied in answers.varied] == [
        {"seed": seed, "chat_template_kwargs": mood} for mood in moods for seed in (1, 2)
    ]
    assert heard == dict.fromkeys(range(6), 4)
    questions = [answer.checkpoint.parent for answer in answers]
    assert chat.head is questions[0] is questions[1]
    assert [questions.count(question) for question in questions] == [2] * 6
    for mood, answer in zip(("Well", "Well", "Alas", "Alas"), answers[2:], strict=True):
        question = answer.checkpoint.parent
        assert question is not None
        assert question.text.endswith(f"assistant\n{mood}")
    twin = Chat(tiny("llama", chat_template=MOODY), n_ctx=512, n_threads=1)
    alone = twin.explore("Why?", vary={"seed": [1, 2]}, chat_template_kwargs=moods[2], max_tokens=4)
    assert [a.checkpoint.tokens for a in alone] == [a.checkpoint.tokens for a in answers[4:]]
    assert answers[5].keep().chat.turns[-1].text == answers[5].text
    check_every_checkpoint(chat)


def test_a_stop_keeps_what_there_is(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=MOODY), n_ctx=1024, n_threads=1)
    n_heard = 0

    def stop_at_the_tenth(_index: int, _token: Token) -> None:
        nonlocal n_heard
        n_heard += 1
        if n_heard == 10:
            in_thread(chat.stop).join()

    vary = {"chat_template_kwargs": [None, {"mood": "Well"}], "seed": [1, 2, 3]}
    answers = chat.explore("Why?", vary=vary, max_tokens=200, on_token=stop_at_the_tenth)
    assert [answer.finish_reason for answer in answers] == ["stopped"] * 3
    assert all(answer.tokens for answer in answers)
    assert chat.head is answers[0].checkpoint.parent
    assert len(chat.explore(vary={"seed": [4, 5]}, max_tokens=3)) == 2
    check_every_checkpoint(chat)


def test_what_varies_is_shown(chat: Chat) -> None:
    vary = {"temperature": [0, 1.5], "stop": [["<b>"], []]}
    answers = chat.explore("Why?", vary=vary, max_tokens=2)
    assert repr(answers).startswith(
        "Answers(temperature=0 stop=['<b>']: 2 tokens length, temperature=0 stop=[]: 2 tokens"
    )
    shown = answers._repr_html_()
    columns = ["", "temperature", "stop", "tokens", "nats per token", "answer"]
    assert re.findall("<th>(.*?)</th>", shown) == columns
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    plain = chat.explore("Why?", 2, max_tokens=2)
    assert repr(plain) == "Answers(2 tokens length, 2 tokens length)"
    assert re.findall("<th>(.*?)</th>", plain._repr_html_()) == [columns[0], *columns[3:]]
    shown = {"text/plain": repr(plain), "text/html": plain._repr_html_()}
    assert plain._repr_mimebundle_() == (shown, {})


@pytest.mark.parametrize(
    ("vary", "error", "reason"),
    [
        ({"temprature": [1]}, TypeError, r"vary has no 'temprature' \(did you mean 'temperature'"),
        ({"n_ctx": [512]}, TypeError, "vary has no 'n_ctx'"),
        ({"temperature": 0.5}, ParameterError, r"vary has temperature=0\.5; give a list"),
        ({"temperature": []}, ParameterError, "give a list of values"),
        ({"grammar": "abc"}, ParameterError, "give a list of values"),
        ({"temperature": [1, -1]}, ParameterError, "temperature=-1 is out of range"),
        ({"max_tokens": [1]}, ParameterError, "max_tokens is given and varied"),
        ({"top_k": [1]}, ParameterError, "top_k is given and varied"),
        ({"chat_template_kwargs": [3]}, ParameterError, "chat_template_kwargs"),
        ({"json_schema": [{"uniqueItems": True, "type": "array"}]}, ValueError, "uniqueItems"),
        (["temperature"], ParameterError, "must map names to values"),
    ],
)
def test_what_cannot_vary_is_refused_at_once(
    chat: Chat, vary: Any, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        chat.explore("Why?", vary=vary, max_tokens=3, top_k=5)
    assert chat.context.token_count() == 0


def test_a_recording_replays_what_varied(new_chat: ChatMaker, tmp_path: Path) -> None:
    chat = new_chat()
    vary = {"mirostat": [0, 2], "xtc_probability": [0.0], "seed": [1, 2]}
    answers = chat.explore("Why?", vary=vary, max_tokens=6, exact=True)
    record(chat, tmp_path / "varied.mullama.json")
    assert replay(tmp_path / "varied.mullama.json", chat.model, "exact").passed
    chat.save("varied", tmp_path)
    opened = Chat.open("varied", chat.model, tmp_path)
    for answer, varied in zip(answers, answers.varied, strict=True):
        sampling = recalled(opened.tree[answer.checkpoint.id].metadata.sampling)
        assert {name: getattr(sampling, name) for name in varied} == varied


def test_it_can_be_awaited(chat: Chat) -> None:
    vary = {"seed": [1, 2]}
    answers = asyncio.run(chat.aexplore("Why?", vary=vary, max_tokens=2))
    assert [varied["seed"] for varied in answers.varied] == [1, 2]


def test_settings_are_the_product_with_the_templates_first(chat: Chat) -> None:
    vary = {"seed": [1, 2], "chat_template_kwargs": [{}, {"a": 1}], "max_tokens": [3, 4]}
    settings = settings_for(None, vary, chat.sampling, chat.limits, {})
    assert [(s.variables, s.sampling.seed, s.limits.max_tokens) for s in settings] == [
        (variables, seed, n) for variables in ({}, {"a": 1}) for seed in (1, 2) for n in (3, 4)
    ]
