"""The plot's numbers are the tree's, and a streamed token costs a few bytes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from javascript import FRONT_END, JavaScript
from tiny_models import CHATML

from mullama_nb import Chat, CheckpointTree, Context, ContextParams
from mullama_nb.errors import ParameterError
from mullama_nb.history.events import Committed, Moved, Progress, Tagged, TokenAdded
from mullama_nb.palette import AMBER, BLUE, GREY
from mullama_nb.plots import kv_growth
from mullama_nb.plots.growth import labelled, measure_growth
from mullama_nb.widgets.kv_plot import KVPlot

RECT = "{http://www.w3.org/2000/svg}rect"


@pytest.fixture
def chat(tiny: Callable[..., Any]) -> Chat:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=512, n_threads=1)
    chat.ask("a", max_tokens=3, temperature=2.0, seed=1)
    chat.regenerate(max_tokens=3, temperature=2.0, seed=2)
    return chat


def test_the_numbers_are_the_trees(chat: Chat) -> None:
    snapshot = KVPlot(chat).take_snapshot()
    path, sums = chat.tree.path(), chat.tree.kv_bytes()
    assert [step[:2] for step in snapshot["steps"]] == [[path[0].id, "Q1"], [path[1].id, "A1"]]
    assert [step[4] for step in snapshot["steps"]] == [c.n_bytes for c in path]
    assert [step[5] for step in snapshot["steps"]] == [0, path[0].n_bytes]
    assert [step[6] for step in snapshot["steps"]] == [1, 0]
    assert snapshot["tokens"] == chat.context.token_count()
    assert snapshot["shared_tokens"] == path[0].stop
    assert snapshot["cells"] == 512
    assert (snapshot["all_kept"], snapshot["all_snapshots"]) == (sums.total, sums.snapshots)
    json.dumps(snapshot)


def test_a_token_is_a_number_and_a_move_is_a_picture(chat: Chat) -> None:
    widget = KVPlot(chat)
    widget.listen(False)
    tokens = [TokenAdded(1, "x" * 400, -1.0)] * 9
    (change,) = widget.changes([*tokens, Progress(1, 2)])
    assert change == {"live": 9}
    assert list(widget.changes([Tagged("t", chat.head.id)])) == []
    before = chat.head
    chat.undo()
    (change,) = widget.changes([*tokens, Moved(chat.head.id, before.id)])
    assert change["all"] == widget.take_snapshot()
    assert change["all"]["steps"] == []


def test_a_long_path_costs_no_more_than_its_end(tiny: Callable[..., Any]) -> None:
    tree = CheckpointTree(Context(tiny("llama"), ContextParams(n_ctx=512, n_threads=1)))
    for _ in range(70):
        tree.context.evaluate("a")
        tree.commit()
    (change,) = KVPlot(tree).changes([Committed(tree.head.id, "")])
    assert len(change["all"]["steps"]) == 64
    assert change["all"]["omitted"] == 6
    assert len(json.dumps(change)) < 7000


def test_the_picture_holds_one_bar_a_checkpoint(chat: Chat) -> None:
    bundle, _ = KVPlot(chat)._repr_mimebundle_()
    svg = bundle["image/svg+xml"]
    assert svg in bundle["text/html"]
    titles = [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("title")]
    sizes = [f"{c.n_bytes:,} bytes" for c in chat.tree.path()]
    assert len(titles) == len(sizes)
    assert all(str(t).endswith(size) for t, size in zip(titles, sizes, strict=True))
    assert KVPlot(chat).to_html() == bundle["text/html"]


def test_a_bar_leads_to_its_checkpoint(chat: Chat) -> None:
    widget = KVPlot(chat)
    question = chat.tree.path()[0]
    widget.handle("checkout", {"checkpoint": question.id})
    assert chat.head is question
    KVPlot(chat.tree).handle("checkout", {"checkpoint": chat.tree.root.id})
    assert chat.head is chat.tree.root


def test_messages_are_named_in_their_order(tiny: Callable[..., Any]) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=512, n_threads=1, system="Be brief.")
    for text in ("a", "b"):
        answer = chat.ask(text, max_tokens=6, temperature=2.0)
    chat.fork(answer, token=2, max_tokens=2)
    names = [step.name for step in measure_growth(chat.tree).steps]
    assert list(dict.fromkeys(names)) == ["S", "Q1", "A1", "Q2", "A2"]
    assert names.count("A2") >= 2  # an answer in several checkpoints
    svg = KVPlot(chat).to_html()
    assert [svg.count(f">{name}</text>") for name in ("S", "Q1", "A1", "Q2", "A2")] == [1] * 5
    axes = kv_growth(chat.tree).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["S", "Q1", "A1", "Q2", "A2"]
    assert all(colour in svg for colour in (BLUE, AMBER, GREY))


@pytest.mark.slow
@given(
    n=st.one_of(st.integers(0, 12), st.sampled_from([64, 1000, 20_000])),
    room=st.floats(0.05, 60),
    letter=st.sampled_from([6.5, 7]),
    has_system=st.booleans(),
)
@example(n=1000, room=0.42, letter=6.5, has_system=True)
def test_names_below_bars_never_overlap(
    javascript: JavaScript, n: int, room: float, letter: float, has_system: bool
) -> None:
    names = ["S"] * has_system + [f"{kind}{i}" for i in range(1, n + 1) for kind in "QA"]
    shown = labelled(names, room, letter)
    ends = [((i + 0.5) * room, len(names[i]) * letter / 2) for i in shown]
    for (a, half), (b, other) in itertools.pairwise(ends):
        assert a + half < b - other
    assert bool(shown) is bool(names)
    if n < 2_000:
        script = FRONT_END / "kv_bars.js"
        assert javascript.call(script, "labelled", names, room, letter) == shown
    if len(shown) < len(names):
        assert all(names[i].startswith("Q") for i in shown)


def test_what_was_said_is_text(tiny: Callable[..., Any]) -> None:
    hostile = "<script>alert(1)</script></svg>"
    messages = [{"role": "user", "content": hostile}]
    chat = Chat.from_messages(tiny("llama", chat_template=CHATML), messages, n_ctx=256)
    shown = KVPlot(chat).to_html()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


def test_an_empty_tree_has_a_picture(tiny: Callable[..., Any]) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=64, n_threads=1)
    assert "0 B kept" in KVPlot(chat).to_html()
    assert KVPlot(chat.tree).take_snapshot()["steps"] == []


def test_other_things_are_refused() -> None:
    with pytest.raises(ParameterError, match="Chat or a CheckpointTree"):
        KVPlot("chat")  # type: ignore[arg-type]
