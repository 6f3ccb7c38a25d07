"""What the tests of checks judge."""

from __future__ import annotations

from typing import Any

from mullama_nb import Chat, Model
from mullama_nb.testing import Subject

OPTIONS = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1, "temperature": 0}


def asked(model: Model, question: str, *, system: str | None = None, **options: Any) -> Subject:
    """A question in the chat template, as it is before it is answered."""
    chat = Chat(model, system, **(OPTIONS | options))
    turn = chat.ask(question, max_tokens=0)
    question_at = turn.checkpoint.parent
    assert question_at is not None
    chat.tree.checkout(question_at)
    return Subject(chat, question_at)


def answered(model: Model, question: str, n_tokens: int = 8, **options: Any) -> Subject:
    """A question with an answer to it."""
    chat = Chat(model, **(OPTIONS | options))
    turn = chat.ask(question, max_tokens=n_tokens)
    assert turn.checkpoint.parent is not None
    return Subject(chat, turn.checkpoint.parent, turn, turn.text)


def said(text: str) -> Subject:
    """A subject of which only the text counts."""
    return Subject(None, None, None, text)  # type: ignore[arg-type]


def plain(model: Model, tokens: list[int], **options: Any) -> Subject:
    """Tokens that no chat template wrote."""
    chat = Chat(model, chat_template="plain", **(OPTIONS | options))
    chat.context.evaluate(tokens)
    return Subject(chat, chat.tree.commit())


def is_short(text: str) -> None:
    """A check as one writes it, where pytest does not rewrite what it asserts."""
    assert len(text) < 10
