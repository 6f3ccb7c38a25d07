"""What the engine's tests share: kinds of memory, and twins that never were interrupted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from mullama_nb import Context, ContextParams, Model

__all__ = [
    "CUTTABLE",
    "EVERY",
    "PARAMS",
    "SNAPSHOT",
    "WINDOWED",
    "Script",
    "Trace",
    "assert_twins",
    "context_of",
    "play",
    "words",
]

CUTTABLE = ["llama", "qwen2vl"]
WINDOWED = ["gemma3", "gemma2"]
SNAPSHOT = ["mamba", "mamba2", "lfm2", "jamba", "lfm2swa"]
EVERY = CUTTABLE + WINDOWED + SNAPSHOT

PARAMS = ContextParams(n_ctx=512, n_threads=1)

Logits = npt.NDArray[np.float32]
Trace = dict[int, Logits]
"""The logits at each end of an evaluation, by the number of tokens."""

Script = Sequence[Sequence[int] | int]
"""What to do: tokens to evaluate at once, or a number of tokens to generate."""


def words(n_tokens: int, seed: int = 0) -> list[int]:
    """Random tokens of the tiny vocabulary, without control tokens."""
    return [int(t) for t in np.random.default_rng(seed).integers(17, 512, n_tokens)]


def play(context: Context, script: Script) -> Trace:
    """Do what the script says, and write down the logits wherever they are promised again."""
    trace: Trace = {}
    for action in script:
        if isinstance(action, int):
            for _ in context.stream(None, action, seed=3):
                trace[context.token_count()] = context.logits
        else:
            context.evaluate(action)
            trace[context.token_count()] = context.logits
    return trace


def assert_twins(a: Context, b: Context, n_tokens: int = 24) -> None:
    """Check that two contexts hold the same and go on the same, to the bit."""
    assert a.tokens == b.tokens
    np.testing.assert_array_equal(a.logits, b.logits)
    for context in (a, b):
        context.generate(None, n_tokens, seed=5)
    assert a.tokens == b.tokens
    np.testing.assert_array_equal(a.logits, b.logits)


def context_of(model: Model, tokens: Iterable[int] = (), **changes: object) -> Context:
    """A context with the tests' parameters, and some tokens evaluated."""
    context = Context(model, PARAMS.with_changes(**changes))
    context.evaluate(list(tokens))
    return context
