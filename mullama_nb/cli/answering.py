"""One answer on the command line: a chat from its options, and what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from ..history.chat import Chat
from ..history.turn import Turn
from .answer import AnswerPrinter
from .console import evaluating_shown
from .models import load_model, own_template

__all__ = ["continue_text", "give_answer", "open_chat"]


def open_chat(model: str, system: str | None, *, verbose: bool, **options: Any) -> Chat:
    """Make a chat from the options of the command line; of plain text, on a base model."""
    threads = options.pop("threads", None)
    named = {name: value for name, value in options.items() if value is not None}
    if threads is not None:
        named |= {"n_threads": threads, "n_threads_batch": threads}
    loaded = load_model(model, verbose=verbose)
    if "chat_template" not in named:
        named["chat_template"] = own_template(loaded)
    return Chat(loaded, system, **named)


def give_answer(chat: Chat, prompt: str, limits: Mapping[str, Any], *, as_json: bool) -> bool:
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


def continue_text(chat: Chat, text: str, limits: Mapping[str, Any], *, as_json: bool) -> bool:
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
