"""The magics in JupyterLab, whose cells have ids."""

from __future__ import annotations

import pytest
from browser.lab import Opener

MODEL = "%load_ext mullama_nb\n%model ./tiny.gguf n_ctx=512 n_threads=1 seed=1"
HELLO = "%%ask max_tokens=3 temperature=2.0\nhello"


@pytest.mark.parametrize("kernel", ["python3", "ipykernel-7.3"])
def test_a_cell_run_again_asks_again(notebook: Opener, kernel: str) -> None:
    opened = notebook(MODEL, HELLO, HELLO, kernel=kernel, fresh=True)
    opened.run(0, 1)
    first = opened.evaluate("chat.head.id")
    opened.run(1)
    assert opened.evaluate("[c.id for c in chat.head.siblings]")[0] == first
    assert opened.evaluate("(len(chat.turns), len(chat.head.siblings))") == (2, 2)

    opened.run(2)  # the same words, but another cell
    assert opened.evaluate("[t.text for t in chat.turns if t.role == 'user']") == ["hello"] * 2
    opened.run(2)
    assert opened.evaluate("(len(chat.turns), len(chat.head.siblings))") == (4, 2)
