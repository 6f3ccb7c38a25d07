"""A context, a task for what follows it, and a worker on a thread of its own."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.helpers import words

from mullama_nb import Context, ContextParams, Model, SamplingParams
from mullama_nb.engine.completion import Limits
from mullama_nb.tasks.exploring import Evaluation, ExploringTask, Prefix, explore
from mullama_nb.tasks.recipe import ModelRecipe

__all__ = ["KINDS", "TOKENS", "context_behind", "in_worker", "task_for"]

PARAMS = ContextParams(n_ctx=256, n_threads=1, n_parallel=2)
TOKENS = words(40)
KINDS = ["llama", "gemma3", "mamba", "lfm2"]


def context_behind(model: Model) -> Context:
    context = Context(model, PARAMS)
    context.evaluate(TOKENS)
    return context


def task_for(context: Context, **prefix: Any) -> ExploringTask:
    rows = context.capture()
    told = Prefix(rows.address, (Evaluation(tuple(TOKENS)),), context.session_metadata, **prefix)
    each = ((SamplingParams(temperature=1.5), Limits(max_tokens=5)),) * 2
    return ExploringTask(ModelRecipe.of(context.model), PARAMS, told, None, each, 3)


def in_worker(task: ExploringTask) -> Any:
    """Carry a task out as in another process, on a thread with a context of its own."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: explore(pickle.loads(pickle.dumps(task))))
        return pickle.loads(pickle.dumps(future.result()))
