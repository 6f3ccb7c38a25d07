"""``mullama-nb run``: one answer, or a conversation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..state.atomic import make_private_folder
from .console import note, speaking_plainly, typed
from .models import adapter_options, chat_options, complete_model, limit_options
from .paths import NewFile

__all__ = ["run"]

_INTERRUPTED = 130
_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("model", shell_complete=complete_model)
@click.argument("prompt", required=False)
@click.option("-i", "--interactive", is_flag=True, help="Converse; /help lists the commands.")
@click.option("--system", help="The system message.")
@limit_options
@click.option("--save-session", type=NewFile(), help="File to save to at the end.")
@click.option("--load-session", type=_FILE, help="File to continue from.")
@click.option("--checkpoint-dir", type=_FOLDER, help="Folder of session files.")
@click.option(
    "--checkpoint-interval",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Turns between two files in --checkpoint-dir.",
)
@chat_options
@adapter_options
@click.option("--json", "as_json", is_flag=True, help="Print the answer as a JSON object.")
@click.option("--verbose", is_flag=True, help="Show llama.cpp's log.")
def run(
    model: str,
    prompt: str | None,
    *,
    interactive: bool,
    system: str | None,
    max_tokens: int | None,
    reasoning_budget: int | None,
    save_session: Path | None,
    load_session: Path | None,
    checkpoint_dir: Path | None,
    checkpoint_interval: int,
    as_json: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Answer PROMPT with MODEL, or hold a conversation.

    Without PROMPT, or with "-", it is read from stdin. Only the answer's text goes to stdout; its
    thoughts go to stderr. Ctrl-C stops an answer; the part generated so far is kept.
    """
    if interactive and as_json:
        raise click.UsageError("--json prints one answer; leave --interactive out")
    if system is not None and load_session is not None:
        raise click.UsageError("--load-session brings its own system message; leave --system out")
    if prompt is not None and not prompt.strip():
        raise click.UsageError("PROMPT is empty")
    # A terminal has no prompt to read, and without answers to give none is needed.
    is_given = prompt is not None or (max_tokens == 0 and sys.stdin.isatty())
    if not interactive and (prompt == "-" or not is_given):
        if sys.stdin.isatty():
            raise click.UsageError("give a PROMPT, pipe one in, or use --interactive")
        with speaking_plainly():
            prompt = typed(sys.stdin.read).strip() or None
        if prompt is None and max_tokens != 0:
            raise click.UsageError("there was no prompt on stdin")
    from .answering import continue_text, give_answer, open_chat
    from .interactive import Conversation

    limits = {"max_tokens": max_tokens, "reasoning_budget": reasoning_budget}
    with speaking_plainly():
        if checkpoint_dir is not None:
            make_private_folder(checkpoint_dir)
        chat = open_chat(model, system, verbose=verbose, **options)
        if load_session is not None:
            info = chat.load_session(load_session)
            note(f"{info.n_tokens:,} tokens restored from {load_session.name}")
        interrupted = False
        if interactive:
            Conversation(chat, limits, checkpoint_dir, checkpoint_interval).hold(prompt)
        elif prompt is not None:
            is_text = load_session is not None and not chat.turns
            answer = continue_text if is_text else give_answer
            interrupted = answer(chat, prompt, limits, as_json=as_json)
        if save_session is not None:
            info = chat.save_session(save_session)
            note(f"{info.n_tokens:,} tokens saved to {save_session.name}, {info.n_bytes:,} bytes")
    if interrupted:
        sys.exit(_INTERRUPTED)
