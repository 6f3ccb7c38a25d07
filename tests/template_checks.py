"""What shows a conversation, compared with what was said."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mullama_nb import Chat
from mullama_nb.errors import MullamaError
from mullama_nb.history.drawing import label
from mullama_nb.history.tree import Checkpoint
from mullama_nb.history.turn import Turn
from mullama_nb.widgets.chat_panel import ChatPanel

__all__ = [
    "Said",
    "WrongError",
    "check_context",
    "check_in_order",
    "check_labels",
    "check_shown",
    "context_text",
    "plain",
    "said_by",
    "shape",
]

_CHANGING = re.compile(r"\d\d:\d\d:\d\d(\.\d+)?")  # the time of day
_UNREADABLE = re.compile("\ufffd+")  # a random model cuts characters


class WrongError(Exception):
    """What must not be."""


@dataclass(frozen=True)
class Said:
    """A message, as the walk keeps it: its text, its thought, the names of the tools it calls."""

    role: str
    text: str
    thought: str = ""
    calls: tuple[str, ...] = ()


def plain(message: Mapping[str, Any]) -> Said:
    """What a message says, whatever its shape."""
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        content = "\n".join(part.get("text", "") for part in content)
    calls = [call.get("function", call) for call in message.get("tool_calls") or ()]
    thought = message.get("reasoning_content") or ""
    return Said(
        message["role"], content or "", thought.strip(), tuple(call["name"] for call in calls)
    )


def said_by(turn: Turn) -> Said:
    """What a turn says."""
    return Said(
        turn.role,
        turn.text,
        (getattr(turn, "reasoning", None) or "").strip(),
        tuple(call.name for call in getattr(turn, "tool_calls", ())),
    )


def shape(checkpoint: Checkpoint) -> tuple[Any, ...]:
    """What makes a checkpoint what it is."""
    assert checkpoint.parent is not None
    return checkpoint.id, checkpoint.parent.id, checkpoint.tokens, dict(checkpoint.metadata)


def check_shown(chat: Chat, panel: ChatPanel | None, said: Sequence[Said]) -> None:
    """Messages, turns, HTML and panel say the same."""
    _check_same("messages", map(plain, chat.messages), said)
    spoken = [each for each in said if each.role != "system" or each is not said[0]]
    turns = [*map(said_by, chat.turns)]
    if turns and turns[0].role == "system" and said[0].role == "system":
        _check_same("the first turn", turns[:1], said[:1])
        turns = turns[1:]
    _check_same("turns", turns, spoken)
    document = chat._repr_mimebundle_()[0]["text/html"]
    check_in_order("the HTML", document, spoken, html.escape)
    n, n_turns = document.count("<p><strong>"), len(chat.turns)
    if n != n_turns:
        raise WrongError(f"the HTML has {n} messages, and the chat {n_turns} turns")
    if panel is not None:
        rows = panel.take_snapshot()["messages"]
        if rows and rows[0]["role"] == "system" and said[0].role == "system":
            rows = rows[1:]
        shown = [(row["role"], row["text"]) for row in rows]
        wanted = [(each.role, each.text) for each in spoken]
        if shown != wanted:
            raise WrongError(f"the panel shows {shown}, not {wanted}")


def _check_same(what: str, found: Iterable[Said], wanted: Sequence[Said]) -> None:
    if (got := [*found]) != [*wanted]:
        raise WrongError(f"{what}: {got}, not {[*wanted]}")


def check_in_order(
    what: str, document: str, said: Sequence[Said], written: Callable[[str], str] = str
) -> None:
    """A document has each role and text, in the order in which they were said."""
    at = 0
    for each in said:
        for text in (each.role, each.text.strip()):
            found = document.find(written(text), at)
            if found < 0:
                raise WrongError(f"{what} lacks {text!r} of {each}")
            at = found + len(written(text))


def check_labels(chat: Chat, ever: Iterable[str]) -> None:
    """Rows of the tree show what was said, never a piece of the template."""
    words = [" ".join(text.split()) for text in ever if text]
    for checkpoint in chat.tree:
        if checkpoint.metadata.is_generated:
            continue  # pieces of what was drawn at random
        shown = label(checkpoint).removeprefix("… ").removesuffix("…").rstrip()
        if not any(shown in text for text in words):
            raise WrongError(f"a row of the tree says {shown!r}")


def context_text(chat: Chat) -> str:
    """The text of the context's tokens, with control tokens."""
    return chat.model.detokenize(chat.context.tokens, special=True)


def check_context(chat: Chat) -> None:
    """The context holds what the template renders of the messages, and the answer as it was drawn.

    An answer that was given may also stand as the template writes it, up to where it ends. Texts
    are compared, with their control tokens: a drawn answer has other tokens than its text.
    """
    messages, held = chat.messages, context_text(chat)
    options: dict[str, Any] = {"tools": chat.tools} if chat.tools else {}

    def rendered(said: Sequence[Mapping[str, Any]], *, asks: bool) -> str:
        prompt = chat.model.apply_chat_template(said, add_generation_prompt=asks, **options)
        return _comparable(chat.model.detokenize(prompt.tokens, special=True))

    if messages[-1]["role"] == "assistant":
        turn = chat.turns[-1]
        if _stands_last(rendered, messages, held):
            return
        own = chat.model.detokenize(turn.tokens, special=True)
        if not held.endswith(own):
            raise WrongError(f"the context does not end with the answer {own!r}")
        messages = messages[:-1]
        asked = rendered(messages, asks=True)
        # The first checkpoint of an answer may begin with the end of the prompt.
        if _comparable(held).startswith(asked) and _comparable(own).endswith(
            _comparable(held).removeprefix(asked)
        ):
            return
        held = held.removesuffix(own)
    wanted, held = rendered(messages, asks=True), _comparable(held)
    if wanted != held:
        pairs = zip(wanted, held, strict=False)
        n = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(wanted), len(held)))
        begin = max(0, n - 30)
        raise WrongError(
            f"the context holds …{held[begin : n + 40]!r}, and the template renders "
            f"…{wanted[begin : n + 40]!r}"
        )


def _stands_last(
    rendered: Callable[..., str], messages: Sequence[Mapping[str, Any]], held: str
) -> bool:
    """Whether a context holds a conversation with its last answer, but for what ends that."""
    try:
        whole = rendered(messages, asks=False)
    except MullamaError:  # an answer must not stand last here
        return False
    held = _comparable(held).removesuffix("\ufffd")  # the rest of a character is yet to come
    text, end = plain(messages[-1]).text.strip(), whole[len(held) :]
    return whole.startswith(held) and (not text or text not in end)


def _comparable(text: str) -> str:
    return _UNREADABLE.sub("\ufffd", _CHANGING.sub("(time)", text))
