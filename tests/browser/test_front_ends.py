"""One conversation in every front end that can be driven here, by what its screen shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser.lab import Notebook, Opener
from browser.marimo_server import MarimoServer
from playwright.sync_api import Locator, Page, expect
from tiny_models import CHATML, make_model

CHAT = """
from mullama_nb import Chat

chat = Chat.from_messages("tiny.gguf", [
    {"role": "user", "content": "What is a tide?"},
    {"role": "assistant", "content": "The sea follows the moon."},
], n_ctx=16384, n_threads=1, seed=1)
chat.ask("Go on.", max_tokens=6, echo=False)
"""
APPS = {"jupyterlab": "lab/tree", "notebook": "notebooks"}


@dataclass(frozen=True)
class FrontEnd:
    """The view of a chat, the last line of a cell; the notebook where it is JupyterLab's."""

    view: Locator
    notebook: Notebook | None = None


@pytest.fixture(params=[*APPS, "marimo"])
def front_end(
    request: pytest.FixtureRequest, page: Page, notebook: Opener, tmp_path: Path
) -> Iterator[FrontEnd]:
    shown = page.locator(".mullama:has(> .mullama-view)")
    if request.param == "marimo":
        make_model(tmp_path / "tiny.gguf", "llama", chat_template=CHATML)
        server = MarimoServer(tmp_path, [CHAT, "chat"], "chat")
        try:
            page.goto(server.url)
            yield FrontEnd(shown)
            page.goto("about:blank")
        finally:
            server.close()
    else:
        opened = notebook(CHAT, "chat", app=APPS[request.param])
        opened.run()
        yield FrontEnd(shown, opened)


def test_a_chat_is_shown_asked_stopped_undone_and_forked(front_end: FrontEnd, page: Page) -> None:
    view = front_end.view
    articles = view.locator("article")
    rows = view.get_by_role("tree").get_by_role("treeitem")
    cells = page.locator(".jp-Cell, .marimo-cell")
    growing = view.locator("article[aria-busy=true] .mullama-text")
    stop = view.get_by_role("button", name="Stop")
    known = view.get_by_role("treeitem").filter(has_text="The sea follows")

    # Shown.
    expect(articles).to_have_count(4)
    expect(articles.nth(1)).to_contain_text("The sea follows the moon.")
    expect(rows).to_have_count(5)
    n_cells = cells.count()
    assert n_cells == 2

    # Sent; the answer streams until it is stopped.
    box = view.get_by_label("Message", exact=True)
    box.fill("Tell me everything.")
    box.press("Enter")
    growing.wait_for()
    page.wait_for_function(
        "([node, n]) => node.innerText.length > n + 20",
        arg=[growing.element_handle(), len(growing.inner_text())],
    )
    stop.press("Enter")
    expect(growing).to_have_count(0)
    expect(articles).to_have_count(6)
    expect(articles.last).to_contain_text("unfinished")

    # At another checkpoint.
    known.click()
    expect(known).to_have_attribute("aria-selected", "true")
    expect(articles).to_have_count(2)

    # Undone and redone by keys: in the tree, on a message, after a button that is disabled by it.
    page.keyboard.press("u")
    expect(articles).to_have_count(0)
    page.keyboard.press("r")
    expect(articles).to_have_count(2)
    articles.first.click()
    page.keyboard.press("u")
    expect(articles).to_have_count(0)
    redo = view.get_by_role("button", name="Redo", exact=True)
    redo.click()
    expect(redo).to_be_disabled()
    expect(articles).to_have_count(2)
    page.keyboard.press("u")
    expect(articles).to_have_count(0)
    page.keyboard.press("r")
    expect(articles).to_have_count(2)
    view.get_by_role("log").focus()
    for key in "mybx":  # commands of a notebook
        page.keyboard.press(key)
    assert cells.count() == n_cells

    # From another token on.
    rows.nth(4).click()
    expect(articles).to_have_count(4)
    view.get_by_label("Show how likely each token was").last.click()
    tokens = view.get_by_role("group", name="Tokens").get_by_role("button")
    expect(tokens).to_have_count(6)
    tokens.nth(2).click()
    view.locator("[aria-label=Alternatives] button:not([aria-current=true])").first.click()
    growing.wait_for()
    stop.press("Enter")
    expect(growing).to_have_count(0)
    expect(articles.last).to_contain_text("2/2")
    expect(view.get_by_role("alert").locator("visible=true")).to_have_count(0)

    if front_end.notebook is not None:
        check_it_is_seen_that_nobody_hears(view, front_end.notebook)


def check_it_is_seen_that_nobody_hears(view: Locator, notebook: Notebook) -> None:
    """A view says that its kernel has ended, and the cell run again makes one that works."""
    undo = view.get_by_role("button", name="Undo", exact=True)
    box = view.get_by_label("Message", exact=True)
    alert = view.get_by_role("alert").locator("visible=true")
    expect(undo).to_be_enabled()
    notebook.evaluate("__import__('time').sleep(0.3)")
    expect(undo).to_be_enabled()
    context = "window.jupyterapp.shell.currentWidget.context.sessionContext"
    notebook.page.evaluate(f"() => {context}.session.kernel.reconnect()")
    notebook.wait_for_kernel()
    expect(undo).to_be_enabled()
    expect(alert).to_have_count(0)

    notebook.page.evaluate(f"() => {context}.restartKernel()")
    expect(alert).to_have_text("The kernel was restarted: run the cell again.")
    controls = view.locator(":is(button, input, select, textarea)")
    assert controls.count() > 10
    expect(view.locator(":is(button, input, select, textarea):enabled")).to_have_count(0)
    view.get_by_role("log").focus()
    notebook.page.keyboard.press("u")
    expect(view.locator("article").last).to_contain_text("2/2")

    notebook.wait_for_kernel()
    notebook.run()
    expect(undo).to_be_enabled()
    expect(alert).to_have_count(0)
    undo.click()
    expect(view.locator("article")).to_have_count(2)
    notebook.shut_down()
    expect(alert).to_have_text("The kernel was shut down: run the cell again.")
    expect(box).to_be_disabled()
