"""A real model's sessions, saved at random points, go on in a new process to the bit."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mullama_nb import Context, ContextParams, Model, SamplingParams
from mullama_nb.engine.templates.options import TemplateOptions

N_NEXT = 12
POINTS = 50

STORY = (
    "Once upon a time a fox, a hare and an old tortoise lived at the edge of a wood. Every "
    "morning the fox walked to the river, the hare ran there, and the tortoise, who was slow "
    "and knew it, had left the evening before. "
)
# Of 53 to 313 tokens: generations end before 256 cells, cross them, or begin behind them.
PROMPTS = [STORY, STORY * 4, STORY * 6]
SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "seeded": {
        "temperature": 0.9,
        "seed": 7,
        "repetition_penalty": 1.1,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.05,
    },
    "mirostat": {"mirostat": 2, "mirostat_eta": 0.4, "seed": 8, "dry_multiplier": 0.5},
    "thinking": {"temperature": 0.9, "seed": 9},
}
# Its prompt opens a thought, which has a budget, as this template teaches.
BUDGET = 33
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n"
    "{% endif %}"
)


END_TOKENS = [0, 2]  # so that each generation runs to its limit


def sampling_of(name: str) -> SamplingParams:
    bias = dict.fromkeys(END_TOKENS, -float("inf"))
    return SamplingParams(**SAMPLINGS[name], logit_bias=bias)


def how_to_think(model: Model) -> dict[str, Any]:
    answer_format = TemplateOptions(chat_template=THINKING).answer_format(model)
    return {"reasoning_budget": BUDGET, "answer_format": answer_format}


@dataclass
class Expected:
    """What the uninterrupted run did after a point."""

    logits: npt.NDArray[np.float32]
    tokens: list[int]
    after: npt.NDArray[np.float32]
    sampler_state: tuple[float, ...] | None


def params_of(kv_cache_type: str) -> ContextParams:
    return ContextParams(n_ctx=768, n_threads=1, kv_cache_type=kv_cache_type)


def combinations() -> Iterator[tuple[str, str, str, bool, int]]:
    """Points spread over types, samplings, prompts and whether logits are stored."""
    rng = random.Random(20)
    for number in range(POINTS):
        kind = number % 3
        way = number // 3 % (4 if kind == 0 else 2)  # Mirostat and thoughts with f16 alone
        kv_cache_type, name = ("f16", "q8_0", "q4_0")[kind], list(SAMPLINGS)[way]
        prompt = PROMPTS[(kind + way) % 3]
        yield kv_cache_type, name, prompt, number % 4 < 2, rng.randrange(60)


def uninterrupted(
    model: Model, kv_cache_type: str, name: str, prompt: str, points: dict[int, list[Path]]
) -> dict[Path, Expected]:
    """Generate once, saving on the way; what each session should go on with is read from that."""
    context, thinks = Context(model, params_of(kv_cache_type)), name == "thinking"
    start = context.evaluate(prompt + "<think>\n" * thinks)
    logits = {0: context.logits}
    last = max(points) + N_NEXT
    tokens = []
    wanted = {*points, *(point + N_NEXT for point in points)}
    sampling = sampling_of(name)
    for path in points.get(0, []):
        context.save_session(path, include_logits="with" in path.name)
    how = how_to_think(model) if thinks else {}
    stream = context.stream(None, last, sampling=sampling, **how)
    for token in stream:
        tokens.append(token.id)
        if len(tokens) in wanted:
            logits[len(tokens)] = context.logits
            for path in points.get(len(tokens), []):
                context.save_session(path, include_logits="with" in path.name)
    assert context.token_count() == start + last
    if thinks:  # a point is within the thought, its closing mark, or the text
        assert "</think>" in model.detokenize(tokens[BUDGET : BUDGET + 12])
        assert "</think>" not in model.detokenize(tokens[:BUDGET])
    states = (None, *(stream.completion.sampler_states or [None] * last))
    return {
        path: Expected(logits[at], tokens[at : at + N_NEXT], logits[at + N_NEXT], states[at])
        for at, paths in points.items()
        for path in paths
    }


def test_sessions_go_on_in_a_new_process(smollm2: Model, tmp_path: Path) -> None:
    runs: dict[tuple[str, str, str], dict[int, list[Path]]] = {}
    jobs = []
    for number, (kv_cache_type, name, prompt, with_logits, at) in enumerate(combinations()):
        path = tmp_path / f"{number}-{'with' if with_logits else 'bare'}"
        runs.setdefault((kv_cache_type, name, prompt), {}).setdefault(at, []).append(path)
        params = {"n_ctx": 768, "n_threads": 1, "kv_cache_type": kv_cache_type}
        jobs.append(
            {
                "session": path.name,
                "n_tokens": N_NEXT,
                "params": params,
                "sampling": SAMPLINGS[name],
                "forbidden": END_TOKENS,
                "thinks": {"template": THINKING, "budget": BUDGET} if name == "thinking" else None,
                "n_said": at,
            }
        )
    assert len(runs) == 8
    expected: dict[Path, Expected] = {}
    for (kv_cache_type, name, prompt), points in runs.items():
        expected |= uninterrupted(smollm2, kv_cache_type, name, prompt, points)
    for job in jobs:
        job["sampler_state"] = expected[tmp_path / str(job["session"])].sampler_state
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))

    child = Path(__file__).with_name("resume_child.py")
    command = [sys.executable, str(child), str(smollm2.path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    results = np.load(tmp_path / "results.npz")
    for path, wanted in expected.items():
        np.testing.assert_array_equal(results[path.name + ".logits"], wanted.logits)
        assert results[path.name + ".tokens"].tolist() == wanted.tokens
        np.testing.assert_array_equal(results[path.name + ".after"], wanted.after)
    assert len(expected) == POINTS


@pytest.mark.parametrize("kv_cache_type", ["f16", "q8_0", "q4_0"])
def test_every_way_back_is_exact(smollm2: Model, tmp_path: Path, kv_cache_type: str) -> None:
    """Rewinding, restoring, forking and loading agree at the same point, also within a prefill."""
    context = Context(smollm2, params_of(kv_cache_type))
    end = context.evaluate(PROMPTS[1])
    context.save_session(tmp_path / "s", include_logits=False)
    prefix = context.capture()
    logits = context.logits
    first = context.generate(None, 12, temperature=0)
    tail = context.capture(end, parent=prefix.address)
    after = context.logits

    loaded = Context(smollm2, params_of(kv_cache_type))
    loaded.load_session(tmp_path / "s")
    restored = Context(smollm2, params_of(kv_cache_type))
    restored.restore([prefix, tail])
    np.testing.assert_array_equal(restored.logits, after)
    restored.rewind(end)
    context.rewind(end)
    for other in (context, loaded, restored, context.fork()):
        np.testing.assert_array_equal(other.logits, logits)
        assert other.generate(None, 12, temperature=0) == first
        np.testing.assert_array_equal(other.logits, after)
        other.rewind(end - 30)
    np.testing.assert_array_equal(context.logits, loaded.logits)
    np.testing.assert_array_equal(context.logits, restored.logits)
