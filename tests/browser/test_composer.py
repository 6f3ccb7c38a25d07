"""The composer and the footer below it, in JupyterLab."""

from __future__ import annotations

from browser.lab import Opener

CHAT = """
from mullama_nb import Chat
chat = Chat("tiny.gguf", n_ctx=96, n_threads=1, seed=1, max_tokens=6)
chat.replay([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good day!"}])
first = chat
"""


def test_the_composer_stays_below_a_log_that_scrolls(notebook: Opener) -> None:
    opened = notebook(CHAT.replace("n_ctx=96", "n_ctx=2048"), "chat")
    opened.run(0)
    opened.evaluate("chat.replay(chat.messages * 20)")
    opened.run(1)
    area = opened.area(1)
    box, log = area.get_by_label("Message", exact=True), area.get_by_role("log")
    box.scroll_into_view_if_needed()
    before = box.bounding_box()
    log.evaluate("node => { node.scrollTop = 0; }")
    assert box.bounding_box() == before
    assert log.evaluate("node => node.scrollHeight > node.clientHeight")
    bottom = log.bounding_box()
    assert before is not None
    assert bottom is not None
    assert bottom["y"] + bottom["height"] <= before["y"] + 1
