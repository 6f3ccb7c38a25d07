"""Suites in files: the same as in Python, and mistakes told by line, whatever is in the file."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from testing.suites.test_document import block
from tiny_adapters import write_lora

from mullama_nb import Chat, Model
from mullama_nb.errors import MullamaError, SuiteError
from mullama_nb.testing import (
    Case,
    Suite,
    at_least,
    contains,
    likelier,
    make_tiny_model,
    matches,
    record,
)
from mullama_nb.testing.suites.checks.check import Check
from mullama_nb.testing.suites.checks.forms import check_from_file

pytestmark = pytest.mark.filterwarnings("ignore::mullama_nb.errors.ParameterWarning")
in_a_folder = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
TEXTS = st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=12).filter(
    str.strip
)
NAMES = st.text("abcxyz é-_()0.:/", min_size=1, max_size=12).filter(str.strip)
WORDS = st.sampled_from([" Paris", " Rome", "yes", "no", "12:30", "1e3", "null", "true", "- a: b"])
CHECKS: st.SearchStrategy[Check] = st.one_of(
    st.builds(contains, TEXTS | WORDS),
    st.builds(matches, st.sampled_from([r"\d+", "(?i)paris", "a|b", r"\A\s*"])),
    st.builds(
        lambda text, than, by: likelier(text, than=than, by=by),
        st.just("!"),
        WORDS | st.lists(WORDS, min_size=1, max_size=2, unique=True),
        st.floats(0, 9) | st.integers(0, 9),
    ),
    st.builds(at_least, WORDS, st.floats(0, 1)),
    st.sampled_from(
        [
            {"perplexity_below": 2.5},
            {"perplexity_below": {"perplexity": 3, "text": "yes"}},
            {"json_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        ]
    ).map(check_from_file),
)
SAMPLING = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.5, 1.0]),
        "top_k": st.integers(0, 50),
        "seed": st.integers(0, 2**64 - 1),
        "stop": st.lists(WORDS, max_size=2) | WORDS,
        "max_tokens": st.none() | st.integers(0, 99),
        "logit_bias": st.dictionaries(
            st.integers(0, 99), st.just("-inf") | st.floats(-5, 5), max_size=2
        ),
        "samplers": st.just(["top_k", "temperature", "penalties", "dry", "top_n_sigma", "xtc"])
        | st.just(["temperature", "min_p", "top_p", "typical_p", "top_k"]),
        "grammar": st.none() | st.just('root ::= "a"'),
    },
).filter(lambda s: "samplers" not in s or not {"top_k"} & {*s})
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.just("user"), "content": TEXTS}), min_size=1, max_size=3
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Case, dict[str, Any]]:
    """A case in Python, and as it stands in a file."""
    said, options = draw(TEXTS | WORDS | MESSAGES), draw(SAMPLING)
    checks = draw(st.lists(CHECKS, max_size=3, unique_by=repr))
    written = {"said": said, **in_json(options)}
    if checks or draw(st.booleans()):
        written["checks"] = [check.to_file() for check in checks]
    return Case(said, checks, **options), written


@st.composite
def any_settings(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    options = draw(SAMPLING)
    others = {
        "system": st.none() | TEXTS,
        "kv_cache_type": st.sampled_from(["q8_0", "f16", ["q8_0", "f16"]]),
        "n_ctx": st.none() | st.integers(1, 4096),
        "flash_attention": st.just(True),
        "chat_template": st.just("{{ messages[0].content }}") | st.just("chatml"),
        "chat_template_kwargs": st.just({"enable_thinking": False, "n": 1.5}),
    }
    options |= draw(st.fixed_dictionaries({}, optional=others))
    return options, in_json(options)


def in_json(options: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(options))
    return value


def parts(suite: Suite) -> dict[str, Any]:
    return {
        "name": suite.name,
        "repeat": suite.repeat,
        "cases": suite.cases,
        "models": tuple(map(str, suite.models)),
        "settings": suite.settings,
        "ids": suite.cell_ids,
    }


def write(folder: Path, said: dict[str, Any], form: str) -> Path:
    """The file of a suite in one of its forms."""
    path = folder / f"capitals.suite.{form.removesuffix(' flow')}"
    if form == "jsonl":
        head = {key: value for key, value in said.items() if key != "cases"}
        text = "".join(json.dumps(each) + "\n" for each in [head, *said["cases"]])
    else:
        text = json.dumps(said, indent=1) if form.endswith("flow") else block(said)
    path.write_text(text, "utf-8")
    return path


FORMS = ["yaml", "yml flow", "jsonl"]


@pytest.mark.slow
@in_a_folder
@given(
    st.lists(cases(), min_size=1, max_size=3),
    st.lists(st.sampled_from(["smollm2", "llama3.2:1b", "owner/repo:file.gguf"]), min_size=1),
    st.lists(any_settings(), min_size=1, max_size=3),
    st.integers(1, 5),
    st.none() | NAMES,
    st.sampled_from(FORMS),
)
def test_a_file_is_the_same_suite_as_in_python(
    tmp_path: Path,
    given_cases: list[tuple[Case, dict[str, Any]]],
    models: list[str],
    given_settings: list[tuple[dict[str, Any], dict[str, Any]]],
    repeat: int,
    name: str | None,
    form: str,
) -> None:
    said: dict[str, Any] = {
        "models": models,
        "repeat": repeat,
        "cases": [written for _, written in given_cases],
        "settings": [written for _, written in given_settings],
    } | ({} if name is None else {"name": name})
    made = Suite(
        [case for case, _ in given_cases],
        models,
        [options for options, _ in given_settings],
        name="capitals" if name is None else name,
        repeat=repeat,
    )
    assert parts(Suite.read(write(tmp_path, said, form))) == parts(made)


VALID = """\
# yaml-language-server: $schema=suite.schema.json
name: capitals
models: [smollm2, ./tiny.gguf]
settings:
  - {}
  - name: coarse
    kv_cache_type: q8_0
    system: Be brief.
    adapters:
      - lora: style.gguf
        scale: 0.5
