"""What holds of answers on any executor whose workers are processes of this machine."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from history.same_answers import QUESTION, assert_equal
from tiny_models import CHATML, make_model

from mullama_nb import Chat, Model

__all__ = ["explore_as_here"]


def explore_as_here(executor: Executor, folder: Path) -> None:
    """Check that workers decode what is decoded here."""
    model = Model.load(make_model(folder / "m.gguf", "llama", chat_template=CHATML))
    here, there = (Chat(model, n_ctx=1024, n_threads=1, n_parallel=2) for _ in range(2))
    options: dict[str, Any] = {"max_tokens": 6, "temperature": 1.5, "seed": 4}
    local = [a for n in range(3) for a in here.explore(None if n else QUESTION, 2, **options)]
    assert_equal(there.explore(QUESTION, 6, executor=executor, **options), local)
