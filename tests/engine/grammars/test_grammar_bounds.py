"""Grammars and schemas that would grow without bounds are refused before llama.cpp sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from engine.helpers import context_of, words
from hypothesis import given
from hypothesis import strategies as st
from test_errors import HOSTILE, TEXTS, refusals

from mullama_nb import SamplingParams
from mullama_nb.engine.grammars.grammar import check_grammar
from mullama_nb.engine.grammars.json_schema import gbnf
from mullama_nb.errors import GrammarError

GRAMMARS = sorted(Path(__file__).parent.glob("*.gbnf"))


def nested_optionals(n: int, form: str = "r{0}? r{0}?") -> str:
    rules = [f"r{i} ::= {form.format(i + 1)}" for i in range(n)]
    return "\n".join(["root ::= r0", *rules, f'r{n} ::= "a"'])


ENDLESS = {
    "repetitions": 'root ::= "a"{0,100000}',
    "repetitions of repetitions": "root ::= " + "(" * 12 + '"a"' + "{2000})" * 12,
    "a number of many digits": f'root ::= "a"{{{"9" * 400}}}',
    "optional rules in optional rules": nested_optionals(40),
    "alternatives of alternatives": nested_optionals(40, "r{0} | r{0}"),
    "ten ways, ten times": nested_optionals(12, "(r{0}? r{0}? r{0}?)* r{0}*"),
    "alternatives": "root ::= " + " | ".join(f'"{i}"' for i in range(100_000)),
    "a few of them": nested_optionals(5),
    "one text in many alternatives": "root ::= (" + " | ".join(['"a"'] * 9) + ")*",
    "one text in many places": 'root ::= (("a"? "b"?){9} "c")*',
    "one text in many sets": "root ::= ("
    + " | ".join("[a-" + "jklmnopqr"[n] + "]" for n in range(9))
    + ")*",
    "one text again and again": 'root ::= "a" root | "a" root | "a" root | "a" root | "b"',
    "late in what is repeated": 'root ::= ("b" ' + '("a" | "a" | "a" | "a") ' * 8 + ")*",
    "behind what may be left out": 'root ::= ("x"? ' + '("a" | "a" | "a" | "a")? ' * 8 + ")*",
    "operators": 'root ::= "a"' + "*" * 100_000,
    "parentheses": "root ::= " + "(" * 100_000,
    "sets that do not end": "root ::= " + "[" * 1_000_000,
    "texts that do not end": "root ::= " + '"a' * 333_333,
    "a long text, often": f'root ::= "{"x" * 100_000}"{{1000}}',
}
SCHEMAS: dict[str, tuple[Any, str]] = {
    "minItems": ({"type": "array", "items": {"type": "null"}, "minItems": 10**8}, "minItems"),
    "maxItems": ({"type": "array", "items": {"type": "null"}, "maxItems": 2001}, "maxItems"),
    "maxLength": ({"type": "string", "maxLength": 10**9}, "maxLength"),
    "minLength": ({"type": "string", "minLength": 1e300}, "minLength"),
    "below": ({"properties": {"a": {"items": {"minItems": 10**5}}}}, "minItems"),
    "enum": ({"enum": [*range(100_000)]}, "enum|parts"),
    "anyOf": ({"anyOf": [{"const": i} for i in range(5_000)]}, "anyOf"),
    "properties": ({"properties": {f"p{i}": {} for i in range(2_000)}}, "optional properties"),
    "pattern": ({"type": "string", "pattern": "^(a{99}){99}(b{99}){99}(c{99}){99}$"}, "pattern"),
    "pattern, once": ({"type": "string", "pattern": "^a{100000000}$"}, "pattern"),
    "pattern, nested": ({"type": "string", "pattern": f"^{'(' * 5000}$"}, "pattern"),
    "turned round": ({"type": "string", "minLength": 9, "maxLength": 3}, "minLength: 9"),
    "below zero": ({"type": "string", "minLength": -1}, "minLength"),
    "half": ({"type": "array", "items": {}, "maxItems": 1.5}, "maxItems"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", ENDLESS)
def test_a_grammar_that_would_grow_without_bounds(what: str) -> None:
    with pytest.raises(GrammarError) as caught:
        SamplingParams(grammar=ENDLESS[what])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("what", SCHEMAS)
def test_a_schema_that_would_grow_without_bounds_names_its_keyword(what: str) -> None:
    schema, keyword = SCHEMAS[what]
    with pytest.raises(GrammarError, match=keyword):
        gbnf(schema)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 255, 300, 2000])
@pytest.mark.parametrize("low", [0, 1])
def test_reasonable_lengths_are_counted_exactly(tiny: ModelMaker, n: int, low: int) -> None:
    context = context_of(tiny(), words(20))
    bias = dict.fromkeys(range(97, 123), 30.0)  # letters go on as long as they may
    options: dict[str, Any] = {"temperature": 1.0, "logit_bias": bias, "max_tokens": 2 * n + 9}
    schema = {"type": "string", "minLength": low * n, "maxLength": n}
    if n <= 300:
        text = context.generate(None, json_schema=schema, **options)
        assert len(json.loads(text)) == n
        context.rewind(20)
    items = {"type": "array", "items": {"enum": [1]}, "minItems": low * n, "maxItems": n}
    text = context.generate(
        None, json_schema=items, **(options | {"logit_bias": {}, "max_tokens": 400})
    )
    if text.finish_reason == "stop":
        assert low * n <= len(json.loads(text)) <= n


@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from("*+?"), st.integers(1, 6))
def test_what_people_write_is_let_through(low: int, more: int, times: str, depth: int) -> None:
    group = f'("x"{{{low},{low + more}}} | [a-z]{times} y{{{low},}})'
    check_grammar("root ::= " + "(" * depth + group + f"){times}" * depth + '\ny ::= "y" root?')


@pytest.mark.slow
@pytest.mark.parametrize("path", GRAMMARS, ids=[path.stem for path in GRAMMARS])
def test_grammars_of_many_kinds_are_followed(tiny: ModelMaker, path: Path) -> None:
    """Alternatives may begin alike, as dates and numbers do, or commands of one family."""
    context = context_of(tiny(), words(4))
    grammar = path.read_text(encoding="utf-8")
    said = context.generate(None, 12, grammar=grammar, temperature=1.0, seed=1)
    assert said.finish_reason == "length" or "*" in grammar  # some may be empty


def test_a_schema_may_have_many_optional_properties_and_many_kinds(tiny: ModelMaker) -> None:
    kinds = [{"properties": {"kind": {"const": f"k{i}"}}, "required": ["kind"]} for i in range(40)]
    optional = {"properties": {f"p{i}": {"type": "boolean"} for i in range(24)}}
    context = context_of(tiny(), words(4))
    for schema in ({"type": "array", "items": {"anyOf": kinds}}, optional):
        assert context.generate(None, 12, json_schema=schema, temperature=1.0)
        context.rewind(4)


@pytest.mark.slow
def test_nothing_hangs(tiny: ModelMaker) -> None:
    """Each in a process that is ended if it takes long: one that hangs natively cannot be asked."""
    code = """
