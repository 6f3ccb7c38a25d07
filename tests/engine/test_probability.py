"""The likeliest tokens, in order, and of equals the first."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mullama_nb.engine.decoder import Logits
from mullama_nb.engine.sampling.probability import likeliest
from mullama_nb.engine.sampling.sampler import log_probabilities

few_values = arrays(np.float32, 512, elements=st.sampled_from([-np.inf, -3.0, 0.0, 0.5, 2.0]))


@pytest.mark.slow
@given(logits=few_values.filter(lambda row: bool(np.isfinite(row).any())), k=st.integers(1, 600))
def test_they_are_those_of_a_sort_of_all(tiny: ModelMaker, logits: Logits, k: int) -> None:
    logs = log_probabilities(logits)
    expected = np.argsort(-logs, kind="stable")[:k]
    found = likeliest(logits, k, tiny())
    assert [each.id for each in found] == expected.tolist()
    np.testing.assert_allclose([each.probability for each in found], np.exp(logs[expected]))
