"""The first lesson as its reader runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from browser.lab import LabServer, Notebook, Opener
from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quickstart(page: Page, lab: LabServer) -> Notebook:
    name = "01-quickstart.ipynb"
    shutil.copy(ROOT / "notebooks" / name, lab.root / name)
    opened = Notebook(page, lab, name)
    opened.open()
    return opened


def test_quickstart_runs(quickstart: Notebook) -> None:
    quickstart.run()

    text = "".join(quickstart.text(index) for index in range(quickstart.n_cells))
    assert "same logits: True\nsame answer: True\n" in text
    assert "as if never answered: True" in text
    quickstart.shut_down()


@pytest.mark.parametrize(("kernel", "version"), [("python3", "7.4"), ("ipykernel-7.3", "7.3")])
def test_both_kernels_are_what_they_say(notebook: Opener, kernel: str, version: str) -> None:
    opened = notebook("import ipykernel", "print(ipykernel.__version__)", kernel=kernel)
    opened.run()
    assert opened.text(1).startswith(version)
    assert opened.evaluate("1 + 1") == 2
