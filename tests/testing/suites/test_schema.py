"""The schema of suites: made of the code, published, and with mistakes told in words."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mullama_nb.engine.completion import Limits
from mullama_nb.engine.options import ContextOptions, LimitOptions, SamplingOptions
from mullama_nb.engine.params import ContextParams
from mullama_nb.engine.sampling.params import SamplingParams
from mullama_nb.errors import SuiteError
from mullama_nb.testing.suites.checks.forms import KINDS
from mullama_nb.testing.suites.document import read_document
from mullama_nb.testing.suites.mistakes import check_document
from mullama_nb.testing.suites.schema import suite_schema
from mullama_nb.testing.suites.settings import SETTING_KEYS

ROOT = Path(__file__).parents[3]
SCHEMA = suite_schema()
CASE, SETTING = (SCHEMA["$defs"][name]["properties"] for name in ("case", "setting"))
OPTIONS = [
    (name, params)
    for options, params in (
        (ContextOptions, ContextParams),
        (SamplingOptions, SamplingParams),
        (LimitOptions, Limits),
    )
    for name in options.__annotations__
]


def test_the_published_one_is_what_the_code_makes() -> None:
    published = (ROOT / "docs" / "suite.schema.json").read_text("utf-8")
    again = "it is not what the code makes: run python tools/suite_schema.py"
    assert json.loads(published) == json.loads(json.dumps(SCHEMA)), again


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_it_has_every_option_and_every_check() -> None:
    answers = {*SamplingOptions.__annotations__, *LimitOptions.__annotations__}
    assert {*SETTING} == {*SETTING_KEYS}
    assert {*CASE} == {"name", "said", "recording", "checks"} | answers
    assert [*SCHEMA["$defs"]["check"]["properties"]] == [*KINDS]


def test_all_say_what_they_are() -> None:
    for each in (SCHEMA["properties"], CASE, SETTING, SCHEMA["$defs"]["check"]["properties"]):
        for name, schema in each.items():
            assert schema.get("description"), name
            assert "None" not in schema["description"], name


def is_allowed(schema: dict[str, Any], value: object) -> bool:
    plain = json.loads(json.dumps(value))
    return jsonschema.Draft202012Validator(schema).is_valid(plain)


def is_taken(params: Any, name: str, value: Any) -> bool:
    try:
        params(**{name: value})
    except (ValueError, TypeError):
        return False
    return True


@pytest.mark.parametrize(("name", "params"), OPTIONS, ids=[name for name, _ in OPTIONS])
def test_it_allows_what_the_code_takes(name: str, params: Any) -> None:
    """The default, and of numbers those at and next to the ends of their range."""
    schema = SETTING[name]
    fields = {field.name: field for field in dataclasses.fields(params)}
    default = fields[name].default
    if default is not dataclasses.MISSING:
        plain = [*default] if isinstance(default, tuple) else default
        assert is_allowed(schema, plain)
    for end, outside in (("minimum", -1), ("maximum", 1)):
        if end not in schema:
            continue
        assert is_allowed(schema, schema[end])
        assert not is_allowed(schema, schema[end] + outside)
        assert not is_taken(params, name, schema[end] + outside)
        if name not in _NOT_ALONE:
            assert is_taken(params, name, schema[end])
    for odd in ("x", "", -5, 2**70, True, None, [], ["x"], {}, {"x": 1}):
        if is_taken(params, name, odd) and name not in _LOOSE:
            assert is_allowed(schema, odd), odd


_NOT_ALONE = {  # they go with others
    "n_batch",
    "n_ubatch",
    "temperature",
    "mirostat",
}
_LOOSE = {  # Python takes more forms
    "samplers",
    "dry_sequence_breakers",
    "stop",
    "stop_tokens",
    "json_schema",
}

HEAD = "models: [smollm2]\n"
CASES = f"{HEAD}cases:\n  - said: x\n"
CHECKS = f"{CASES}    checks:\n"
LIKELIER = "      - likelier: {text: ' Paris', than: ' Rome'"
MISTAKES: dict[str, list[str]] = {
    f"{CHECKS}{LIKELIER},\n          by: -1}}\n": [
        "line 6, cases[0].checks[0].likelier.by: -1 is below 0. By how many nats at least"
    ],
    f"{CHECKS}      - likeler: {{}}\n": [
        "line 5, cases[0].checks[0].likeler: there is nothing of that name; did you mean 'likelier'"
    ],
    f"{CHECKS}      - likelier: {{text: a, tan: b}}\n": [
        "line 5, cases[0].checks[0].likelier: than is missing",
        "line 5, cases[0].checks[0].likelier.tan: there is nothing of that name; did you mean",
    ],
    f"{CHECKS}      - contains: 7\n": ["must be a text, not 7; write it between quotes"],
    f"{CHECKS}      - contains: a\n        matches: b\n": [
        "contains and matches stand in one item"
    ],
    f"{CHECKS}      - {{}}\n": ["line 5, cases[0].checks[0]: there is nothing in it"],
    f"{CASES}    checks: {{contains: a}}\n": ["checks: it must be a list, not a mapping"],
    f"{CASES}    temprature: 1\n": [
        "line 4, cases[0].temprature: there is nothing of that name; did you mean 'temperature'?"
    ],
    f"{CASES}    max_tokens: -1\n    top_k: x\n": [
        "line 4, cases[0].max_tokens: -1 is below 0",
        "line 5, cases[0].top_k: it must be an integer, not 'x'",
    ],
    f"{CASES}    n_ctx: 5\n": [
        "cases[0].n_ctx: there is nothing of that name; it can stand in each"
    ],
    f"{CASES}    logit_bias: {{a: 1, 5: x}}\n": [
        "line 4, cases[0].logit_bias.a: 'a' is not the id of a token",
        "line 4, cases[0].logit_bias.5: it must be a number or -inf, not 'x'",
    ],
    f"{CASES}    samplers: [top_kk]\n": ["samplers[0]: 'top_kk' is unknown; did you mean 'top_k'?"],
    f"{CASES}    recording: a\n": ["line 3, cases[0]: said and recording exclude each other"],
    f"{HEAD}cases: [{{name: a}}]\n": ["line 2, cases[0]: said or recording is missing"],
    f"{HEAD}cases: [a]\n": ["line 2, cases[0]: it must be a mapping, not 'a'"],
    f"{HEAD}cases: [{{said: [{{}}]}}]\n": ["line 2, cases[0].said[0]: role is missing"],
    f"{HEAD}cases: [{{said: 4}}]\n": ["it must be a text or a list, not 4; write it between"],
    f"{HEAD}cases: []\n": ["line 2, cases: there is nothing in it"],
    f"{HEAD}": ["line 1: cases is missing"],
    "[]\n": ["line 1: it must be a mapping, not a list"],
    f"{CASES}settings: {{}}\n": ["line 4, settings: it must be a list, not a mapping"],
    f"{CASES}settings:\n  - kv_cache_type: q9\n": ["'q9' is unknown; there is f32, f16"],
    f"{CASES}settings:\n  - kv_cache_type: [f16]\n": ["there are 1; give 2 or more"],
    f"{CASES}settings:\n  - flash_attention: yes\n": [
        "line 5, settings[0].flash_attention: it must be true or false, not 'yes'; write true or"
    ],
    f"{CASES}settings:\n  - n_ctx: '5'\n": ["not '5'; write it without quotes"],
    f"{CASES}settings:\n  - adapters: [{{lor: a}}]\n": ["adapters[0].lor: ", "lora is missing"],
    f"{CASES}settings:\n  - adapters: [{{control_vector: a, layers: [1]}}]\n": [
        "line 5, settings[0].adapters[0].layers: there are 1; give 2 or more"
    ],
    f"{CASES}repeat: 0\n": ["line 4, repeat: 0 is below 1"],
    f"{CASES}model: a\n": ["line 4, model: there is nothing of that name; did you mean 'models'?"],
}


@pytest.mark.parametrize(("text", "words"), MISTAKES.items(), ids=[w[0] for w in MISTAKES.values()])
def test_mistakes_are_told_by_line_and_field(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "x.suite.yaml"
    path.write_text(text, "utf-8")
    document = read_document(path)
    with pytest.raises(SuiteError) as caught:
        check_document(document, SCHEMA)
    told = str(caught.value).splitlines()
    assert told[0].startswith("x.suite.yaml, line ")
    assert len(told) == len(words)
    for line, said in zip(told, words, strict=True):
        assert said in line


def test_many_mistakes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.suite.yaml"
    path.write_text(CASES + "".join(f"x{i}: 1\n" for i in range(20)), "utf-8")
    with pytest.raises(SuiteError) as caught:
        check_document(read_document(path), SCHEMA)
    assert str(caught.value).splitlines()[-1] == "and 12 more"


def test_lines_of_json_are_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "x.suite.jsonl"
    path.write_text('{"models": ["a"]}\n{"said": "x"}\n\n{"said": "x", "checks": [5]}\n', "utf-8")
    with pytest.raises(SuiteError) as caught:
        check_document(read_document(path), SCHEMA)
    said = "x.suite.jsonl, line 4, cases[1].checks[0]: it must be a mapping, not 5"
    assert str(caught.value) == said
    path.write_text('{"said": "x"}\n', "utf-8")
    with pytest.raises(SuiteError) as caught:
        check_document(read_document(path), SCHEMA)
    assert "line 1, said: there is nothing of that name; it can stand in each of cases" in str(
        caught.value
    )
