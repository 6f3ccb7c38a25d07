"""``mullama-nb record``: record a conversation, to be replayed elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import evaluating_shown, note, speaking_plainly
from .models import adapter_options, chat_options, complete_model, limit_options, load_model
from .paths import NewFile

if TYPE_CHECKING:
    from ..engine.adapters.values import Adapter

__all__ = ["record"]


@click.command()
@click.argument("file", type=NewFile())
@click.argument("questions", nargs=-1)
@click.option("--model", shell_complete=complete_model, help="The model to ask.")
@click.option("--chat", "name", help="A saved chat of this name, instead of QUESTIONS.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of --chat; the user's data folder by default.",
)
@click.option("--system", help="The system message.")
@limit_options
@chat_options
@adapter_options
def record(
    file: Path,
    questions: tuple[str, ...],
    *,
    model: str | None,
    name: str | None,
    folder: Path | None,
    system: str | None,
    max_tokens: int | None,
    reasoning_budget: int | None,
    adapters: Sequence[Adapter],
    **options: Any,
) -> None:
    """Record a conversation in FILE: QUESTIONS in turn, or a saved chat.

    By convention FILE is called NAME.mullama.json: "mullama-nb replay" and "pytest --mullama"
    replay it. Answers go to stdout.
    """
    if name is None:
        if model is None or not questions:
            raise click.UsageError("give --model and QUESTIONS, or --chat")
        if folder is not None:
            raise click.UsageError("--folder says where --chat is saved; leave it out")
    if not all(question.strip() for question in questions):
        raise click.UsageError("one of QUESTIONS is empty")
    given = [*questions, system, max_tokens, reasoning_budget, *options.values()]
    if name is not None and any(value is not None for value in given):
        raise click.UsageError("--chat brings its own questions and options; leave others out")
    from ..history.chat import Chat
    from ..testing.recording import record as write_recording
    from .answering import open_chat

    with speaking_plainly():
        if name is not None:
            loaded = None if model is None else load_model(model)
            chat = Chat.open(name, loaded, folder, adapters=adapters)
        else:
            chat = open_chat(str(model), system, verbose=False, adapters=adapters, **options)
        for question in questions:
            with evaluating_shown(chat):
                said = chat.ask(
                    question, max_tokens=max_tokens, reasoning_budget=reasoning_budget, echo=False
                )
                click.echo(said.text)
        made = write_recording(chat, file)
    note(f"{file.name}: {len(made.entries)} checkpoints, {made.n_measured} generated tokens")
