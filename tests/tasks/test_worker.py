"""A worker loads what a task names, once, keeps a context, and refuses another file."""

from __future__ import annotations

import copy
import pickle
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mullama_nb import Chat, ContextParams, Model
from mullama_nb.errors import ContextClosedError, ModelMismatchError, ModelNotFoundError
from mullama_nb.tasks import worker
from mullama_nb.tasks.recipe import ModelRecipe
from mullama_nb.testing import make_tiny_model

PARAMS = ContextParams(n_ctx=256, n_threads=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_tiny_model(tmp_path / "tiny.gguf")


@pytest.fixture(autouse=True)
def _forgets() -> Iterator[None]:
    yield
    worker.forget()


def test_a_recipe_is_a_small_value(path: Path) -> None:
    model = Model.load(path)
    recipe = ModelRecipe.of(model)
    assert pickle.loads(pickle.dumps(recipe)) == copy.deepcopy(recipe) == recipe
    assert len(pickle.dumps(recipe)) < 1000
    assert repr(recipe) == (
        f"ModelRecipe(name='tiny.gguf', fingerprint='{model.fingerprint}', n_gpu_layers=-1)"
    )
    assert worker.model(recipe).fingerprint == model.fingerprint


def test_a_name_leads_to_the_file_whatever_its_path(smollm2_path: Path) -> None:
    recipe = ModelRecipe.of(Model.load("smollm2"))
    assert recipe.name == "smollm2"
    elsewhere = ModelRecipe("smollm2", recipe.fingerprint, path="/nowhere/it.gguf")
    assert worker.model(elsewhere).path == smollm2_path


def test_a_file_at_another_path_is_found_where_the_worker_was_started(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ModelRecipe.of(Model.load(path))
    (tmp_path / "elsewhere").mkdir()
    shutil.move(path, tmp_path / "elsewhere" / "tiny.gguf")
    with pytest.raises(ModelNotFoundError, match=rf"'tiny.gguf' .*{recipe.fingerprint}.*same path"):
        worker.model(recipe)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert worker.model(recipe).fingerprint == recipe.fingerprint


def test_another_file_of_that_name_is_refused_before_it_is_loaded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ModelRecipe.of(Model.load(path))
    other = Model.load(make_tiny_model(path, seed=1)).fingerprint
    monkeypatch.setattr(Model, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ModelMismatchError, match=f"'tiny.gguf'.*{recipe.fingerprint}.*{other}"):
        worker.model(recipe)


def test_a_model_is_loaded_once_by_however_many_threads(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ModelRecipe.of(Model.load(path))
    loads, load = [], Model.load
    monkeypatch.setattr(Model, "load", lambda *v, **k: loads.append(v) or load(*v, **k))  # type: ignore[func-returns-value]
    together = threading.Barrier(4)

    def ask(_: int) -> Model:
        together.wait()
        return worker.model(recipe)

    with ThreadPoolExecutor(4) as threads:
        assert len({*map(id, threads.map(ask, range(4)))}) == 1
    assert len(loads) == 1


def test_the_same_task_gets_the_context_with_what_it_holds(path: Path) -> None:
    recipe = ModelRecipe.of(Model.load(path))
    with worker.lend(recipe, PARAMS) as context:
        context.evaluate([5, 6, 7])
    with worker.lend(copy.deepcopy(recipe), copy.deepcopy(PARAMS)) as again:
        assert again is context
        assert again.tokens == (5, 6, 7)
    with worker.lend(recipe, PARAMS.with_changes(n_ctx=512)) as other:
        assert other.tokens == ()
        with pytest.raises(ContextClosedError):  # before another one was made
            context.token_count()


def test_the_next_task_owns_the_context(path: Path) -> None:
    """Though the chat of the last one may still be there: it is part of cycles."""
    recipe = ModelRecipe.of(Model.load(path))
    chats = []
    for _ in range(2):
        with worker.lend(recipe, PARAMS) as context:
            context.clear()
            chats.append(Chat(context, temperature=0))
            chats[-1].ask("hello", max_tokens=2)
    assert chats[0].context is chats[1].context
    assert context.owner is None


def test_a_task_within_a_task_gets_a_context_of_its_own(path: Path) -> None:
    recipe = ModelRecipe.of(Model.load(path))
    with worker.lend(recipe, PARAMS) as outer:
        outer.evaluate([5])
        with worker.lend(recipe, PARAMS) as inner:
            assert inner is not outer
        assert outer.tokens == (5,)
    with worker.lend(recipe, PARAMS) as again:
        assert again is outer
    with pytest.raises(ContextClosedError):
        inner.token_count()


def test_a_context_that_a_task_closed_is_not_lent_again(path: Path) -> None:
    recipe = ModelRecipe.of(Model.load(path))
    with worker.lend(recipe, PARAMS) as context:
        context.close()
    with worker.lend(recipe, PARAMS) as again:
        again.evaluate([5])


def test_threads_have_contexts_of_their_own_and_share_the_weights(path: Path) -> None:
    recipe = ModelRecipe.of(Model.load(path))
    together = threading.Barrier(2)

    def use(_: int) -> tuple[int, int]:
        with worker.lend(recipe, PARAMS) as context:
            together.wait()
            return id(context), context.model.handle

    with ThreadPoolExecutor(2) as threads:
        contexts, handles = zip(*threads.map(use, range(2)), strict=True)
    assert len({*contexts}) == 2
    assert len({*handles}) == 1


def test_the_cpus_are_shared_by_the_workers_of_a_machine(path: Path) -> None:
    recipe = ModelRecipe.of(Model.load(path))
    usable = ContextParams().threads[0]
    for n_workers, expected in ((1, usable), (2, max(1, usable // 2)), (1000, 1)):
        assert worker.n_threads(n_workers) == expected
        with (
            worker.running_elsewhere(n_workers),
            worker.lend(recipe, ContextParams(n_ctx=256)) as context,
        ):
            assert context.params.threads[0] == expected
    with (
        worker.running_elsewhere(1000),
        worker.lend(recipe, ContextParams(n_ctx=256, n_threads=2)) as context,
    ):
        assert context.params.threads[0] == 2  # as the task says


def test_a_worker_says_where_it_is() -> None:
    assert worker.where() == "this process"
    with worker.running_elsewhere(2):
        assert worker.where().startswith("process ")
        assert "/" not in worker.where()
    assert worker.where() == "this process"
