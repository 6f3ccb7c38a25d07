"""Stop, on kernels that handle a click during a cell and on kernels that do not."""

from __future__ import annotations

import pytest
from browser.lab import Opener
from playwright.sync_api import expect

KERNELS = ["python3", "ipykernel-7.3"]

# The pause makes the answer last as long as it is given to.
CHAT = """
import time
from mullama_nb import Chat
chat = Chat("tiny.gguf", n_ctx=16384, n_threads=1, seed=1)
n_said = 0

def slowly(token):
    global n_said
    n_said += 1
    time.sleep(0.02)
"""
ASK = "chat.ask('Tell me everything.', max_tokens=15000, on_token=slowly)"


@pytest.mark.parametrize("kernel", KERNELS)
def test_interrupting_the_kernel_keeps_what_was_said(notebook: Opener, kernel: str) -> None:
    opened = notebook(CHAT, ASK, kernel=kernel)
    opened.run(0)
    opened.start(1)
    opened.area(1).locator("pre").first.wait_for()
    opened.page.evaluate("() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')")
    opened.wait(1)

    assert opened.outputs(1)[-1]["ename"] == "KeyboardInterrupt"
    assert opened.evaluate("chat.head.metadata['finish_reason']") == "stopped"
    assert 0 < opened.evaluate("len(chat.head.tokens)") < 15000


PANEL = "from mullama_nb.widgets import ChatPanel\npanel = ChatPanel(chat); panel"


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_stop_button_ends_what_a_cell_asked(notebook: Opener, kernel: str) -> None:
    opened = notebook(CHAT, PANEL, ASK, kernel=kernel)
    opened.run(0, 1)
    opened.start(2)
    stop = opened.area(1).get_by_role("button", name="Stop")
    opened.page.wait_for_function("button => !button.disabled", arg=stop.element_handle())
    stop.click()
    opened.wait(2)

    assert opened.evaluate("chat.head.metadata['finish_reason']") == "stopped"
    assert 0 < opened.evaluate("len(chat.head.tokens)") < 15000


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_stop_button_leaves_other_cells_alone(notebook: Opener, kernel: str) -> None:
    other = "print('begun')\nfor n in range(30):\n    time.sleep(0.1)\nprint('done')"
    opened = notebook(CHAT, PANEL, other, kernel=kernel)
    opened.run(0, 1)
    opened.area(1).get_by_label("Message", exact=True).fill("Tell me everything.")
    opened.area(1).get_by_role("button", name="Send").click()
    opened.wait_until("panel.is_busy")
    opened.start(2)
    expect(opened.area(2)).to_contain_text("begun")
    opened.area(1).get_by_role("button", name="Stop").click()
    opened.wait(2)

    assert "done" in opened.text(2)
    opened.wait_until("not panel.is_busy")
