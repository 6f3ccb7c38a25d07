"""A real JupyterLab in a real browser: one server for the run, one page at a time."""

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
from browser.reuse import KernelShelf, PageShelf
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


# For these tests, not for the run: playwright's event loop must not be there in other tests.
@pytest.fixture(scope="package")
def browser(chromium: Path, outside: list[str]) -> Iterator[BrowserContext]:
    with open_browser(chromium, outside=outside) as context:
        yield context


@pytest.fixture(scope="package")
def pages(browser: BrowserContext) -> PageShelf:
    return PageShelf(browser)


@pytest.fixture(scope="session")
def kernels(lab: LabServer) -> KernelShelf:
    return KernelShelf(lab)


@pytest.fixture
def page(pages: PageShelf, outside: list[str], request: pytest.FixtureRequest) -> Iterator[Page]:
    """One page; whatever it asks of another machine fails the test."""
    outside.clear()
    # A page that shows a notebook asks before it leaves it for another address.
    page = pages.lend() if "notebook" in request.fixturenames else pages.lend_new()
    n_failed = request.session.testsfailed
    yield page
    pages.put_back(page, is_well=request.session.testsfailed == n_failed)
    assert outside == []


@pytest.fixture
def notebook(
    page: Page, lab: LabServer, kernels: KernelShelf, request: pytest.FixtureRequest
) -> Iterator[Opener]:
    """Write a notebook of these cells, and open it.

    Its kernel may have served other tests, unless it is ``fresh``: for one whose cells change what
    is not put back by itself, such as a method of a class.
    """
    opened: list[tuple[Notebook, bool]] = []
    n_failed = request.session.testsfailed

    def write(
        *cells: str, kernel: str = "python3", app: str = "lab/tree", fresh: bool = False
    ) -> Notebook:
        if kernel == "ipykernel-7.3" and not IPYKERNEL_7_3.is_dir():
            _cannot("there is no second ipykernel; `make test` installs it")
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)
        file = f"{request.node.path.stem}-{name}-{len(opened)}.ipynb"
        if not fresh:
            kernels.lend(kernel, file)
        made = Notebook.write(page, lab, cells, name=file, kernel=kernel, app=app)
        opened.append((made, fresh))
        return made

    yield write
    is_well = request.session.testsfailed == n_failed
    for made, fresh in opened:
        kernels.put_back(made, is_well=is_well and not fresh)
