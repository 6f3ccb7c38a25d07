"""What remains of a view after a reload, and where there is no kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
from browser.lab import LabServer, Opener
from browser.test_widgets import CHAT, HEAD
from nbconvert import HTMLExporter
from playwright.sync_api import expect


def test_reloading_the_page_keeps_the_view(notebook: Opener) -> None:
    opened = notebook(CHAT, "Timeline(chat)")
    opened.run()
    opened.save()
    head = opened.evaluate("chat.head.id")

    opened.open()
    row = opened.area(1).locator(f"[role=treeitem]{HEAD}")
    expect(row).to_have_attribute("data-id", head)


def test_somebody_elses_notebook_shows_what_was_saved(notebook: Opener, lab: LabServer) -> None:
    """JupyterLab trusts it as little as any, and no kernel has its widgets."""
    opened = notebook(CHAT, "Timeline(chat)", "ChatPanel(chat)", "KVPlot(chat)")
    opened.run()
    tree = opened.evaluate("str(chat.tree)").splitlines()
    opened.save()
    opened.shut_down()
    path = Path(lab.root) / opened.name
    theirs = nbformat.read(path, as_version=4)
    theirs.cells.append(nbformat.v4.new_markdown_cell("As it came by mail."))  # so it is not signed
    nbformat.write(theirs, path)

    opened.open(with_kernel=False)
    for index in (1, 2):
        expect(opened.area(index)).to_contain_text("What is a tide?")
        expect(opened.area(index)).to_contain_text("<script>window.hurt = 1</script></svg>")
    # Pictures are dropped: a tree is lines, a plot a table.
    shown = opened.area(1).locator(".jp-OutputArea-output").inner_text()
    assert [line for line in shown.splitlines() if line] == tree
    expect(opened.area(3).get_by_role("cell", name="Q1", exact=True)).to_be_visible()
    assert "Q1A1" not in opened.area(3).inner_text()
    assert opened.page.evaluate("() => window.hurt ?? null") is None


def test_html_without_a_kernel_shows_tree_and_messages(notebook: Opener, lab: LabServer) -> None:
    opened = notebook(CHAT, "Timeline(chat)", "ChatPanel(chat)", "chat")
    opened.run()
    opened.save()
    html, _ = HTMLExporter().from_filename(str(Path(lab.root) / opened.name))

    opened.shut_down()
    opened.page.set_content(html.replace("https://", "http://127.0.0.1:9/"))
    areas = opened.page.locator(".jp-OutputArea")
    expect(areas.locator("svg[role=img]")).to_contain_text("What is a tide?")
    expect(areas.first.locator("pre")).to_be_hidden()  # where there is a picture
    for index in (1, 2):  # the hostile answer is text here, too
        expect(areas.nth(index)).to_contain_text("<script>window.hurt = 1</script></svg>")
    assert opened.page.evaluate("() => window.hurt ?? null") is None
    assert areas.locator(":is(script, img, b, a[href^=javascript])").count() == 0


def test_editing_a_question_makes_a_sibling(notebook: Opener) -> None:
    opened = notebook(CHAT, "panel = ChatPanel(chat); panel")
    opened.run()
    before = opened.evaluate("len(chat.tree['HEAD~2'].children)")
    area = opened.area(1)
    area.locator("article.mullama-user").last.get_by_label("Edit this message").click()
    area.get_by_label("Edited message").fill("And a storm?")
    area.get_by_label("Edited message").press("Control+Enter")
    opened.wait_until("any(m['content'] == 'And a storm?' for m in chat.messages)")
    opened.stop(1)
    opened.wait_until("not panel.is_busy")
    assert before == 1
    assert opened.evaluate("len(chat.head.parent.siblings)") == 2
