"""Chats with templates of all families, written for these tests, each through one walk."""

from __future__ import annotations

from pathlib import Path

import pytest
from template_walk import walk_template

FOLDER = Path(__file__).parents[1] / "templates"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja"))

# Not even a question can be asked with these, and that is said in words.
REFUSED = {
    "broken_syntax",
    "hostile_changes_messages",
    "hostile_recursion",
    "hostile_repetition",
    "hostile_sandbox",
}
# These have to become right; each fails here once it is.
STILL_WRONG: set[str] = set()
QUICK = {"chatml_tools", "qwen3_thoughts", "broken_syntax"}  # the others take a minute


def _marks(name: str) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.xfail(strict=True)] if name in STILL_WRONG else []
    return marks if name in QUICK else [*marks, pytest.mark.slow]


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in NAMES])
def test_a_chat_is_the_same_wherever_it_is_shown(name: str, tmp_path: Path) -> None:
    source = (FOLDER / f"{name}.jinja").read_text("utf-8")
    outcome = walk_template(name, source, tmp_path)
    assert not outcome.wrong
    assert outcome.verdict == ("refused in words" if name in REFUSED else "right")


def test_each_template_says_what_it_is_for() -> None:
    for name in NAMES:
        assert (FOLDER / f"{name}.jinja").read_text("utf-8").startswith("{#- ")
    assert not (REFUSED | STILL_WRONG | QUICK) - {*NAMES}
