"""What a process that runs tasks keeps: models by their weights, and a context for each thread.

Nothing is loaded before a task needs it. A thread keeps one context, with what it holds: the next
task on the same model with the same parameters gets it as the last one left it, so that a prefix
which both begin with is evaluated once. Any other task closes it first.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .. import machine
from ..engine.context import Context
from ..engine.files.gguf_file import fingerprint
from ..engine.files.locate import known_models, locate_model
from ..engine.model import Model
from ..engine.params import ContextParams
from ..errors import ContextClosedError, ModelMismatchError, ModelNotFoundError, shown
from .recipe import ModelRecipe

__all__ = ["forget", "lend", "model", "n_threads", "running_elsewhere", "sharing", "where"]

_models: dict[ModelRecipe, Model] = {}
_loading = threading.Lock()


class _Thread(threading.local):
    """What a thread keeps; it goes with the thread."""

    kept: tuple[ModelRecipe, ContextParams, Context] | None = None
    n_workers = 1
    place = "this process"


_thread = _Thread()


# -- models ----------------------------------------------------------------------------------


def model(recipe: ModelRecipe) -> Model:
    """Return the model of a recipe; it is loaded once per process, and kept while memory lasts.

    Raises
    ------
    ModelNotFoundError
        When no file is found under the name, nor at its path, nor known here by its fingerprint.
    ModelMismatchError
        When the file that is found is of another model.
    """
    with _loading:
        if recipe not in _models:
            place = _find(recipe)
            if locate_model(place).stat().st_size > machine.here.memory.free:
                _models.clear()  # those that no context uses are freed
            _models[recipe] = _load(recipe, place)
        return _models[recipe]


def _load(recipe: ModelRecipe, place: str) -> Model:
    _check(recipe, fingerprint(locate_model(place)))  # before gigabytes are read
    loaded = Model.load(place, n_gpu_layers=recipe.n_gpu_layers)
    _check(recipe, loaded.fingerprint)
    return loaded


def _find(recipe: ModelRecipe) -> str:
    for place in recipe.places:
        try:
            locate_model(place)
        except ModelNotFoundError:
            continue
        return place
    for name in known_models():
        if fingerprint(locate_model(name)) == recipe.fingerprint:
            return name
    raise ModelNotFoundError(
        f"the task is for the model {shown(recipe.name)!r} with fingerprint {recipe.fingerprint}, "
        f"which is not on {_host()}. Put the file there at the same path, or load the model by a "
        "name that both machines know"
    )


def _check(recipe: ModelRecipe, found: str) -> None:
    if found != recipe.fingerprint:
        raise ModelMismatchError(
            f"the task is for the model {shown(recipe.name)!r} with fingerprint "
            f"{recipe.fingerprint}, but the file that {_host()} has under that name has "
            f"{found}: copy the same file there"
        )


# -- contexts --------------------------------------------------------------------------------


@contextmanager
def lend(recipe: ModelRecipe, params: ContextParams | None = None) -> Iterator[Context]:
    """Lend the thread's context; it is kept afterwards, with what it holds.

    The same recipe and parameters get the context as it was left, whoever owned it then; others get
    a new one, for which the earlier is closed first.

    Parameters
    ----------
    recipe : ModelRecipe
    params : ContextParams, optional
        Without ``n_threads``, the threads are :func:`n_threads` of the workers on this machine.

    Raises
    ------
    ModelNotFoundError, ModelMismatchError
        As for :func:`model`.
    ParameterError
        When model and parameters do not fit together.
    """
    params = sharing(params if params is not None else ContextParams())
    context = _take(recipe, params) or Context(model(recipe), params)
    try:
        yield context
    finally:
        context.release()
        _keep(recipe, params, context)


def _take(recipe: ModelRecipe, params: ContextParams) -> Context | None:
    kept, _thread.kept = _thread.kept, None
    if kept is None:
        return None
    *made_with, context = kept
    if made_with == [recipe, params] and _is_open(context):
        return context
    context.close()
    return None


def _keep(recipe: ModelRecipe, params: ContextParams, context: Context) -> None:
    if _thread.kept is not None:  # of a task within the task
        _thread.kept[2].close()
    _thread.kept = (recipe, params, context) if _is_open(context) else None


def _is_open(context: Context) -> bool:
    try:
        context.token_count()
    except ContextClosedError:
        return False
    return True


def forget() -> None:
    """Close this thread's context, and let go of the models that nothing else uses."""
    kept, _thread.kept = _thread.kept, None
    if kept is not None:
        kept[2].close()
    with _loading:
        _models.clear()


# -- where a task runs -----------------------------------------------------------------------


def n_threads(n_workers: int) -> int:
    """Return the threads of one of several workers on a machine: its CPUs shared, at least 1."""
    return max(1, ContextParams().threads[0] // n_workers)


def sharing(params: ContextParams) -> ContextParams:
    """Return parameters with this worker's share of the CPUs, unless they say how many threads."""
    if params.n_threads is None and _thread.n_workers > 1:
        return params.with_changes(n_threads=n_threads(_thread.n_workers))
    return params


@contextmanager
def running_elsewhere(n_workers: int) -> Iterator[None]:
    """Note that this thread runs a task of a process elsewhere, as one of several workers here."""
    earlier = _thread.n_workers, _thread.place
    _thread.n_workers, _thread.place = n_workers, f"process {os.getpid()} on {_host()}"
    try:
        yield
    finally:
        _thread.n_workers, _thread.place = earlier


def where() -> str:
    """Return where this thread runs tasks: ``"this process"``, or a process and its machine."""
    return _thread.place


def _host() -> str:
    return shown(platform.node()) or "this machine"
