"""Schemas are followed to the letter: each complete answer is valid, and the rest is refused."""

from __future__ import annotations

import contextlib
import json
import math
import re
from datetime import date, datetime
from typing import Any

import jsonschema
import pytest
from conftest import ModelMaker
from engine.grammars.derived_texts import texts
from engine.grammars.random_schemas import BOUNDS, SCHEMAS
from engine.helpers import context_of, words
from hypothesis import given, settings
from hypothesis import strategies as st

from mullama_nb import Model, SamplingParams
from mullama_nb.engine.grammars.json_schema import gbnf
from mullama_nb.engine.sampling.sampler import Sampler
from mullama_nb.errors import GrammarError


def check(schema: Any, text: str) -> None:
    """A text is one JSON value without raw control characters, and valid."""
    value = json.loads(text)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(value)


@pytest.mark.slow
@settings(max_examples=80)
@given(schema=SCHEMAS, seed=st.integers(0, 100))
def test_all_that_a_grammar_generates_is_valid(schema: Any, seed: int) -> None:
    for text in texts(schema, 12, seed):
        check(schema, text)


@pytest.mark.slow
@settings(max_examples=60)
@given(ways=st.lists(SCHEMAS, min_size=2, max_size=3), seed=st.integers(0, 100))
def test_schemas_are_combined_or_refused(ways: list[Any], seed: int) -> None:
    for keyword in ("oneOf", "allOf"):
        with contextlib.suppress(GrammarError):
            for text in texts({keyword: ways}, 6, seed):
                check({keyword: ways}, text)


def ending(model: Model) -> dict[int, float]:
    """Biases towards what ends texts, lists and objects."""
    return {model.tokenize(c)[0]: 2.5 for c in '"]},'}


@pytest.mark.slow
@settings(max_examples=25)
@given(schema=SCHEMAS, seed=st.integers(0, 100))
def test_all_that_a_model_completes_is_valid(tiny: ModelMaker, schema: Any, seed: int) -> None:
    context = context_of(tiny(), words(9))
    said = context.generate(
        None,
        200,
        json_schema=schema,
        seed=seed,
        temperature=1.3,
        top_k=0,
        logit_bias=ending(tiny()),
    )
    if said.finish_reason == "stop":
        check(schema, said)


def test_answers_are_complete_often_enough_to_say_something(tiny: ModelMaker) -> None:
    schema = CORPUS["order"]
    context, n_complete = context_of(tiny(), words(9)), 0
    for seed in range(6):
        context.rewind(9)
        said = context.generate(
            None, 400, json_schema=schema, seed=seed, temperature=1.2, logit_bias=ending(tiny())
        )
        if said.finish_reason == "stop":
            check(schema, said)
            n_complete += 1
    assert n_complete >= 4


# -- what people write -------------------------------------------------------------------------

CORPUS: dict[str, Any] = {
    "order": {
        "$defs": {
            "Item": {
                "properties": {
                    "sku": {"pattern": "^[A-Z]{3}-[0-9]{4}$", "title": "Sku", "type": "string"},
                    "quantity": {"exclusiveMinimum": 0, "maximum": 99, "type": "integer"},
                    "price": {"minimum": 0, "maximum": 999.99, "type": "number"},
                },
                "required": ["sku", "quantity"],
                "title": "Item",
                "type": "object",
            },
            "State": {"enum": ["open", "paid"], "title": "State", "type": "string"},
        },
        "properties": {
            "items": {"items": {"$ref": "#/$defs/Item"}, "maxItems": 2, "type": "array"},
            "state": {"$ref": "#/$defs/State", "default": "open", "description": "Where it is"},
            "note": {
                "anyOf": [{"maxLength": 5, "type": "string"}, {"type": "null"}],
                "default": None,
            },
            "on": {"format": "date", "type": "string"},
        },
        "required": ["items", "state", "on"],
        "title": "Order",
        "type": "object",
        "additionalProperties": False,
    },
    "tree": {
        "$defs": {
            "Node": {
                "properties": {
                    "value": {"type": "integer"},
                    "children": {"items": {"$ref": "#/$defs/Node"}, "type": "array"},
                },
                "required": ["value"],
                "type": "object",
            }
        },
        "$ref": "#/$defs/Node",
    },
    "recursive root": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
        "required": ["name", "next"],
    },
    "discriminated": {
        "$defs": {
            "Cat": {
                "properties": {
                    "kind": {"const": "cat", "type": "string"},
                    "lives": {"type": "integer"},
                },
                "required": ["kind", "lives"],
                "type": "object",
            },
            "Dog": {
                "properties": {
                    "kind": {"const": "dog", "type": "string"},
                    "good": {"type": "boolean"},
                },
                "required": ["kind"],
                "type": "object",
            },
        },
        "properties": {
            "pet": {
                "discriminator": {
                    "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"},
                    "propertyName": "kind",
                },
                "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
            }
        },
        "required": ["pet"],
        "type": "object",
    },
    "either of two": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string", "maxLength": 3}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "counts by name": {
        "additionalProperties": {"minimum": 1, "type": "integer"},
        "propertyNames": {"enum": ["x", "y", "long name"]},
        "type": "object",
    },
    "allOf of a reference": {
        "definitions": {"Base": {"type": "object", "properties": {"id": {"type": "integer"}}}},
        "allOf": [
            {"$ref": "#/definitions/Base"},
            {"properties": {"n": {"type": "null"}}, "required": ["n"]},
        ],
    },
    "tuple": {
        "maxItems": 2,
        "minItems": 2,
        "prefixItems": [{"type": "number", "minimum": -90, "maximum": 90}, {"type": "boolean"}],
        "type": "array",
    },
    "open object": {
        "type": "object",
        "properties": {"name": {"type": "integer"}, "na": {"type": "integer"}},
        "required": ["name", "other"],
        "additionalProperties": {"type": "string"},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CORPUS)
