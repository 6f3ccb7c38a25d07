"""A conversation that was just led is held against its recording, with what was asked in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from testing.conversation import lead

from mullama_nb import Chat, CheckpointTree, Context, ContextParams, Model
from mullama_nb.errors import RegressionError
from mullama_nb.testing import record, regress

ONE_THREAD = {"n_threads": 1, "n_threads_batch": 1}


@pytest.fixture
def model(tiny_models: tuple[Model, Model]) -> Model:
    """Random weights: what was asked is what these tests are about."""
    return tiny_models[0]


@pytest.fixture
def led(model: Model) -> Chat:
    """The conversation that was recorded."""
    return lead(model, **ONE_THREAD)


@pytest.fixture
def recording(led: Chat, tmp_path: Path) -> Path:
    """Its recording."""
    path = tmp_path / "colours.mullama.json"
    record(led, path)
    return path


def test_the_same_conversation_passes(led: Chat, recording: Path, model: Model) -> None:
    assert regress(led, recording, "exact").is_identical
    assert regress(lead(model, **ONE_THREAD).tree, recording, "exact").is_identical


def test_what_was_asked_otherwise_is_named(recording: Path, model: Model) -> None:
    report = regress(lead(model, "Be a pirate.", **ONE_THREAD), recording)
    assert report.problems == (
        "checkpoint d3bb46c system: message 'Be brief.' recorded, 'Be a pirate.' here",
    )
    assert not report.passed
    assert not report.checkpoints  # the model is the same
    with pytest.raises(RegressionError, match="Be a pirate"):
        report.check()


def test_another_seed_is_named(tiny_models: tuple[Model, Model], tmp_path: Path) -> None:
    def asked(seed: int) -> Chat:
        chat = Chat(tiny_models[0], n_ctx=256, n_threads=1)
        chat.ask("hello", max_tokens=4, seed=seed)
        return chat

    record(asked(1), tmp_path / "a.mullama.json")
    assert regress(asked(1), tmp_path / "a.mullama.json", "exact").is_identical
    (problem,) = regress(asked(2), tmp_path / "a.mullama.json").problems
    assert problem.endswith("assistant: sampling {'seed': 1} recorded, {'seed': 2} here")


@pytest.mark.slow
def test_more_and_less_than_was_recorded(led: Chat, recording: Path, model: Model) -> None:
    chat = lead(model, **ONE_THREAD)
    another = chat.regenerate(max_tokens=2)
    (more,) = regress(chat, recording).problems
    assert more == f"checkpoint {another.checkpoint.short_id} is new: {another.checkpoint.text!r}"
    chat.tree.prune("end", force=True)
    less, _ = regress(chat, recording).problems
    assert less.endswith("assistant [end] is not there any more")
    assert regress(led, recording).passed


def test_other_settings_of_the_chat_are_what_is_replayed(recording: Path, model: Model) -> None:
    report = regress(lead(model, kv_cache_type="q8_0", **ONE_THREAD), recording)
    assert report.settings == ("the KV cache type: f16 saved, q8_0 here",)
    assert report.quality.mean_difference > 0
    assert not report.problems


def test_text_in_a_tree_without_messages(tiny_models: tuple[Model, Model], tmp_path: Path) -> None:
    def evaluated(text: str) -> CheckpointTree:
        tree = CheckpointTree(Context(tiny_models[0], ContextParams(n_ctx=128, n_threads=1)))
        tree.context.evaluate(text)
        tree.commit()
        return tree

    record(evaluated("one text"), tmp_path / "a.mullama.json")
    assert regress(evaluated("one text"), tmp_path / "a.mullama.json").is_identical
    (problem,) = regress(evaluated("another"), tmp_path / "a.mullama.json").problems
    assert problem.endswith(": 'one text' recorded, 'another' here")
