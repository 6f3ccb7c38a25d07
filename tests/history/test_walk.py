from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import CHATML, make_model
from tree_walk import Walk

from mullama_nb import Model
from mullama_nb.history.chat import Chat


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_random_walk_of_200_steps_loses_nothing(tmp_path: Path, seed: int) -> None:
    model = Model.load(make_model(tmp_path / "m.gguf", "llama", chat_template=CHATML))
    chat = Chat(model, n_ctx=1024, n_threads=1, n_parallel=4, seed=seed, max_bytes=200_000)
    walk = Walk(chat, seed)
    for _ in range(200):
        walk.step()


def test_a_random_walk_of_200_steps_with_a_real_model_loses_nothing(smollm2: Model) -> None:
    chat = Chat(smollm2, n_ctx=512, n_threads=1, n_parallel=4, seed=5, max_bytes=20_000_000)
    walk = Walk(chat, 5)
    for _ in range(200):
        walk.step()
