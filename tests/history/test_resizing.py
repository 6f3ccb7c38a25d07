"""A chat with the same tree and another number of cells: the same bits, and the same saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from history.conftest import ChatMaker
from history.test_persistence import ARCHITECTURES, OPTIONS, grown, notes
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CHATML
from tree_walk import Walk

from mullama_nb import Chat
from mullama_nb.errors import ParameterError, SessionMismatchError

TEMPLATE = "{{ tools }}" + CHATML + "{% if mood %}{{ mood }}{% endif %}"


def but_params(chat: Chat) -> list[Any]:
    return notes(chat)[:-1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_tree_is_the_same_to_the_bit(tiny: ModelMaker, architecture: str) -> None:
    chat = grown(tiny(architecture, chat_template=CHATML))
    chat.limits = chat.limits.with_changes(max_tokens=5)
    larger = chat.with_n_ctx(1024)
    assert larger.context.n_ctx == 1024
    assert but_params(larger) == but_params(chat)
    assert larger.limits == chat.limits
    assert larger.context.logits.tobytes() == chat.context.logits.tobytes()
    for checkpoint in [*chat.tree]:
        chat.checkout(checkpoint)
        larger.checkout(checkpoint.id)
        assert larger.context.logits.tobytes() == chat.context.logits.tobytes()
    one, two = chat.ask("Now?", echo=False), larger.ask("Now?", echo=False)
    assert (one.tokens, one.logprobs) == (two.tokens, two.logprobs)
    one.checkpoint.metadata["more"] = [1]
    assert "more" not in two.checkpoint.metadata


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_walks_go_on_in_the_larger_one(new_chat: ChatMaker, seed: int) -> None:
    chat = new_chat(n_ctx=256, max_bytes=100_000)  # some rows are in files
    walk = Walk(chat, seed)
    for _ in range(25):
        walk.step()
    larger = chat.with_n_ctx(512)
    assert but_params(larger) == but_params(chat)
    again = Walk(larger, seed)
    now = Walk(chat, seed)
    assert (again.paths, again.rows) == (now.paths, now.rows)
    del walk, now, chat
    for _ in range(15):
        again.step()


def test_it_is_saved_where_the_chat_was(new_chat: ChatMaker, tmp_path: Path) -> None:
    chat = new_chat(max_tokens=3)
    chat.autosave("a", tmp_path)
    chat.ask("Hi")
    larger = chat.with_n_ctx(1024)
    larger.ask("And?")
    larger.autosave(None)
    again = Chat.open("a", chat.model, tmp_path)
    assert notes(again) == notes(larger)
    chat.ask("Alone?")  # it is saved nowhere now
    assert len(Chat.open("a", chat.model, tmp_path).turns) == 4


def test_it_has_to_hold_the_tokens_and_to_fit(new_chat: ChatMaker) -> None:
    chat = new_chat()
    chat.ask("Hi", max_tokens=3)
    with pytest.raises(ParameterError, match=r"n_ctx=4 is less than the \d+ tokens"):
        chat.with_n_ctx(4)
    with pytest.raises(ParameterError, match="free here"):
        chat.with_n_ctx(2**31 - 1)
    with pytest.raises(ParameterError, match="n_ctx"):
        chat.with_n_ctx(0)
    assert len(chat.turns) == 2


sizes = st.integers(200, 4096)


@settings(max_examples=10)
@given(first=sizes, second=sizes)
def test_rows_keep_the_factors_of_longrope(tiny: ModelMaker, first: int, second: int) -> None:
    """Up to 1,024 cells llama.cpp turns positions by one set of factors, above by another."""
    model = tiny("longrope", n_ctx=4096, chat_template=CHATML)
    chat = Chat(model, **(OPTIONS | {"n_ctx": first}))
    chat.ask("Hi", max_tokens=3, echo=False)
    before = notes(chat), chat.context.logits.tobytes()
    if (first <= 1024) == (second <= 1024):
        larger = chat.with_n_ctx(second)
        assert larger.context.logits.tobytes() == before[1]
        larger.context.close()
    else:
        with pytest.raises(SessionMismatchError, match="turns positions in another way"):
            chat.with_n_ctx(second)
    assert (notes(chat), chat.context.logits.tobytes()) == before
    chat.context.close()


def test_tools_and_template_go_along(new_chat: ChatMaker) -> None:
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    chat = new_chat(
        "Be brief.", tools=[add], chat_template=TEMPLATE, chat_template_kwargs={"mood": "calm"}
    )
    larger = chat.with_n_ctx(1024)
    assert (larger.system, larger.tools) == (chat.system, chat.tools)
    assert larger.chat_template_kwargs == {"mood": "calm"}
    assert larger._tools.functions == {"add": add}


def test_a_full_context_goes_on_in_a_larger_one(new_chat: ChatMaker) -> None:
    chat = new_chat(n_ctx=64)
    cut = chat.ask("Hi")
    assert cut.checkpoint.metadata["finish_reason"] == "context_full"
    larger = chat.with_n_ctx(128)
    assert len(larger.resume(max_tokens=8).tokens) == len(cut.tokens) + 8
    assert larger.context.token_count() == 72
