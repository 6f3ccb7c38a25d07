"""Every step of a choice, as llama.cpp's samplers take it, and the number that they draw."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mullama_nb.engine.sampling.adaptive import CANDIDATE
from mullama_nb.engine.sampling.steps import drawn_number

SEEDS = [0, 1, 2**31, 2**32 - 2, *range(7, 2**32 - 2, 1_500_007)]


def drawn(seed: int, logits: Any) -> tuple[int, Any]:
    """What llama.cpp's last sampler takes of candidates, and their probabilities."""
    candidates = np.zeros(logits.size, CANDIDATE)
    candidates["id"], candidates["logit"] = np.arange(logits.size), logits
    pointer = ctypes.cast(candidates.ctypes.data, llama_cpp.llama_token_data_p)
    array = llama_cpp.llama_token_data_array(pointer, logits.size, -1, False)
    sampler = llama_cpp.llama_sampler_init_dist(seed)
    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
    llama_cpp.llama_sampler_free(sampler)
    return int(array.selected), candidates["p"]


@pytest.mark.slow
def test_the_number_is_the_one_that_llama_cpp_draws() -> None:
    """Among so many alike, which one is taken shows its first 14 bits."""
    alike = np.zeros(2**14, np.float32)
    assert len(SEEDS) > 2500
    for seed in SEEDS:
        number = drawn_number(seed)
        assert 0 <= number < 1
        assert drawn(seed, alike)[0] == max(0, math.ceil(number * alike.size) - 1), seed


@pytest.mark.slow
@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32 - 2),
    spread=st.floats(0.1, 30),
    size=st.integers(1, 300),
    made_of=st.integers(0, 2**32),
)
def test_the_number_falls_on_what_is_drawn(
    seed: int, spread: float, size: int, made_of: int
) -> None:
    logits = np.random.default_rng(made_of).normal(0, spread, size).astype(np.float32)
    selected, probabilities = drawn(seed, logits)
    ends = np.cumsum(probabilities, dtype=np.float64)
    begin, end = ends[selected] - probabilities[selected], ends[selected]
    assert begin - 1e-6 <= drawn_number(seed) <= end + 1e-6
