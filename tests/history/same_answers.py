"""Answers that are the same to the last bit, and go on the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mullama_nb import Turn

QUESTION = "tell me more " * 25  # over 256 cells, where it shows how many share a batch
OPTIONS: dict[str, Any] = {"max_tokens": 12, "temperature": 1.5, "seed": 4}


def assert_equal(elsewhere: Sequence[Turn], here: Sequence[Turn]) -> None:
    """Check that answers are the same, and go on the same."""
    for mine, theirs in zip(elsewhere, here, strict=True):
        assert mine.id == theirs.id
        assert mine.tokens == theirs.tokens
        assert mine.checkpoint.logprobs == theirs.checkpoint.logprobs
        assert mine.checkpoint.metadata == theirs.checkpoint.metadata
        assert mine.checkpoint.address == theirs.checkpoint.address
        assert mine.text == theirs.text
        rows = [turn.chat.tree.segment(turn.checkpoint) for turn in (mine, theirs)]
        assert rows[0] is not None and rows[1] is not None  # noqa: PT018
        np.testing.assert_array_equal(rows[0].data, rows[1].data)
        for turn in (mine, theirs):
            turn.keep()
        logits = [turn.chat.context.logits for turn in (mine, theirs)]
        np.testing.assert_array_equal(*logits)
