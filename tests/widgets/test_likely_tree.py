"""A tree of likely tokens has a row for each end, and its likeliest way is straight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from javascript import FRONT_END, JavaScript

from mullama_nb.engine.continuations import Continuation
from mullama_nb.widgets.likely_tree import Layout, draw, lay_out

SCRIPT = FRONT_END / "likely_tree.js"


@st.composite
def trees(draw: st.DrawFn, joint: float = 1.0, depth: int = 4) -> tuple[Continuation, ...]:
    """What may follow a text of that probability."""
    shares = draw(st.lists(st.floats(0.01, 0.9), max_size=4 if depth else 0))
    total = sum(shares) or 1.0
    found = []
    for share in sorted((share / max(total, 1.0) for share in shares), reverse=True):
        below = draw(trees(joint * share, depth - 1))
        text = draw(st.text(max_size=30))
        found.append(Continuation(len(found), text, share, joint * share, below, not below))
    return tuple(found)


def everything(roots: tuple[Continuation, ...]) -> Iterator[Continuation]:
    for root in roots:
        yield root
        yield from everything(root.children)


def sent(layout: Layout) -> list[list[Any]]:
    return [
        [g.parent, g.row, g.text, g.continuation.probability, g.continuation.joint, 0]
        for g in layout.grown
    ]


@pytest.mark.slow
@given(trees(), st.integers(1, 12))
def test_the_likeliest_are_shown_each_behind_its_parent(
    roots: tuple[Continuation, ...], most: int
) -> None:
    layout = lay_out(roots, most)
    shown = [each.continuation for each in layout.grown]
    found = list(everything(roots))
    assert len(shown) == min(most, len(found)) == len(found) - layout.n_omitted
    worst = min((each.joint for each in shown), default=0.0)
    assert all(each.joint <= worst for each in found if not any(each is s for s in shown))
    for i, each in enumerate(layout.grown):
        before = None if each.parent < 0 else layout.grown[each.parent]
        assert each.parent < i
        assert each.path == ((*before.path, each.continuation) if before else (each.continuation,))
        children = roots if before is None else before.continuation.children
        assert any(each.continuation is child for child in children)


@pytest.mark.slow
@given(trees())
def test_rows_are_ends_and_a_first_child_goes_straight_on(roots: tuple[Continuation, ...]) -> None:
    layout = lay_out(roots)
    grown = layout.grown
    n_ends = sum(not any(g.parent == i for g in grown) for i in range(len(grown)))
    assert layout.n_rows == n_ends
    assert sorted({g.row for g in grown}) == list(range(n_ends))
    places = [(len(g.path), g.row) for g in grown]
    assert len(set(places)) == len(places)
    for i, each in enumerate(grown):
        children = [g for g in grown if g.parent == i]
        assert [g.row for g in children[:1]] == [each.row] * bool(children)
    for g in grown:
        assert len(g.text) <= layout.columns[len(g.path) - 1]


@pytest.mark.slow
@given(trees())
def test_the_picture_is_well_formed_whatever_tokens_are(roots: tuple[Continuation, ...]) -> None:
    layout = lay_out(roots)
    root = ElementTree.fromstring(draw(layout))
    kinds = {each.tag.rpartition("}")[2] for each in root.iter()}
    assert kinds <= {"svg", "circle", "path", "g", "title", "text"}
    texts = [each.text for each in root.iter() if each.tag.endswith("}text")]
    for g in layout.grown:
        assert g.text in texts


@given(
    columns=st.lists(st.integers(5, 24), min_size=1, max_size=8),
    character=st.floats(5, 12),
    room=st.integers(200, 2000),
)
def test_columns_fill_no_more_than_the_room_if_they_can(
    javascript: JavaScript, columns: list[int], character: float, room: int
) -> None:
    fit = javascript.call(SCRIPT, "fitColumns", columns, character, room)
    lefts, widths = fit["lefts"], fit["widths"]
    ends = [0.0, *(a + b for a, b in zip(lefts, widths, strict=True))]
    assert all(left - end >= 19 for left, end in zip(lefts, ends, strict=False))
    least = sum(min(112, math.ceil(n * character) + 48) + 20 for n in columns) + 8 + 48
    assert fit["width"] <= max(room + 1, least)


@pytest.mark.slow
@settings(max_examples=15)
@given(trees())
def test_arrows_lead_to_every_token(
    javascript: JavaScript, roots: tuple[Continuation, ...]
) -> None:
    layout = lay_out(roots)
    if not layout.grown:
        return
    tokens = javascript.call(SCRIPT, "readTokens", sent(layout))
    reached, waiting = {0}, [0]
    while waiting:
        at = waiting.pop()
        keys = ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End")
        to = {key: javascript.call(SCRIPT, "step", tokens, at, key) for key in keys}
        parent = layout.grown[at].parent
        assert to["ArrowLeft"] == (at if parent < 0 else parent)
        assert to["Home"] == 0
        for token in to.values():
            if token not in reached:
                reached.add(token)
                waiting.append(token)
    assert reached == set(range(len(layout.grown)))
