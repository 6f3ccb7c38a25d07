"""What one field of a suite's matrix gave: a case with one model and one setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from ...errors import ParameterError

__all__ = ["LEAST", "CheckResult", "SuiteAnswer", "SuiteCell"]

LEAST = -1e9
"""The log-probability of what is impossible."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found, over all draws.

    Attributes
    ----------
    check : str
        The check as one writes it, such as ``contains('Paris')``.
    passed : bool
    detail : str
        What was found, in a sentence with the values.
    value : float or None
        The measured number, if the check measures one and it is finite.
    token : int or None
        Index in the answer of the first token that differs, if the check compares tokens.
    n_passed, n_drawn : int
        How many of the answers passed, and how many were judged; by default, one.
    interval : tuple of (float, float) or None
        In which the share that passes lies, where several answers were drawn.

    Raises
    ------
    ParameterError
        When more passed than were drawn, or the interval is none of shares.
    """

    check: str
    passed: bool
    detail: str = ""
    value: float | None = None
    token: int | None = None
    n_passed: int = -1
    n_drawn: int = 1
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.value is not None and not isfinite(self.value):
            object.__setattr__(self, "value", None)
        if self.n_passed == -1:
            object.__setattr__(self, "n_passed", self.n_drawn if self.passed else 0)
        if not 0 <= self.n_passed <= self.n_drawn:
            raise ParameterError(f"{self.n_passed} of {self.n_drawn} answers cannot have passed")
        if self.interval is not None and not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise ParameterError(f"interval={self.interval!r} must be two shares, 0 to 1")

    @property
    def share(self) -> float:
        """The share of the answers that passed, 0 to 1."""
        return self.n_passed / self.n_drawn if self.n_drawn else 0.0


@dataclass(frozen=True, slots=True)
class SuiteAnswer:
    """One answer.

    Attributes
    ----------
    text : str
    tokens : tuple of int
    pieces : tuple of str
        The text of each token.
    logprobs : tuple of float
        The log-probability of each token, in nats, -1e9 at the least; empty where not known.
    seed : int or None
        None: the likeliest token was taken each time.
    sibling : int
        Which of the draws with that seed.
    finish_reason : str
    tops : tuple
        For each token the likeliest ones in its place, as pairs of a token and its log-probability,
        likeliest first; empty where they were not looked at. They tell a near-tie from a change.

    Raises
    ------
    ParameterError
        When pieces, log-probabilities or likeliest tokens are not as many as the tokens.
    """

    text: str
    tokens: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    seed: int | None = None
    sibling: int = 0
    finish_reason: str = "stop"
    tops: tuple[tuple[tuple[int, float], ...], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.tokens)
        for name in ("pieces", "logprobs", "tops"):
            there = len(getattr(self, name))
            if there != n and (there or name == "pieces"):
                raise ParameterError(f"{there} {name} do not fit an answer of {n} tokens")
        # No file of JSON holds an infinity.
        floor = tuple(max(LEAST, value) for value in self.logprobs)
        object.__setattr__(self, "logprobs", floor)

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else f"{self.text[:59]}…"
        return f"SuiteAnswer({text!r}, {len(self.tokens)} tokens, {self.finish_reason})"


@dataclass(frozen=True, slots=True)
class SuiteCell:
    """The result of a case with one model and one setting.

    Attributes
    ----------
    id : str
        Unique in its suite, such as ``"capital[smollm2,q8_0]"``.
    case, model, setting : str
        Labels of the row and the column.
    passed : bool
        Whether every check passed.
    error : str or None
        Why it could not be judged.
    findings : tuple of CheckResult
        One for each check.
    answers : tuple of SuiteAnswer
        Empty where no check needed one.
    question : str
        What the model was asked.
    n_prompt : int
        Tokens in front of the answer.
    tokens_evaluated, tokens_alone : int
        How many tokens were evaluated, and how many it would have been without common prefixes.
    seconds : float
    fingerprint : str
        Of the model's file.
    settings, environment : mapping
        What rows depend on, and what only their last bits depend on, as in ``session_metadata``.
    worker : str
        Where it ran.
    tree : str
        The tree as text.
    digest : str
        Of the task. A stored result is used again if this is equal.
    prompt : str
        A digest of the tokens in front of the answer. Answers are compared by their tokens'
        probabilities where this is equal.

    Raises
    ------
    ParameterError
        When it passed though a check failed, or could not be judged; or the other way round.
    """

    id: str
    case: str
    model: str
    setting: str
    passed: bool
    error: str | None = None
    findings: tuple[CheckResult, ...] = ()
    answers: tuple[SuiteAnswer, ...] = ()
    question: str = ""
    n_prompt: int = 0
    tokens_evaluated: int = 0
    tokens_alone: int = 0
    seconds: float = 0.0
    fingerprint: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    worker: str = "this process"
    tree: str = ""
    digest: str = ""
    prompt: str = ""

    def __post_init__(self) -> None:
        holds = self.error is None and all(finding.passed for finding in self.findings)
        if self.passed != holds:
            raise ParameterError(f"cell {self.id!r}: passed={self.passed} against its findings")

    @property
    def word(self) -> str:
        """The verdict in a word: ``"passed"``, ``"FAILED"`` or ``"ERROR"``."""
        if self.error is not None:
            return "ERROR"
        return "passed" if self.passed else "FAILED"

    @property
    def n_drawn(self) -> int:
        """How many answers were judged, at the most by one check."""
        return max((finding.n_drawn for finding in self.findings), default=1)

    @property
    def share(self) -> float:
        """The lowest share of answers that passed a check, 0 to 1."""
        if self.error is not None:
            return 0.0
        return min((finding.share for finding in self.findings), default=float(self.passed))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        return f"SuiteCell({self.id!r}, {self.word})"

    def __str__(self) -> str:
        said = [self.error] if self.error is not None else []
        said += [f"{f.check}: {f.detail or 'did not hold'}" for f in self.findings if not f.passed]
        return "\n".join([f"{self.id}: {self.word}", *[f"  {line}" for line in said]])
