"""The forms of checks: as they stand in files, and as people give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....checks import did_you_mean
from ....errors import ParameterError, shown
from .check import Check
from .documents import JSONSchema
from .kv_quality import KVQuality
from .probabilities import AtLeast, Likelier, PerplexityBelow
from .same_as import SameAs
from .words import Contains, Function, Matches

__all__ = ["KINDS", "as_checks", "check_from_file", "checks_schema"]

_ALL = (AtLeast, Contains, JSONSchema, KVQuality, Likelier, Matches, PerplexityBelow, SameAs)

KINDS: Mapping[str, type[Check]] = {kind.kind: kind for kind in _ALL}
"""The checks that can stand in a file, by their key there, in alphabetical order."""


def as_checks(given: object) -> tuple[Check, ...]:
    """Return checks as a case takes them: one or several, and functions of the answer's text.

    Parameters
    ----------
    given : Check, callable, or iterable of these

    Raises
    ------
    ParameterError
        When one is neither, or two have one name.
    """
    several = [given] if isinstance(given, Check) or callable(given) else given
    if not isinstance(several, Iterable) or isinstance(several, (str, bytes, Mapping)):
        raise ParameterError(
            f'checks are a list, such as [contains("Paris")], and {shown(given)} is none'
        )
    checks: dict[str, Check] = {}
    for each in several:
        if isinstance(each, type) or not (isinstance(each, Check) or callable(each)):
            raise _refused(each)
        check = each if isinstance(each, Check) else Function(each)
        while isinstance(check, Function) and checks.get(check.name, check) != check:
            check = replace(check, nth=check.nth + 1)
        if check.name in checks:
            raise ParameterError(f"the check {check.name} is given twice")
        checks[check.name] = check
    return tuple(checks.values())


def check_from_file(form: object, folder: Path | None = None) -> Check:
    """Return the check that a mapping in a file stands for.

    Parameters
    ----------
    form : mapping
        One key, the check's name, and its arguments: ``{"contains": "Paris"}``,
        ``{"at_least": {"text": " yes", "probability": 0.8}}``.
    folder : Path, optional
        Of the file, where paths in it begin.

    Raises
    ------
    ParameterError
        When there is no such check, or an argument is unknown, missing or out of range.
    RecordingError
        When a recording that it names is damaged.
    """
    if not isinstance(form, Mapping) or len(form) != 1:
        raise ParameterError(
            f'a check is a mapping with one key, such as {{"contains": "Paris"}}, not {shown(form)}'
        )
    ((name, value),) = form.items()
    if name not in KINDS:
        hint = did_you_mean(name, KINDS) if isinstance(name, str) else ""
        raise ParameterError(
            f"there is no check {shown(repr(name))}{f' ({hint})' if hint else ''}; there are "
            f"{', '.join(KINDS)}"
        )
    if name == SameAs.kind:
        return SameAs.from_value(value, folder)
    return KINDS[name].from_value(value)


def checks_schema() -> dict[str, Any]:
    """Return the JSON schema of a check in a file."""
    return {
        "type": "object",
        "properties": {name: kind.file_schema for name, kind in KINDS.items()},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _refused(given: object) -> ParameterError:
    return ParameterError(
        "a check is one of the package's, such as contains('Paris'), or a function of the answer's "
        f"text, not {shown(given)}"
    )
