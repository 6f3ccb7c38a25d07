"""Options of a chat and of one answer: separated, and checked before anything happens."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..engine.adapters.values import Adapter
from ..engine.completion import Limits, Token
from ..engine.options import (
    ContextOptions,
    Described,
    LimitOptions,
    SamplingOptions,
    lists_options,
)
from ..engine.params import ContextParams
from ..engine.sampling.params import SamplingParams
from .tools import Tool

__all__ = [
    "CONTEXT_OPTIONS",
    "LIMIT_OPTIONS",
    "N_CTX",
    "SAMPLING_OPTIONS",
    "AnswerOptions",
    "ChatOptions",
    "GenerationOptions",
    "NewChatOptions",
    "OpenOptions",
    "StreamOptions",
    "lists_answer",
    "lists_changes",
    "lists_chat",
    "lists_generation",
    "lists_new_chat",
    "lists_open",
    "lists_stream",
    "pick",
    "recalled",
]

N_CTX = 4096
"""Cells of a chat's context unless said otherwise, or as many as the model was trained with."""

CONTEXT_OPTIONS = tuple(field.name for field in dataclasses.fields(ContextParams))
SAMPLING_OPTIONS = tuple(field.name for field in dataclasses.fields(SamplingParams))
LIMIT_OPTIONS = tuple(field.name for field in dataclasses.fields(Limits) if field.init)


class ChatOptions(ContextOptions, SamplingOptions, LimitOptions, total=False):
    """Options of a chat's context, and of the sampling and the limits of its answers."""


class OpenOptions(ChatOptions, total=False):
    """Options that may differ from those a chat was saved with."""

    max_bytes: int | None
    adapters: Sequence[Adapter]


class NewChatOptions(OpenOptions, total=False):
    """Options of a new chat, beside the model."""

    system: str | None
    tools: Sequence[Tool] | None
    chat_template: str | os.PathLike[str] | None
    chat_template_kwargs: Mapping[str, Any] | None
    keep_reasoning: bool


class GenerationOptions(LimitOptions, SamplingOptions, total=False):
    """Limits and sampling of one answer."""


class StreamOptions(GenerationOptions, total=False):
    """Options of one answer, token by token."""

    echo: bool | None
    chat_template_kwargs: Mapping[str, Any] | None


class AnswerOptions(StreamOptions, total=False):
    """Options of one answer."""

    on_token: Callable[[Token], object] | None
    run_tools: bool | int


_answer = {"run_tools": False, "echo": None, "on_token": None, "chat_template_kwargs": None}
_chat = vars(ContextParams()) | vars(SamplingParams()) | vars(Limits())
_chat |= {"n_ctx": Described(f"up to {N_CTX:,}")}
_chat |= {"chat_template": None, "chat_template_kwargs": None, "keep_reasoning": False}
_chat |= {"max_bytes": None, "adapters": (), "system": None, "tools": None}

# Each lists for Tab what its options may be; see ``lists_options``.
lists_answer = lists_options(AnswerOptions, _answer)
lists_generation = lists_options(GenerationOptions, vars(Limits()))
lists_stream = lists_options(StreamOptions, _answer)
lists_changes = lists_options(GenerationOptions, {})
lists_chat = lists_options(ChatOptions, _chat)
lists_new_chat = lists_options(NewChatOptions, _chat)
lists_open = lists_options(OpenOptions, {"max_bytes": None, "adapters": ()})


def pick(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the options with the given names."""
    return {name: options[name] for name in names if name in options}


def recalled(notes: Mapping[str, Any]) -> SamplingParams:
    """Return the sampling parameters in the notes of an answer."""
    changed = dict(notes)
    if "logit_bias" in changed:
        changed["logit_bias"] = {int(token): bias for token, bias in changed["logit_bias"].items()}
    return SamplingParams(**changed)
