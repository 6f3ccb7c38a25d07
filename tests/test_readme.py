"""The README's examples run as they are written, and what it points to exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def examples(text: str) -> list[str]:
    """Return the Python examples, each on the lines that it has in the file."""
    return ["\n" * text.count("\n", 0, m.start(1)) + m[1] for m in EXAMPLE.finditer(text)]


@pytest.mark.usefixtures("smollm2_path")
def test_examples_run_in_the_order_of_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = examples(README.read_text(encoding="utf-8"))
    assert found
    names: dict[str, Any] = {"__name__": "__main__"}
    for source in found:
        exec(compile(source, str(README), "exec"), names)


def test_links_lead_to_files() -> None:
    links = LINK.findall(README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_a_broken_example_is_reported_with_its_line() -> None:
    text = "# Title\n\n```python\nx = 1\nraise ValueError(x)\n```\n"
    (source,) = examples(text)
    with pytest.raises(ValueError, match="1") as caught:
        exec(compile(source, "README.md", "exec"), {})
    assert caught.traceback[-1].lineno == text.splitlines().index("raise ValueError(x)")
