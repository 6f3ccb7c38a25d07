"""The widgets in JupyterLab: what a click does in the kernel, and what the screen then shows."""

from __future__ import annotations

import re

import pytest
from browser.lab import Notebook, Opener
from playwright.sync_api import expect

CHAT = """
from mullama_nb import Chat
from mullama_nb.history.events import TokenAdded
from mullama_nb.widgets import ChatPanel, Explorer, KVPlot, Timeline, UndoRedo

chat = Chat.from_messages("tiny.gguf", [
    {"role": "user", "content": "What is a tide?"},
    {"role": "assistant", "content": "The sea follows the moon."},
    {"role": "user", "content": "And a wave?"},
    {"role": "assistant", "content": "<script>window.hurt = 1</script></svg><b>bold</b>"
     " [link](javascript:window.hurt=1) <img src=x onerror='window.hurt=1'>"},
], n_ctx=1024, n_threads=1, seed=1)
"""
HEAD = "[aria-selected=true]"


@pytest.fixture
def timeline(notebook: Opener) -> Notebook:
    opened = notebook(CHAT, "Timeline(chat)", "Timeline(chat)")
    opened.run()
    return opened


def test_clicking_a_checkpoint_moves_head_and_screen(timeline: Notebook) -> None:
    wanted = timeline.evaluate("chat.tree['HEAD~2'].id")
    row = timeline.area(1).locator(f"[role=treeitem][data-id='{wanted}']")
    expect(row).to_have_attribute("aria-selected", "false")

    row.click()
    expect(row).to_have_attribute("aria-selected", "true")
    assert timeline.evaluate("chat.head.id") == wanted
    other = timeline.area(2).locator(f"[role=treeitem]{HEAD}")
    expect(other).to_have_attribute("data-id", wanted)  # views stay in step


def test_keys_move_undo_and_redo(timeline: Notebook) -> None:
    rows = timeline.area(1).locator("[role=treeitem]")
    leaf = timeline.evaluate("chat.head.id")
    timeline.area(1).locator(f"[role=treeitem]{HEAD}").focus()

    timeline.page.keyboard.press("u")
    expect(rows.and_(timeline.page.locator(HEAD))).not_to_have_attribute("data-id", leaf)
    assert timeline.evaluate("chat.head.id") != leaf

    timeline.area(1).locator(f"[role=treeitem]{HEAD}").focus()
    timeline.page.keyboard.press("r")
    expect(rows.and_(timeline.page.locator(HEAD))).to_have_attribute("data-id", leaf)
    assert timeline.evaluate("chat.head.id") == leaf


def test_undo_button_takes_back_a_turn(notebook: Opener) -> None:
    opened = notebook(CHAT, "UndoRedo(chat)")
    opened.run()
    undo = opened.area(1).get_by_role("button", name=re.compile("Undo|Take back", re.IGNORECASE))
    redo = opened.area(1).get_by_role("button", name=re.compile("Redo|again", re.IGNORECASE))
    expect(redo.first).to_be_disabled()

    undo.first.click()
    expect(redo.first).to_be_enabled()
    assert opened.evaluate("(chat.undo_steps, chat.redo_steps)") == (1, 1)


def test_a_hostile_answer_stays_text(notebook: Opener) -> None:
    """In every widget, in a chat's own view, and while it is looked into."""
    explored = "explorer = Explorer(chat); explorer"
    opened = notebook(CHAT, "ChatPanel(chat)", "Timeline(chat)", explored, "chat", "KVPlot(chat)")
    opened.run()
    hostile = "<script>window.hurt = 1</script></svg>"
    expect(opened.area(1).locator(".mullama-log")).to_contain_text(hostile)
    expect(opened.area(2).locator("[role=tree]")).to_contain_text("<script>")
    expect(opened.area(4).locator(".mullama-log")).to_contain_text(hostile)
    expect(opened.area(4).locator("[role=tree]")).to_contain_text("<script>")

    opened.evaluate(  # as if the model were saying it now
        "[chat.tree._workspace.notify(TokenAdded(1, piece, -1.0, branch)) for branch in (None, 0)"
        " for piece in chat.turns[-1].text.partition('t>')] and None"
    )
    expect(opened.area(1).locator("article[aria-busy=true]")).to_contain_text(hostile)
    expect(opened.area(3).get_by_role("listitem")).to_contain_text(hostile)
    opened.evaluate("chat.tag('<script>window.hurt = 1</script>') and None")
    expect(opened.area(2).locator("[role=tree]")).to_contain_text("window.hurt")

    for index in range(1, 6):
        bad = "script, img, iframe, b, a[href^=javascript]"
        assert opened.area(index).locator(f".mullama :is({bad})").count() == 0
    assert opened.page.evaluate("() => window.hurt ?? null") is None


