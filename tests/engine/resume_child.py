"""Loads sessions in a process of its own and goes on from them; run by test_resume.py.

Arguments: the model, and a folder with `jobs.json` and the sessions that it names. Each session's
next logits and next tokens are written to `results.npz` there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mullama_nb import Context, ContextParams, Model, SamplingParams
from mullama_nb.engine.templates.options import TemplateOptions


def main(model_path: str, folder: Path) -> None:
    model = Model.load(model_path)
    contexts: dict[str, Context] = {}
    results = {}
    for job in json.loads((folder / "jobs.json").read_text()):
        params = ContextParams(**job["params"])
        if params.kv_cache_type not in contexts:
            contexts[params.kv_cache_type] = Context(model, params)
        context = contexts[params.kv_cache_type]
        context.load_session(folder / job["session"])
        results[job["session"] + ".logits"] = context.logits
        bias = dict.fromkeys(job["forbidden"], -float("inf"))
        sampling = SamplingParams(**job["sampling"], logit_bias=bias)
        how: dict[str, Any] = {}
        if (thinks := job["thinks"]) is not None:
            options = TemplateOptions(chat_template=thinks["template"])
            how["answer_format"] = options.answer_format(model)
            how["reasoning_budget"] = thinks["budget"]
        completion = context.generate(
            *(None, job["n_tokens"]),
            sampling=sampling,
            sampler_state=job["sampler_state"],
            n_said=job["n_said"],
            **how,
        )
        results[job["session"] + ".tokens"] = np.array([t.id for t in completion.tokens])
        results[job["session"] + ".after"] = context.logits
    np.savez(folder / "results.npz", **results)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
