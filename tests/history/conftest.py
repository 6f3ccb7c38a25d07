"""Chats with tiny models, whose answers run to their limit, and workers for their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat, Model
from mullama_nb.history import exploring_elsewhere

from .executing import Pickling

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


@pytest.fixture
def loaded(new_chat: ChatMaker, tmp_path: Path) -> Chat:
    """Two turns from a session file, on one checkpoint that holds all of the messages."""
    saved = new_chat()
    saved.ask("first", max_tokens=4)
    saved.ask("second", max_tokens=4)
    saved.save_session(tmp_path / "a.session")
    chat = new_chat()
    chat.load_session(tmp_path / "a.session")
    return chat


@pytest.fixture
def pool() -> Iterator[Pickling]:
    """Two workers on threads, which take and give copies."""
    with Pickling(2) as pool:
        yield pool


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All that comes from workers, in that order."""
    found: list[Any] = []

    def listen(*values: Any, **named: Any) -> Iterator[tuple[int, Any]]:
        for n, outcome in run_all(*values, **named):
            found.append(outcome)
            yield n, outcome

    run_all = exploring_elsewhere.run_all
    monkeypatch.setattr(exploring_elsewhere, "run_all", listen)
    return found
