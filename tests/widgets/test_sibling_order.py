"""Siblings lie in one order wherever they are shown or saved: the oldest first."""

from __future__ import annotations

import json
import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from javascript import JavaScript
from tiny_models import CHATML

from mullama_nb import Chat, Checkpoint
from mullama_nb.history.layout import segments
from mullama_nb.history.message import message_versions
from mullama_nb.widgets import Timeline

PROBE = Path(__file__).with_name("probe.js")
HOT: dict[str, Any] = {"max_tokens": 3, "temperature": 2.0}


def grown(model: Any, steps: random.Random) -> tuple[Chat, dict[str, int]]:
    """A chat with siblings of all kinds, and when each checkpoint came to be."""
    chat = Chat(model, n_ctx=2048, n_threads=1)
    made: dict[str, int] = {}
    chat.ask("q0", **HOT)
    for n in range(14):
        step = steps.choice(["ask", "again", "again", "edit", "undo", "go", "explore"])
        if step == "ask" or not chat.turns:
            chat.ask(f"q{n}", **HOT)
        elif step == "again":
            chat.regenerate(**HOT, seed=n)
        elif step == "edit":
            chat.edit(f"e{n}", chat.turns[-2], **HOT)
        elif step == "explore":
            chat.explore(f"x{n}", n=3, **HOT)[0].keep()
        elif step == "undo":
            chat.undo()
        else:
            chat.checkout(steps.choice(list(chat.tree)))
        for checkpoint in chat.tree:
            made.setdefault(checkpoint.id, len(made))
    return chat, made


def parent_of(checkpoint: Checkpoint) -> str:
    return checkpoint.parent.id if checkpoint.parent else ""


def place_of(checkpoint: Checkpoint) -> str:
    """What a message follows: its versions have the same, though they share segments."""
    return parent_of(segments(checkpoint)[0])


def age(checkpoint: Checkpoint, made: dict[str, int]) -> int:
    """When it came to be: a beginning that was cut off is as old as what it was cut off."""
    return min(made[each.id] for each in (checkpoint, *checkpoint.descendants()))


def before(checkpoint: Checkpoint) -> str:
    """The same in the conversation: the template may have put a message elsewhere."""
    previous = segments(checkpoint)[0].previous
    return previous.id if previous else ""


def in_text(chat: Chat) -> list[str]:
    short = {each.short_id: each.id for each in chat.tree}
    return [short[name] for name in re.findall(r"[●○] ([0-9a-f]{7}) ", str(chat.tree))]


def in_svg(chat: Chat) -> list[str]:
    """By what is written in the rows, as a picture has no ids."""
    svg = ET.fromstring(Timeline(chat)._repr_mimebundle_()[0]["image/svg+xml"])
    rows = sorted(
        (float(text.attrib["y"]), "".join(text.itertext()))
        for text in svg.iter()
        if text.tag.endswith("text") and "text-anchor" not in text.attrib
    )
    lines = str(chat.tree).splitlines()
    assert len(rows) == len(lines)
    for (_, row), line in zip(rows, lines, strict=True):
        assert row.split() == re.sub(r"^[│ ├─]*[●○] ([0-9a-f]{7} )?", "", line).split()
    return in_text(chat)


def in_cells(chat: Chat) -> list[str]:
    """By lanes; a strip may hold several checkpoints."""
    strips = sorted(chat.tree.cells().strips, key=lambda strip: (strip.start, strip.lane))
    return [name for strip in strips for name, _ in strip.checkpoints]


def in_json(chat: Chat, path: Path) -> list[str]:
    chat.export(path / "chat.json")
    return [row["id"] for row in json.loads((path / "chat.json").read_text())["messages"]]


def saved(chat: Chat, path: Path) -> list[str]:
    chat.save("chat", path / "store")
    return [each.id for each in Chat.open("chat", chat.model, path / "store").tree]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_oldest_sibling_comes_first_everywhere(
    tiny: Callable[..., Any], javascript: JavaScript, tmp_path: Path, seed: int
) -> None:
    chat, made = grown(tiny("llama", chat_template=CHATML), random.Random(seed))
    [page] = javascript.call(PROBE, "rowsAfter", Timeline(chat).take_snapshot(), [])
    orders = {
        "checkpoints": [each.id for each in chat.tree],
        "text": in_text(chat),
        "SVG": in_svg(chat),
        "timeline": [name for name, *_ in page[1:]],
        "cells": in_cells(chat),
        "JSON": in_json(chat, tmp_path),
        "session": saved(chat, tmp_path),
    }
    for checkpoint in chat.tree:
        orders[f"versions of {checkpoint.id}"] = [v.id for v in message_versions(checkpoint)]
    assert any(len(names) > 1 for name, names in orders.items() if name.startswith("versions"))
    by = {"checkpoints": parent_of, "cells": parent_of, "session": parent_of}
    by |= {"text": place_of, "SVG": place_of, "timeline": place_of}
    for where, names in orders.items():
        siblings: dict[str, list[int]] = {}
        for name in names:
            place = by.get(where, before)(chat.tree[name])
            siblings.setdefault(place, []).append(age(chat.tree[name], made))
        assert all(times == sorted(times) for times in siblings.values()), where
