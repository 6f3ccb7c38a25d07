"""Cases that are recordings: replayed with each setting, and led to their last answer."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ModelMaker
from testing.suites.conftest import Counter
from tiny_models import CHATML

from mullama_nb import Chat, Model
from mullama_nb.errors import RecordingError
from mullama_nb.testing import Case, Check, Finding, Subject, Suite, record, same_as

OPTIONS = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1}


@dataclass(frozen=True)
class Answered(Check):
    """What was said, and behind how much."""

    def judge(self, subject: Subject) -> Finding:
        assert subject.answer is not None
        assert subject.source is not None
        return self._found(passed=True, detail=f"{subject.question.stop} {subject.text}")


@pytest.fixture(scope="module")
def led(tiny: ModelMaker) -> Chat:
    chat = Chat(tiny("llama", chat_template=CHATML), "Be brief.", seed=3, **OPTIONS)
    chat.ask("Why?", max_tokens=5)
    chat.ask("Really?", max_tokens=6)
    chat.regenerate(max_tokens=6)
    chat.undo()
    chat.ask("And then?", max_tokens=4)
    return chat


@pytest.fixture(scope="module")
def path(led: Chat, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "talk.mullama.json"
    record(led, path)
    return path


def test_a_recording_is_replayed_as_a_whole(path: Path, led: Chat, decoded: Counter) -> None:
    settings = [{}, {"kv_cache_type": "f32"}, {"n_batch": 1, "n_ubatch": 1}]
    suite = Suite([Case(path)], [led.model], settings)
    result = suite.run()
    assert result.passed, result
    first, *_ = result.cells
    assert first.findings[0].check == "same_as()"
    assert "to the bit" in first.findings[0].detail
    assert decoded.n_tokens == result.tokens_evaluated == result.tokens_alone > 0
    assert first.answers == ()


def test_another_model_does_not_say_the_same(path: Path, tiny: ModelMaker) -> None:
    other = tiny("llama", chat_template=CHATML, seed=1)
    suite = Suite([Case(path, [same_as(level="near-ties")])], [other])
    (cell,) = suite.run().cells
    assert not cell.passed
    assert cell.error is None
    assert cell.findings[0].token is not None


def test_another_vocabulary_is_an_error_of_the_cell(path: Path, smollm2: Model) -> None:
    (cell,) = Suite([Case(path)], [smollm2]).run().cells
    assert "vocabulary" in str(cell.error)


def test_the_last_answer_is_generated_anew_where_a_check_asks_for_it(path: Path, led: Chat) -> None:
    (cell,) = Suite([Case(path, [Answered()])], [led.model]).run().cells
    assert cell.error is None
    assert [finding.check for finding in cell.findings] == ["same_as()", "Answered()"]
    (answer,) = cell.answers
    assert answer.tokens == led.turns[-1].tokens
    assert answer.logprobs == pytest.approx(led.turns[-1].logprobs, abs=1e-4)
    assert cell.question == "And then?"
    assert cell.n_prompt == led.head.start


def test_a_recording_that_is_missing_or_damaged_fails_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    damaged = tmp_path / "bad.mullama.json"
    damaged.write_text("{}")
    for path in (damaged, tmp_path / "none.mullama.json"):
        with pytest.raises(RecordingError):
            Suite([Case(path)], ["smollm2"]).run()


def test_another_process_needs_no_file(path: Path, led: Chat, tmp_path: Path) -> None:
    from mullama_nb.testing.suites import suite as module

    copy = tmp_path / "copy.mullama.json"
    copy.write_bytes(path.read_bytes())
    tasks: list[bytes] = []
    evaluate = module.evaluate

    def sent(task: object) -> object:
        tasks.append(pickle.dumps(task))
        return evaluate(task)  # type: ignore[arg-type]

    module.evaluate = sent  # type: ignore[assignment]
    try:
        Suite([Case(copy)], [led.model]).run()
    finally:
        module.evaluate = evaluate
    copy.unlink()
    (task,) = map(pickle.loads, tasks)
    cell = evaluate(task)
    assert cell.passed, cell