def test_what_people_write_is_followed(tiny: ModelMaker, name: str) -> None:
    schema = CORPUS[name]
    found = set()
    for text in texts(schema, 150):
        check(schema, text)
        found.add(text)
    assert len(found) > 20
    context = context_of(tiny(), words(9))
    said = context.generate(None, 60, json_schema=schema, temperature=1.5)
    if said.finish_reason == "stop":
        check(schema, said)


def test_dates_exist() -> None:
    for text in texts({"type": "string", "format": "date"}, 300):
        date.fromisoformat(json.loads(text))
    for text in texts({"format": "date-time"}, 300):
        moment = datetime.fromisoformat(json.loads(text).replace("Z", "+00:00")[:19])
        assert moment.year >= 1000


@pytest.mark.parametrize(
    ("pattern", "valid", "other"),
    [
        ("^a|b$", ["a", "axy", "b", "xb"], ["xa", "bx", "c"]),
        ("^(a|b)$", ["a", "b"], ["ab", "ax", ""]),
        ("a", ["a", "xay"], ["b", ""]),
        (r"^\"\\\n$", ['"\\\n'], ['"']),
        ("^a*$", ["", "aaa"], ["b"]),
    ],
)
def test_patterns_are_anchored_as_written(
    tiny: ModelMaker, pattern: str, valid: list[str], other: list[str]
) -> None:
    """Forced through the grammar token by token."""
    schema = {"type": "string", "pattern": pattern}
    for text, fits in [*((t, True) for t in valid), *((t, False) for t in other)]:
        assert fits == (re.search(pattern, text) is not None)
        assert allows(tiny(), schema, json.dumps(text)) == fits


def allows(model: Model, schema: Any, text: str) -> bool:
    """Whether a grammar lets a text through."""
    sampler = Sampler(model.vocabulary, SamplingParams(json_schema=schema, seed=0), 0, (), 512)
    end = model.vocabulary.eos
    assert end is not None
    return all(sampler.force(token) for token in (*model.tokenize(text), end))


@given(low=BOUNDS, span=st.floats(0, 100).map(lambda x: round(x, 2)), value=BOUNDS)
@settings(max_examples=60)
def test_numbers_within_the_bounds_are_let_through(
    tiny: ModelMaker, low: float, span: float, value: float
) -> None:
    for kind in ("integer", "number"):
        high = math.ceil(low + span)
        schema = {"type": kind, "minimum": low, "maximum": high}
        is_kind = kind == "number" or value == int(value)
        value = int(value) if kind == "integer" and is_kind else value
        assert allows(tiny(), schema, json.dumps(value)) == (is_kind and low <= value <= high)