import json, sys
from mullama_nb import Context, ContextParams, Model
from mullama_nb.errors import GrammarError
context = Context(Model.load(sys.argv[1]), ContextParams(n_ctx=256, n_threads=1))
refused = 0
for sampling in json.load(sys.stdin):
    try:
        context.generate("a", 3, **sampling)
    except GrammarError:
        refused += 1
print(refused)
"""
    asked = [{"grammar": text} for text in ENDLESS.values()]
    asked += [{"json_schema": schema} for schema, _ in SCHEMAS.values()]
    within = [{"grammar": nested_optionals(2)}, {"grammar": 'root ::= (("a"? "b"?){3} "c")*'}]
    within += [{"json_schema": {"enum": [str(i) for i in range(3_500)]}}]
    done = subprocess.run(
        [sys.executable, "-c", code, tiny().path],
        input=json.dumps(asked + within),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{len(asked)}\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS, ids=HOSTILE)
@pytest.mark.parametrize(
    "sampling",
    [
        lambda text: {"grammar": text},
        lambda text: {"grammar": f"root ::= {text}"},
        lambda text: {"json_schema": text},
        lambda text: {"json_schema": {"type": text}},
        lambda text: {"json_schema": {"type": "string", "format": text, "pattern": text}},
        lambda text: {"json_schema": {"$ref": text}},
    ],
    ids=["grammar", "rule", "schema text", "type", "pattern", "ref"],
)
def test_grammars(tiny: ModelMaker, sampling: Callable[[str], dict[str, Any]], text: str) -> None:
    context = context_of(tiny(), words(4))
    refusals(lambda: context.generate("a", max_tokens=1, sampling=SamplingParams(**sampling(text))))
