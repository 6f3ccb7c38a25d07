"""Checks of an answer's words: a text, a regular expression, a function of your own."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ....errors import ParameterError, shown
from .check import Check, Finding, source_of
from .searching import found_in
from .subject import Subject

__all__ = ["Contains", "Function", "Matches", "contains", "matches"]

_MOST_SHOWN = 200  # characters of an answer


@dataclass(frozen=True, slots=True, repr=False)
class Contains(Check):
    """See :func:`contains`."""

    kind: ClassVar[str] = "contains"
    file_schema: ClassVar[Mapping[str, Any]] = {"type": "string", "minLength": 1}

    text: str

    def __post_init__(self) -> None:
        check_text("text", self.text)

    def judge(self, subject: Subject) -> Finding:
        """Return whether the answer has the text."""
        passed = self.text in subject.text
        return self._found(passed=passed, detail=_about(subject.text, self.text, passed=passed))


def contains(text: str) -> Check:
    """Demand that the answer has a text in it, letter by letter.

    For either case of letters, or for one text out of several, use :func:`matches`.

    Parameters
    ----------
    text : str
        Not empty.

    Raises
    ------
    ParameterError
        When it is no text, or empty.
    """
    return Contains(text)


@dataclass(frozen=True, slots=True, repr=False)
class Matches(Check):
    """See :func:`matches`."""

    kind: ClassVar[str] = "matches"
    file_schema: ClassVar[Mapping[str, Any]] = {"type": "string", "minLength": 1, "format": "regex"}

    pattern: str

    def __post_init__(self) -> None:
        if isinstance(self.pattern, re.Pattern):
            raise ParameterError(
                "matches takes the text of a regular expression, so that it can be written to a "
                f"file: matches({self.pattern.pattern!r}), with flags in it, such as '(?i)'"
            )
        check_text("pattern", self.pattern)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what may mean something else one day
                re.compile(self.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ParameterError(
                f"pattern={shown(repr(self.pattern))} is not a regular expression: {error}"
            ) from None

    def judge(self, subject: Subject) -> Finding:
        """Return whether the pattern is found in the answer."""
        found = found_in(self.pattern, subject.text)
        if found is None:
            return self._found(passed=False, detail=_without(subject.text, self.pattern))
        return self._found(passed=True, detail=f"{_quoted(found)} matches {_quoted(self.pattern)}")


def matches(pattern: str) -> Check:
    r"""Demand that a regular expression is found in the answer, anywhere.

    Anchor it to demand more: ``matches(r"\A\d+\Z")``.

    Parameters
    ----------
    pattern : str
        As Python's ``re`` reads it, with flags inside: ``"(?i)paris"``.

    Raises
    ------
    ParameterError
        When it is no regular expression.

    Notes
    -----
    A pattern with several repetitions can take for ever on an unlucky answer. Such a one is
    searched in a process of its own, and ends with an error after a few seconds, so that a suite
    from elsewhere cannot hold a run up.
    """
    return Matches(pattern)


@dataclass(frozen=True, slots=True, repr=False)
class Function(Check):
    """A function of the answer's text; a case makes it of any callable among its checks.

    Parameters
    ----------
    function : callable
        Called with the text. Returning True or None passes, False does not; nor does raising,
        whose message is kept: ``assert`` as in a test.
    nth : int
        Which of several functions of one name it is, such as lambdas.

    Raises
    ------
    ParameterError
        When it is not callable, or returns something else.
    """

    function: Callable[[str], object]
    nth: int = 1

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ParameterError(f"a check is a function of the text, not {shown(self.function)}")

    def judge(self, subject: Subject) -> Finding:
        """Return what the function says about the answer's text."""
        try:
            said = self.function(subject.text)
        except Exception as error:  # as in a test, whatever is raised is a failure
            return self._found(passed=False, detail=f"{_reason(error)}, of {_quoted(subject.text)}")
        if said is not None and not isinstance(said, (bool, np.bool_)):
            raise ParameterError(
                f"{self.name} returned {shown(said)}: a check returns True or False, or asserts"
            )
        passed = said is None or bool(said)
        verdict = "accepts" if passed else "refuses"
        return self._found(passed=passed, detail=f"{self.name} {verdict} {_quoted(subject.text)}")

    def _contents(self) -> tuple[str, ...]:
        return source_of(self.function)

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", None) or type(self.function).__qualname__
        return str(name) if self.nth == 1 else f"{name} {self.nth}"


def check_text(name: str, text: object) -> None:
    """Check that an argument is a text of whole characters, and not empty.

    Raises
    ------
    ParameterError
        When it is not.
    """
    if not isinstance(text, str):
        raise ParameterError(f"{name} must be a text, not {shown(text)}")
    if not text:
        raise ParameterError(f"{name} is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ParameterError(f"{name}={shown(repr(text))} has an unpaired surrogate") from None


def _reason(error: Exception) -> str:
    message = " ".join(str(error).split())
    if not isinstance(error, AssertionError):
        return f"{type(error).__name__}: {message}" if message else type(error).__name__
    line = traceback.extract_tb(error.__traceback__)[-1].line
    return message or line or "AssertionError"


def _about(answer: str, text: str, *, passed: bool) -> str:
    if passed:
        return f"{_quoted(text)} is in the answer"
    return _without(answer, text)


def _without(answer: str, what: str) -> str:
    where = f"the answer {_quoted(answer)}" if answer else "the answer, which is empty"
    return f"{_quoted(what)} is not in {where}"


def _quoted(text: str) -> str:
    return shown(repr(text[:_MOST_SHOWN]), _MOST_SHOWN)