@pytest.mark.parametrize(
    ("schema", "keyword", "place"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems", "#"),
        ({"properties": {"a": {"not": {}}}}, "not", "#/properties/a"),
        ({"if": {}, "then": {}}, "if", "#"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired", "#"),
        ({"type": "array", "items": {"contains": {}}}, "contains", "#/items"),
        ({"type": "object", "minProperties": 2}, "minProperties", "#"),
        ({"type": "number", "multipleOf": 0.1}, "multipleOf", "#"),
        ({"type": "integer", "multipleOf": 7, "minimum": 3}, "multipleOf", "#"),
        ({"type": "string", "format": "iri"}, "format", "#"),
        ({"type": "string", "minLenght": 3}, "minLenght", "#"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf", "#"),
        ({"oneOf": [{"type": "string"}, {"minimum": 3}]}, "oneOf", "#"),
        ({"type": "string", "pattern": "(?=a)b"}, "pattern", "#"),
        ({"type": "string", "pattern": r"\bword"}, "pattern", "#"),
        ({"type": "string", "pattern": r"(a)\1"}, "pattern", "#"),
        ({"anyOf": [{"type": "null"}, {"type": "strin"}]}, "type", "#/anyOf/1"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "minimum", "#"),
        ({"type": "number", "exclusiveMinimum": True, "minimum": 1}, "exclusiveMinimum", "#"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "required", "#"),
        ({"enum": [1], "type": "string"}, "enum", "#"),
        ({"properties": {"a": False}, "required": ["a"]}, "a", "#/properties/a"),
        ({"unevaluatedProperties": False, "type": "object"}, "unevaluatedProperties", "#"),
        ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"if": {}}}}, "if", "#/$defs/a%20b"),
    ],
)
def test_what_is_not_enforced_is_refused_by_name(schema: Any, keyword: str, place: str) -> None:
    with pytest.raises(GrammarError) as caught:
        SamplingParams(json_schema=schema)
    assert keyword in str(caught.value)
    assert f" at {place} " in str(caught.value)


KEYWORDS = [
    *("type", "enum", "const", "properties", "required", "additionalProperties", "items", "format"),
    *("prefixItems", "minItems", "maxItems", "minLength", "pattern", "minimum", "maximum", "anyOf"),
    *("exclusiveMinimum", "multipleOf", "oneOf", "allOf", "$ref", "patternProperties", "$defs"),
    *("propertyNames", "maxProperties", "minProperties", "uniqueItems", "title", "additionalItems"),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([1.5, 1e999, 1e300, -1e-9, "a", "#", "#/properties/a", "^a$", "(", "date"])
    | st.sampled_from(["object", "array", "string", "integer", "number", "null", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYWORDS, "a", "b"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(
    schema=st.dictionaries(st.sampled_from(KEYWORDS), VALUES, max_size=5), seed=st.integers(0, 9)
)
def test_any_schema_is_followed_or_refused(schema: dict[str, Any], seed: int) -> None:
    try:
        found = list(texts(schema, 3, seed))
    except GrammarError:
        return
    for text in found:
        value = json.loads(text)
        with contextlib.suppress(jsonschema.SchemaError):  # it is one by mistake
            jsonschema.Draft202012Validator.check_schema(schema)
            jsonschema.Draft202012Validator(schema).validate(value)


def test_notes_say_nothing() -> None:
    notes = {
        "title": "T",
        "description": "d",
        "default": 1,
        "examples": [2],
        "x-own": 3,
        "units": "m",
    }
    assert gbnf({"type": "integer", **notes}) == gbnf({"type": "integer"})
    assert gbnf({"$schema": "https://json-schema.org/draft/2020-12/schema"}) == gbnf({})


def test_strings_hold_no_raw_control_characters(tiny: ModelMaker) -> None:
    model = tiny()
    for character in map(chr, range(32)):
        if model.detokenize(model.tokenize(character)).strip(" ") == character:
            assert not allows(tiny(), {"type": "string"}, f'"{character}"')
        assert allows(tiny(), {"type": "string"}, json.dumps(character))
    assert len(model.tokenize("\n")) == 1
    assert not allows(tiny(), {"type": "string"}, r'"\ud83d"')


@given(
    st.none() | st.integers() | st.floats() | st.text() | st.lists(st.integers() | st.text()),
    st.booleans(),
)
def test_what_is_no_schema_is_refused_when_parameters_are_made(value: Any, as_text: bool) -> None:
    schema = json.dumps(value) if as_text else value
    if schema is None:
        return  # none is asked for
    with contextlib.suppress(ValueError):
        if isinstance(schema, str) and isinstance(json.loads(schema), (dict, bool)):
            return
    with pytest.raises(GrammarError, match=r"is no schema|is not JSON"):
        SamplingParams(json_schema=schema)
