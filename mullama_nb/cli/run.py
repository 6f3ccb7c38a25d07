"""``mullama-nb run``: one answer, or a conversation."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..history.chat import Chat
from ..history.turn import Turn
from .answer import AnswerPrinter
from .console import evaluating_shown, note, speaking_plainly, typed
from .interactive import Conversation
from .models import adapter_options, chat_options, complete_model, limit_options, load_model

__all__ = ["open_chat", "run"]

_INTERRUPTED = 130


@click.command()
@click.argument("model", shell_complete=complete_model)
@click.argument("prompt", required=False)
@click.option("-i", "--interactive", is_flag=True, help="Converse; /help lists the commands.")
@click.option("--system", help="The system message.")
@limit_options
@click.option("--save-session", type=click.Path(path_type=Path), help="File to save to at the end.")
@click.option("--load-session", type=click.Path(path_type=Path), help="File to continue from.")
@click.option("--checkpoint-dir", type=click.Path(path_type=Path), help="Folder of session files.")
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
    # A terminal has no prompt to read, and without answers to give none is needed.
    is_given = prompt is not None or (max_tokens == 0 and sys.stdin.isatty())
    if not interactive and (prompt == "-" or not is_given):
        if sys.stdin.isatty():
            raise click.UsageError("give a PROMPT, pipe one in, or use --interactive")
        with speaking_plainly():
            prompt = typed(sys.stdin.read).strip() or None
        if prompt is None and max_tokens != 0:
            raise click.UsageError("there was no prompt on stdin")
    limits = {"max_tokens": max_tokens, "reasoning_budget": reasoning_budget}
    with speaking_plainly():
        chat = open_chat(model, system, verbose=verbose, **options)
        if load_session is not None:
            info = chat.load_session(load_session)
            note(f"{info.n_tokens:,} tokens restored from {load_session.name}")
        interrupted = False
        if interactive:
            Conversation(chat, limits, checkpoint_dir, checkpoint_interval).hold(prompt)
        elif prompt is not None:
            is_text = load_session is not None and not chat.turns
            answer = _continue if is_text else _answer
            interrupted = answer(chat, prompt, limits, as_json=as_json)
        if save_session is not None:
            info = chat.save_session(save_session)
            note(f"{info.n_tokens:,} tokens saved to {save_session.name}, {info.n_bytes:,} bytes")
    if interrupted:
        sys.exit(_INTERRUPTED)


def open_chat(model: str, system: str | None, *, verbose: bool, **options: Any) -> Chat:
    """Make a chat from the options of the command line."""
    threads = options.pop("threads", None)
    named = {name: value for name, value in options.items() if value is not None}
    if threads is not None:
        named |= {"n_threads": threads, "n_threads_batch": threads}
    return Chat(load_model(model, verbose=verbose), system, **named)


def _answer(chat: Chat, prompt: str, limits: Mapping[str, Any], *, as_json: bool) -> bool:
    """Print an answer as it grows; whether it was interrupted."""
    interrupted, printer = False, AnswerPrinter(chat)
    turn: Turn | None
    try:
        with evaluating_shown(chat):
            turn = chat.ask(prompt, echo=False, on_token=None if as_json else printer, **limits)
    except KeyboardInterrupt:
        interrupted, turn = True, chat.turns[-1] if chat.turns else None
    if as_json:
        click.echo(json.dumps(_described(turn), ensure_ascii=False))
    else:
        printer.finish()
    return interrupted


def _continue(chat: Chat, text: str, limits: Mapping[str, Any], *, as_json: bool) -> bool:
    """Go on with plain text, as ``Context.generate`` does with a text."""
    stream = chat.context.stream(text, sampling=chat.sampling, **limits)
    interrupted = False
    try:
        for token in stream:
            if not as_json:
                click.echo(token.text, nl=False)
    except KeyboardInterrupt:
        interrupted = True
        stream.close()
    if as_json:
        said = stream.completion
        notes = {"finish_reason": said.finish_reason, "tokens": len(said.tokens)}
        click.echo(json.dumps({"text": str(said), **notes}, ensure_ascii=False))
    else:
        click.echo()
    return interrupted


def _described(turn: Turn | None) -> dict[str, Any]:
    if turn is None:
        return {"text": "", "finish_reason": "stopped", "tokens": 0}
    thought = {} if turn.reasoning is None else {"reasoning": turn.reasoning}
    calls = [call.as_message() for call in turn.tool_calls]
    return {
        "text": turn.text,
        **thought,
        **({"tool_calls": calls} if calls else {}),
        "finish_reason": turn.finish_reason,
        "tokens": len(turn.tokens),
        "reused": turn.reused,
        "evaluated": turn.evaluated,
        "seconds": round(turn.seconds, 3),
        "model": turn.chat.model.name,
        "sampling": turn.checkpoint.metadata.get("sampling", {}),
    }
