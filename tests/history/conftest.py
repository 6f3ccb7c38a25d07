"""Chats with tiny models, whose answers run to their limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat, Model

ChatMaker = Callable[..., Chat]


@pytest.fixture(scope="session")
def chat_model(tiny: ModelMaker) -> Model:
    """A tiny plain transformer with a chat template."""
    return tiny("llama", chat_template=CHATML)


@pytest.fixture(scope="session")
def new_chat(chat_model: Model) -> ChatMaker:
    """Make a chat of 512 cells and one thread."""

    def make(system: str | None = None, **options: Any) -> Chat:
        defaults: dict[str, Any] = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1}
        return Chat(chat_model, system, **(defaults | options))

    return make


@pytest.fixture
def chat(new_chat: ChatMaker) -> Chat:
    """A chat that holds nothing yet."""
    return new_chat()
