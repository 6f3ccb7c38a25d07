"""Keyword options: typed for checkers, and listed individually for Tab, Shift-Tab and ``help``."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ForwardRef, ParamSpec, TypedDict, TypeVar

from ..checks import check_names

__all__ = [
    "UNCHANGED",
    "ContextOptions",
    "Described",
    "LimitOptions",
    "SamplingOptions",
    "hinting",
    "lists_context",
    "lists_options",
    "takes_what",
]

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class ContextOptions(TypedDict, total=False):
    """The fields of ``ContextParams``."""

    n_ctx: int | None
    kv_cache_type: str | tuple[str, str]
    n_batch: int
    n_ubatch: int
    n_threads: int | None
    n_threads_batch: int | None
    flash_attention: bool
    n_parallel: int
    rope_scaling: str | None
    rope_freq_base: float | None
    rope_freq_scale: float | None
    yarn_orig_ctx: int | None


class SamplingOptions(TypedDict, total=False):
    """The fields of ``SamplingParams``."""

    temperature: float
    dynamic_temperature_range: float
    dynamic_temperature_exponent: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    top_n_sigma: float
    xtc_probability: float
    xtc_threshold: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    penalty_window: int
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_window: int
    dry_sequence_breakers: Sequence[str]
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    adaptive_p_target: float | None
    adaptive_p_decay: float
    samplers: Sequence[str]
    seed: int | None
    logit_bias: Mapping[int, float]
    grammar: str | None
    json_schema: Mapping[str, Any] | str | None


class LimitOptions(TypedDict, total=False):
    """The fields of ``Limits``."""

    max_tokens: int | None
    stop: str | Sequence[str]
    stop_tokens: Sequence[int]
    reasoning_budget: int | None


class Described(str):
    """A placeholder in a signature for a default that is not one value."""

    def __repr__(self) -> str:
        return f"<{self}>"


UNCHANGED = Described("unchanged")


def hinting(cls: type[T]) -> type[T]:
    """Let a dataclass say which names there are when it is given one that it does not know."""
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    make = cls.__init__

    @functools.wraps(make)
    def init(self: T, *values: Any, **named: Any) -> None:
        check_names(cls.__name__, named, known)
        make(self, *values, **named)

    cls.__init__ = init  # type: ignore[method-assign, assignment]
    return cls


def lists_options(options: type, defaults: Mapping[str, Any]) -> Callable[[F], F]:
    """Give a function a signature with every key of a ``TypedDict`` in place of its ``**options``.

    Parameters
    ----------
    options : type
        The ``TypedDict`` that ``**options`` unpacks.
    defaults : mapping
        Defaults of keys; others are shown as ``<unchanged>``.
    """

    def give(function: F) -> F:
        plain = inspect.signature(function)
        named = [p for p in plain.parameters.values() if p.kind is not p.VAR_KEYWORD]
        listed = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, UNCHANGED),
                annotation=kind.__forward_arg__ if isinstance(kind, ForwardRef) else kind,
            )
            for name, kind in options.__annotations__.items()
        ]
        signature = plain.replace(parameters=[*named, *listed])
        function.__signature__ = signature  # type: ignore[attr-defined]
        return function

    return give


def takes_what(other: Callable[P, object]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Give a function the parameters of another, to which it passes all its arguments."""

    def give(function: Callable[..., R]) -> Callable[P, R]:
        returned = inspect.signature(function).return_annotation
        signature = inspect.signature(other).replace(return_annotation=returned)
        function.__signature__ = signature  # type: ignore[attr-defined]
        return function

    return give


lists_context = lists_options(ContextOptions, {})
"""For ``**changes`` of what a file says of a context."""
