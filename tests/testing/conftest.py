"""A conversation that is recorded once, and helpers to make hostile copies of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mullama_nb import Chat, Model
from mullama_nb.testing import make_tiny_model, record

OPTIONS = {"n_ctx": 512, "temperature": 0, "n_threads": 2, "n_threads_batch": 2}


def lead(model: Model, system: str = "Be brief.", **changes: object) -> Chat:
    """Two questions, the second one answered twice with draws."""
    chat = Chat(model, system, **(OPTIONS | changes))
    chat.ask("Name three colours, and say why you like them.", max_tokens=24)
    chat.ask("And the sea?", max_tokens=8, temperature=0.8, seed=3)
    chat.regenerate(max_tokens=8, temperature=0.8, seed=3)
    chat.tag("end")
    return chat


@pytest.fixture(scope="session")
def led(smollm2: Model) -> Chat:
    """The conversation that `recording` was made of."""
    return lead(smollm2)


@pytest.fixture(scope="session")
def recording(led: Chat, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file; no test changes it."""
    path = tmp_path_factory.mktemp("recorded") / "colours.mullama.json"
    record(led, path)
    return path


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    """Two models with one vocabulary and other weights."""
    folder = tmp_path_factory.mktemp("models")
    a, b = (Model.load(make_tiny_model(folder / f"tiny{seed}.gguf", seed=seed)) for seed in (0, 1))
    return a, b
