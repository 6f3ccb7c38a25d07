"""A real JupyterLab in a real browser: one server for the run, one page for each test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.lab import (
    IPYKERNEL_7_3,
    PATIENCE,
    LabServer,
    Notebook,
    Opener,
    chromium_path,
    open_browser,
)
from playwright.sync_api import BrowserContext, Page, expect
from tiny_models import CHATML, make_model

expect.set_options(timeout=1000 * PATIENCE)


def _cannot(reason: str) -> None:
    """Skip with the reason; in continuous integration that would hide a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> Path:
    found = chromium_path()
    if found is None:
        _cannot(f"there is no chromium; run: {sys.executable} tools/chromium.py")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def lab(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """JupyterLab, with a tiny chat model called tiny.gguf in its root."""
    assert chromium.exists()
    server = LabServer(tmp_path_factory.mktemp("lab"))
    make_model(server.root / "tiny.gguf", "llama", chat_template=CHATML)
    yield server
    server.close()


@pytest.fixture(scope="session")
def outside() -> list[str]:
    """What pages asked of other machines."""
    return []


# For a module, not for the run: playwright's event loop must not be there in other tests.
@pytest.fixture(scope="module")
def browser(chromium: Path, outside: list[str]) -> Iterator[BrowserContext]:
    with open_browser(chromium, outside=outside) as context:
        yield context


@pytest.fixture
def page(browser: BrowserContext, outside: list[str]) -> Iterator[Page]:
    """One page; whatever it asks of another machine fails the test."""
    outside.clear()
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    yield page
    page.close()
    assert outside == []


@pytest.fixture
def notebook(page: Page, lab: LabServer, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Write a notebook of these cells, and open it."""
    opened: list[Notebook] = []

    def write(*cells: str, kernel: str = "python3", app: str = "lab/tree") -> Notebook:
        if kernel == "ipykernel-7.3" and not IPYKERNEL_7_3.is_dir():
            _cannot("there is no second ipykernel; `make test` installs it")
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)
        file = f"{name}-{len(opened)}.ipynb"
        made = Notebook.write(page, lab, cells, name=file, kernel=kernel, app=app)
        opened.append(made)
        return made

    yield write
    for made in opened:
        made.shut_down()
