"""Options that are typed by hand are those that the parameter classes have."""

from __future__ import annotations

import dataclasses
import inspect
from typing import ForwardRef

import pytest

from mullama_nb import Context, ContextParams, SamplingParams
from mullama_nb.engine.completion import Limits
from mullama_nb.engine.options import (
    ContextOptions,
    LimitOptions,
    SamplingOptions,
    lists_options,
    takes_what,
)


@pytest.mark.parametrize(
    ("options", "made"),
    [
        (ContextOptions, ContextParams),
        (SamplingOptions, SamplingParams),
        (LimitOptions, Limits),
    ],
)
def test_names_and_types_are_those_of_the_class(options: type, made: type) -> None:
    fields = {field.name: field.type for field in dataclasses.fields(made) if field.init}
    kinds = {
        name: kind.__forward_arg__ if isinstance(kind, ForwardRef) else kind
        for name, kind in options.__annotations__.items()
    }
    assert list(kinds.items()) == list(fields.items())
    assert options.__required_keys__ == frozenset()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["generate", "stream", "explore", "agenerate", "astream"])
def test_a_context_lists_how_tokens_are_drawn_with_the_defaults(name: str) -> None:
    listed = inspect.signature(getattr(Context, name)).parameters
    for field in dataclasses.fields(SamplingParams):
        assert listed[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert listed[field.name].default == getattr(SamplingParams(), field.name)
    assert not any(p.kind is p.VAR_KEYWORD for p in listed.values())


@pytest.mark.parametrize("name", ["evaluate", "generate", "stream"])
def test_forms_for_asyncio_take_what_the_others_take(name: str) -> None:
    plain, awaited = (inspect.signature(getattr(Context, n)) for n in (name, f"a{name}"))
    assert awaited.parameters == plain.parameters


def test_what_was_there_stays_in_front_and_other_defaults_are_described() -> None:
    @lists_options(LimitOptions, {"stop": ()})
    def function(first: int, *, second: str = "x", **options: object) -> float:
        """Say something."""
        return first + len(second) + len(options)

    assert str(inspect.signature(function)) == (
        "(first: 'int', *, second: 'str' = 'x', max_tokens: 'int | None' = <unchanged>, "
        "stop: 'str | Sequence[str]' = (), stop_tokens: 'Sequence[int]' = <unchanged>, "
        "reasoning_budget: 'int | None' = <unchanged>) -> 'float'"
    )
    assert function(1, max_tokens=2) == 3
    assert function.__doc__ == "Say something."


def test_a_function_that_passes_on_returns_what_it_returns() -> None:
    def other(first: int, *, second: str = "x") -> float:
        return first + len(second)

    @takes_what(other)
    def function(*values: int, **options: str) -> str:
        return str(other(*values, **options))

    assert str(inspect.signature(function)) == "(first: 'int', *, second: 'str' = 'x') -> 'str'"
    assert function(1, second="yes") == "4"
