"""Bytes anywhere in a message reach the page as what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st
from javascript import JavaScript
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.widgets.kv_plot import KVPlot

PARTS = Path(__file__).with_name("parts.js")
NUMBERS = st.lists(st.floats(-1024, 1024, width=32), max_size=5).map(
    lambda numbers: np.array(numbers, "<f4").tobytes()
)
VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(max_size=3) | NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner, max_size=4),
    max_leaves=12,
)


def as_numbers(value: Any) -> Any:
    if isinstance(value, bytes):
        return np.frombuffer(value, "<f4").tolist()
    if isinstance(value, dict):
        return {name: as_numbers(inner) for name, inner in value.items()}
    return [as_numbers(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def widget(tiny: ModelMaker) -> Any:
    return KVPlot(Chat(tiny("llama", chat_template=CHATML), n_ctx=64, n_threads=1))


@pytest.mark.slow
@given(change=st.dictionaries(st.text("xy"), VALUES), as_views=st.booleans())
def test_a_change_arrives_whole(
    javascript: JavaScript, widget: Any, change: dict[str, Any], as_views: bool
) -> None:
    sent: list[tuple[dict[str, Any], Any]] = []
    widget.send = lambda content, buffers=None: sent.append((content, buffers))
    widget._number = 0
    with widget._lock:
        widget._queued.append(change)
    widget.publish()
    ((content, buffers),) = sent
    buffers = [list(bytes(buffer)) for buffer in buffers or ()]
    seen = javascript.call(PARTS, "received", json.loads(json.dumps(content)), buffers, as_views)
    seen.pop("buffer_paths", None)
    assert seen == {"kind": "change", "number": 1, **as_numbers(change)}
