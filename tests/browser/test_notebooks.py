"""Lessons as their readers run them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from browser.lab import LabServer, Notebook, Opener
from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]


def lesson(name: str, page: Page, lab: LabServer) -> Notebook:
    shutil.copy(ROOT / "notebooks" / name, lab.root / name)
    opened = Notebook(page, lab, name)
    opened.open()
    return opened


@pytest.fixture
def quickstart(page: Page, lab: LabServer) -> Notebook:
    return lesson("01-quickstart.ipynb", page, lab)


def test_quickstart_runs(quickstart: Notebook) -> None:
    quickstart.run()

    text = "".join(quickstart.text(index) for index in range(quickstart.n_cells))
    assert "same logits: True\nsame answer: True\n" in text
    assert "as if never answered: True" in text
    quickstart.shut_down()


def test_the_slider_of_steering_answers_anew(page: Page, lab: LabServer) -> None:
    opened = lesson("16-steering.ipynb", page, lab)
    opened.run()
    (slider,) = (i for i in range(opened.n_cells) if "interact" in str(opened.outputs(i)))
    assert opened.evaluate("chat.adapters[0].scale") == 1.0
    area = opened.area(slider)
    area.locator(".noUi-handle").focus()
    page.keyboard.press("ArrowLeft")
    opened.wait_until("chat.adapters and chat.adapters[0].scale == 0.5")
    assert area.locator("img").count() == 1
    assert opened.evaluate("chat.messages") == []
    opened.shut_down()


@pytest.mark.parametrize(("kernel", "version"), [("python3", "7.4"), ("ipykernel-7.3", "7.3")])
def test_both_kernels_are_what_they_say(notebook: Opener, kernel: str, version: str) -> None:
    opened = notebook("import ipykernel", "print(ipykernel.__version__)", kernel=kernel)
    opened.run()
    assert opened.text(1).startswith(version)
    assert opened.evaluate("1 + 1") == 2
