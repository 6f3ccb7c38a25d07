"""JSON Schemas at random, of all the keywords that are followed."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "name", "nam", "", 'q"', "é", "a b", "\n", "x-1"])
SMALL = st.integers(0, 6)
BOUNDS = st.integers(-1200, 1200) | st.floats(-50, 50).map(lambda x: round(x, 3)) | st.just(0)
PATTERNS = st.sampled_from(
    [
        "^[a-z]{2,4}$",
        "^a|b$",
        "a|^b$|^(c|d)+$",
        r"^\d{3}-\w+$",
        r"[^\"\\]+@x",
        r"^(?:x|\t|\\|\")*$",
        r"^[\u00e0-\u00ff🙂\-\]]?$",
        r"^\S\D\W\s$",
        "^(^ab$|c)$",
        "",
        r"^[^a-y]{1,3}z*?$",
        r"^(?P<year>\d\d)(0[1-9]|1[0-2])$",
    ]
)


@st.composite
def strings(draw: st.DrawFn) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    kind = draw(st.sampled_from(["plain", "length", "pattern", "format"]))
    if kind == "length":
        low = draw(SMALL)
        schema |= draw(
            st.sampled_from(
                [{"minLength": low}, {"maxLength": low}, {"minLength": low, "maxLength": low + 3}]
            )
        )
    elif kind == "pattern":
        schema["pattern"] = draw(PATTERNS)
    elif kind == "format":
        schema["format"] = draw(
            st.sampled_from(["date", "time", "date-time", "uuid", "ipv4", "email"])
        )
    return schema


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": draw(st.sampled_from(["integer", "number"]))}
    low, high = sorted([draw(BOUNDS), draw(BOUNDS)])
    lows = st.sampled_from([{}, {"minimum": low}, {"exclusiveMinimum": low - 1}])
    schema |= draw(lows)
    schema |= draw(st.sampled_from([{}, {"maximum": high + 2}, {"exclusiveMaximum": high + 2}]))
    if schema["type"] == "integer" and len(schema) in (1, 3) and draw(st.booleans()):
        divisors = st.sampled_from([1, 2, 5, 8, 10, 125])
        bounds = {"minimum": math.floor(low) - 130, "maximum": high + 130}
        schema = {"type": "integer", "multipleOf": draw(divisors)} | (
            bounds if len(schema) == 3 else {}
        )
    return schema


CONSTANTS = st.sampled_from([None, True, 0, 1, 1.5, "a", 'x"\n', "🙂", [1, {"a": []}], {"k": "v"}])


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array"}
    if draw(st.booleans()):
        schema["prefixItems"] = draw(st.lists(inner, min_size=1, max_size=2))
        schema["items"] = draw(inner | st.just(False))
    else:
        schema |= draw(st.sampled_from([{}, {"items": draw(inner)}]))
    low = draw(SMALL)
    if schema.get("items") is not False:
        schema |= draw(
            st.sampled_from(
                [{}, {"minItems": low}, {"maxItems": low}, {"minItems": low, "maxItems": low + 1}]
            )
        )
    return schema


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    properties = draw(st.dictionaries(NAMES, inner, max_size=3))
    required = [name for name in properties if draw(st.booleans())]
    more = draw(
        st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": True}])
    )
    if draw(st.booleans()):
        more = {"additionalProperties": draw(inner)}
    if not properties and draw(st.booleans()):
        more = draw(
            st.sampled_from(
                [
                    {
                        "patternProperties": {"^[a-c]{1,2}$": draw(inner)},
                        "additionalProperties": False,
                    },
                    {"propertyNames": {"pattern": "^x"}, "additionalProperties": draw(inner)},
                    {"maxProperties": draw(SMALL), "additionalProperties": draw(inner)},
                ]
            )
        )
    if properties:
        schema |= {"properties": properties, "required": required}
    return schema | more


def unions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    tagged = st.lists(inner, min_size=1, max_size=3).map(
        lambda ways: {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {"kind": {"const": f"k{i}"}, "value": way},
                    "required": ["kind"],
                }
                for i, way in enumerate(ways)
            ]
        }
    )
    both = st.tuples(objects(inner), numbers()).map(
        lambda pair: (
            {"allOf": [pair[0], {"type": "object", "required": ["a"]}]}
            if pair[0].get("additionalProperties", True) is True and "propertyNames" not in pair[0]
            else {"allOf": [pair[1], {"type": pair[1]["type"]}]}
        )
    )
    return tagged | both | st.lists(inner, min_size=1, max_size=3).map(lambda ways: {"anyOf": ways})


LEAVES = (
    strings()
    | numbers()
    | st.sampled_from([{}, True, {"type": "boolean"}, {"type": ["null", "integer"]}])
    | st.lists(CONSTANTS, min_size=1, max_size=3).map(lambda values: {"enum": values})
    | CONSTANTS.map(lambda value: {"const": value, "description": "fixed"})
)
SCHEMAS = st.recursive(
    LEAVES, lambda inner: arrays(inner) | objects(inner) | unions(inner), max_leaves=5
)
