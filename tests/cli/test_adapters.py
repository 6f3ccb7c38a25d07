"""LoRAs and control vectors on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_process import Run
from tiny_adapters import write_control_vector, write_lora
from tiny_models import CHATML, make_model

from mullama_nb import Context, ContextParams, ControlVector, LoRA, Model
from mullama_nb.testing import read


@pytest.mark.slow
def test_files_are_given_with_scales(run: Run, tmp_path: Path) -> None:
    model = Model.load(make_model(tmp_path / "m.gguf", "llama", chat_template=CHATML))
    write_lora(tmp_path / "style.gguf", model)
    rows = np.random.default_rng(0).normal(0, 1, (model.n_layers, model.n_embd))
    write_control_vector(tmp_path / "calm.gguf", rows.astype(np.float32))
    given = ["--lora", "style.gguf:0.5", "--control-vector", "calm.gguf", "--max-tokens", "4"]
    plain = ["--threads", "1", "--n-ctx", "256"]
    done = run("run", "m.gguf", "Hi", *given, *plain, "--save-session", "s.session")
    assert done.returncode == 0, done.stderr
    with Context(model, ContextParams(n_ctx=256, n_threads=1, n_threads_batch=1)) as context:
        context.load_session(
            tmp_path / "s.session",
            adapters=[LoRA(tmp_path / "style.gguf"), ControlVector(tmp_path / "calm.gguf")],
        )
        assert [(a.name, a.scale) for a in context.adapters] == [("style", 0.5), ("calm", 1.0)]
    refused = run("run", "m.gguf", "Hi", *plain, "--load-session", "s.session")
    assert (refused.returncode, "the LoRA 'style'" in refused.stderr) == (1, True)
    again = run("run", "m.gguf", "Hi", *given, *plain, "--load-session", "s.session")
    assert again.returncode == 0

    made = run("record", "a.mullama.json", "Hi", "--model", "m.gguf", *given, *plain)
    assert made.returncode == 0, made.stderr
    assert len(read(tmp_path / "a.mullama.json").settings["adapters"]) == 2
    found = run("replay", "a.mullama.json", "--model", "m.gguf", "--level", "exact", "--json")
    assert json.loads(found.stdout)["passed"]  # the files lie beside it
    (tmp_path / "style.gguf").rename(tmp_path / "a:b.gguf")
    lost = run("replay", "a.mullama.json", "--model", "m.gguf")
    assert (lost.returncode, "the LoRA 'style'" in lost.stderr) == (2, True)
    named = run("replay", "a.mullama.json", "--model", "m.gguf", "--lora", "a:b.gguf")
    assert named.returncode == 0, named.stderr
    missing = run("run", "m.gguf", "Hi", "--lora", "none.gguf:2")
    assert (missing.returncode, "none.gguf" in missing.stderr) == (2, True)
