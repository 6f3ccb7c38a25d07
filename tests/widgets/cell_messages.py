"""Messages of the cell map, as the widgets' scripts are given them in tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mullama_nb.history.cell_map.live import CellMap
from mullama_nb.history.cell_map.message import Packed, Tables, pack

__all__ = ["as_json", "many_cells", "n_bytes", "seen"]


def as_json(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with its arrays as text; tests/widgets/cells.js makes arrays of them again."""
    return {
        name: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in message.items()
    }


def n_bytes(message: Mapping[str, Any]) -> int:
    """What a message takes on its way: arrays, and the rest as JSON, with the arrays' names."""
    arrays = {name: value for name, value in message.items() if isinstance(value, bytes)}
    rest = {name: value for name, value in message.items() if name not in arrays}
    paths = {"kind": "change", "number": 1000, "buffer_paths": [[name] for name in arrays]}
    return sum(map(len, arrays.values())) + len(json.dumps({**rest, **paths}))


def seen(cells: CellMap) -> list[dict[str, Any]]:
    """Strips as tests/widgets/cells.js tells of them, by id."""
    told = [
        {
            "id": strip.id,
            "parent": None if strip.parent is None else cells.strips[strip.parent].id,
            "start": strip.start,
            "lane": strip.lane,
            "nActive": strip.n_active,
            "cells": [
                [c.position, c.text, c.role, c.place, c.probability, c.n_bytes] for c in strip.cells
            ],
            "checkpoints": [list(pair) for pair in strip.checkpoints],
            "again": [list(span) for span in strip.again],
        }
        for strip in cells.strips
    ]
    return sorted(told, key=lambda strip: str(strip["id"]))


def many_cells(
    n_leaves: int, n_cells: int, *, n_ctx: int = 4096, texts: Sequence[str] = ("word", " and")
) -> dict[str, Any]:
    """A message of a trunk that the context holds, and so many leaves that begin at its end."""
    own = n_cells // (n_leaves + 1)
    strips = []
    for number in range(n_leaves + 1):
        place = ("context", "memory", "disk", "dropped")[number % 4 if number else 0]
        start = own if number else 0
        packed = Packed(
            *(number, f"{number:020x}", 0 if number else None, start, 0 if number else own),
            np.arange(own, dtype=np.int32) % len(texts),
            np.full(own, 0.5, np.float32),
            *([(f"{number:020x}", start + own)], [1000.0 * own]),
            ((own // 2, "user"), (own, "assistant")),
            ((own, place),),
        )
        strips.append(packed)
    facts = {"n_ctx": n_ctx, "n_used": own, "memory": "cells", "window": 0, "keeps_states": False}
    lanes = [(number, max(number - 1, 0)) for number in range(n_leaves + 1)]
    return pack(facts, strips, lanes, lambda t: texts[t], tables=Tables(), is_whole=True)
