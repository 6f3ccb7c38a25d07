"""Files of suites as plain values with their lines, whatever is in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mullama_nb.errors import SuiteError
from mullama_nb.testing.suites.document import Document, named, read_document
from mullama_nb.testing.suites.plain import Place

TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=8
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.sampled_from(["yes", "null", "010", "1e3", "#", "- a", "a: b", "*a", "&a", "!!int 1", "<<"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=20,
)
in_a_folder = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def read(folder: Path, text: str | bytes, suffix: str = ".suite.yaml") -> Document:
    path = folder / f"x{suffix}"
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return read_document(path)


def block(value: Any, indent: int = 0) -> str:
    """YAML in block style, with each key and item on a line of its own."""
    pad = " " * indent
    if isinstance(value, dict) and value:
        rows = [f"{pad}{json.dumps(k)}:{after(v, indent)}" for k, v in value.items()]
        return "".join(rows)
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{after(v, indent)}" for v in value)
    return f"{pad}{json.dumps(value)}\n"


def after(value: Any, indent: int) -> str:
    is_inside = isinstance(value, (dict, list)) and value
    return f"\n{block(value, indent + 2)}" if is_inside else f" {json.dumps(value)}\n"


def places(value: Any, place: Place = ()) -> list[Place]:
    if not isinstance(value, (dict, list)):
        return [place]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [place, *(p for key, each in items for p in places(each, (*place, key)))]


@pytest.mark.slow
@in_a_folder
@given(VALUES)
def test_what_json_says_is_read_as_yaml_and_as_lines(tmp_path: Path, value: Any) -> None:
    assert read(tmp_path, json.dumps(value)).value == value
    assert read(tmp_path, json.dumps(value, ensure_ascii=False)).value == value
    head = {"x": value}
    document = read(tmp_path, f"{json.dumps(head)}\n\n{json.dumps(value)}\n", ".suite.jsonl")
    assert document.value == head | {"cases": [value]}
    assert document.line(("cases", 0, "y", 3)) == 3
    assert document.line(("x",)) == 1


@pytest.mark.slow
@in_a_folder
@given(VALUES)
def test_every_value_knows_its_line(tmp_path: Path, value: Any) -> None:
    text = block({"top": value})
    document = read(tmp_path, text)
    assert document.value == {"top": value}
    lines = text.splitlines()
    for place in places(document.value)[1:]:
        inner: Any = document.value
        for key in place:
            inner = inner[key]
        line = lines[document.line(place) - 1]
        if not isinstance(inner, (dict, list)) or not inner:
            assert line.endswith(json.dumps(inner))
        elif isinstance(inner, dict):
            assert line.lstrip().startswith(json.dumps(next(iter(inner))))
        else:
            assert line.lstrip().startswith("-")


@pytest.mark.slow
@in_a_folder
@given(VALUES, st.sampled_from(["\n", "\r\n", "\r"]))
def test_line_ends_of_all_systems(tmp_path: Path, value: Any, end: str) -> None:
    text = block({"top": value})
    plain = read(tmp_path, text)
    other = read(tmp_path, "\ufeff" + text.replace("\n", end))
    assert (other.value, other.lines) == (plain.value, plain.lines)


def test_lines_are_those_of_an_editor(tmp_path: Path) -> None:
    """PyYAML begins a line at U+2028, within quotes as well."""
    document = read(tmp_path, 'a: "one\u2028two\u0085three"\nb: 1\n')
    assert document.line(("b",)) == 2


def test_plain_words_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    words = "yes no on off y n 12:30 2026-01-01 1_000 0b1 0o17 0x1F 010 1e3 .5 5. +1 -0 ~ True"
    document = read(tmp_path, "".join(f"- {word}\n" for word in [*words.split(), "", "'1'"]))
    texts = ["yes", "no", "on", "off", "y", "n", "12:30", "2026-01-01", "1_000", "0b1"]
    numbers = [15, 31, 10, 1000.0, 0.5, 5.0, 1, 0]
    assert document.value == [*texts, *numbers, None, True, None, "1"]
    kinds = [type(each) for each in document.value[len(texts) :][:8]]
    assert kinds == [int, int, int, float, float, float, int, int]


def test_keys_are_texts(tmp_path: Path) -> None:
    document = read(tmp_path, "1: a\non: b\nnull: c\n1.5: d\n")
    assert document.value == {"1": "a", "on": "b", "null": "c", "1.5": "d"}


def test_what_an_anchor_repeats_is_a_value_of_its_own(tmp_path: Path) -> None:
    document = read(tmp_path, "a: &x\n  b: [1]\nc: *x\nd: [*x, &y 2, *y]\n")
    inner = {"b": [1]}
    assert document.value == {"a": inner, "c": inner, "d": [inner, 2, 2]}
    assert document.value["a"] is not document.value["c"]
    assert document.line(("c", "b")) == 2


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
LONG = f"a: &a {'x' * 900_000}\nb: [{', '.join(['*a'] * 100)}]\n"
WRONG: dict[str, tuple[str | bytes, int, str]] = {
    "empty": ("", 1, "the file is empty"),
    "comments": ("# nothing\n", 1, "the file is empty"),
    "a tab": ("a:\n\tb: 1\n", 2, "indent with spaces"),
    "a question": ("a: 1\nb: {c: Why?}\n", 2, "write texts with a ? between quotes"),
    "quotes": ("a: 1\nb: 'x\n", 3, "it is not YAML"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", 3, "'a' stands in line 1, too"),
    "a key twice inside": ("a:\n  - {b: 1,\n     b: 2}\n", 3, "'b' stands in line 2, too"),
    "a list as a key": ("x: 1\n? [a]\n: b\n", 2, "a key must be a text"),
    "an object": ("x: 1\na: !!python/object:os.system x\n", 2, "python/object:os.system"),
    "a set": ("a: !!set {x}\n", 1, "the tag"),
    "a tag of its own": ("a: !mine x\n", 1, "the tag !mine is not read"),
    "a merge": ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "<< does not merge"),
    "another document": ("a: 1\n---\nb: 1\n", 2, "a second document"),
    "an unknown anchor": ("a: 1\nb: *x\n", 2, "*x repeats"),
    "an anchor in itself": ("a: 1\nb: &x [*x]\n", 2, "repeats what it is in"),
    "no number": ("a: 1\nb: .nan\n", 2, ".nan is not a number"),
    "infinity": ("a: 1\nb: -.inf\n", 2, '"-inf" between quotes'),
    "too large": ("a: 1\nb: 1e999\n", 2, "too large"),
    "half a character": ('a: 1\nb: "\\ud800"\n', 2, "half a character"),
    "no character": ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "it is not YAML"),
    "control": ("a: 1\nb: \x1b[2J\n", 2, "U+001B"),
    "latin": (b"a: 1\nb: caf\xe9\n", 2, "not UTF-8: byte 0xE9"),
    "UTF-16": ("a: 1\n".encode("utf-16"), 1, "not UTF-8"),
    "brackets": ("[" * 900_000, 1, "more than 32 others"),
    "braces": ("{a: " * 90_000, 1, "more than 32 others"),
    "hyphens": ("- " * 90_000, 1, "more than 32 others"),
    "indents": ("".join(f"{' ' * i}a:\n" for i in range(900)), 33, "more than 32 others"),
    "a bomb": (BOMB, 1, "write many cases as"),
    "long texts": (LONG, 1, "16,777,216 characters"),
    "many values": (f"a: [{'x,' * 60_000}]", 1, "write many cases as"),
}
WRONG_LINES: dict[str, tuple[str | bytes, int, str]] = {
    "empty": ("\n \n", 1, "the file is empty"),
    "no head": ("[1]\n", 1, "the first line is the head"),
    "cases in the head": ('{"cases": []}\n', 1, "cases: each case has its own line"),
    "no JSON": ('{"a": 1}\n\n{"b": 1,}\n', 3, "it is not JSON"),
    "a key twice": ('{"a": 1}\n{"b": {"c": 1, "c": 2}}\n', 2, "'c' stands twice"),
    "no number": ('{"a": 1}\n{"b": NaN}\n', 2, "NaN is not a number"),
    "too large": ('{"a": 1}\n{"b": -1e999}\n', 2, "too large"),
    "digits": ('{"a": 1}\n{"b": ' + "9" * 5000 + "}\n", 2, "too large"),
    "half a character": ('{"a": 1}\n{"b": "\\udfff"}\n', 2, "half a character"),
    "brackets": ('{"a": 1}\n' + "[" * 90_000, 2, "more than 32 others"),
    "depth": ('{"a": 1}\n' + "[" * 40 + "]" * 40, 2, "more than 32 others"),
    "control": ('{"a": 1}\n{"b": "\x00"}\n', 2, "U+0000"),
    "latin": (b'{"a": 1}\n{"b": "caf\xe9"}\n', 2, "byte 0xE9"),
}
MANY_WRONG = [(".suite.yaml", *each) for each in WRONG.values()]
MANY_WRONG += [(".suite.jsonl", *each) for each in WRONG_LINES.values()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "text", "line", "words"),
    MANY_WRONG,
    ids=[*WRONG, *(f"{name}, lines" for name in WRONG_LINES)],
)
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, suffix: str, text: str | bytes, line: int, words: str
) -> None:
    with pytest.raises(SuiteError) as caught:
        read(tmp_path, text, suffix)
    message = str(caught.value)
    assert message.startswith(f"x{suffix}, line {line}: ")
    assert words in message
    assert message.isprintable()
    assert len(message) < 600


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "none.suite.yaml", "there is no file none.suite.yaml"),
        (tmp_path, "cannot be read"),
        (Path("/dev/zero"), "cannot be read"),
        (tmp_path / ("x" * 5000), "cannot be read"),
        (tmp_path / "a\0b", "cannot be read"),
    ):
        with pytest.raises(SuiteError, match=words):
            read_document(path)
    with pytest.raises(SuiteError, match="larger than 1,048,576 bytes; write many cases as"):
        read(tmp_path, "#" * (2**20 + 1))


@pytest.mark.slow
@settings(in_a_folder, max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(st.sampled_from("ab1 \n\t-:?[]{},&*!|>'\"%@`#<~.\\\u2028é"), max_size=60),
        st.lists(
            st.sampled_from(
                ["a", ": ", "- ", "\n", "  ", "[", "]", "{", "}", "&x ", "*x", "? ", "!!int ", "'",
                 '"', "|\n", ">\n", "---\n", "...\n", "# c\n", "%YAML 1.1\n", ", ", "1", "\\u"]
            ),
            max_size=40,
        ).map("".join),
    ),
    st.sampled_from([".suite.yaml", ".suite.jsonl"]),
)  # fmt: skip
def test_whatever_is_in_a_file(tmp_path: Path, text: str | bytes, suffix: str) -> None:
    document, said = None, ""
    try:
        document = read(tmp_path, text, suffix)
    except SuiteError as error:
        said = str(error)
    if document is None:
        assert said.startswith(f"x{suffix}, line ")
        assert said.isprintable()
    else:
        json.dumps(document.value, allow_nan=False)
        n_lines = len(text) + 1
        assert all(1 <= document.line(place) <= n_lines for place in places(document.value))


def test_it_reads_what_pyyaml_reads(tmp_path: Path) -> None:
    """Where both mean the same: plain and folded texts, comments, flow and blocks."""
    text = (
        "# a comment\nflow: {a: [1, 2.5, true, null], 'b': \"c\\n\"}\n"
        "text: |\n  one\n\n  two\nfolded: >-\n  one\n  two\nlong: one\n  two # not this\n"
    )
    assert read(tmp_path, text).value == yaml.safe_load(text)


def test_places_are_named_as_one_writes_them() -> None:
    assert named(("cases", 3, "checks", 0, "likelier", "by")) == "cases[3].checks[0].likelier.by"
