"""Options of a chat and of one answer: told apart, and checked before anything happens."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ..engine.params import ContextParams, SamplingParams

__all__ = [
    "CONTEXT_OPTIONS",
    "LIMIT_OPTIONS",
    "SAMPLING_OPTIONS",
    "check_names",
    "pick",
    "recalled",
]

CONTEXT_OPTIONS = tuple(field.name for field in dataclasses.fields(ContextParams))
SAMPLING_OPTIONS = tuple(field.name for field in dataclasses.fields(SamplingParams))
LIMIT_OPTIONS = ("max_tokens", "stop", "stop_tokens")


def check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check that all names are known.

    Raises
    ------
    TypeError
        When one is not; it says which one was probably meant.
    """
    known = list(known)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(known)}"
            raise TypeError(f"{what} has no option {name!r}{hint}")


def pick(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those options that have one of the names."""
    return {name: options[name] for name in names if name in options}


def recalled(notes: Mapping[str, Any]) -> SamplingParams:
    """The sampling that the notes of an answer tell of."""
    changed = dict(notes)
    if "logit_bias" in changed:
        changed["logit_bias"] = {int(token): bias for token, bias in changed["logit_bias"].items()}
    return SamplingParams(**changed)
