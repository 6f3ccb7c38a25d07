"""Answers from processes of their own: as exact as those made here, and none lost with one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tiny_models import CHATML, make_model
from waiting import in_thread

from mullama_nb import Chat, Model, SpawnedPool, Token
from mullama_nb.errors import ModelMismatchError, TaskError
from mullama_nb.history import exploring_elsewhere

from .same_answers import QUESTION, assert_equal
from .test_lock import check_every_checkpoint

OPTIONS: dict[str, Any] = {"max_tokens": 8, "temperature": 1.5, "seed": 4}


@pytest.fixture(scope="module")
def pool() -> Iterator[SpawnedPool]:
    with SpawnedPool(2) as made:
        yield made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    return Model.load(make_model(folder / "m.gguf", "llama", chat_template=CHATML))


def make_chat(model: Model, **options: Any) -> Chat:
    return Chat(model, **({"n_ctx": 1024, "n_threads": 1, "n_parallel": 2} | options))


def asked_here(model: Model, n_calls: int) -> list[Any]:
    chat = make_chat(model)
    return [a for n in range(n_calls) for a in chat.explore(None if n else QUESTION, 2, **OPTIONS)]


def test_each_process_reads_the_rows_once(
    model: Model, pool: SpawnedPool, outcomes: list[Any]
) -> None:
    chat = make_chat(model)
    first = [*chat.explore(QUESTION, 12, executor=pool, **OPTIONS)]
    first += chat.explore(n=4, executor=pool, **OPTIONS)
    assert_equal(first, asked_here(model, 8))
    took = [each.worker for each in outcomes if each.bytes_taken]
    assert sorted(took) == sorted({each.worker for each in outcomes})
    assert len(took) <= 2
    assert str(os.getpid()) not in " ".join(took)


@pytest.mark.slow
def test_a_pool_of_the_standard_library_does_it_too(model: Model) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        answers = make_chat(model).explore(QUESTION, 4, executor=pool, **OPTIONS)
    assert_equal(answers, asked_here(model, 2))


def test_processes_that_see_other_files_are_sent_the_rows(
    model: Model, pool: SpawnedPool, outcomes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring_elsewhere._Folder, "file", lambda *_: "/nowhere/rows.segment")
    chat = make_chat(model)
    chat.ask("a question before, so that nobody has the rows?", max_tokens=1)
    chat.undo()
    answers = chat.explore(QUESTION + "please", 12, executor=pool, **OPTIONS)
    assert len(answers) == 12
    took = [each for each in outcomes if getattr(each, "bytes_taken", 0)]
    assert len(took) == len({each.worker for each in took}) <= 2
    check_every_checkpoint(chat)


@pytest.mark.slow
def test_a_killed_process_loses_no_answer(model: Model, outcomes: list[Any]) -> None:
    killed: list[int] = []

    def kill_the_first(*_token: object) -> None:
        if not killed:
            killed.append(int(outcomes[0].worker.split()[1]))
            os.kill(killed[0], signal.SIGKILL)

    with SpawnedPool(2) as pool:
        answers = make_chat(model).explore(
            QUESTION, 16, executor=pool, on_token=kill_the_first, **OPTIONS
        )
    assert_equal(answers, asked_here(model, 8))
    assert len(outcomes) == 8  # what was lost came from another
    assert sum(f"process {killed[0]} " in each.worker for each in outcomes) < 8


@pytest.mark.slow
def test_a_stop_ends_what_processes_do(model: Model, outcomes: list[Any]) -> None:
    chat = make_chat(model, n_ctx=2048)
    options = {**OPTIONS, "max_tokens": None, "vary": {"max_tokens": [1, 1, 1900, 1900, 1900]}}

    def stop(_index: int, _token: Token) -> None:
        in_thread(chat.stop).join()

    with SpawnedPool(1) as pool:
        answers = chat.explore("Why?", executor=pool, on_token=stop, **options)
    assert [len(answer.tokens) for answer in answers] == [1, 1]
    assert len(outcomes) == 1
    check_every_checkpoint(chat)


def test_another_file_under_the_name_is_refused(tmp_path: Path, pool: SpawnedPool) -> None:
    path = make_model(tmp_path / "m.gguf", "llama", chat_template=CHATML, seed=7)
    chat = make_chat(Model.load(path))
    make_model(tmp_path / "other.gguf", "llama", chat_template=CHATML, seed=1).replace(path)
    with pytest.raises(TaskError, match=chat.model.fingerprint) as caught:
        chat.explore("Why?", 4, executor=pool, **OPTIONS)
    assert isinstance(caught.value.__cause__, ModelMismatchError)
    assert chat.head.children == ()


def test_the_demo_model_says_the_same_there(smollm2: Model, pool: SpawnedPool) -> None:
    here, there = (Chat(smollm2, n_ctx=1024, n_threads=1, n_parallel=2) for _ in range(2))
    options = {"max_tokens": 6, "temperature": 1.0, "seed": 2}
    question = f"Read this, then name a colour. {QUESTION}"
    local = [*here.explore(question, 2, **options), *here.explore(n=2, **options)]
    assert_equal(there.explore(question, 4, executor=pool, **options), local)
    exact = here.explore(n=1, exact=True, **options)
    there.checkout(local[0].checkpoint.parent.id)  # type: ignore[union-attr]
    assert_equal(there.explore(n=1, exact=True, executor=pool, **options), exact)
