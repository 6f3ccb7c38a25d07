"""A case against what was recorded, and against another KV cache type."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from testing.suites.checks.subjects import OPTIONS, answered, asked
from tiny_models import CHATML, make_model

from mullama_nb import Chat, ControlVector, Model
from mullama_nb.errors import ParameterError, RecordingError
from mullama_nb.testing import (
    Finding,
    Report,
    Subject,
    kv_quality,
    make_tiny_model,
    record,
    replay,
    same_as,
)
from mullama_nb.testing.suites.checks.forms import check_from_file

QUESTION = "Name three colours, and say why you like them."
SYSTEM = "Be brief."


@pytest.fixture(scope="module")
def recorded(smollm2: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two answers to a question, a question behind the second, and another question."""
    chat = Chat(smollm2, SYSTEM, **OPTIONS)
    chat.ask(QUESTION, max_tokens=10)
    chat.regenerate(max_tokens=6, temperature=0.8, seed=3)
    chat.ask("And the sea?", max_tokens=4)
    chat.tag("sea")
    chat.checkout("~")
    path = tmp_path_factory.mktemp("recorded") / "colours.mullama.json"
    record(chat, path)
    return path


@pytest.fixture
def at_home(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(recorded.parent)
    return recorded.name


Ask = Callable[..., Subject]


@pytest.fixture(scope="module")
def ask(smollm2: Model) -> Ask:
    def subject(question: str = QUESTION, system: str | None = SYSTEM, **options: Any) -> Subject:
        return asked(smollm2, question, system=system, **options)

    return subject


@pytest.fixture(scope="module")
def coarse(recorded: Path, smollm2: Model) -> Report:
    return replay(recorded, smollm2, kv_cache_type="q4_0", n_threads=1, n_threads_batch=1)


def test_the_same_model_says_the_same(ask: Ask, at_home: str) -> None:
    subject = ask()
    chat = subject.chat
    head, tokens, n_tokens = chat.head, chat.context.tokens, chat.context.tally.n_tokens
    check = same_as(at_home, level="exact")
    assert not check.needs_answer
    finding = check.judge(subject)
    # Both answers and what follows one of them: 10 + 6 + 4 tokens, as it was recorded.
    assert finding.passed, finding
    assert "20 tokens are as likely as recorded, to the bit" in finding.detail
    assert finding.token is None
    assert (chat.head, chat.context.tokens) == (head, tokens)
    assert chat.context.tally.n_tokens == n_tokens


def test_the_first_token_that_differs_is_named(ask: Ask, at_home: str, coarse: Report) -> None:
    subject = ask(kv_cache_type="q4_0")
    told = next(c for c in coarse.checkpoints if c.token is not None)
    finding = same_as(at_home, level="exact").judge(subject)
    assert not finding.passed
    assert finding.token is not None
    assert finding.value == pytest.approx(coarse.quality.largest)
    loose = same_as(at_home, margin=1.0, tolerance=30).judge(subject)
    assert loose.passed
    assert loose.token == told.token
    assert repr(told.recorded)[:40] in loose.detail
    assert repr(told.here)[:40] in loose.detail
    assert f"{told.gap:.3f} apart" in loose.detail


def test_a_tolerance_is_stated_and_kept(ask: Ask, at_home: str, coarse: Report) -> None:
    subject = ask(kv_cache_type="q4_0")
    tolerance = coarse.quality.largest * 0.99
    finding = same_as(at_home, tolerance=tolerance).judge(subject)
    assert not finding.passed
    assert f"of {tolerance:g} allowed" in finding.detail


@pytest.mark.parametrize(
    ("question", "system", "there", "here"),
    [
        ("Name three towns.", SYSTEM, " colours", " towns"),
        (QUESTION, "Be.", " brief", "."),
        (QUESTION + " Now.", SYSTEM, "<|im_end|>", " Now."),
    ],
)
def test_another_question_is_not_the_recorded_one(
    ask: Ask, at_home: str, question: str, system: str, there: str, here: str
) -> None:
    finding = same_as(at_home).judge(ask(question, system))
    assert not finding.passed
    assert "the question is not the recorded one" in finding.detail
    assert f"'{there}" in finding.detail
    assert f"'{here}" in finding.detail
    assert finding.token is not None


def test_a_later_question_is_held_against_what_follows_it(smollm2: Model, at_home: str) -> None:
    chat = Chat(smollm2, SYSTEM, **OPTIONS)
    chat.ask(QUESTION, max_tokens=10)
    chat.regenerate(max_tokens=6, temperature=0.8, seed=3)
    turn = chat.ask("And the sea?", max_tokens=0)
    assert turn.checkpoint.parent is not None
    finding = same_as(at_home, level="exact").judge(Subject(chat, turn.checkpoint.parent))
    assert finding.passed, finding
    assert "10 tokens are as likely as recorded" in finding.detail  # not those of the other answer


def test_an_earlier_answer_that_differs_is_judged_as_one(smollm2: Model, at_home: str) -> None:
    chat = Chat(smollm2, SYSTEM, **OPTIONS)
    chat.ask(QUESTION, max_tokens=5, temperature=1.5, seed=8)
    turn = chat.ask("And the sea?", max_tokens=0)
    assert turn.checkpoint.parent is not None
    finding = same_as(at_home).judge(Subject(chat, turn.checkpoint.parent))
    assert "not the recorded one" not in finding.detail


def test_a_question_without_a_recorded_answer_is_not_passed(ask: Ask, tmp_path: Path) -> None:
    record(ask().chat, tmp_path / "q.mullama.json")
    finding = same_as(tmp_path / "q.mullama.json").judge(ask())
    assert not finding.passed
    assert "no answer" in finding.detail


def test_the_recording_of_the_case_needs_no_name(ask: Ask, recorded: Path) -> None:
    assert same_as(level="exact").judge(replace(ask(), source=recorded)).passed
    with pytest.raises(ParameterError, match="name the recording"):
        same_as().judge(ask())


def test_it_is_read_at_once_and_carried(
    ask: Ask, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    copy = tmp_path / "sub" / "a.mullama.json"
    copy.write_bytes(recorded.read_bytes())
    check = check_from_file({"same_as": {"recording": "sub/a.mullama.json"}}, tmp_path)
    assert check.name == "same_as('sub/a.mullama.json')"
    assert check.to_file() == {"same_as": "sub/a.mullama.json"}
    monkeypatch.chdir(tmp_path)
    assert same_as("sub/a.mullama.json") == check
    assert same_as(copy).name == "same_as('a.mullama.json')"  # no path of a machine
    sent = pickle.dumps(check)
    copy.unlink()
    monkeypatch.chdir(tmp_path.parent)
    again = pickle.loads(sent)
    assert (again, again.digest) == (check, check.digest)
    assert again.judge(ask()).passed
    with pytest.raises(RecordingError, match="there is no such file"):
        same_as(copy)


def test_another_recording_under_the_name_is_another_check(
    ask: Ask, recorded: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.mullama.json"
    path.write_bytes(recorded.read_bytes())
    before = same_as(path)
    record(ask().chat, path)
    after = same_as(path)
    assert before.name == after.name
    assert before != after
    assert before.digest != after.digest


def test_what_is_damaged_is_refused_when_it_is_given(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mullama.json"
    path.write_bytes(recorded.read_bytes()[:-40])
    with pytest.raises(RecordingError):
        same_as(path)


def test_another_vocabulary_cannot_be_compared(recorded: Path, tmp_path: Path) -> None:
    tiny = Model.load(make_tiny_model(tmp_path / "tiny.gguf"))
    with pytest.raises(ParameterError, match="another vocabulary"):
        same_as(recorded).judge(asked(tiny, QUESTION, system=SYSTEM))


def test_the_adapters_of_the_case_are_what_is_judged(tmp_path: Path) -> None:
    model = Model.load(make_model(tmp_path / "m.gguf", "llama", chat_template=CHATML))
    rows = np.random.default_rng(0).normal(0, 1, (model.n_layers, model.n_embd))
    rows[0] = 0
    ControlVector.from_array(rows).save(tmp_path / "calm.gguf")
    calm = ControlVector(tmp_path / "calm.gguf")

    def chat(*adapters: ControlVector) -> Chat:
        made = Chat(model, **OPTIONS)
        made.adapters = list(adapters)
        return made

    def subject(*adapters: ControlVector) -> Subject:
        made = chat(*adapters)
        place = made.ask("why?", max_tokens=0).checkpoint.parent
        assert place is not None
        return Subject(made, place)

    (tmp_path / "recorded").mkdir()
    checks = {}
    for name, adapters in (("plain", ()), ("calm", (calm,))):
        made = chat(*adapters)
        made.ask("why?", max_tokens=8)
        record(made, tmp_path / "recorded" / f"{name}.mullama.json")
        path = tmp_path / "recorded" / f"{name}.mullama.json"
        checks[name] = same_as(path, level="exact")
    assert checks["plain"].judge(subject()).passed
    assert checks["calm"].judge(subject(calm)).passed
    assert not checks["plain"].judge(subject(calm)).passed
    assert not checks["calm"].judge(subject()).passed
    assert not checks["calm"].judge(subject(calm.with_scale(2))).passed


# -- KV cache types ------------------------------------------------------------------------------


def measured(finding: Finding) -> float:
    assert finding.value is not None
    return finding.value


def test_coarser_caches_move_probabilities_more(ask: Ask) -> None:
    subject = ask()
    head, tokens = subject.chat.head, subject.chat.context.tokens
    own, fine, coarse = (kv_quality(t).judge(subject) for t in ("f16", "q8_0", "q4_0"))
    assert 2 * measured(own) < measured(fine) < 0.1 < measured(coarse)
    assert own.passed
    assert fine.passed
    assert not coarse.passed
    own_logprobs = subject.chat.context.score_held(1).logprobs
    n_likely = sum(value >= math.log(0.01) for value in own_logprobs)
    assert f"with q8_0 instead of f16, log-probabilities of {n_likely} tokens" in fine.detail
    assert (subject.chat.head, subject.chat.context.tokens) == (head, tokens)


def test_an_answer_is_measured_where_that_is_asked_for(smollm2: Model) -> None:
    subject = answered(smollm2, QUESTION, 12)
    check = kv_quality(("q8_0", "f16"), of="answer")
    assert check.needs_answer
    finding = check.judge(subject)
    assert "with q8_0/f16 instead of f16" in finding.detail
    assert "of 12 tokens of the answer" in finding.detail
    assert finding.passed
    assert not check.judge(replace(subject, answer=None)).passed
    assert not kv_quality("q4_0").needs_answer
