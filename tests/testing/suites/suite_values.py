"""Results of suites that nobody ran: cells by hand, and any at all."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from mullama_nb.testing import CheckResult, SuiteAnswer, SuiteCell, SuiteResult

FEW = settings(max_examples=25, deadline=None)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
LOGS = st.floats(-50, 0)
COUNTS = st.integers(0, 2**40)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e9, 1e9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def cell(
    case: str, model: str = "m", setting: str = "plain", *, passed: bool = True, **values: object
) -> SuiteCell:
    """A cell with one check."""
    found = CheckResult("contains('x')", passed, "" if passed else "'x' is not in 'y'")
    defaults = {"findings": (found,), "tokens_evaluated": 10, "tokens_alone": 40, "digest": case}
    name = f"{case}[{model},{setting}]"
    return SuiteCell(name, case, model, setting, passed, **(defaults | values))


def answer(words: str, probability: float = 0.5, **values: object) -> SuiteAnswer:
    """An answer of one token for each word; equal words have equal tokens."""
    from math import log

    pieces = tuple(f" {word}" for word in words.split())
    tokens = tuple(sum(ord(c) * 31**i for i, c in enumerate(p)) % 49_000 for p in pieces)
    return SuiteAnswer("".join(pieces), tokens, pieces, (log(probability),) * len(pieces), **values)


@st.composite
def findings(draw: st.DrawFn) -> CheckResult:
    n_drawn = draw(st.integers(1, 9))
    n_passed = draw(st.integers(0, n_drawn))
    interval = draw(st.none() | st.tuples(st.floats(0, 0.5), st.floats(0.5, 1)))
    value, token = draw(st.none() | st.floats(-1e9, 1e9)), draw(st.none() | st.integers(0, 99))
    passed = draw(st.booleans())
    return CheckResult(draw(TEXT), passed, draw(TEXT), value, token, n_passed, n_drawn, interval)


@st.composite
def answers(draw: st.DrawFn) -> SuiteAnswer:
    n = draw(st.integers(0, 4))
    tokens = tuple(draw(st.lists(st.integers(0, 2**31 - 1), min_size=n, max_size=n)))
    pieces = tuple(draw(st.lists(TEXT, min_size=n, max_size=n)))
    logprobs = tuple(draw(st.lists(LOGS, min_size=n, max_size=n)))
    pair = st.tuples(st.integers(0, 99), LOGS)
    top = st.lists(pair, max_size=2).map(tuple)
    tops = tuple(draw(st.lists(top, min_size=n, max_size=n))) if draw(st.booleans()) else ()
    seed, sibling = draw(st.none() | st.integers(0, 2**32)), draw(st.integers(0, 9))
    return SuiteAnswer(draw(TEXT), tokens, pieces, logprobs, seed, sibling, draw(TEXT), tops)


@st.composite
def results(draw: st.DrawFn, *, has_errors: bool = True) -> SuiteResult:
    """Results with every cell of their matrix."""
    orders = [
        draw(st.lists(TEXT, min_size=1, max_size=n, unique=True).map(tuple)) for n in (2, 1, 2)
    ]
    cells = []
    for case in orders[0]:
        for model in orders[1]:
            for setting in orders[2]:
                found = tuple(draw(st.lists(findings(), max_size=2)))
                error = draw(st.none() | TEXT) if has_errors else None
                cells.append(
                    SuiteCell(
                        *(repr((case, model, setting)), case, model, setting),
                        error is None and all(each.passed for each in found),
                        error,
                        found,
                        tuple(draw(st.lists(answers(), max_size=2))),
                        *(draw(TEXT), draw(COUNTS), draw(COUNTS), draw(COUNTS)),
                        *(draw(st.floats(0, 1e6)), draw(TEXT)),
                        draw(st.dictionaries(TEXT, PLAIN, max_size=2)),
                        draw(st.dictionaries(TEXT, PLAIN, max_size=2)),
                        *(draw(TEXT), draw(TEXT), draw(TEXT), draw(TEXT)),
                    )
                )
    return SuiteResult(draw(TEXT), *orders, tuple(cells))
