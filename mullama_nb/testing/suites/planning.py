"""Planning the tasks on one model: what they begin with, and in which order they share that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...engine.model import Model
from ...history.options import N_CTX
from ..recording import context_params
from .ordering import ordered
from .prompts import planned_tokens
from .recorded import planned_of
from .task import CellTask

__all__ = ["planned"]


def planned(tasks: Sequence[CellTask], model: Model) -> Iterator[CellTask]:
    """Yield the tasks on a model, those that share a context and a beginning next to each other.

    Parameters
    ----------
    tasks : sequence of CellTask
        All of a suite's on this model: where their prompts fork depends on all of them.
    model : Model

    Yields
    ------
    CellTask
        With its context's parameters, and where its prompt forks from the others.
    """
    groups: dict[object, list[tuple[CellTask, tuple[int, ...]]]] = {}
    for task in tasks:
        planned_task, path = _planned(task, model)
        key = planned_task.params, task.setting.adapters
        groups.setdefault(key, []).append((planned_task, path))
    for group in groups.values():
        order = ordered([path for _, path in group])
        for index in order.indices:
            task, path = group[index]
            if task.case.kind == "function":  # only its beginning is known, if that
                yield task
            else:
                yield replace(task, forks=order.forks[index], n_prompt=len(path))


def _planned(task: CellTask, model: Model) -> tuple[CellTask, tuple[int, ...]]:
    """A task with its context's parameters, and the tokens that it begins with."""
    if task.recording is not None:
        params = context_params(task.recording, **task.setting.given)
        path = planned_of(task.recording)
    else:
        params, path = task.params, planned_tokens(task.case, task.setting, model)
    if params.n_ctx is None:
        params = params.with_changes(n_ctx=min(N_CTX, model.n_ctx_train))
    return replace(task, params=params), path
