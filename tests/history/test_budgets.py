"""The budget of a thought counts from where the thought began, wherever the answer was cut."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from template_models import make_template_model

from mullama_nb import Chat, Model
from mullama_nb.engine.completion import Token

from .test_carrying import WAYS

FOLDER = Path(__file__).parents[1] / "templates"
QUESTION = {"role": "user", "content": "Why?"}
# The prompt opens the thought, or what is given of the answer does.
ASKED: dict[str, list[dict[str, str]]] = {
    "r1_opens_thought": [QUESTION],
    "qwen3_thoughts": [QUESTION, {"role": "assistant", "content": "<think>"}],
}
N = 24
SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 1.2, "seed": 3},
    {"mirostat": 2, "mirostat_tau": 4.0, "mirostat_eta": 0.5, "seed": 3},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    sources = {name: (FOLDER / f"{name}.jinja").read_text("utf-8") for name in ASKED}
    return {
        name: Model.load(make_template_model(folder / f"{name}.gguf", source))
        for name, source in sources.items()
    }


def said(tokens: list[Token]) -> list[list[Any]]:
    return [[token.id, token.part] for token in tokens]


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKED)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    budget=st.integers(0, 12),
    sampling=st.sampled_from(SAMPLINGS),
    cuts=st.lists(st.tuples(st.integers(1, N - 1), st.sampled_from([*WAYS])), max_size=4),
    stops=st.booleans(),
    keeps=st.booleans(),
)
def test_a_thought_that_was_cut_goes_on_with_the_same_budget(
    models: dict[str, Model],
    tmp_path: Path,
    name: str,
    budget: int,
    sampling: dict[str, Any],
    cuts: list[tuple[int, str]],
    stops: bool,
    keeps: bool,
) -> None:
    how = {**sampling, "reasoning_budget": budget, "echo": False}
    whole: list[Token] = []
    options: dict[str, Any] = {"n_ctx": 512, "n_threads": 1, "keep_reasoning": keeps}
    first = Chat(models[name], **options)
    turn = first.ask(ASKED[name], max_tokens=N, on_token=whole.append, **how)
    assert "text" in [token.part for token in whole]
    assert turn.reasoning is not None or not budget
    chat, begin, tokens = Chat(models[name], **options), 0, list[Token]()
    for end, way in [*sorted(dict(cuts).items()), (N, "straight_on")]:

        def listen(token: Token, end: int = end, chat: Chat = chat) -> None:
            tokens.append(token)
            if stops and len(tokens) == end < N:
                chat.stop()

        limit = {"max_tokens": N if stops and end < N else end - begin, "on_token": listen}
        part = chat.resume(**limit, **how) if begin else chat.ask(ASKED[name], **limit, **how)
        assert len(tokens) == end
        chat, begin = WAYS[way](chat, tmp_path), end
    assert said(tokens) == said(whole)
    assert (part.raw, part.reasoning, part.text) == (turn.raw, turn.reasoning, turn.text)
    first.context.close()
    chat.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKED)
def test_a_thought_goes_on_in_a_new_process_with_the_same_budget(
    models: dict[str, Model], tmp_path: Path, name: str
) -> None:
    rng, jobs, wanted = random.Random(11), dict[str, Any](), dict[str, Any]()
    for number in range(8):
        budget, cut = rng.randrange(2, 12), rng.randrange(1, 16)
        how = {**SAMPLINGS[number % len(SAMPLINGS)], "reasoning_budget": budget}
        tokens: list[Token] = []
        chat = Chat(models[name], n_ctx=512, n_threads=1)
        turn = chat.ask(ASKED[name], max_tokens=N, echo=False, on_token=tokens.append, **how)
        wanted[str(number)] = [said(tokens[cut:]), turn.raw, turn.reasoning]
        other = Chat(models[name], n_ctx=512, n_threads=1)
        other.ask(ASKED[name], max_tokens=cut, echo=False, **how)
        other.save(str(number), tmp_path / "store")
        jobs[str(number)] = {**how, "max_tokens": N - cut}
        chat.context.close()
        other.context.close()
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    child = Path(__file__).with_name("budget_child.py")
    command = [sys.executable, str(child), str(models[name].path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == wanted
