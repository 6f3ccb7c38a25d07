"""Models and chats as options of commands name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ..engine.locate import known_models
from ..engine.model import Model
from ..engine.params import KV_CACHE_TYPES
from .console import loading_shown

__all__ = ["chat_options", "complete_model", "load_model"]

F = TypeVar("F", bound=Callable[..., Any])


def complete_model(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Models that are here and begin with what was typed, and files."""
    names = [CompletionItem(name) for name in known_models() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def chat_options(command: F) -> F:
    """The options that say how a context is made and how tokens are drawn."""
    for option in reversed(
        (
            click.option("--n-ctx", type=click.IntRange(min=1), help="Cells of the context."),
            click.option(
                "--kv-cache-type",
                type=click.Choice(sorted(KV_CACHE_TYPES)),
                help="Type of K and V; f16 unless said otherwise.",
            ),
            click.option("--threads", type=click.IntRange(min=1), help="Threads for llama.cpp."),
            click.option("--seed", type=int, help="Of the draws; 0 unless said otherwise."),
            click.option("--temperature", type=float, help="0 takes the likeliest token."),
        )
    ):
        command = option(command)
    return command


def load_model(name: str, *, verbose: bool = False) -> Model:
    """Load a model, with a bar if that takes long."""
    with loading_shown(f"loading {name}") as progress:
        return Model.load(name, verbose=verbose, progress=progress)
