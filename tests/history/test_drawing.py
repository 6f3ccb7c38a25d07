from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from conftest import ModelMaker

from mullama_nb import CheckpointTree, Context, ContextParams
from mullama_nb.history.drawing import draw_svg, draw_text

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def tree(tiny: ModelMaker) -> Iterator[CheckpointTree]:
    """A tree whose checkpoints hold no tokens, so that thousands are made in a moment."""
    with Context(
        tiny("llama"), ContextParams(n_ctx=256, n_threads=1, n_threads_batch=1)
    ) as context:
        yield CheckpointTree(context)


def grow(tree: CheckpointTree, n: int) -> None:
    for _ in range(n):
        tree.commit(allow_empty=True, role="user", message={"role": "user", "content": "said"})


def check_picture(tree: CheckpointTree) -> None:
    """Everything lies within the picture, the head is in it, and nothing is left out unsaid."""
    svg = ET.fromstring(draw_svg(tree))
    width, height = float(svg.attrib["width"]), float(svg.attrib["height"])
    circles = list(svg.iter(f"{SVG}circle"))
    texts = [text for text in svg.iter(f"{SVG}text") if "text-anchor" not in text.attrib]
    spoken = ["".join(text.itertext()) for text in texts]
    assert sum("← HEAD" in text for text in spoken) == 1
    left_out = [int(m[1]) for text in spoken if (m := re.match(r"… (\d+) more checkpoint", text))]
    assert len(circles) + sum(left_out) == len(tree) + 1
    assert len(texts) == len(circles) + len(left_out) == height / 24
    assert len(circles) <= 200
    for circle in circles:
        assert 0 < float(circle.attrib["cx"]) < float(texts[0].attrib["x"])
        assert 0 < float(circle.attrib["cy"]) < height
    for text in texts:
        assert float(text.attrib["x"]) + 400 <= width
    rows = sorted(float(element.attrib["y"]) for element in texts)
    assert rows == [24 * i + 16 for i in range(len(rows))]
    for path in svg.iter(f"{SVG}path"):
        numbers = [float(n) for n in re.findall(r"[0-9.]+", path.attrib["d"])]
        assert max(numbers) <= max(width, height)
        assert "-" not in path.attrib["d"]
    lines = draw_text(tree).splitlines()
    assert len(lines) == len(texts)
    assert sum("← HEAD" in line for line in lines) == 1


@pytest.mark.parametrize("n_lanes", [1, 43, 44, 120])
def test_labels_stay_in_the_picture_beside_many_lanes(tree: CheckpointTree, n_lanes: int) -> None:
    grow(tree, 1)
    for _ in range(n_lanes):
        home = tree.head
        grow(tree, 1)
        tree.checkout(home)
        grow(tree, 1)
    check_picture(tree)


@pytest.mark.slow
@pytest.mark.parametrize("n", [198, 199, 200, 201, 3000])
def test_a_long_line_is_shown_where_the_head_is(tree: CheckpointTree, n: int) -> None:
    grow(tree, n)
    check_picture(tree)
    svg = draw_svg(tree)
    assert len(svg) < 200_000
    for steps in (10, n - 20):
        tree.undo(steps)
        check_picture(tree)
    tree.checkout("ROOT")
    check_picture(tree)


def test_any_tree_is_shown_whole_or_says_what_is_missing(tree: CheckpointTree) -> None:
    chance = random.Random(3)
    for _ in range(12):
        grow(tree, chance.randrange(1, 60))
        everything = [tree.root, *tree]
        tree.checkout(chance.choice(everything))
        check_picture(tree)
        assert len(list(ET.fromstring(draw_svg(tree)).iter(f"{SVG}path"))) >= min(199, len(tree))
