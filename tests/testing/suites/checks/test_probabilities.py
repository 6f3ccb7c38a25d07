"""Verdicts on probabilities."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testing.suites.checks.subjects import answered, asked

from mullama_nb import Model
from mullama_nb.testing import Subject, at_least, likelier, perplexity_below
from mullama_nb.testing.suites.checks import probabilities
from mullama_nb.testing.suites.checks.behind import Likelihood
from mullama_nb.testing.suites.checks.probabilities import ROUNDING

CAPITAL = "The capital of France is"


@pytest.fixture(scope="module")
def capital(smollm2: Model) -> Subject:
    return asked(smollm2, CAPITAL)


def shown_values(detail: str) -> list[float]:
    return [float(value) for value in re.findall(r"-?\d+\.\d+", detail)]


def test_paris_is_likelier_than_rome(capital: Subject) -> None:
    check = likelier(" Paris", than=" Rome", by=1.0)
    assert not check.needs_answer
    finding = check.judge(capital)
    assert finding.check == "likelier(' Paris', than=' Rome', by=1.0)"
    assert finding.passed
    paris, rome, by = shown_values(finding.detail)[:3]
    assert finding.value == pytest.approx(by, abs=0.006)
    assert paris - rome == pytest.approx(by, abs=0.011)
    assert not likelier(" Rome", than=" Paris").judge(capital).passed
    back = likelier(" Rome", than=" Paris").judge(capital).value
    assert back == pytest.approx(-(finding.value or 0))


@pytest.mark.parametrize(
    "options",
    [
        {"n_threads": 2, "n_threads_batch": 2},
        {"n_batch": 7, "n_ubatch": 7},
        {"flash_attention": False},
    ],
    ids=["threads", "batches", "attention"],
)
def test_other_rounding_moves_it_by_less_than_the_margin(
    smollm2: Model, capital: Subject, options: dict[str, Any]
) -> None:
    check = likelier(" Paris", than=[" Rome", " zebra"])
    here, there = check.judge(capital), check.judge(asked(smollm2, CAPITAL, **options))
    assert abs((here.value or 0) - (there.value or 0)) < ROUNDING


def test_the_likeliest_of_several_is_what_counts(capital: Subject) -> None:
    alone = likelier(" Paris", than=" Rome").judge(capital)
    finding = likelier(" Paris", than=[" Constantinople", " Rome", " zebra"]).judge(capital)
    assert finding.value == alone.value
    assert "' Rome'" in finding.detail


def test_the_answer_that_is_there_does_not_matter(smollm2: Model, capital: Subject) -> None:
    later = answered(smollm2, CAPITAL)
    head, tokens = later.chat.head, later.chat.context.tokens
    for check in (likelier(" Paris", than=" Rome"), at_least(" Paris", 0.5)):
        assert check.judge(later) == check.judge(capital)
    assert later.chat.head is head
    assert later.chat.context.tokens == tokens


@given(
    logprobs=st.lists(st.floats(-60, 0), min_size=2, max_size=4),
    by=st.floats(0, 20),
    n_tokens=st.integers(1, 9),
)
def test_verdicts_follow_from_log_probabilities(
    logprobs: list[float], by: float, n_tokens: int
) -> None:
    texts = [chr(97 + i) for i in range(len(logprobs))]
    found = [Likelihood(t, v, n_tokens) for t, v in zip(texts, logprobs, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probabilities, "likelihoods", lambda _, wanted: found[: len(wanted)])
        subject = Subject(None, None)  # type: ignore[arg-type]
        finding = likelier(texts[0], than=texts[1:], by=by).judge(subject)
        chance = at_least(texts[0], 0.25).judge(subject)
    difference = logprobs[0] - max(logprobs[1:])
    assert finding.passed == (difference >= by)
    assert finding.value == difference
    margin = ROUNDING * math.sqrt(n_tokens)
    assert ("within rounding" in finding.detail) == (abs(difference - by) <= margin)
    assert chance.value == math.exp(logprobs[0])
    assert chance.passed == (math.exp(logprobs[0]) >= 0.25)
    is_near = abs(logprobs[0] - math.log(0.25)) <= margin
    assert ("within rounding" in chance.detail) == is_near


def test_what_is_impossible_is_likelier_than_nothing() -> None:
    never = [Likelihood("a", -math.inf, 1), Likelihood("b", -math.inf, 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probabilities, "likelihoods", lambda _, wanted: never[: len(wanted)])
        subject = Subject(None, None)  # type: ignore[arg-type]
        finding = likelier("a", than="b", by=1).judge(subject)
        assert (finding.passed, finding.value) == (False, 0.0)
        assert not at_least("a", 0.5).judge(subject).passed
        assert at_least("a", 0).judge(subject).passed
        assert perplexity_below(9, text="a").judge(subject).value == math.inf


def test_a_probability_is_of_the_text_as_a_whole(capital: Subject) -> None:
    long = at_least(" Paris, the capital of France", 0.0).judge(capital)
    short = at_least(" Paris", 0.0).judge(capital)
    assert long.passed
    assert 0 < (long.value or 0) < (short.value or 0)
    assert not at_least(" Paris", 1.0).judge(capital).passed


def test_the_perplexity_of_an_answer_is_that_of_its_turn(smollm2: Model) -> None:
    subject = answered(smollm2, CAPITAL)
    assert subject.answer is not None
    expected = subject.answer.perplexity()
    for limit in (expected * 1.01, expected * 0.99):
        finding = perplexity_below(limit).judge(subject)
        assert finding.value == pytest.approx(expected, rel=1e-5)
        assert finding.passed == (expected < limit)
        assert "8 tokens" in finding.detail


def test_a_beginning_that_was_given_is_not_measured(smollm2: Model) -> None:
    subject = asked(smollm2, CAPITAL)
    chat = subject.chat
    first = chat.resume(echo=False, max_tokens=3)
    rest = chat.resume(echo=False, max_tokens=5)
    behind = Subject(chat, first.checkpoint, rest, rest.text)
    finding = perplexity_below(1e6).judge(behind)
    logprobs = rest.checkpoint.logprobs
    assert len(logprobs) == 5
    assert finding.value == pytest.approx(math.exp(-sum(logprobs) / 5))


def test_a_text_is_measured_without_an_answer(capital: Subject) -> None:
    check = perplexity_below(20, text=" Paris is the capital of France.")
    assert not check.needs_answer
    assert perplexity_below(20).needs_answer
    finding = check.judge(capital)
    nonsense = perplexity_below(20, text=" zebra quartz lemon the off.").judge(capital)
    assert (finding.value or 0) < (nonsense.value or 0)
    assert not nonsense.passed


def test_an_empty_answer_has_no_perplexity(smollm2: Model) -> None:
    subject = answered(smollm2, CAPITAL, n_tokens=0)
    assert not perplexity_below(5).judge(subject).passed
    assert not perplexity_below(5).judge(replace(subject, answer=None)).passed
