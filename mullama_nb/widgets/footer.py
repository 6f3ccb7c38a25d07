"""What stands below the composer: cells used, how answers are made, and how to make room."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypedDict

from ..engine.adapters.values import in_words
from ..engine.completion import Limits
from ..engine.sampling.params import SamplingParams
from ..errors import ContextClosedError, ContextFullError, ParameterError, shown
from ..history.chat import Chat
from ..history.options import LIMIT_OPTIONS, pick
from ..history.resizing import keeps_rows

__all__ = [
    "OPTIONS",
    "Pace",
    "Remedy",
    "footer_of",
    "in_force",
    "options_in_words",
    "remedies",
    "set_option",
]

# What the menus offer, and what it is written as.
OPTIONS: Mapping[str, type[int] | type[float]] = {
    "temperature": float,
    "max_tokens": int,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "repetition_penalty": float,
    "seed": int,
    "reasoning_budget": int,
}
_DEFAULTS = pick({**vars(SamplingParams()), **vars(Limits())}, OPTIONS)


class Remedy(TypedDict):
    """A button that helps: its label, and the action of the panel with its arguments."""

    label: str
    action: str
    arguments: dict[str, Any]


def footer_of(chat: Chat) -> dict[str, Any]:
    """Return the cells in use, the options of the menus, and a full context in words.

    Parameters
    ----------
    chat : Chat
    """
    values = {**vars(chat.sampling), **vars(chat.limits)}
    return {
        "used": _n_used(chat),
        "n_ctx": chat.context.n_ctx,
        "options": pick(values, OPTIONS),
        "defaults": _DEFAULTS,
        "thinks": chat.answer_format.has_thoughts,
        "full": _full(chat),
    }


def _n_used(chat: Chat) -> int:
    try:
        return chat.head.stop + chat.tree.uncommitted
    except ContextClosedError:
        return 0


def _full(chat: Chat) -> dict[str, Any] | None:
    """What is said of a context that has ended an answer."""
    n_ctx = chat.context.n_ctx
    if chat.head.metadata.finish_reason != "context_full" or _n_used(chat) < n_ctx:
        return None
    text = f"The context is full: all {n_ctx:,} cells are in use, and the answer ends there."
    return {"text": text, "remedies": remedies(chat)}


def remedies(chat: Chat, error: ContextFullError | None = None) -> list[Remedy]:
    """Return what makes room.

    Parameters
    ----------
    chat : Chat
    error : ContextFullError, optional
        What did not fit.
    """
    n_ctx = chat.context.n_ctx
    found: list[Remedy] = []
    if sum(turn.role not in ("system", "assistant") for turn in chat.turns) > 1:
        found.append(Remedy(label="Drop the oldest turns", action="trim", arguments={}))
    least = n_ctx + 1 if error is None else n_ctx - error.free + error.needed + 1
    n_more = 2 * n_ctx
    while n_more < least:
        n_more *= 2
    n_more = min(n_more, chat.model.n_ctx_train)  # more than that it has never seen
    if n_more >= least and keeps_rows(chat.context, n_more):
        label = f"New chat with {n_more:,} cells"
        found.append(Remedy(label=label, action="enlarge", arguments={"n_ctx": n_more}))
    return found


def set_option(chat: Chat, name: str, text: str) -> None:
    """Set one of the chat's own options to what was typed; nothing stands for the default.

    Raises
    ------
    ParameterError
        When it is no such value.
    """
    if name not in OPTIONS:
        raise ParameterError(f"there is no option {name!r} here; there is {', '.join(OPTIONS)}")
    change: Any = {name: _read(name, text.strip())}
    if name in LIMIT_OPTIONS:
        chat.limits = chat.limits.with_changes(**change)
    else:
        chat.sampling = chat.sampling.with_changes(**change)


def _read(name: str, text: str) -> int | float | None:
    if not text:
        default: int | float | None = _DEFAULTS[name]
        return default
    kind = OPTIONS[name]
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number, such as 0.8"
        raise ParameterError(f"{name} must be {what}, not {shown(repr(text))}") from None


def in_force(chat: Chat) -> list[str]:
    """Return what is on besides the menus, in words: adapters, template, options, other sampling.

    Parameters
    ----------
    chat : Chat
    """
    template = chat.chat_template
    is_name = template is not None and "{" not in template
    named = [f"chat template {template}" if is_name else "own chat template"] if template else []
    others = {**chat.sampling.changed(), **chat.limits.changed()}
    return [
        *(in_words(adapter.note()) for adapter in chat.adapters),
        *named,
        *options_in_words(chat.chat_template_kwargs),
        *options_in_words({name: v for name, v in others.items() if name not in OPTIONS}),
    ]


def options_in_words(values: Mapping[str, Any]) -> list[str]:
    """Return options as a page shows them."""
    return [
        f"{name}: {shown(json.dumps(value, ensure_ascii=False))}" for name, value in values.items()
    ]


class Pace:
    """How many tokens come in a second, from the first of an answer to its last."""

    def __init__(self) -> None:
        self._first = self._last = 0.0
        self._n_tokens = 0
        self._has_ended = True

    def add(self, now: float) -> None:
        """Count a token.

        Parameters
        ----------
        now : float
            When it came, in seconds.
        """
        if self._has_ended:
            self._first, self._n_tokens, self._has_ended = now, 0, False
        self._n_tokens += 1
        self._last = now

    def end(self) -> None:
        """Have the next token begin another answer."""
        self._has_ended = True

    @property
    def per_second(self) -> float:
        """Tokens a second, to three digits; 0 while that is not known."""
        seconds = self._last - self._first
        if self._n_tokens < 2 or seconds <= 0:
            return 0.0
        return float(f"{(self._n_tokens - 1) / seconds:.3g}")
