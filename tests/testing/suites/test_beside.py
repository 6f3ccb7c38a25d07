"""A suite's file reads recordings and templates in its folder and below, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.errors import ParameterError, SuiteError
from mullama_nb.testing import Suite, record
from mullama_nb.testing.suites.beside import beside
from mullama_nb.testing.suites.checks.forms import check_from_file

steps = st.lists(st.sampled_from(["..", ".", "suites", "a", "b.json"]), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "suites"
    folder.mkdir()
    return folder


@given(steps=steps, is_absolute=st.booleans())
def test_paths_that_leave_the_folder_are_refused(
    folder: Path, steps: list[str], is_absolute: bool
) -> None:
    name = "/".join([str(folder), *steps] if is_absolute else steps)
    lies_at = os.path.normpath(folder / name)
    if os.path.commonpath([lies_at, folder]) == str(folder):
        assert os.path.normpath(beside(folder, name)) == lies_at
    else:
        with pytest.raises(ParameterError, match="lies outside the suite's folder"):
            beside(folder, name)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "link", "link/a.json", "circle", "a\0b", "~/../.."]
)
def test_links_and_odd_names_lead_nowhere_else(folder: Path, name: str) -> None:
    if not (folder / "link").is_symlink():
        (folder / "link").symlink_to(folder.parent)
        (folder / "circle").symlink_to(folder / "circle")
    with pytest.raises(ParameterError, match="lies outside the suite's folder"):
        beside(folder, name)


SUITE = """models: [tiny]
settings: [{SETTING}]
cases:
  - CASE
    checks: [CHECK]
"""


@pytest.mark.parametrize(
    ("place", "line", "field"),
    [
        ("same_as: NAME", 5, "cases[0].checks[0].same_as"),
        ("same_as: {recording: NAME, level: exact}", 5, "cases[0].checks[0].same_as"),
        ("recording: NAME", 4, "cases[0].recording"),
        ("chat_template: NAME", 2, "settings[0].chat_template"),
    ],
)
def test_no_place_of_a_suite_reads_elsewhere(
    tmp_path: Path, tiny: ModelMaker, place: str, line: int, field: str
) -> None:
    model = tiny(chat_template=CHATML)
    chat = Chat(model, n_ctx=256, n_threads=1)
    chat.ask("Why?", max_tokens=2, echo=False)
    inside = tmp_path / "suites"
    inside.mkdir()
    names = []
    for target in (tmp_path, inside):
        if place.startswith("chat_template"):
            (target / "a.jinja").write_text(CHATML, encoding="utf-8")
            names.append("a.jinja")
        else:
            record(chat, target / "a.mullama.json")
            names.append("a.mullama.json")
    text = SUITE.replace("SETTING", place if field.startswith("settings") else "")
    text = text.replace("CASE", place if field == "cases[0].recording" else "said: Why?")
    text = text.replace("[CHECK]", f"[{{{place}}}]" if "checks" in field else "[]")
    file = inside / "a.suite.yaml"
    file.write_text(text.replace("NAME", names[0]), encoding="utf-8")
    Suite.read(file)
    file.write_text(text.replace("NAME", f"../{names[0]}"), encoding="utf-8")
    with pytest.raises(SuiteError) as caught:
        Suite.read(file)
    assert f"line {line}, {field}" in str(caught.value)
    assert f"'../{names[0]}' lies outside the suite's folder" in str(caught.value)


def test_python_reads_what_it_is_told_to(tmp_path: Path, tiny: ModelMaker) -> None:
    chat = Chat(tiny(chat_template=CHATML), n_ctx=256, n_threads=1)
    chat.ask("Why?", max_tokens=2, echo=False)
    record(chat, tmp_path / "a.mullama.json")
    name = str(tmp_path / "a.mullama.json")
    assert check_from_file({"same_as": name}).to_file() == {"same_as": name}


@pytest.mark.parametrize("name", ["../own.txt", "/etc/hosts", "~/own", "own.txt"])
def test_a_name_of_a_template_is_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    inside = tmp_path / "suites"
    inside.mkdir()
    for folder in (tmp_path, inside):
        (folder / "own.txt").write_text(CHATML, encoding="utf-8")
    monkeypatch.chdir(inside)
    text = SUITE.replace("SETTING", f"chat_template: {name}").replace("CASE", "said: Why?")
    (inside / "a.suite.yaml").write_text(text.replace("[CHECK]", "[]"), encoding="utf-8")
    with pytest.raises(SuiteError, match=r"line 2.*chat_template: a path .* ends in \.jinja"):
        Suite.read("a.suite.yaml")