repeat: 2
cases:
  - said: The capital of France is
    name: Paris
    temperature: 0
    checks:
      - likelier: {text: " Paris", than: [" Rome", " Lyon"], by: 1.0}
      - contains: Paris
      - json_schema: {type: object, required: [a]}
  - said:
      - {role: system, content: Count.}
      - {role: user, content: "1, 2, 3"}
    logit_bias: {5: -1.5, 7: "-inf"}
  - recording: hello.mullama.json
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the valid suite names."""
    folder = tmp_path_factory.mktemp("suites")
    model = Model.load(make_tiny_model(folder / "tiny.gguf"))
    write_lora(folder / "style.gguf", model)
    chat = Chat(model, n_ctx=256, n_threads=1, temperature=0)
    chat.ask("hello", max_tokens=3)
    record(chat, folder / "hello.mullama.json")
    return folder


def read(folder: Path, text: str, suffix: str = "yaml") -> Suite:
    path = folder / f"x.suite.{suffix}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return Suite.read(path)


def test_what_a_file_names_lies_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    (folder / "own.jinja").write_text("{{ messages[0].content }}", "utf-8")
    text = VALID.replace("    system: Be", "    chat_template: own.jinja\n    system: Be")
    (folder / "x.suite.yaml").write_text(text, "utf-8")
    suite = Suite.read(Path(folder.name) / "x.suite.yaml")
    assert suite.name == "capitals"
    assert suite.models == ("smollm2", str(folder / "tiny.gguf"))
    assert suite.model_labels == ("smollm2", "tiny")
    assert suite.cases[2].said == folder / "hello.mullama.json"
    coarse = suite.settings[1]
    assert (coarse.label, coarse.chat_template) == ("coarse", "{{ messages[0].content }}")
    assert [(a.name, a.scale) for a in coarse.adapters] == [("style", 0.5)]
    assert "Paris[smollm2,coarse]" in suite.cell_ids
    assert "hello[tiny,f16]" in suite.cell_ids


def test_names_say_what_form_a_file_has(tmp_path: Path) -> None:
    for name in ("suite.yaml", "a.yaml", "a.suite.json", "a.suite.toml"):
        with pytest.raises(SuiteError, match=r"must end in \.suite\.yaml"):
            Suite.read(tmp_path / name)
    with pytest.raises(SuiteError, match=r"there is no file a\.suite\.yaml"):
        Suite.read(tmp_path / "a.suite.yaml")


WRONG = {
    "style.gguf": ("styles.gguf", 10, "settings[1].adapters[0]: there is no file 'styles.gguf'"),
    "hello.mullama.json": ("no.json", 25, "cases[2].recording: there is no file 'no.json'"),
    "scale: 0.5": ("scale: 1e9", 11, "settings[1].adapters[0].scale: scale=1000000000.0 is out"),
    "temperature: 0": ("seed: null", 16, "cases[0].seed: seed=None draws another one"),
    "name: Paris": ("name: Pa[ris", 15, "cases[0].name: name='Pa[ris' must be one line"),
    "logit_bias": (
        "name: Paris\n    logit_bias",
        24,
        "cases[1].name: 'Paris' stands in line 15, too",
    ),
    "kv_cache_type: q8_0": ("n_batch: 8\n    n_ubatch: 9", 8, "settings[1].n_ubatch: n_ubatch=9"),
    "name: capitals": ('name: "a\\nb"', 2, "name: name='a\\nb' must be one line"),
    "contains: Paris": ("matches: '('", 19, "cases[0].checks[1].matches: pattern='('"),
    "q8_0": ("[q8_0, q8_0]\n    flash_attention: false", 6, "settings[1]: a quantised V"),
    "{role: user,": ("{role: system,", 21, "cases[1]: a case of messages ends with a question"),
    "- contains: Paris": ("- likelier: {text: a, than: a}", 19, "cannot be likelier than itself"),
    "temperature: 0\n": (
        "mirostat: 2\n    min_p: 0\n    top_n_sigma: 1\n",
        16,
        "so top_n_sigma=1",
    ),
}


@pytest.mark.parametrize("old", WRONG)
def test_what_the_code_refuses_is_told_by_line(folder: Path, old: str) -> None:
    new, line, words = WRONG[old]
    assert old in VALID
    with pytest.raises(SuiteError) as caught:
        read(folder, VALID.replace(old, new, 1))
    assert str(caught.value).startswith(f"x.suite.yaml, line {line}, ")
    assert words in str(caught.value)


@pytest.mark.slow
def test_a_matrix_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x.suite.jsonl"
    head = {"models": ["smollm2"] * 20, "settings": [{"seed": i} for i in range(20)]}
    lines = [json.dumps(head), *['{"said": "the same"}'] * 3_000]
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(SuiteError, match=r"line 1, cases: cases x models x settings are 1,200,000"):
        Suite.read(path)
    path.write_text("\n".join([lines[0].replace('"smollm2", ', ""), *lines[1:]]), "utf-8")
    suite = Suite.read(path)
    assert len(set(suite.cell_ids)) == 60_000
    assert suite.case_labels[-1] == "the same (3000)"


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5) | st.sampled_from([2**31, 2**63, 2**64, 10**30]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", " ", "x", "..", "/", "~", "~nobody/x", "a\0b", "{{", "(", "smollm2", "é"]),
    st.sampled_from([[], {}, [[]], [{}], {"x": 1}, ["x"], {"text": "a"}, {"role": "user"}]),
)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, (dict, list)):
        return [place]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [place, *(p for key, each in items for p in places(each, (*place, key)))]


def attempt(folder: Path, text: str, suffix: str) -> None:
    said = None
    try:
        suite = read(folder, text, suffix)
    except MullamaError as error:
        said = str(error)
    if said is None:
        assert suite.cell_ids
    else:
        assert said.startswith(f"x.suite.{suffix}, line ")
        assert said.replace("\n", "").isprintable()
        assert len(said) < 4_000


@pytest.mark.slow
@settings(in_a_folder, max_examples=120)
@given(st.data())
def test_any_other_value_is_taken_or_told(folder: Path, data: st.DataObject) -> None:
    import yaml

    said: Any = yaml.safe_load(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        *way, key = data.draw(st.sampled_from(places(said)[1:]))
        inner = said
        for step in way:
            inner = inner[step]
        match data.draw(st.sampled_from(["value", "key", "gone"])):
            case "key" if isinstance(inner, dict):
                other = st.sampled_from(["x", "", "name", "said", "text", "checks", f"{key}s"])
                inner[data.draw(other)] = inner.pop(key)
            case "gone":
                inner.pop(key)
            case _:
                inner[key] = copy.deepcopy(data.draw(VALUES))  # it may be changed, too
        if not places(said)[1:]:
            break
    attempt(folder, block(said), "yaml")


@pytest.mark.slow
@settings(in_a_folder, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1), st.integers(0, 30), st.sampled_from([*"\n:-[]{}&*'\"#|>!? \t0é", ""])
        ),
        min_size=1,
        max_size=4,
    )
)
def test_damaged_text_is_taken_or_told(folder: Path, edits: list[tuple[float, int, str]]) -> None:
    text = VALID
    for share, n_gone, put in edits:
        at = int(share * len(text))
        text = text[:at] + put + text[at + n_gone :]
    attempt(folder, text, "yaml")


@pytest.mark.parametrize("share", [i / 14 for i in range(1, 14)])
def test_a_file_that_was_cut_short(folder: Path, share: float) -> None:
    attempt(folder, VALID[: int(share * len(VALID))], "yaml")
