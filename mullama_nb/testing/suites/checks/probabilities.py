"""Checks of probabilities: what could be answered, and how well a text is foreseen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from ....checks import check_number
from ....errors import ParameterError, shown
from .behind import Likelihood, likelihoods
from .check import Check, Finding
from .subject import Subject
from .words import check_text

__all__ = [
    "ROUNDING",
    "AtLeast",
    "Likelier",
    "PerplexityBelow",
    "at_least",
    "likelier",
    "perplexity_below",
]

ROUNDING = 0.7
"""Nats by which rounding may move a log-probability, or the difference of two.

See :func:`likelier`.
"""

_TEXT = {"type": "string", "minLength": 1}
_MOST_SHOWN = 60  # characters of a text
_MOST_NATS = 1_000
_MOST_PERPLEXITY = 1e9
_PERPLEXITY = {"type": "number", "exclusiveMinimum": 1, "maximum": _MOST_PERPLEXITY}


@dataclass(frozen=True, slots=True, repr=False)
class Likelier(Check):
    """See :func:`likelier`."""

    kind: ClassVar[str] = "likelier"
    file_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {
            "text": _TEXT,
            "than": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
            "by": {"type": "number", "minimum": 0, "maximum": _MOST_NATS},
        },
        "required": ["text", "than"],
        "additionalProperties": False,
    }

    text: str
    _: KW_ONLY
    than: str | Sequence[str]
    by: float = 0.0

    def __post_init__(self) -> None:
        check_text("text", self.text)
        if not isinstance(self.than, str) and not isinstance(self.than, Sequence):
            raise ParameterError(f"than must be a text or several, not {shown(self.than)}")
        others = (self.than,) if isinstance(self.than, str) else tuple(self.than)
        for other in others:
            check_text("than", other)
        if not others:
            raise ParameterError("than is empty: give the texts that should be less likely")
        if self.text in others:
            raise ParameterError(f"{shown(repr(self.text))} cannot be likelier than itself")
        object.__setattr__(self, "than", others)
        object.__setattr__(self, "by", float(check_number("by", self.by, 0, _MOST_NATS)))

    @property
    def needs_answer(self) -> bool:
        """False: the logits behind the question say it."""
        return False

    def judge(self, subject: Subject) -> Finding:
        """Compare the texts behind the question."""
        text, *others = likelihoods(subject, [self.text, *self.than])
        rival = max(others, key=lambda other: other.logprob)
        difference = _difference(text, rival)
        passed = difference >= self.by
        word = "likelier" if difference >= 0 else "less likely"
        detail = (
            f"{_said(text)} is {word} than {_said(rival)} by {abs(difference):.2f} nats"
            + (f", of {self.by:g} demanded" if self.by else "")
            + _doubt(difference - self.by, max(text.n_tokens, rival.n_tokens))
        )
        return self._found(passed=passed, detail=detail, value=difference)

    def _arguments(self) -> dict[str, Any]:
        than = self.than[0] if len(self.than) == 1 else [*self.than]
        return {"text": self.text, "than": than, **({"by": self.by} if self.by else {})}


def likelier(text: str, *, than: str | Sequence[str], by: float = 0.0) -> Check:
    """Demand that an answer is likelier to begin with one text than with another.

    Nothing is generated. Texts of one token are compared in the logits behind the question; of
    longer ones all tokens but the last are evaluated beside it.

    Parameters
    ----------
    text : str
        As it goes on, with a space before a word: ``" Paris"`` behind ``"The capital is"``. Where
        an answer begins, behind a control token or white space as a chat template puts it there, a
        leading space makes no difference: the probabilities with and without it are added.
    than : str or sequence of str
        What should be less likely; all of them.
    by : float
        By how many nats at least: 0.7 is twice as likely, 2.3 ten times.

    Raises
    ------
    ParameterError
        When a text is empty, or ``by`` is negative.

    Notes
    -----
    The log-probability of a text is the sum over its tokens, before any sampler. It is nearly the
    same on any machine: measured at the first token of the answers to 19 questions of 34 to 395
    tokens, with SmolLM2-135M Q4_1 on one x86-64 CPU, for 200 random tokens and the 20 likeliest,

    ===========================  ===============  ===============  =================
    largest change, in nats      of the 20        of any           of the difference
    against two threads          likeliest        token            of two
    ===========================  ===============  ===============  =================
    1 thread                     0.16             0.53             0.40
    4 threads                    0.26             0.64             0.45
    ``n_batch=7``                0.32             0.58             0.63
    without flash attention      0.36             0.64             0.69
    ===========================  ===============  ===============  =================

    So a verdict is safe where the difference is more than 0.7 nats away from ``by``; one that is
    closer says that it is within rounding. For texts of n tokens it is the square root of n times
    as much.
    """
    return Likelier(text, than=than, by=by)


@dataclass(frozen=True, slots=True, repr=False)
class AtLeast(Check):
    """See :func:`at_least`."""

    kind: ClassVar[str] = "at_least"
    file_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {
            "text": _TEXT,
            "probability": {"type": "number", "minimum": 0, "maximum": 1},
        },
        "required": ["text", "probability"],
        "additionalProperties": False,
    }

    text: str
    probability: float

    def __post_init__(self) -> None:
        check_text("text", self.text)
        object.__setattr__(self, "probability", check_number("probability", self.probability, 0, 1))

    @property
    def needs_answer(self) -> bool:
        """False: the logits behind the question say it."""
        return False

    def judge(self, subject: Subject) -> Finding:
        """Compare the probability of the text behind the question."""
        (text,) = likelihoods(subject, [self.text])
        probability = math.exp(text.logprob)
        doubt = ""
        if self.probability > 0:
            doubt = _doubt(text.logprob - math.log(self.probability), text.n_tokens)
        detail = f"{_said(text)} has the probability {probability:.3g}, of {self.probability:g}"
        return self._found(
            passed=probability >= self.probability,
            detail=f"{detail} demanded{doubt}",
            value=probability,
        )


def at_least(text: str, probability: float) -> Check:
    """Demand that an answer begins with a text with a probability, of the text as a whole.

    Nothing is generated, as for :func:`likelier`, which also says how a leading space is read.

    Parameters
    ----------
    text : str
    probability : float
        0 to 1.

    Raises
    ------
    ParameterError
        When the text is empty or the probability is out of range.
    """
    return AtLeast(text, probability)


@dataclass(frozen=True, slots=True, repr=False)
class PerplexityBelow(Check):
    """See :func:`perplexity_below`."""

    kind: ClassVar[str] = "perplexity_below"
    file_schema: ClassVar[Mapping[str, Any]] = {
        "anyOf": [
            _PERPLEXITY,
            {
                "type": "object",
                "properties": {
                    "perplexity": _PERPLEXITY,
                    "text": _TEXT,
                },
                "required": ["perplexity"],
                "additionalProperties": False,
            },
        ]
    }

    perplexity: float
    _: KW_ONLY
    text: str | None = None

    def __post_init__(self) -> None:
        number = check_number("perplexity", self.perplexity, 1, _MOST_PERPLEXITY)
        if number == 1:
            raise ParameterError("perplexity=1 is the least there is: give a larger one")
        object.__setattr__(self, "perplexity", float(number))
        if self.text is not None:
            check_text("text", self.text)

    @property
    def needs_answer(self) -> bool:
        """Whether no text was given."""
        return self.text is None

    def judge(self, subject: Subject) -> Finding:
        """Measure the answer, or the text behind the question."""
        if self.text is not None:
            (text,) = likelihoods(subject, [self.text])
            n_tokens, perplexity = text.n_tokens, math.exp(-text.logprob / text.n_tokens)
            what = _quoted(self.text)
        else:
            logprobs = [value for part in subject.answered for value in part.logprobs]
            n_tokens = len(logprobs)
            if not n_tokens:
                return self._found(passed=False, detail="the answer has no token")
            perplexity, what = math.exp(-math.fsum(logprobs) / n_tokens), "the answer"
        apart = math.log(self.perplexity) - math.log(perplexity)
        detail = (
            f"{what} has a perplexity of {perplexity:.3g} over {n_tokens} "
            f"token{'s' * (n_tokens != 1)}, of less than {self.perplexity:g} demanded"
        )
        return self._found(
            passed=perplexity < self.perplexity,
            detail=detail + _doubt(apart * n_tokens, n_tokens),
            value=perplexity,
        )


def perplexity_below(perplexity: float, *, text: str | None = None) -> Check:
    """Demand that the model finds the answer, or a given text, foreseeable.

    Perplexity is the exponential of the mean surprisal of the tokens: 1 where each was certain, 10
    where each was one of ten.

    Parameters
    ----------
    perplexity : float
        More than 1.
    text : str, optional
        Behind the question, where nothing is generated then. None: what is answered.

    Raises
    ------
    ParameterError
        When the perplexity is out of range, or the text is empty.
    """
    return PerplexityBelow(perplexity, text=text)


def _difference(a: Likelihood, b: Likelihood) -> float:
    if a.logprob == b.logprob:  # perhaps both are impossible
        return 0.0
    return a.logprob - b.logprob


def _said(likelihood: Likelihood) -> str:
    return f"{_quoted(likelihood.text)} ({likelihood.logprob:.2f})"


def _quoted(text: str) -> str:
    return shown(repr(text), _MOST_SHOWN)


def _doubt(apart: float, n_tokens: int) -> str:
    """What to add where a verdict is so close to its limit that rounding may turn it."""
    margin = ROUNDING * math.sqrt(n_tokens)
    return f"; within rounding (±{margin:.2f} nats)" if abs(apart) <= margin else ""
