"""Results of suites as values of JSON, checked when they come from a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import ParameterError
from ..untrusted import check_keys, check_plain, is_log, is_token, need, refuse
from .cell import CheckResult, SuiteAnswer, SuiteCell
from .matrix import Matrix

__all__ = ["cell_of", "cell_values", "check_line", "header_of", "header_values"]

_Kind = TypeVar("_Kind")

_MOST_CHARACTERS = 2**26  # of a line; each number counts as one
_MOST_TOP = 64
_MOST_COUNT = 2**53
_HEADER = ("name", "cases", "models", "settings", "tasks")


def header_values(result: Matrix) -> dict[str, Any]:
    """Return what a result says of its suite, without the cells."""
    values = {name: getattr(result, name) for name in _HEADER}
    return values | {"tasks": dict(result.tasks)}


def cell_values(cell: SuiteCell) -> dict[str, Any]:
    """Return a cell as values of JSON."""
    return cell.to_dict()


def check_line(values: Any) -> None:
    """Check that a line's values are small, shallow, finite, and made of whole characters.

    Raises
    ------
    Unsound
    """
    check_plain(values, "a result", most=_MOST_CHARACTERS)


def header_of(values: Any) -> Matrix:
    """Return the result without cells that a header describes.

    Raises
    ------
    Unsound
    """
    _check_object(values, frozenset(_HEADER), "the header")
    need(isinstance(values["name"], str), "the suite's name")
    for key in ("cases", "models", "settings"):
        need(_is_list_of(values[key], _is_text), key)
    tasks = values["tasks"]
    need(isinstance(tasks, dict) and all(map(_is_text, tasks.values())), "tasks")
    return _made(Matrix, {key: _frozen(value) for key, value in values.items()})


def cell_of(values: Any) -> SuiteCell:
    """Return the cell that a line describes.

    Raises
    ------
    Unsound
    """
    _check_object(values, _fields(SuiteCell), "a result")
    for key in ("case", "digest", "fingerprint", "id", "model", "prompt", "question", "setting"):
        need(isinstance(values[key], str), key)
    need(isinstance(values["tree"], str), "the tree")
    need(isinstance(values["worker"], str), "the worker")
    need(type(values["passed"]) is bool, "passed")
    need(values["error"] is None or isinstance(values["error"], str), "the error")
    for key in ("n_prompt", "tokens_evaluated", "tokens_alone"):
        need(_is_count(values[key]), key)
    need(_is_number(values["seconds"]) and values["seconds"] >= 0, "the seconds")
    for key in ("settings", "environment"):
        need(isinstance(values[key], dict), key)
    need(isinstance(values["findings"], list), "the findings")
    need(isinstance(values["answers"], list), "the answers")
    findings = tuple(map(_finding, values["findings"]))
    answers = tuple(map(_answer, values["answers"]))
    return _made(SuiteCell, values | {"findings": findings, "answers": answers})


def _finding(values: Any) -> CheckResult:
    _check_object(values, _fields(CheckResult), "a finding")
    need(isinstance(values["check"], str) and isinstance(values["detail"], str), "a finding")
    need(type(values["passed"]) is bool, "a finding's having passed")
    need(values["value"] is None or _is_number(values["value"]), "a finding's value")
    need(values["token"] is None or _is_count(values["token"]), "a finding's token")
    need(_is_count(values["n_passed"]) and _is_count(values["n_drawn"]), "a finding's draws")
    interval = values["interval"]
    is_pair = _is_list_of(interval, _is_number) and len(interval) == 2
    need(interval is None or is_pair, "a finding's interval")
    return _made(CheckResult, {key: _frozen(value) for key, value in values.items()})


def _answer(values: Any) -> SuiteAnswer:
    _check_object(values, _fields(SuiteAnswer), "an answer")
    need(isinstance(values["text"], str), "an answer's text")
    need(isinstance(values["finish_reason"], str), "an answer's finish reason")
    need(_is_list_of(values["tokens"], is_token), "an answer's tokens")
    need(_is_list_of(values["pieces"], _is_text), "an answer's pieces")
    need(_is_list_of(values["logprobs"], is_log), "an answer's log-probabilities")
    need(_is_list_of(values["tops"], _is_top), "an answer's likeliest tokens")
    seed = values["seed"]
    need(seed is None or (type(seed) is int and abs(seed) < 2**64), "an answer's seed")
    need(_is_count(values["sibling"]), "an answer's sibling")
    return _made(SuiteAnswer, {key: _frozen(value) for key, value in values.items()})


def _is_top(pairs: Any) -> bool:
    return (
        isinstance(pairs, list)
        and len(pairs) <= _MOST_TOP
        and all(
            isinstance(p, list) and len(p) == 2 and is_token(p[0]) and is_log(p[1]) for p in pairs
        )
    )


def _made(kind: Callable[..., _Kind], values: dict[str, Any]) -> _Kind:
    try:
        return kind(**values)
    except ParameterError as error:
        refuse(str(error))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _check_object(values: Any, keys: frozenset[str], what: str) -> None:
    need(isinstance(values, dict), what)
    check_keys(values, keys, keys, what)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST_COUNT


def _is_list_of(value: Any, is_one: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(is_one, value))


def _fields(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(kind))
