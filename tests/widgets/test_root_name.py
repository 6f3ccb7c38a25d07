"""The root of a tree has one name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.widgets import Timeline


def test_it_is_root_wherever_it_is_shown(tiny: Callable[..., Any], tmp_path: Path) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1)
    chat.ask("Why?", max_tokens=2)
    tree, timeline = chat.tree, Timeline(chat)
    tree.to_svg(tmp_path / "tree.svg")
    chat.to_html(tmp_path / "chat.html")
    shown = {
        "text": str(tree),
        "cell": tree._repr_html_(),
        "checkpoint": repr(tree.root),
        "card": tree.root._repr_html_(),
        "picture": (tmp_path / "tree.svg").read_text("utf-8"),
        "page": (tmp_path / "chat.html").read_text("utf-8"),
        "row": str(timeline.take_snapshot()["rows"][0]),
        "row's card": timeline._card(tree.root)["role"],
    }
    for where, text in shown.items():
        assert re.search(r"\broot\b", text), where
