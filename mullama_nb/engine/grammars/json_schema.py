"""Converting JSON schemas into grammars, after checking that these stay small."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from ...errors import GrammarError, shown
from .grammar import MOST_REPETITIONS, MOST_WAYS, check_grammar
from .schema_grammar import Builder

__all__ = ["gbnf"]

_MOST_DEPTH = 400
_MOST_PARTS = 20_000
_MOST_CHARACTERS = 1_000_000
_MOST_OPTIONAL = 300  # the converter writes them out by recursion
_MOST_OF_A_PATTERN = 20_000
_MOST_DEPTH_OF_A_PATTERN = 100
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength")
_CHOICES = ("enum", "anyOf", "oneOf", "allOf", "type")
_DATA = ("const", "enum", "default", "examples")
_TIMES = re.compile(r"\{(\d*)(?:,(\d*))?\}")
_OF_A_PATTERN = re.compile(
    r"\\.|\[(?:[^\]\\]|\\.)*\]|(?P<open>\()|(?P<close>\))|(?P<times>\{\d*(?:,\d*)?\})|.", re.DOTALL
)


def _check_size(schema: Any) -> None:
    """Check that the grammar of a schema is not too large; else the keyword is named."""
    for keyword, value, owner in _keywords(schema):
        if keyword in _COUNTS and isinstance(value, (int, float)):
            _need(keyword, value, MOST_REPETITIONS, "llama.cpp counts no further")
        elif keyword in _CHOICES and isinstance(value, list):
            _need(keyword, len(value), MOST_WAYS, "alternatives are followed all at once")
        elif keyword == "properties" and isinstance(value, dict):
            required = owner.get("required", [])
            n = len(value) - (len(required) if isinstance(required, list) else 0)
            _need(f"optional {keyword}", n, _MOST_OPTIONAL, "name those that are required")
        elif keyword == "pattern" and isinstance(value, str):
            _check_pattern(value)


def _parsed(text: str) -> Any:
    _need("characters", len(text), _MOST_CHARACTERS, "it would take too long to read")
    with _telling_of_json():
        schema = json.loads(text)
    if not isinstance(schema, (dict, bool)):
        raise GrammarError(
            f"json_schema is {shown(text)}, which is no schema: give a mapping, or its text in JSON"
        )
    return schema


@contextmanager
def _telling_of_json() -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise GrammarError("json_schema nests too deeply to be turned into a grammar") from None
    except (TypeError, ValueError) as error:
        raise GrammarError(f"json_schema is not JSON: {shown(str(error), 200)}") from None


def _need(keyword: str, n: float, most: int, why: str) -> None:
    if n > most:
        raise GrammarError(
            f"json_schema asks for {keyword}: {shown(n)}, and at most {most:,} can be followed: "
            f"{why}"
        )


def _keywords(schema: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """All keywords with their values, and where they stand, but not those of mere data."""
    rest, n_parts = [(schema, 0)], 0
    while rest:
        each, depth = rest.pop()
        if depth > _MOST_DEPTH:
            raise GrammarError("json_schema nests too deeply to be turned into a grammar")
        if isinstance(each, dict):
            yield from ((keyword, value, each) for keyword, value in each.items())
            rest += [(value, depth + 1) for key, value in each.items() if key not in _DATA]
        elif isinstance(each, list):
            rest += [(value, depth + 1) for value in each]
        n_parts += 1
        _need("parts", n_parts, _MOST_PARTS, "it would take too long to build")


def _check_pattern(pattern: str) -> None:
    """Check what the converter would write a pattern out to; it reads groups by recursion."""
    sums, lasts = [0], [1]
    for match in _OF_A_PATTERN.finditer(pattern):
        if match["open"]:
            _need("pattern, nested", len(sums), _MOST_DEPTH_OF_A_PATTERN, "use fewer groups")
            sums.append(0)
            lasts.append(1)
            continue
        if match["close"] and len(sums) > 1:
            lasts.pop()
            lasts[-1] = sums.pop()
        elif match["times"]:
            numbers = [int(n) for n in _TIMES.fullmatch(match["times"]).groups() if n]  # type: ignore[union-attr]
            n = max(numbers, default=1)
            _need("pattern, repeated", n, _MOST_DEPTH_OF_A_PATTERN, "use maxLength instead")
            sums[-1] -= lasts[-1]
            lasts[-1] *= max(n, 1)
        else:
            lasts[-1] = 1
        sums[-1] += lasts[-1]
        _need("pattern, written out", sums[-1], _MOST_OF_A_PATTERN, "use fewer repetitions")


def gbnf(schema: Mapping[str, Any] | str) -> str:
    """Return the grammar of a schema.

    Raises
    ------
    GrammarError
        When it is no schema, has a keyword that no grammar follows, or its grammar would be too
        large; the message names the keyword.
    """
    with _telling_of_json():
        text = schema if isinstance(schema, str) else json.dumps(schema)
    return _gbnf(text)


@lru_cache(maxsize=64)
def _gbnf(text: str) -> str:
    schema = _parsed(text)
    _check_size(schema)
    try:
        grammar = Builder(schema).grammar()
    except RecursionError:
        raise GrammarError("json_schema nests too deeply to be turned into a grammar") from None
    except GrammarError:
        raise
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        # A value of another type than its keyword's.
        raise GrammarError(
            f"json_schema cannot be turned into a grammar: {shown(error, 200)}"
        ) from None
    check_grammar(grammar)
    return grammar
