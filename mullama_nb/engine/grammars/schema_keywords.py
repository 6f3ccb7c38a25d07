"""Keywords of JSON schemas: followed, mere notes, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...checks import did_you_mean, is_number
from ...errors import GrammarError, shown

__all__ = [
    "NOTES",
    "NUMBER_FORMATS",
    "OF_TYPES",
    "TYPES",
    "check_known",
    "counts",
    "is_of_type",
    "looked_up",
    "refused",
]

NOTES = {
    *("title", "description", "default", "examples", "example", "deprecated", "readOnly"),
    *("writeOnly", "$schema", "$id", "id", "$comment", "$defs", "definitions", "$anchor"),
    *("contentEncoding", "contentMediaType", "contentSchema", "discriminator", "nullable"),
}
OF_TYPES = {
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "array": {"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"},
    "object": {
        *("properties", "required", "additionalProperties", "patternProperties"),
        *("propertyNames", "minProperties", "maxProperties"),
    },
}
OF_TYPES["integer"] = OF_TYPES["number"]
_COMBINING = {"$ref", "allOf", "anyOf", "oneOf", "const", "enum", "type"}
_UNSUPPORTED = {
    *("if", "then", "else", "not", "dependentRequired", "dependentSchemas", "dependencies"),
    *("contains", "minContains", "maxContains", "unevaluatedItems", "unevaluatedProperties"),
    *("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary"),
}
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_KNOWN = {*NOTES, *_COMBINING, *_UNSUPPORTED}.union(*OF_TYPES.values())
NUMBER_FORMATS = {"int32": 31, "int64": 63, "float": None, "double": None}


def refused(keyword: str, place: str, why: str) -> GrammarError:
    """Return the error of a keyword that is not followed, with its place."""
    return GrammarError(
        f"json_schema cannot be turned into a grammar: {shown(repr(keyword))} at "
        f"{shown(place)} {why}"
    )


def check_known(schema: Mapping[str, Any], place: str) -> None:
    """Check that each keyword is followed, or says nothing about values.

    Raises
    ------
    GrammarError
        When one is not supported, or is a misspelt one.
    """
    for keyword in schema:
        if keyword in _UNSUPPORTED:
            raise refused(keyword, place, "is not supported")
        hint = "" if keyword in _KNOWN else did_you_mean(str(keyword), _KNOWN, 0.85)
        if hint:
            raise refused(keyword, place, f"is unknown; {hint}")


def counts(schema: Mapping[str, Any], least: str, most: str, place: str) -> tuple[int, int | None]:
    """Return the least and the most of something that is counted.

    Raises
    ------
    GrammarError
        When they are not numbers from 0, or turned round.
    """
    low, high = schema.get(least, 0), schema.get(most)
    for keyword, number in ((least, low), (most, 0 if high is None else high)):
        if not is_number(number) or number != int(number) or number < 0:
            raise refused(keyword, place, f"is {shown(repr(number))}, not a number from 0")
    if high is not None and low > high:
        raise GrammarError(
            f"json_schema: {least}: {shown(low)} is more than {most}: {shown(high)} at "
            f"{shown(place)}"
        )
    return int(low), None if high is None else int(high)


def looked_up(root: Any, ref: Any, place: str) -> Any:
    """Return what a reference leads to.

    Raises
    ------
    GrammarError
        When that is elsewhere, or nowhere.
    """
    if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
        raise refused("$ref", place, f"is {shown(repr(ref))}; only #/... is looked up")
    found = root
    for part in ref.split("/")[1:]:
        key = re.sub("%([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), part)
        key = key.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key) if isinstance(found, list) else key]
        except (KeyError, IndexError, TypeError, ValueError):
            why = f"is {shown(repr(ref))}, which is not there"
            raise refused("$ref", place, why) from None
    return found


def is_of_type(value: object, kind: Any) -> bool:
    """Return whether a JSON value is of a type."""
    if isinstance(value, bool) or kind == "boolean":
        return isinstance(value, bool) and kind == "boolean"
    if kind == "integer":
        return is_number(value) and value == int(value)
    kinds: dict[Any, type | tuple[type, ...]] = {
        "null": type(None),
        "number": (int, float),
        "string": str,
        "array": list,
        "object": dict,
    }
    return kind in kinds and isinstance(value, kinds[kind])
