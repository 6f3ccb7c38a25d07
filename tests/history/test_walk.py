from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import CHATML, make_model
from tree_walk import Walk

from mullama_nb import Context, ContextParams, Model
from mullama_nb.history.chat import Chat

SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.4},
    {"xtc_probability": 0.5, "xtc_threshold": 0.01, "dry_multiplier": 0.5, "dry_window": -1},
    {"mirostat": 1, "mirostat_tau": 4.0, "mirostat_eta": 0.4},
    {"adaptive_p_target": 0.1, "top_n_sigma": 2.0, "dynamic_temperature_range": 0.3},
]
OTHER_SEEDS = [pytest.param(n, marks=pytest.mark.slow) for n in range(1, len(SAMPLINGS))]


@pytest.mark.parametrize("seed", [0, *OTHER_SEEDS])
def test_a_random_walk_of_200_steps_loses_nothing(tmp_path: Path, seed: int) -> None:
    model = Model.load(make_model(tmp_path / "m.gguf", "llama", chat_template=CHATML))
    context = Context(model, ContextParams(n_ctx=1024, n_threads=1, n_parallel=4))
    chat = Chat(context, seed=seed, max_bytes=200_000, **SAMPLINGS[seed])
    walk = Walk(chat, seed)
    for _ in range(200):
        walk.step()
    walk.check()


def test_a_random_walk_of_200_steps_with_a_real_model_loses_nothing(smollm2: Model) -> None:
    chat = Chat(smollm2, n_ctx=512, n_threads=1, n_parallel=4, seed=5, max_bytes=20_000_000)
    walk = Walk(chat, 5)
    for _ in range(200):
        walk.step()
    walk.check()
