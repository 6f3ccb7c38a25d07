"""Many recordings: on every executor what each is on its own, in the order in which they came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import pytest

from mullama_nb import Chat, Model, SpawnedPool
from mullama_nb.errors import ModelNotFoundError, ParameterError, RegressionError
from mullama_nb.testing import make_tiny_model, record, replay, replay_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two models: a, c and b; one that is damaged; and one that is not there."""
    folder = tmp_path_factory.mktemp("recordings")
    for seed in (0, 1):
        make_tiny_model(folder / f"tiny{seed}.gguf", seed=seed)
    for name, seed, said in (("a", 0, "hello"), ("b", 1, "the sea"), ("c", 0, "another")):
        model = Model.load(folder / f"tiny{seed}.gguf")
        chat = Chat(model, n_ctx=256, n_threads=1, temperature=0)
        chat.ask(said, max_tokens=4)
        record(chat, folder / f"{name}.mullama.json")
        chat.context.close()
    (folder / "cut.mullama.json").write_bytes((folder / "a.mullama.json").read_bytes()[:-20])
    return folder


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with SpawnedPool(2) as made:
        yield made


@pytest.fixture(params=["here", "elsewhere"])
def executor(request: pytest.FixtureRequest) -> Executor | None:
    if request.param == "here":
        return None
    made: Executor = request.getfixturevalue("pool")
    return made


def test_each_is_what_it_is_on_its_own(folder: Path, executor: Executor | None) -> None:
    paths = [folder / f"{name}.mullama.json" for name in "abc"]
    model = folder / "tiny0.gguf"
    results = replay_all(paths, model, "exact", executor=executor)
    assert [each.report for each in results] == [replay(path, model, "exact") for path in paths]
    assert [each.passed for each in results] == [True, False, True]
    assert [each.name for each in results] == [*map(str, paths)]
    assert [each.name for each in results.failed] == [str(paths[1])]
    assert len(results) == 3
    assert not results.passed


def test_one_that_cannot_be_replayed_ends_nothing(folder: Path, executor: Executor | None) -> None:
    paths = [folder / f"{name}.mullama.json" for name in ("cut", "a", "gone")]
    results = replay_all(paths, Model.load(folder / "tiny0.gguf"), executor=executor)
    assert [each.passed for each in results] == [False, True, False]
    assert results[0].report is None
    assert "cut.mullama.json" in results[0].error
    assert "gone.mullama.json" in results[2].error
    with pytest.raises(RegressionError, match="3 recordings: 2 FAILED"):
        results.check()


def test_results_are_shown_as_text_table_and_json(folder: Path) -> None:
    paths = [folder / "a.mullama.json", folder / "b.mullama.json", folder / "cut.mullama.json"]
    results = replay_all(paths, folder / "tiny0.gguf")
    head, *lines = str(results).splitlines()
    assert head == "3 recordings: 2 FAILED"
    assert lines[0] == f"{paths[0]}: identical: 2 checkpoints, 4 generated tokens"
    assert any(line.startswith(f"{paths[1]}: FAILED at level") for line in lines)
    assert results[1].report is not None
    for line in str(results[1].report).splitlines()[1:]:
        assert f"    {line}" in lines
    shown = results._repr_html_()
    assert shown.count("<tr>") >= 4
    assert "<script" not in shown
    assert results.__rich__().plain == str(results)
    values = json.loads(json.dumps(results.to_dict()))
    assert [each["passed"] for each in values["recordings"]] == [True, False, False]
    assert replay_all([]).passed


def test_options_and_levels_are_checked_at_once(folder: Path) -> None:
    paths = [folder / "a.mullama.json"]
    with pytest.raises(ParameterError, match="level"):
        replay_all(paths, level="nearly")
    with pytest.raises(ParameterError, match="kv_cache_type"):
        replay_all(paths, kv_cache_type="q9")
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        replay_all(paths, folder / "nowhere.gguf")


@pytest.mark.slow
def test_a_model_that_nobody_has_is_an_error_of_its_recordings(
    folder: Path, executor: Executor | None
) -> None:
    """Where it may be known elsewhere, the workers are asked, by fingerprint."""
    (result,) = replay_all([folder / "b.mullama.json"], executor=executor)
    assert result.report is None
    assert "tiny1" in result.error
