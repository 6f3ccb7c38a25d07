"""The model that is measured: SmolLM2, or a tiny one where all of it is only to run once."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mullama_nb import Model

__all__ = ["load_model", "tiny"]

_TESTS = Path(__file__).parents[1] / "tests"
_VARIABLE = "MULLAMA_NB_BENCHMARKED"


def load_model() -> Model:
    """Load the model, here or in a process that was started from here."""
    return Model.load(os.environ.get(_VARIABLE, "smollm2"))


@contextmanager
def tiny() -> Iterator[None]:
    """Let `load_model` give a model that costs next to nothing, and whose answers do not end."""
    sys.path.insert(0, str(_TESTS))  # the tests know how to make one
    models = importlib.import_module("tiny_models")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.gguf"
        models.make_model(path, "llama", head_dim=32, chat_template=models.CHATML)
        os.environ[_VARIABLE] = str(path)
        try:
            yield
        finally:
            del os.environ[_VARIABLE]
