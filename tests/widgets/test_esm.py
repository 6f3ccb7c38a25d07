"""Each widget gets one script that needs no other file; its modules are small and well cut."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from javascript import FRONT_END, JavaScript

from mullama_nb import widgets
from mullama_nb.widgets.esm import join_modules

PACKAGE = FRONT_END.parents[1]
SCRIPTS = sorted(PACKAGE.rglob("*.js"))
MOST_COLUMNS = 120
MOST_LINES = 80  # of a function
MOST_LINES_OF_FILE = 400

SHOW = Path(__file__).with_name("show.js")
DIRECTORIES = count()


# -- joining -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", widgets.__all__)
def test_a_widgets_script_needs_nothing_else(
    javascript: JavaScript, name: str, tmp_path: Path
) -> None:
    script = str(getattr(widgets, name)._esm)
    assert not re.search(r"^\s*import\b|\bimport\(", script, re.MULTILINE)
    assert {*re.findall(r"\w+://[^\"'`]*", script)} <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|importScripts|sendBeacon", script)
    style = str(getattr(widgets, name)._css)
    assert not re.search(r"@import|://|url\((?!['\"]?data:)", style)
    joined = tmp_path / "joined.mjs"
    joined.write_text(script, encoding="utf-8")
    assert javascript.call(SHOW, "hooks", joined.as_uri()) == ["initialize", "render"]


@st.composite
def module_texts(draw: st.DrawFn) -> list[str]:
    """Modules m0, m1 ...; each may import from those before it, all have names in common."""
    texts: list[str] = []
    for n in range(draw(st.integers(1, 5))):
        taken = draw(st.sets(st.integers(0, n - 1))) if n else set()
        sums = "".join(f" + f{other}(x) * K{other}" for other in sorted(taken))
        lines = [
            "// @ts-check",
            "/** Words on",
            " * types. */",
            *(f'import {{ f as f{i}, K as K{i} }} from "./m{i}.js";' for i in sorted(taken)),
            f"export const K = {draw(st.integers(0, 9))};",
            "const own = /** @type {number} */ (K) * 2; // not seen elsewhere",
            "/** @param {number} x */",
            "export function f(x) {",
            f"  return x * {draw(st.integers(1, 9))} + own{sums};",
            "}",
            "/** @type {number[]} */ (",
            "  [own]",
            ").push(1);",
            "export class C {}",
            "export default [f(1), own, new C().constructor.name];",
        ]
        texts.append("\n".join(lines) + "\n")
    return texts


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=module_texts())
def test_joined_modules_do_what_the_modules_do(
    javascript: JavaScript, tmp_path: Path, texts: list[str]
) -> None:
    folder = tmp_path / str(next(DIRECTORIES))
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps({"type": "module"}))
    for n, text in enumerate(texts):
        (folder / f"m{n}.js").write_text(text)
    last = f"m{len(texts) - 1}"
    joined = folder / "joined.js"
    joined.write_text(join_modules(folder, last))
    assert "import" not in joined.read_text()
    expected = javascript.call(SHOW, "exported", (folder / f"{last}.js").as_uri())
    assert javascript.call(SHOW, "exported", joined.as_uri()) == expected


@pytest.mark.parametrize(
    "statement",
    [
        'import * as other from "./other.js";',
        'import other from "./other.js";',
        'import "./other.js";',
        'import { f } from "elsewhere";',
        "export let x = 1;",
        "export { x };",
        'export * from "./other.js";',
    ],
)
def test_what_cannot_be_joined_is_refused(statement: str, tmp_path: Path) -> None:
    (tmp_path / "one.js").write_text(f"{statement}\nexport default 1;\n")
    with pytest.raises(ValueError, match=r"one\.js: this cannot be joined: (im|ex)port"):
        join_modules(tmp_path, "one")


@pytest.mark.parametrize("text", ["const x = 1;", "export const y = 1, x = 2;"])
def test_what_is_not_exported_is_refused(text: str, tmp_path: Path) -> None:
    """Where the page would get undefined for it."""
    (tmp_path / "one.js").write_text(f"{text}\n")
    (tmp_path / "two.js").write_text('import { x as z } from "./one.js";\nexport default z;\n')
    with pytest.raises(ValueError, match=r"two\.js: one\.js does not export x"):
        join_modules(tmp_path, "two")


def test_modules_in_a_circle_are_refused(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        text = f'import {{ x }} from "./{other}.js";\nexport const x = 1;\n'
        (tmp_path / f"{name}.js").write_text(text)
    with pytest.raises(ValueError, match="a -> b -> a"):
        join_modules(tmp_path, "a")


# -- limits --------------------------------------------------------------------------------------


def long_blocks(text: str) -> Iterator[str]:
    """Functions and other blocks of formatted code that are too long, but for classes."""
    lines = text.splitlines()
    open_blocks: list[tuple[int, int]] = []  # indent and number of the first line
    for number, line in enumerate(lines, 1):
        stripped = line.lstrip()
        indent = len(line) - len(stripped)
        while stripped and open_blocks and indent <= open_blocks[-1][0]:
            if stripped[0] not in "}])":  # a line of its own, so the block had ended
                open_blocks.pop()
                continue
            _, first = open_blocks.pop()
            opening = lines[first - 1]
            is_class = re.match(r"(export )?class\b", opening)
            if number - first + 1 > MOST_LINES and not is_class:
                yield f"{first}: {opening.strip()}"
        if stripped and stripped[-1] in "{[(":
            open_blocks.append((indent, number))


def test_the_limit_on_functions_finds_what_is_too_long() -> None:
    def function(n: int) -> str:
        body = ["  if (x) {", "    y();", "  } else {", "    z();", "  }"]
        return "\n".join(["function f() {", *body, *["  x();"] * (n - 7), "}"])

    method = "\n".join(["class C {", "  m() {", *["    x();"] * (MOST_LINES - 1), "  }", "}"])
    arrow = "\n".join(["f((x) => {", *["  x();"] * (MOST_LINES - 1), "});"])
    assert [*long_blocks(function(MOST_LINES))] == []
    assert [*long_blocks(function(MOST_LINES + 1))] == ["1: function f() {"]
    assert [*long_blocks(method)] == ["2: m() {"]
    assert [*long_blocks(arrow)] == ["1: f((x) => {"]
    assert [*long_blocks("\n".join([function(60)] * 3))] == []


@pytest.mark.parametrize("script", [pytest.param(each, id=each.name) for each in SCRIPTS])
def test_scripts_keep_to_the_limits(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert [line for line in lines if len(line) > MOST_COLUMNS] == []
    assert [*long_blocks(text)] == []
    assert len(lines) <= MOST_LINES_OF_FILE
    assert lines[0] == "// @ts-check"


def test_every_script_is_in_a_widget() -> None:
    used = "".join(str(getattr(widgets, name)._esm) for name in widgets.__all__)
    scripts = [each for each in SCRIPTS if each.is_relative_to(FRONT_END)]
    assert [each.name for each in scripts if f"const ${each.stem} = " not in used] == []


# -- styles ---------------------------------------------------------------------------------------


def styled(text: str) -> Iterator[str]:
    """The classes that begin a selector: what they say holds wherever such an element stands."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    for selectors in re.findall(r"([^{}]+)\{", text):
        for selector in selectors.split(","):
            first = re.match(r"\s*(?:\.mullama\s+)?\w*\.(mullama-[\w-]+)(?!:has|[\w-])", selector)
            if first:
                yield first[1]


def test_a_class_has_one_meaning() -> None:
    """A view has the style sheets of all its parts, so a name that two of them use is mixed up."""
    sheets: dict[str, set[str]] = {}
    for sheet in FRONT_END.glob("*.css"):
        for name in styled(sheet.read_text(encoding="utf-8")):
            sheets.setdefault(name, set()).add(sheet.name)
    assert {"mullama-menu", "mullama-option-menu"} <= {*sheets}
    assert {name: sorted(found) for name, found in sheets.items() if len(found) > 1} == {}
