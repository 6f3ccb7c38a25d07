"""What changed between two results of a suite."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testing.suites.suite_values import FEW, answer, cell, results

from mullama_nb.errors import RegressionError
from mullama_nb.testing import SuiteAnswer, SuiteResult

BUILD = {"build": "b1", "n_threads": [2, 2]}


def suite(*cells: object) -> SuiteResult:
    return SuiteResult("s", ("a", "b", "c", "d"), ("m",), ("plain",), cells)  # type: ignore[arg-type]


def drawn(tokens: str, probabilities: list[float], others: dict[str, float], **values: object):
    """An answer of one-letter tokens, and at each place the likeliest others."""
    logs = tuple(map(log, probabilities))
    rest = [(ord(other), log(p)) for other, p in others.items()]
    tops = tuple(((ord(t), lp), *rest) for t, lp in zip(tokens, logs, strict=True))
    return SuiteAnswer(tokens, tuple(map(ord, tokens)), tuple(tokens), logs, tops=tops, **values)


def test_each_change_is_told() -> None:
    before = suite(cell("a"), cell("b", passed=False), cell("c", passed=False))
    after = suite(cell("a", passed=False), cell("b"), cell("c", passed=False), cell("d"))
    change = before.compare(after)
    assert not change.passed
    assert [each.id for each in change.new_failures] == ["a[m,plain]"]
    assert [each.id for each in change.fixed] == ["b[m,plain]"]
    assert [each.id for each in change.still_failing] == ["c[m,plain]"]
    assert change.only_after == ("d[m,plain]",)
    assert after.compare(before).only_before == ("d[m,plain]",)
    assert str(change) == (
        "suite s: FAILED, 1 new failure, 1 fixed, 1 still failing\n"
        "new failure: a[m,plain]: FAILED (before: passed)\n"
        "  contains('x'): 'x' is not in 'y'\n"
        "still failing: c[m,plain]: FAILED (before: FAILED)\n"
        "  contains('x'): 'x' is not in 'y'\n"
        "fixed: b[m,plain]\n"
        "only after: d[m,plain]"
    )
    with pytest.raises(RegressionError, match="new failure"):
        change.check()
    assert before.compare(suite(cell("a"), cell("b"), cell("c", passed=False))).passed


def test_a_new_cell_that_fails_is_a_new_failure() -> None:
    assert not suite(cell("a")).compare(suite(cell("a"), cell("b", passed=False))).passed


def test_a_run_that_was_stopped_does_not_pass() -> None:
    before = suite(cell("a"), cell("b"))
    stopped = replace(before, cells=before.cells[:1])
    change = before.compare(stopped)
    assert not change.passed
    assert "not run: b[m,plain]" in str(change)


def test_nothing_changed() -> None:
    result = suite(cell("a", answers=(answer("x y"),)))
    change = result.compare(result)
    assert change.is_identical
    assert str(change) == "suite s: passed, nothing changed in 1 cell"


@pytest.mark.slow
@FEW
@given(before=results(), after=results())
def test_every_failure_is_of_one_kind(before: SuiteResult, after: SuiteResult) -> None:
    change = before.compare(after)
    failing = {each.id for each in (*change.new_failures, *change.still_failing)}
    assert failing == {each.id for each in after.failed}
    assert not {each.id for each in change.new_failures} & {each.id for each in before.failed}
    assert change.passed == (not change.new_failures)
    assert all(line.isprintable() for line in str(change).splitlines())
    json.dumps(change.to_dict(), allow_nan=False)


@pytest.mark.slow
@FEW
@given(result=results())
def test_a_result_against_itself_has_no_change(result: SuiteResult) -> None:
    change = result.compare(result)
    assert change.passed
    assert change.is_identical
    assert not change.fixed
    assert change.largest == 0


# -- answers --------------------------------------------------------------------------------------


def moved(old: SuiteAnswer, new: SuiteAnswer, **values: object):
    (move,) = (
        suite(cell("a", answers=(old,))).compare(suite(cell("a", answers=(new,), **values))).moved
    )
    return move


def test_rounding_decided_between_two_that_were_about_as_likely() -> None:
    move = moved(
        drawn("abcd", [0.9, 0.41, 0.9, 0.9], {"x": 0.4}),
        drawn("axyz", [0.9, 0.42, 0.9, 0.9], {"b": 0.41}),
    )
    assert (move.token, move.before, move.after) == (1, "bcd", "xyz")
    assert move.probability_before == pytest.approx(0.41)
    assert move.probability_after == pytest.approx(0.42)
    assert move.gap == pytest.approx(0.01)
    assert move.is_near_tie
    assert [*move.lines()] == [
        "before 'bcd', drawn with probability 0.410",
        "after  'xyz', drawn with probability 0.420",
        "probability gap 0.010: a near-tie, which rounding can decide",
    ]


def test_two_that_are_likely_each_in_its_own_run_are_a_real_change() -> None:
    """Equal probabilities of two tokens say nothing: each is of another distribution."""
    move = moved(drawn("ab", [0.9, 0.9], {"x": 0.05}), drawn("ax", [0.9, 0.9], {"b": 0.05}))
    assert move.gap == pytest.approx(0.85)
    assert not move.is_near_tie
    assert move.kind.endswith("a real change")


def test_of_the_two_probabilities_alone_nothing_is_claimed_that_may_be_wrong() -> None:
    assert moved(answer("a b c", 0.45), answer("a x c", 0.45)).gap is None
    assert moved(answer("a b c", 0.9), answer("a x c", 0.9)).gap == pytest.approx(0.8)
    assert moved(answer("a b c", 0.1), answer("a x c", 0.1)).is_near_tie
    drawn_once = answer("a b c", 0.45, seed=7)
    assert moved(drawn_once, answer("a x c", 0.5, seed=7)).gap is None
    assert moved(drawn_once, answer("a x c", 0.9, seed=7)).gap == pytest.approx(0.35)


@st.composite
def distributions(draw: st.DrawFn) -> dict[str, float]:
    """Probabilities of three tokens."""
    weights = [draw(st.floats(0.01, 1)) for _ in range(3)]
    return {letter: weight / sum(weights) for letter, weight in zip("bxy", weights, strict=True)}


@given(there=distributions(), here=distributions(), is_drawn=st.booleans())
def test_what_is_not_known_never_changes_a_verdict(
    there: dict[str, float], here: dict[str, float], is_drawn: bool
) -> None:
    likeliest = (max(there, key=there.__getitem__), max(here, key=here.__getitem__))
    one, other = ("b", "x") if is_drawn else likeliest
    if one == other:
        return
    seed = 7 if is_drawn else None
    sides = [
        SuiteAnswer(
            *(t, (ord(t),), (t,), (log(p[t]),), seed),
            tops=(tuple((ord(each), log(value)) for each, value in p.items()),),
        )
        for t, p in ((one, there), (other, here))
    ]
    known, unknown = moved(*sides), moved(*(replace(side, tops=()) for side in sides))
    assert known.gap is not None
    if unknown.gap is not None:
        assert unknown.is_near_tie == known.is_near_tie


def test_a_draw_is_judged_by_how_far_any_probability_moved() -> None:
    old = drawn("ab", [0.9, 0.2], {"x": 0.5}, seed=7)
    assert moved(old, drawn("ax", [0.9, 0.5], {"b": 0.2}, seed=7)).gap == pytest.approx(0)
    assert moved(old, drawn("ax", [0.9, 0.9], {"b": 0.05}, seed=7)).gap == pytest.approx(0.4)


def test_an_answer_that_ends_earlier() -> None:
    long = drawn("abc", [0.9, 0.9, 0.1], {})
    short = drawn("ab", [0.9, 0.9], {})
    move = moved(long, short)
    assert (move.before, move.after, move.probability_after) == ("c", "", None)
    assert move.gap == pytest.approx(0.1)
    assert move.is_near_tie
    assert "after  ends" in [*move.lines()]
    cut = moved(long, replace(short, finish_reason="length"))
    assert cut.gap is None
    assert not cut.is_near_tie


def test_answers_to_other_questions_are_no_near_ties() -> None:
    old, new = drawn("ab", [0.9, 0.4], {"x": 0.4}), drawn("ax", [0.9, 0.4], {"b": 0.4})
    assert moved(old, new).is_near_tie
    move = moved(old, new, prompt="another")
    assert move.gap is None
    assert [*move.lines()][-1].startswith("it answers something else")


def test_draws_are_matched_by_seed_and_sibling() -> None:
    old = [answer("a", seed=7, sibling=i) for i in range(2)]
    new = [answer("b", seed=7, sibling=1), answer("c", seed=8, sibling=0)]
    change = suite(cell("a", answers=tuple(old))).compare(suite(cell("a", answers=tuple(new))))
    assert [(move.draw, move.before, move.after) for move in change.moved] == [(0, " a", " b")]


def test_how_far_probabilities_of_equal_tokens_moved() -> None:
    old, new = drawn("ab", [0.9, 0.9], {}), drawn("ax", [0.8, 0.1], {})
    change = suite(cell("a", answers=(old,))).compare(suite(cell("a", answers=(new,))))
    assert change.largest == pytest.approx(log(0.9) - log(0.8))
    assert "log-probabilities of equal tokens differ by up to 0.12 nats" in str(change)


# -- where they were made -------------------------------------------------------------------------


def test_another_machine_is_told_in_words() -> None:
    old = [
        cell(case, environment=BUILD, settings={"type_k": "f16", "type_v": "f16"}) for case in "ab"
    ]
    new = [replace(old[0], environment=BUILD | {"n_threads": [4, 4]}), old[1]]
    change = suite(*old).compare(suite(*new))
    assert change.environment == ("the number of threads: 2 before, 4 after (in 1 of 2 cells)",)
    assert change.passed
    other = [
        replace(each, settings={"type_k": "q8_0", "type_v": "q8_0"}, digest="x") for each in old
    ]
    change = suite(*old).compare(suite(*other))
    assert change.settings == ("the KV cache type: f16 before, q8_0 after",)
    assert change.changed == ("a[m,plain]", "b[m,plain]")
