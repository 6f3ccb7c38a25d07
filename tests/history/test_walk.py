from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from template_models import make_template_model
from tiny_models import CHATML, make_model
from tree_walk import Walk

from mullama_nb import Context, ContextParams, Model
from mullama_nb.history.chat import Chat
from mullama_nb.history.message import message_of
from mullama_nb.testing import record, replay

THINKING = Path(__file__).parents[1] / "templates" / "qwq_opens_thought.jinja"
SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.4},
    {"xtc_probability": 0.5, "xtc_threshold": 0.01, "dry_multiplier": 0.5, "dry_window": -1},
    {"mirostat": 1, "mirostat_tau": 4.0, "mirostat_eta": 0.4},
    {"adaptive_p_target": 0.1, "top_n_sigma": 2.0, "dynamic_temperature_range": 0.3},
]
OTHER_SEEDS = [pytest.param(n, marks=pytest.mark.slow) for n in range(1, len(SAMPLINGS))]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *OTHER_SEEDS])
def test_a_random_walk_of_200_steps_loses_nothing(tmp_path: Path, seed: int) -> None:
    model = Model.load(make_model(tmp_path / "m.gguf", "llama", chat_template=CHATML))
    context = Context(model, ContextParams(n_ctx=1024, n_threads=1, n_parallel=4))
    chat = Chat(context, seed=seed, max_bytes=200_000, **SAMPLINGS[seed])
    walk = Walk(chat, seed)
    for _ in range(200):
        walk.step()
    walk.check()


@pytest.mark.slow
@pytest.mark.parametrize("keeps", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_random_walk_of_200_steps_loses_no_thought(tmp_path: Path, keeps: bool) -> None:
    path = make_template_model(tmp_path / "m.gguf", THINKING.read_text("utf-8"))
    context = Context(Model.load(path), ContextParams(n_ctx=1024, n_threads=1, n_parallel=4))
    chat = Chat(context, seed=6, max_bytes=200_000, keep_reasoning=keeps)
    walk = Walk(chat, 6, reasoning_budget=3)
    for _ in range(200):
        walk.step()
    walk.check()
    answers = [each for each in chat.tree if each.metadata.is_answer]
    assert any(message_of(each).get("reasoning_content") for each in answers)
    record(chat, tmp_path / "walk.mullama.json")
    assert replay(tmp_path / "walk.mullama.json", chat.model, "exact").is_identical


def test_a_random_walk_of_200_steps_with_a_real_model_loses_nothing(smollm2: Model) -> None:
    chat = Chat(smollm2, n_ctx=512, n_threads=1, n_parallel=4, seed=5, max_bytes=20_000_000)
    walk = Walk(chat, 5)
    for _ in range(200):
        walk.step()
    walk.check()
