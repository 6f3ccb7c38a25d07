"""A conversation that is recorded once, and tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest
from testing.conversation import lead

from mullama_nb import Chat, Model
from mullama_nb.testing import Report, make_tiny_model, record, replay


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
def coarse(recording: Path, smollm2: Model) -> Report:
    """The recording against a coarser KV cache."""
    return replay(recording, smollm2, kv_cache_type="q4_0")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    """Two models with one vocabulary and other weights."""
    folder = tmp_path_factory.mktemp("models")
    a, b = (Model.load(make_tiny_model(folder / f"tiny{seed}.gguf", seed=seed)) for seed in (0, 1))
    return a, b
