"""Answers that are JSON, and schemas that may come from anyone."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from testing.suites.checks.subjects import said

from mullama_nb.errors import ParameterError
from mullama_nb.testing import json_schema
from mullama_nb.testing.suites.checks import searching

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": r"^\w+( \w+)*$"},
        "age": {"$ref": "#/$defs/age"},
        "friends": {"type": "array", "items": {"$ref": "#"}},
    },
    "required": ["name"],
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('{"name": "Ann Lee"}', None),
        (' {"name": "Ann", "age": 3, "friends": [{"name": "Bo"}]}\n', None),
        ('{"name": "Ann", "age": "3"}', "at $.age, '3' is not of type 'integer'"),
        ('{"name": "Ann", "friends": [{"name": "Bo", "age": -1}]}', "at $.friends[0].age"),
        ('{"name": "-"}', "at $.name, '-' does not match"),
        ("{}", "at $, 'name' is a required property"),
        ("[]", "at $"),
        ("Paris", "not JSON"),
        ("", "not JSON"),
        ('```json\n{"name": "Ann"}\n```', "not JSON"),
        ('{"name": "Ann"} and more', "not JSON: Extra data"),
        ('{"name": "Ann", "age": NaN}', "NaN is no value of JSON"),
        ("[" * 100_000, "nests too deeply"),
        ('{"name": "Ann", "age": ' + "9" * 5000 + "}", "not JSON"),
        ('{"\\u001b[31m": 1}', "required"),
    ],
)
def test_an_answer_is_held_against_a_schema(answer: str, told: str | None) -> None:
    finding = json_schema(PERSON).judge(said(answer))
    assert finding.passed == (told is None)
    assert (told or "allows") in finding.detail
    assert finding.detail.isprintable()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
LEAVES = st.sampled_from(
    [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": "^a+b*$"},
        {"type": "null"},
        {"enum": ["a", 1]},
        {"$ref": "#/$defs/x"},
        {"not": {"type": "array"}},
        {},
        {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(lambda a: {"items": a}, inner)
        | st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner)
        | st.builds(lambda a: {"properties": {"a": a}, "required": ["a"]}, inner)
    ),
    max_leaves=4,
).map(lambda schema: {"$defs": {"x": {"type": "string"}}, "allOf": [schema]})


@pytest.mark.slow
@given(SCHEMAS, VALUES)
def test_verdicts_are_those_of_a_plain_validator(schema: dict[str, Any], value: object) -> None:
    finding = json_schema(schema).judge(said(json.dumps(value)))
    assert finding.passed == Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("draft", ["draft-04", "draft-06", "draft-07"])
def test_older_drafts_are_read_as_what_they_are(draft: str) -> None:
    schema = {
        "$schema": f"http://json-schema.org/{draft}/schema#",
        "definitions": {"a": {"type": "integer"}},
        "items": [{"$ref": "#/definitions/a"}, {"$ref": "#"}],  # one for each; later drafts differ
    }
    check = json_schema(schema)
    assert check.judge(said('[1, [2], "x"]')).passed
    assert not check.judge(said('[1, ["x"]]')).passed


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "reference",
    ["http://127.0.0.1:9/a.json", "file:///etc/passwd", "other.json", "#/$defs/none", "#nowhere"],
)
def test_nothing_is_fetched_for_a_schema(reference: str) -> None:
    with pytest.raises(ParameterError, match="which is not in it"):
        json_schema({"$ref": reference})
    # Where it has names of its own, that is seen when it is followed.
    check = json_schema({"$id": "http://127.0.0.1:9/", "properties": {"a": {"$ref": reference}}})
    with pytest.raises(ParameterError, match="which is not in it"):
        check.judge(said('{"a": 1}'))


def test_references_to_names_within_it_are_followed() -> None:
    schema = {
        "$id": "http://example.invalid/root",
        "$defs": {"a": {"$id": "a", "type": "integer"}, "b": {"$anchor": "b", "type": "null"}},
        "properties": {"a": {"$ref": "a"}, "b": {"$ref": "#b"}},
    }
    assert json_schema(schema).judge(said('{"a": 1, "b": null}')).passed
    assert not json_schema(schema).judge(said('{"a": "1"}')).passed


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, "at .*type"),
        ({"properties": {"a": {"pattern": "("}}}, "not a JSON schema|pattern"),
        ({"$schema": "http://json-schema.org/draft-99/schema"}, "no draft"),
        ({"anyOf": [{"$schema": "http://json-schema.org/draft-07/schema#"}]}, "outermost"),
        ({"patternProperties": {"(a+)+$": {}}}, "may take for ever"),
        ({"const": float("nan")}, "JSON"),
        ({"const": {1, 2}}, "no value of JSON"),
        ([], "mapping"),
        ('{"type": "object"}', "mapping"),
    ],
)
def test_what_is_wrong_with_a_schema_is_said_at_once(schema: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        json_schema(schema)


def test_schemas_that_nest_too_deeply_are_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(ParameterError, match="nests too deeply"):
        json_schema(schema)


def test_references_that_multiply_are_ended() -> None:
    defs = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(60)}
    check = json_schema({"$defs": {**defs, "a60": {}}, "$ref": "#/$defs/a0"})
    with pytest.raises(ParameterError, match="references for one answer"):
        check.judge(said("1"))


def test_a_reference_to_itself_is_ended() -> None:
    assert not json_schema({"$ref": "#"}).judge(said("1")).passed


def test_a_runaway_pattern_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "SECONDS", 0.5)
    check = json_schema({"pattern": "(a+)+$"})
    with pytest.raises(ParameterError, match="still being searched for"):
        check.judge(said(json.dumps("a" * 60 + "!")))
