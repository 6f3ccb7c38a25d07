"""Options of commands that choose a model and configure a chat."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from ..engine.files.locate import known_models
from ..engine.params import KV_CACHE_TYPES
from ..errors import MullamaError
from .console import loading_shown, note
from .sampling import sampling_options

if TYPE_CHECKING:
    from ..engine.adapters.values import Adapter
    from ..engine.model import Model

__all__ = [
    "adapter_options",
    "chat_options",
    "complete_model",
    "limit_options",
    "load_model",
    "own_template",
]

F = TypeVar("F", bound=Callable[..., Any])


def complete_model(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return files, and the local models that begin with the typed text."""
    names = [CompletionItem(name) for name in known_models() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def chat_options(command: F) -> F:
    """Add the options for making a context and sampling tokens to a command."""
    command = sampling_options(command)
    for option in reversed(
        (
            click.option("--n-ctx", type=click.IntRange(min=1), help="Cells of the context."),
            click.option(
                "--kv-cache-type",
                type=click.Choice(sorted(KV_CACHE_TYPES)),
                help="Type of K and V; f16 by default.",
            ),
            click.option("--threads", type=click.IntRange(min=1), help="Threads for llama.cpp."),
            click.option(
                "--chat-template", help="A Jinja file, or the name of a template in the model."
            ),
            click.option(
                "--template-option",
                "chat_template_kwargs",
                multiple=True,
                metavar="NAME=VALUE",
                callback=_variables,
                help="A variable of the chat template, such as enable_thinking=false.",
            ),
            click.option(
                "--keep-reasoning",
                is_flag=True,
                default=None,
                help="Keep earlier thoughts in the context, whatever the template does.",
            ),
        )
    ):
        command = option(command)
    return command


def limit_options(command: F) -> F:
    """Add the limits of an answer to a command."""
    for option in reversed(
        (
            click.option(
                "--max-tokens", type=click.IntRange(min=0), help="Limit of tokens per answer."
            ),
            click.option(
                "--reasoning-budget",
                type=click.IntRange(min=0),
                help="Tokens after which a thought is ended.",
            ),
        )
    ):
        command = option(command)
    return command


def adapter_options(command: F) -> F:
    """Add the options for LoRAs and control vectors to a command, which gets ``adapters``."""

    @functools.wraps(command)
    def take(*values: Any, **options: Any) -> Any:
        given = [*options.pop("lora"), *options.pop("control_vector")]
        return command(*values, adapters=given, **options)

    for name, kind in (("--control-vector", "ControlVector"), ("--lora", "LoRA")):
        take = click.option(
            name,
            multiple=True,
            metavar="FILE[:SCALE]",
            callback=functools.partial(_adapters, kind),
            help=f"A {'LoRA' if kind == 'LoRA' else 'control vector'} in GGUF; again for another.",
        )(take)
    return cast(F, take)


def _adapters(
    kind: str,
    _context: click.Context,
    _parameter: click.Parameter,
    given: tuple[str, ...],
) -> list[Adapter]:
    if not given:
        return []
    from ..engine.adapters import values  # numpy

    made: Callable[[str, float], Adapter] = getattr(values, kind)
    found = []
    for each in given:
        path, _, scale = each.rpartition(":")
        try:
            factor = float(scale) if path else 1.0
        except ValueError:  # a name with a colon
            path, factor = each, 1.0
        try:
            found.append(made(path or each, factor))
        except MullamaError as error:
            raise click.BadParameter(str(error)) from None
    return found


def _variables(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, Any] | None:
    """Return variables as a mapping: values are JSON, or else text."""
    values: dict[str, Any] = {}
    for each in given:
        name, sign, text = each.partition("=")
        if not name or not sign:
            raise click.BadParameter(f"{each!r} is not of the form NAME=VALUE")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values or None


def load_model(name: str, *, verbose: bool = False) -> Model:
    """Load a model, with a progress bar if that takes long."""
    from ..engine.model import Model

    with loading_shown(f"loading {name}") as progress:
        return Model.load(name, verbose=verbose, progress=progress)


def own_template(model: Model) -> str | None:
    """Return None, for the template in a model's file, or the name of the one for base models."""
    if model.chat_templates:
        return None
    note(f"{model.name} has no chat template: it goes on with what is said, as plain text")
    return "plain"
