"""A check of a KV cache type: how far it moves the probabilities of a conversation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from ....checks import check_number
from ....engine.context import Context
from ....engine.params import KV_CACHE_TYPES, ContextParams
from ....engine.stored import check_room
from ....errors import ParameterError, shown
from ....history.tree import Checkpoint
from ...cells_needed import params_for
from .check import Check, Finding
from .subject import Subject

__all__ = ["BELOW", "KVQuality", "kv_quality"]

BELOW = 0.1
"""Nats a token: between what q8_0 and q4_0 do; see :func:`kv_quality`."""

_LIKELY = 0.01  # the log-probability of what nobody would say moves far, and says little

_PARTS = ("question", "answer")
_MOST_NATS = 1_000
_TYPE = {"enum": [*KV_CACHE_TYPES]}
_TYPES = {
    "anyOf": [
        _TYPE,
        {"type": "array", "items": _TYPE, "minItems": 2, "maxItems": 2},
    ]
}


@dataclass(frozen=True, slots=True, repr=False)
class KVQuality(Check):
    """See :func:`kv_quality`."""

    kind: ClassVar[str] = "kv_quality"
    file_schema: ClassVar[Mapping[str, Any]] = {
        "anyOf": [
            _TYPES,
            {
                "type": "object",
                "properties": {
                    "kv_cache_type": _TYPES,
                    "of": {"enum": [*_PARTS]},
                    "below": {"type": "number", "exclusiveMinimum": 0, "maximum": _MOST_NATS},
                },
                "required": ["kv_cache_type"],
                "additionalProperties": False,
            },
        ]
    }

    kv_cache_type: str | tuple[str, str]
    _: KW_ONLY
    below: float = BELOW
    of: str = "question"

    def __post_init__(self) -> None:
        params = ContextParams(kv_cache_type=self.kv_cache_type)
        object.__setattr__(self, "kv_cache_type", params.kv_cache_type)
        below = float(check_number("below", self.below, 0, _MOST_NATS))
        if not below:
            raise ParameterError("below=0 is what no other cache type reaches: give some nats")
        object.__setattr__(self, "below", below)
        if self.of not in _PARTS:
            raise ParameterError(f"of={shown(repr(self.of))} must be one of {', '.join(_PARTS)}")

    @property
    def needs_answer(self) -> bool:
        """Whether the answer is measured."""
        return self.of == "answer"

    def judge(self, subject: Subject) -> Finding:
        """Evaluate the conversation once more with the cache type, and compare."""
        tree, context = subject.chat.tree, subject.chat.context
        asked = [part for part in tree.path(subject.question) if part.tokens]
        before, parts = (asked, [*subject.answered]) if self.needs_answer else ([], asked)
        if not parts:
            return self._found(passed=False, detail=f"the {self.of} has no token")
        with tree.visit(parts[-1]):
            here = [*_held(context, parts)]
        n_tokens = parts[-1].stop
        changed = context.params.with_changes(kv_cache_type=self.kv_cache_type)
        params = params_for(n_tokens, context.model, changed)
        check_room(context.model, params, n_tokens)
        with Context(context.model, params) as other:
            other.known_adapters.offer(context.known_adapters.at_hand)
            there = [*_evaluated(other, before, parts)]
        likely = [(a, b) for a, b in zip(here, there, strict=True) if a >= math.log(_LIKELY)]
        if not likely:
            detail = f"no token of the {self.of} has a probability of {_LIKELY:.0%} here"
            return self._found(passed=False, detail=detail)
        moved = [abs(a - b) for a, b in likely]
        mean, n = math.fsum(moved) / len(moved), len(moved)
        types = _written(self.kv_cache_type), _written(context.params.kv_cache_type)
        detail = (
            f"with {' instead of '.join(types)}, log-probabilities of {n} "
            f"token{'s' * (n != 1)} of the {self.of} move by {mean:.2g} nats on average, of less "
            f"than {self.below:g} demanded, and by {max(moved):.2g} at most"
        )
        return self._found(passed=mean < self.below, detail=detail, value=mean)


def kv_quality(
    kv_cache_type: str | tuple[str, str], *, below: float = BELOW, of: str = "question"
) -> Check:
    """Demand that another KV cache type hardly moves the probabilities of a conversation.

    Its tokens are evaluated once more in a second context with that cache type, and their
    log-probabilities compared with those under the case's own settings: of the tokens that have a
    probability of 1% there, or more.

    Parameters
    ----------
    kv_cache_type : str or (str, str)
        As in ``ContextParams``.
    below : float
        Nats by which the log-probability of a token may move on average.
    of : {"question", "answer"}
        Whose tokens are compared: all up to where the model answers, with the system message and
        the template, where nothing is generated; or those that are generated.

    Raises
    ------
    ParameterError
        When there is no such cache type, or a value is out of range.

    Notes
    -----
    Measured with SmolLM2-135M Q4_1 and nine questions of 33 to 43 tokens, against f16: q8_0 moves
    questions by 0.05 to 0.07 nats and q4_0 by 0.28 to 0.33; answers of 11 to 24 tokens by 0.04 to
    0.07 and by 0.13 to 0.35. Rounding alone does up to 0.05.
    """
    return KVQuality(kv_cache_type, below=below, of=of)


def _held(context: Context, parts: Sequence[Checkpoint]) -> Iterator[float]:
    for part in parts:
        first = max(part.start, 1)  # nothing says how likely the first token is
        if first < part.stop:
            yield from context.score_held(first, part.stop).logprobs


def _evaluated(
    context: Context, before: Sequence[Checkpoint], parts: Sequence[Checkpoint]
) -> Iterator[float]:
    """Evaluate a path in an empty context, and yield log-probabilities of its last parts."""
    for part in (*before, *parts):
        context.adapters = context.known_adapters.of(part.metadata.adapters)
        tokens = part.tokens
        if part in parts:
            if not context.token_count():
                context.evaluate(tokens[:1])
                tokens = tokens[1:]
            if tokens:
                yield from context.score(tokens).logprobs
        if tokens and part is not parts[-1]:
            context.evaluate(tokens)


def _written(kv_cache_type: str | tuple[str, str]) -> str:
    return kv_cache_type if isinstance(kv_cache_type, str) else "/".join(kv_cache_type)
