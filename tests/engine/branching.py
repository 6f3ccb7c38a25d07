"""What tests of branches have in common: a prompt, architectures, and what must hold of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from engine.helpers import EVERY, assert_twins, words

from mullama_nb import Context
from mullama_nb.engine.branches import Branch
from mullama_nb.state.layout import SequenceState

PROMPT = words(70)
N = len(PROMPT)
SAMPLING: dict[str, Any] = {"temperature": 1.0, "seed": 1}

every = pytest.mark.parametrize("architecture", EVERY)
one_of_each = pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])


@contextmanager
def unchanged(context: Context) -> Iterator[None]:
    """Check that tokens, rows in their cells, logits and watermark are as before, to the bit."""
    context.mark()
    tokens, rows, logits = context.tokens, context.capture().data, context.logits
    yield
    assert context.tokens == tokens
    assert context.watermark == len(tokens)
    np.testing.assert_array_equal(context.capture().data, rows)
    np.testing.assert_array_equal(context.logits, logits)


def ids(branch: Branch) -> tuple[int, ...]:
    return tuple(token.id for token in branch.completion.tokens)


def check_segment(context: Context, branch: Branch, start: int = N) -> None:
    """Check that the segment is that of the tokens, its rows sorted and complete."""
    segment = branch.segment
    if segment is None:
        assert not branch.completion.tokens
        return
    assert (segment.start, segment.tokens) == (start, ids(branch))
    assert segment.whole == (context.memory_kind == "snapshot")
    state = SequenceState(segment.data, context.layout[0])
    assert state.is_sorted()
    if not segment.whole:
        assert state.covers(start, segment.stop)


def check_branches(context: Context, branches: list[Branch], tolerance: float = 0.05) -> None:
    """Check that every branch is right, and goes on the same however often it is restored."""
    start, prompt = context.token_count(), context.capture()
    with context.fork() as once, context.fork() as again, context.fork() as evaluated:
        for branch in branches:
            check_segment(context, branch, start)
            if branch.segment is None:
                continue
            for restored in (once, again):
                restored.restore(branch.segment, keep=start)
            evaluated.restore(prompt)
            evaluated.evaluate(ids(branch))
            assert once.tokens == evaluated.tokens
            np.testing.assert_allclose(once.logits, evaluated.logits, atol=tolerance)
            assert_twins(once, again, min(8, once.n_ctx - once.token_count()))
