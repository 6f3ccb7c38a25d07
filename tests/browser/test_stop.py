"""Stop, on kernels that handle a click during a cell and on kernels that do not."""

from __future__ import annotations

import pytest
from browser.lab import Opener

KERNELS = ["python3", "ipykernel-7.3"]

# The pause makes the answer last as long as it is given to.
CHAT = """
import time
from mullama_nb import Chat
chat = Chat("tiny.gguf", n_ctx=2048, n_threads=1, seed=1)
n_said = 0

def slowly(token):
    global n_said
    n_said += 1
    time.sleep(0.02)
"""
ASK = "chat.ask('Tell me everything.', max_tokens=1500, on_token=slowly)"


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
    assert 0 < opened.evaluate("len(chat.head.tokens)") < 1500
