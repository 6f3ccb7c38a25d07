"""Grammars and schemas: followed to the letter, and refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import ModelMaker
from engine.helpers import context_of, words

from mullama_nb import SamplingParams
from mullama_nb.errors import GrammarError

ARITHMETIC = r"""
root ::= term ("+" term){1,3} "=" [0-9]+ "\n"
term ::= [1-9] [0-9]? | "(" term ")"  # ( of any depth
"""


def test_a_grammar_is_followed(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    for seed in range(8):
        context.rewind(20)
        text = context.generate(None, 60, grammar=ARITHMETIC, seed=seed, temperature=1.5)
        if text.finish_reason == "stop":
            left, _, right = text.rstrip("\n").partition("=")
            assert right.isdigit()
            assert eval(left) is not None
        assert set(text) <= set("0123456789+()=\n")


def test_a_grammar_starts_after_the_prompt(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    for _ in range(3):
        assert context.generate(None, grammar='root ::= "ab" "c"?', temperature=0) in ("ab", "abc")
    assert context.generate("xyz", grammar='root ::= "!"') == "!"


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "count": {"type": "integer"},
        "kind": {"enum": ["yes", "no", "Köln", 'a "b" \\ c\n', "🙂"]},
        "flags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        'no "thing" 🙂': {"type": "null"},
    },
    "required": ["count", "kind", "flags", 'no "thing" 🙂'],
    "additionalProperties": False,
}


@pytest.mark.slow
@pytest.mark.parametrize("schema", [SCHEMA, json.dumps(SCHEMA)], ids=["mapping", "text"])
def test_a_schema_gives_json_that_fits_it(tiny: ModelMaker, schema: Any) -> None:
    context = context_of(tiny(), words(20))
    for seed in range(12):
        context.rewind(20)
        text = context.generate(None, json_schema=schema, seed=seed, temperature=2.0)
        assert text.finish_reason == "stop"
        value = json.loads(text)
        assert value.keys() == SCHEMA["properties"].keys()
        assert isinstance(value["count"], int)
        assert value["kind"] in SCHEMA["properties"]["kind"]["enum"]
        assert 1 <= len(value["flags"]) <= 3
        assert all(isinstance(flag, bool) for flag in value["flags"])
        assert value['no "thing" 🙂'] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ('root ::= "a', "cannot be read: unexpected end of input"),
        ("root ::= x", "cannot be read: Undefined rule identifier 'x'"),
        ("root = 1", "cannot be read: expecting"),
        ('start ::= "a"', "cannot be read: .*'root'"),
        ('root ::= root "a" | "a"', "cannot be read: .*left recursion"),
        ('root ::= a\na ::= b "x" | "y"\nb ::= a "z"', "cannot be read: .*left recursion"),
        ('root ::= "a"{1000000}', "has 1,000,000 repetitions; at most 2,000"),
        (f'root ::= {"(" * 257}"a"{")" * 257}', "nests 257 levels deep; at most 256"),
        (
            "\n".join(["root ::= r0", *(f"r{i} ::= r{i + 1}" for i in range(100_000))]),
            "has 100,001 rules; at most 10,000",
        ),
        ("", "the grammar is empty"),
        ("  \n", "the grammar is empty"),
        ('root ::= "a\0"', "NUL character"),
        (5, "the grammar is empty"),
    ],
)
def test_a_grammar_that_cannot_be_read_is_refused(
    tiny: ModelMaker, capfd: pytest.CaptureFixture[str], grammar: Any, reason: str
) -> None:
    context = context_of(tiny(), words(20))
    with pytest.raises(GrammarError, match=reason):
        context.generate(None, 5, grammar=grammar)
    assert capfd.readouterr() == ("", "")
    assert context.token_count() == 20
    assert len(context.generate(None, 5).tokens) == 5


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("{not json", "json_schema is not JSON"),
        ({"type": "nonsense"}, "cannot be turned into a grammar"),
        ({"$ref": "#/nowhere"}, "cannot be turned into a grammar"),
        ({"$ref": "https://example.invalid/schema.json"}, "cannot be turned into a grammar"),
        ({"a": {1, 2}}, "json_schema is not JSON"),
        (7, "json_schema is 7, which is no schema"),
    ],
)
def test_a_schema_that_makes_no_grammar_is_refused(
    tiny: ModelMaker, capfd: pytest.CaptureFixture[str], schema: Any, reason: str
) -> None:
    context = context_of(tiny(), words(20))
    with pytest.raises(GrammarError, match=reason):
        context.generate(None, 5, json_schema=schema)
    assert capfd.readouterr() == ("", "")
    assert context.token_count() == 20


def test_deep_nesting_is_survived(tiny: ModelMaker) -> None:
    def nested(depth: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "boolean"}
        for _ in range(depth):
            schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
        return schema

    context = context_of(tiny(), words(20))
    assert context.generate(None, 9, json_schema=nested(100)).startswith("{")
    with pytest.raises(GrammarError, match="nests too deeply"):
        context.generate(None, 9, json_schema=nested(5000))
    deep = '{"a":' * 50_000 + "1" + "}" * 50_000
    with pytest.raises(GrammarError, match="nests too deeply"):
        context.generate(None, 9, json_schema=deep)
    parentheses = "root ::= " + '"((" ' * 300 + '[((] "\\"((" # ((\n'
    assert context.generate(None, 4, grammar=parentheses).startswith("((")


def test_nothing_in_the_vocabulary_fits(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    # U+40000 begins with a byte that the vocabulary does not have.
    for grammar in (r"root ::= [\U00040000]", r"root ::= [\x00]", "root ::= <[99999]>"):
        for temperature in (0, 1):
            with pytest.raises(GrammarError, match="no token of the vocabulary continues"):
                context.generate(None, 5, grammar=grammar, temperature=temperature)
            assert context.token_count() == 20
    with pytest.raises(GrammarError, match="what was generated so far is kept"):
        context.generate(None, 5, grammar=r'root ::= "ok" [\U00040000]')
    assert context.text().endswith("ok")


def test_an_empty_grammar_ends_at_once(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    completion = context.generate(None, 5, grammar='root ::= ""')
    assert (completion, completion.finish_reason) == ("", "stop")
    assert context.token_count() == 20


def test_grammar_and_schema_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="grammar and json_schema exclude each other"):
        SamplingParams(grammar='root ::= "a"', json_schema={})


def test_a_grammar_does_not_change_what_fits_anyway(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    bytes_alone = dict.fromkeys(range(97, 252), -float("inf"))
    for seed in range(8):
        context.rewind(20)
        free = context.generate(None, 9, seed=seed, logit_bias=bytes_alone)
        context.rewind(20)
        bound = context.generate(None, 9, seed=seed, logit_bias=bytes_alone, grammar="root ::= .*")
        assert bound.tokens == free.tokens
