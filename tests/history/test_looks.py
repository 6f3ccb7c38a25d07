"""Whatever is asked about any message of a chat: nothing warns, and the chat stays, to the bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY
from tiny_models import CHATML

from mullama_nb import Chat, Turn

INSIDE = (0, 3, -1)  # tokens that every answer below has

LOOKS: dict[str, Callable[[Chat, Turn], object]] = {
    "alternatives": lambda _, turn: [turn.alternatives(token) for token in INSIDE],
    "choice": lambda _, turn: [turn.choice(token) for token in INSIDE if _is_generated(turn)],
    "surprisal": lambda _, turn: turn.surprisal,
    "entropy": lambda _, turn: turn.entropy,
    "likely": lambda chat, turn: chat.likely(2, width=2, at=turn),
    "likely inside": lambda chat, turn: chat.likely(2, width=2, at=turn, token=2),
    "likely here": lambda chat, _: chat.likely(2, width=2),
    "compare": lambda chat, turn: (chat.compare(turn, "HEAD"), chat.compare("HEAD", turn)),
    "score": lambda chat, _: chat.score(" and so on"),
    "count_tokens": lambda chat, _: chat.count_tokens("what?"),
    "segment": lambda chat, turn: chat.tree.segment(turn.checkpoint),
    "cells": lambda chat, _: chat.tree.cells(),
    "page": lambda _, turn: turn._repr_html_(),
    "at": lambda chat, turn: _messages_at(chat, turn),
}


def _is_generated(turn: Turn) -> bool:
    return all(part.metadata.is_generated for part in turn.parts)


def _messages_at(chat: Chat, turn: Turn) -> object:
    with chat.at(turn):
        return chat.messages


def said(chat: Chat) -> list[Turn]:
    """Messages on many branches: asked, explored, forked, resumed, given, edited."""
    first = chat.ask("first", temperature=1.0)
    other = chat.regenerate(temperature=1.0)
    question = chat.turns[1]
    explored = chat.explore("second", n=3, temperature=1.0)
    explored[1].keep()
    forked = chat.fork(other, token=3, max_tokens=3)
    edited = chat.edit("third")
    chat.ask("fourth", max_tokens=2)
    chat.resume(max_tokens=3)
    resumed = chat.turns[-1]
    chat.edit("a given answer", resumed)
    given = chat.turns[-1]
    last = chat.ask("fifth")
    return [question, first, other, *explored, forked, edited, resumed, given, last]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
def test_a_look_changes_nothing_and_warns_of_nothing(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture, chat_template=CHATML)
    chat = Chat(
        model, "Be brief.", n_ctx=2048, n_threads=1, n_threads_batch=1, seed=1, max_tokens=40
    )
    turns = said(chat)
    logits, tokens, head, n = chat.context.logits, chat.context.tokens, chat.head, len(chat.tree)
    for name, look in LOOKS.items():
        for turn in turns:
            look(chat, turn)
            assert (chat.head, len(chat.tree)) == (head, n), (name, turn)
            assert chat.context.tokens == tokens, (name, turn)
            np.testing.assert_array_equal(chat.context.logits, logits, err_msg=f"{name}: {turn!r}")