def test_a_chat_shown_twice_is_one_view(notebook: Opener) -> None:
    opened = notebook(CHAT, "chat", "chat", "chat")
    opened.run(0, 1, 2)
    n_widgets = "len(__import__('ipywidgets').widgets.widget._instances)"
    before = opened.evaluate(n_widgets)
    opened.run(3)
    assert opened.evaluate(n_widgets) == before
    first, last = opened.area(1), opened.area(3)
    first.get_by_role("button", name="Undo", exact=True).click()
    expect(last.locator("article")).to_have_count(2)
    expect(last.locator(f"[role=treeitem]{HEAD}")).to_contain_text("The sea follows")

    # Side by side where there is room, one below the other where there is not.
    panel, tree = last.get_by_role("log"), last.get_by_role("tree")
    for width, is_beside in ((1600, True), (700, False)):
        opened.page.set_viewport_size({"width": width, "height": 900})
        opened.page.wait_for_function(
            """([a, b, isBeside]) => isBeside ===
              (a.getBoundingClientRect().right <= b.getBoundingClientRect().left)""",
            arg=[panel.element_handle(), tree.element_handle(), is_beside],
        )
        assert last.evaluate("area => area.scrollWidth <= area.clientWidth")


@pytest.mark.parametrize("kernel", ["python3", "ipykernel-7.3"])
def test_a_sent_message_is_answered_while_the_kernel_goes_on(notebook: Opener, kernel: str) -> None:
    endless = CHAT.replace("n_ctx=1024", "n_ctx=16384")
    opened = notebook(endless, "panel = ChatPanel(chat); panel", kernel=kernel)
    opened.run()
    opened.area(1).get_by_label("Message", exact=True).fill("Tell me everything.")
    opened.area(1).get_by_role("button", name="Send").click()
    opened.wait_until("panel.is_busy")  # answered while the panel generates
    opened.area(1).get_by_role("button", name="Stop").click()
    opened.wait_until("not panel.is_busy")
    assert opened.evaluate("chat.messages[-2]['content']") == "Tell me everything."
    assert opened.evaluate("chat.head.metadata['finish_reason']") == "stopped"


@pytest.mark.parametrize("kernel", ["python3", "ipykernel-7.3"])
def test_a_click_does_not_follow_a_subshell_that_is_gone(notebook: Opener, kernel: str) -> None:
    opened = notebook(CHAT, "panel = ChatPanel(chat); panel", kernel=kernel)
    opened.run()
    # As when a page is reloaded: what the widget sent last was for a subshell that is gone.
    opened.page.evaluate(
        """async () => {
          const kernel =
            window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
          const { content } = await kernel.requestCreateSubshell({}).done;
          const other = kernel.clone();
          other.subshellId = content.subshell_id;
          const code = "import time; panel.refresh(); time.sleep(0.3)";
          await other.requestExecute({ code }).done;
          other.dispose();
          await kernel.requestDeleteSubshell({ subshell_id: content.subshell_id }).done;
        }"""
    )
    opened.area(1).get_by_label("Message", exact=True).fill("Hello?")
    opened.area(1).get_by_role("button", name="Send").click()
    expect(opened.area(1).locator("article").filter(has_text="Hello?")).to_be_visible()
    opened.wait_until("len(chat.messages) > 4")  # the page shows a question before the chat has it
    assert opened.evaluate("chat.messages[4]['content']") == "Hello?"
