"""Schemas that hold at the same time, as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import GrammarError, shown

__all__ = ["are_disjoint", "merged"]

Schema = Mapping[str, Any]

_LARGEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SMALLEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_COMBINING = {"$ref", "allOf", "anyOf", "oneOf"}  # which may generate more
_KINDS = ("null", "boolean", "number", "string", "array", "object")


def merged(a: Schema, b: Schema, place: str, ignored: Callable[[str], bool]) -> dict[str, Any]:
    """Return the schema of what fits two schemas.

    Parameters
    ----------
    a, b : mapping
        Without references.
    place : str
        Where they stand, for messages.
    ignored : callable
        Tells keywords that say nothing about values.

    Raises
    ------
    GrammarError
        When one schema cannot say the same.
    """
    found = {key: value for key, value in a.items() if not ignored(key)}
    for key, value in b.items():
        if ignored(key):
            continue
        if key not in found or found[key] == value:
            found[key] = value
        elif key in _LARGEST:
            found[key] = max(found[key], value)
        elif key in _SMALLEST:
            found[key] = min(found[key], value)
        elif key == "type":
            found[key] = _common_types(found[key], value)
        elif key == "enum":
            found[key] = [each for each in found[key] if each in value]
        elif key == "required":
            found[key] = [*found[key], *(name for name in value if name not in found[key])]
        elif key == "properties":
            properties = dict(found[key])
            for name, schema in value.items():
                properties[name] = (
                    {"allOf": [properties[name], schema]} if name in properties else schema
                )
            found[key] = properties
        else:
            raise GrammarError(
                f"json_schema has two of {key!r} that hold together at {shown(place)}, and no "
                "grammar can say that"
            )
    for one, other in ((a, b), (b, a)):
        _check_closed(one, other, place)
    return found


def _check_closed(one: Schema, other: Schema, place: str) -> None:
    """Refuse properties that the other schema speaks of without naming them."""
    more = one.get("additionalProperties", True)
    unnamed = set(other.get("properties", {})) - set(one.get("properties", {}))
    patterns = other.get("patternProperties", {})
    unnamed |= set(patterns) - set(one.get("patternProperties", {}))
    if unnamed and more is not True:
        raise GrammarError(
            f"json_schema has 'additionalProperties' at {shown(place)} beside a schema with the "
            f"property {shown(repr(min(unnamed)))}, which it speaks of, too: name all properties"
        )


def _common_types(a: Any, b: Any) -> list[str]:
    first, second = ([each] if isinstance(each, str) else list(each) for each in (a, b))
    found = [kind for kind in first if kind in second]
    is_integer = "integer" in (*first, *second) and "number" in (*first, *second)
    if is_integer and "integer" not in found and "number" not in found:
        found.append("integer")
    return found


def are_disjoint(own: Schema, other: Schema) -> bool:
    """Return whether nothing that is generated for one schema fits another.

    What shows at once is seen: other types, other constants, also of a property that is there, and
    properties that are missing.
    """
    types = set(_types(own)) & set(_types(other))
    if not types:
        return True
    mine, theirs = _values(own), _values(other)
    if mine is not None and theirs is not None:
        return not any(_is_same(x, y) for x in mine for y in theirs)
    if types != {"object"} or mine is not None or _COMBINING & {*own}:
        return False
    properties, others = own.get("properties", {}), other.get("properties", {})
    required = own.get("required", ())
    if "additionalProperties" not in own and "patternProperties" not in own:
        generated = {*properties, *required}
        if set(other.get("required", ())) - generated:
            return True
    return any(
        are_disjoint(properties[name], others[name])
        for name in required
        if isinstance(properties.get(name), Mapping) and isinstance(others.get(name), Mapping)
    )


def _is_same(a: Any, b: Any) -> bool:
    """Whether JSON has them equal, where 1 is 1.0 but not true."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _types(schema: Schema) -> list[str]:
    """Kinds of values, integers among the numbers; all where that is left open."""
    values = _values(schema)
    if values is not None:
        return sorted({_type_of(value) for value in values})
    kinds = schema.get("type", list(_KINDS))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return sorted({"number" if kind == "integer" else kind for kind in kinds})


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]
