"""What a case may be, and what is refused when it is given."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from mullama_nb import Chat
from mullama_nb.errors import ParameterError
from mullama_nb.testing.suites.case import Case


def lead(chat: Chat) -> None:
    chat.ask("one")


@pytest.mark.parametrize(
    ("said", "kind", "name"),
    [
        ("The capital of France is", "question", "The capital of France is"),
        (
            "What\n is [this], for a model/that reads?",
            "question",
            "What is this for a model that reads?",
        ),
        ("word " * 30, "question", "word word word word word word word word word"),
        ("x" * 200, "question", "x" * 48),
        ("[[,]]", "question", "case"),
        ([{"role": "user", "content": "Why?"}], "messages", "Why?"),
        (
            [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because"}],
            "messages",
            "Why?",
        ),
        (Path("some/colours.mullama.json"), "recording", "colours"),
        (lead, "function", "lead"),
    ],
)
def test_a_case_has_a_kind_and_a_name(said: Any, kind: str, name: str) -> None:
    case = Case(said)
    assert (case.kind, case.name, case.has_own_name) == (kind, name, False)
    assert pickle.loads(pickle.dumps(case)) == case
    assert repr(case) == f"Case({name!r}, {kind})"


def test_a_case_keeps_what_it_is_given() -> None:
    case = Case("Hello", name="greeting", temperature=0, max_tokens=3)
    assert (case.name, case.has_own_name) == ("greeting", True)
    assert case.options == {"temperature": 0, "max_tokens": 3}


@pytest.mark.parametrize(
    ("said", "options", "message"),
    [
        ("", {}, "its text is empty"),
        ([], {}, "no message in it"),
        ({"role": "user", "content": "a"}, {}, "is a question, a list of messages"),
        ([{"content": "a"}], {}, "has a role"),
        ([{"role": "system", "content": "a"}], {}, "nothing but a system message"),
        ([{"role": "user", "content": "\ud800"}], {}, "unpaired surrogate"),
        (3, {}, "is a question, a list of messages"),
        ("a", {"temperature": -1}, "temperature=-1"),
        ("a", {"max_tokens": -1}, "max_tokens=-1"),
        ("a", {"seed": None}, "give a suite a number"),
        ("a", {"name": "a[b]"}, "which part the ids"),
        ("a", {"name": " "}, "name must be a text"),
        ("a", {"checks": "contains"}, "checks are a list"),
        (Path("a.mullama.json"), {"temperature": 0}, "a recording is replayed with"),
        (lead, {"max_tokens": 3}, "a function says itself"),
    ],
)
def test_what_is_wrong_is_refused_when_given(
    said: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        Case(said, **options)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        Case("a", temprature=0)  # type: ignore[call-arg]
