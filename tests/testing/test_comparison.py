"""Two recordings compare without a model, up to where a conversation became another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testing.conversation import lead, rewrite

from mullama_nb import Chat, Model
from mullama_nb.errors import ParameterError
from mullama_nb.testing import compare, record

Body = dict[str, Any]
Changed = Callable[[Callable[[Body], object]], Path]


@pytest.fixture
def changed(recording: Path, tmp_path: Path) -> Changed:
    """A copy of the recording with something else in it."""

    def make(change: Callable[[Body], object]) -> Path:
        body = json.loads(recording.read_text("utf-8"))
        change(body)
        path = tmp_path / "changed.mullama.json"
        rewrite(path, body)
        return path

    return make


def first_answer(body: Body) -> Body:
    return next(entry for entry in body["entries"] if entry["generated"])


def test_a_recording_is_identical_to_itself(recording: Path) -> None:
    report = compare(recording, recording, "exact")
    assert report.is_identical
    assert str(report) == "identical: 6 checkpoints, 40 generated tokens"


def test_another_system_prompt(recording: Path, smollm2: Model, tmp_path: Path) -> None:
    other = tmp_path / "b.mullama.json"
    record(lead(smollm2, "Be a pirate."), other)
    report = compare(recording, other, "near-ties")
    assert not report.passed
    system, answer = report.checkpoints[:2]
    assert (system.recorded, system.here) == ("brief.<|im_end|>\n", "a pirate.<|im_end|>\n")
    assert "assistant" in answer.name
    assert answer.gap is not None
    assert answer.recorded != answer.here
    assert not any(checkpoint.is_near_tie for checkpoint in report.checkpoints)


def test_another_seed_is_a_change_of_the_question(
    recording: Path, smollm2: Model, tmp_path: Path
) -> None:
    chat = lead(smollm2)
    chat.tree.prune(chat.tree["end"], force=True)
    chat.regenerate(max_tokens=8, temperature=0.8, seed=4)
    record(chat, tmp_path / "b.mullama.json")
    report = compare(recording, tmp_path / "b.mullama.json")
    # The pruned answer's place is not taken again: one is missing, one is new.
    assert [c.is_missing for c in report.checkpoints] == [True, True]
    assert not report.passed


def swap_for_second(entry: Body, at: int) -> None:
    """As if the likeliest two had been the other way round there, and the answer ended with it."""
    (_, *top) = entry["steps"][at]
    second = top[1][0]
    entry["tokens"] = [*entry["tokens"][:at], second]
    entry["steps"] = [*entry["steps"][:at], [top[1][1], top[1], top[0], *top[2:]]]
    entry["text"] = entry["text"][: 4 * at] + " otherwise"


def test_rounding_ends_the_comparison_of_what_follows(recording: Path, changed: Changed) -> None:
    path = changed(lambda body: swap_for_second(first_answer(body), 5))
    report = compare(recording, path, "near-ties", margin=1)
    assert report.passed
    assert [c.token for c in report.checkpoints] == [5]
    assert report.quality.n_tokens == 5  # and none of what was said behind it
    assert "recorded '" in str(report)
    gap = report.checkpoints[0].gap
    assert gap is not None
    assert not compare(recording, path, "near-ties", margin=gap * 0.9).passed
    assert not compare(recording, path, "exact").passed
    # The recorded token is as likely there as it was here.
    assert compare(recording, path, "probabilities", tolerance=0).passed


def test_a_probability_that_moved(recording: Path, changed: Changed) -> None:
    def move(body: Body) -> None:
        first_answer(body)["steps"][3][0] -= 0.25

    report = compare(recording, changed(move))
    assert report.passed
    assert not report.is_identical
    assert report.checkpoints[0].largest == pytest.approx(0.25, abs=1e-6)
    assert not compare(recording, changed(move), tolerance=0.2).passed
    assert not compare(recording, changed(move), "exact").passed
    assert compare(recording, changed(move), "near-ties").passed


def test_a_checkpoint_on_one_side_only(recording: Path, changed: Changed) -> None:
    def drop_last(body: Body) -> None:
        del body["entries"][-1]
        body["tags"].clear()

    shorter = changed(drop_last)
    for paths, side in (((recording, shorter), "recorded"), ((shorter, recording), "here")):
        report = compare(*paths, "near-ties", margin=1)
        assert not report.passed
        assert f"  is only {side}: " in str(report)


def test_another_machine_fails_exact_alone(recording: Path, changed: Changed) -> None:
    def move(body: Body) -> None:
        body["environment"]["n_threads"] = [64, 64]

    report = compare(recording, changed(move), "exact")
    assert "exact needs the same settings, build and machine" in report.problems
    assert "the number of threads: 2 saved, 64 here" in str(report)
    assert compare(recording, changed(move)).is_identical


def test_other_vocabularies_are_refused(
    recording: Path, tiny_models: tuple[Model, Model], tmp_path: Path
) -> None:
    chat = Chat(tiny_models[0], n_ctx=128, n_threads=1)
    chat.ask("hello", max_tokens=2)
    record(chat, tmp_path / "tiny.mullama.json")
    with pytest.raises(ParameterError, match="'tiny0', which have other vocabularies"):
        compare(recording, tmp_path / "tiny.mullama.json")
