"""When rows travel: as soon as evaluating their tokens would take longer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.tasks.shipping import ships_rows


def test_rows_of_a_small_model_on_a_cpu_are_sent() -> None:
    assert ships_rows(23_040 * 1_000, 1_000, 134_515_008)  # SmolLM2, f16


def test_rows_of_a_model_that_evaluates_faster_than_the_network_are_not() -> None:
    slow = {"bytes_per_second": 1e7, "parameter_tokens_per_second": 1e13}  # a GPU, far away
    assert not ships_rows(131_072 * 1_000, 1_000, 8_000_000_000, **slow)


@given(st.integers(1, 10**12), st.integers(1, 10**6), st.integers(10**6, 10**12))
def test_fewer_bytes_and_more_work_never_speak_against_it(b: int, t: int, p: int) -> None:
    if ships_rows(b, t, p):
        assert ships_rows(b // 2, t, p)
        assert ships_rows(b, 2 * t, p)
        assert ships_rows(b, t, 2 * p)
    # Twice as long a prefix has twice the bytes, and the same answer.
    assert ships_rows(b, t, p) == ships_rows(2 * b, 2 * t, p)
