"""The timeline sends the layout once and small changes after that."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from conftest import ModelMaker
from history.executing import Pickling
from hypothesis import given
from hypothesis import strategies as st
from javascript import FRONT_END, JavaScript
from tiny_models import CHATML
from waiting import in_thread, wait_until

from mullama_nb import Chat
from mullama_nb.history.drawing import words
from mullama_nb.history.events import (
    Committed,
    Event,
    Moved,
    Pruned,
    Spilled,
    Split,
    Tagged,
    TokenAdded,
)
from mullama_nb.palette import BLUE, GREY
from mullama_nb.signs import signs
from mullama_nb.widgets.timeline import Timeline

PROBE = Path(__file__).with_name("probe.js")
SHOW = PROBE.with_name("show.js")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def chat(tiny: Callable[..., Any]) -> Chat:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=512, n_threads=1)
    chat.ask("a", max_tokens=3, temperature=2.0, seed=1)
    chat.regenerate(max_tokens=3, temperature=2.0, seed=2)
    return chat


def test_a_snapshot_has_parents_first_and_siblings_in_order(chat: Chat) -> None:
    snapshot = Timeline(chat).take_snapshot()
    parents = {row[0]: row[1] for row in snapshot["rows"]}
    everything = [chat.tree.root, *chat.tree]
    assert parents == {c.id: c.parent.id if c.parent else "" for c in everything}
    told: list[str] = []
    for identifier, parent in parents.items():
        assert parent in told or parent == ""
        told.append(identifier)
    for checkpoint in everything:
        children = [child.id for child in checkpoint.children]
        assert [i for i in told if parents[i] == checkpoint.id] == children
    assert snapshot["head"] == chat.head.id
    json.dumps(snapshot)


@pytest.mark.parametrize("action", ["undo", "checkout", "fork"])
def test_what_moves_the_head_stops_an_answer(chat: Chat, action: str) -> None:
    widget, place = Timeline(chat), chat.turns[0].checkpoint.id
    begun = threading.Event()

    def slowly(_: object) -> None:
        begun.set()
        time.sleep(0.05)

    asking = in_thread(lambda: chat.ask("And then?", echo=False, on_token=slowly))
    begun.wait()
    arguments = {} if action == "undo" else {"checkpoint": place}
    widget._receive({"kind": "do", "action": action, **arguments}, [])
    asking.join()
    *_, latest = chat.tree
    assert latest.metadata.finish_reason == "stopped"
    wait_until(lambda: chat.head is not latest)
    if action != "undo":
        assert chat.head.id == place
    widget.close()


def test_changes_are_small(chat: Chat) -> None:
    widget = Timeline(chat)
    head = chat.head
    assert head.parent is not None
    assert list(widget.changes([Moved(head.id, head.parent.id)])) == [{"head": head.id}]
    assert list(widget.changes([Tagged("t", head.id)])) == [{"tags": {"t": head.id}}]
    (change,) = widget.changes([TokenAdded(1, "x" * 400, -1.0)] * 9)
    assert len(json.dumps(change)) < 200
    widget.take_snapshot()
    (change,) = widget.changes([Committed(head.id, head.parent.id)])
    assert [row[0] for row in change["rows"]] == [head.parent.id, head.id]


@pytest.fixture(scope="module", params=["here", "elsewhere"])
def exploration(
    request: pytest.FixtureRequest, tiny: ModelMaker
) -> tuple[Timeline, dict[str, Any], list[Event]]:
    """Answers to a question that is put in two ways: a timeline before them, and what was told."""
    model = tiny("llama", chat_template="{% if mood %}{{ mood }}{% endif %}" + CHATML)
    chat = Chat(model, n_ctx=512, n_threads=1, n_parallel=2, temperature=2.0)
    widget, events = Timeline(chat), list[Event]()
    snapshot = widget.take_snapshot()
    subscription = chat.tree.on_change(events.append)
    moods = [{"mood": "Well"}, {"mood": "Alas"}]
    with Pickling(2) as pool:
        chat.explore(
            "Hi",
            3,
            vary={"chat_template_kwargs": moods},
            max_tokens=4,
            seed=1,
            executor=pool if request.param == "elsewhere" else None,
        )
    assert chat.tree.flush()
    subscription.cancel()
    return widget, snapshot, events


@pytest.mark.slow
@given(data=st.data())
def test_answers_that_are_explored_have_a_row_each(
    exploration: tuple[Timeline, dict[str, Any], list[Event]],
    javascript: JavaScript,
    data: st.DataObject,
) -> None:
    """However messages divide what happened; all are gone where they are checkpoints."""
    widget, snapshot, events = exploration
    texts: dict[str, dict[int, list[str]]] = {}
    changes, expected = [], []
    while events:
        n = data.draw(st.integers(1, len(events)))
        part, events = events[:n], events[n:]
        for event in part:
            if isinstance(event, TokenAdded):
                assert event.branch is not None
                assert event.question is not None
                answers = texts.setdefault(event.question, {})
                answers.setdefault(event.branch, []).append(event.text)
            elif isinstance(event, Committed) and not event.is_head:
                texts.pop(event.parent, None)
        for change in widget.changes(part):
            changes.append(change)
            expected.append(
                [
                    [question, [["".join(said), len(said)] for said in answers.values()]]
                    for question, answers in texts.items()
                ]
            )
    assert javascript.call(PROBE, "exploredAfter", snapshot, changes) == expected
    assert expected[-1] == []
    assert len(widget.tree.root.children) == 2


@pytest.mark.parametrize("cut", range(5))
def test_a_live_row_has_every_token_since_the_head_moved(
    chat: Chat, javascript: JavaScript, cut: int
) -> None:
    """However messages divide what happened, and also behind a checkpoint that was split."""
    widget = Timeline(chat)
    snapshot = widget.take_snapshot()
    head = chat.head
    assert head.parent is not None
    for first in (Committed(head.id, head.parent.id), Split(head.id, head.parent.id)):
        events: list[Event] = [TokenAdded(0, "gone", -1.0), first]
        events += [TokenAdded(n, piece, -1.0) for n, piece in enumerate(("The ", "tide ", "turns"))]
        changes = [c for part in (events[:cut], events[cut:]) for c in widget.changes(part)]
        assert javascript.call(PROBE, "liveAfter", snapshot, changes) == ["The tide turns", 3]


def test_what_is_no_move_leaves_a_live_row(chat: Chat, javascript: JavaScript) -> None:
    widget = Timeline(chat)
    snapshot = widget.take_snapshot()
    words = [TokenAdded(n, piece, -1.0) for n, piece in enumerate(("The ", "tide"))]
    changes = [
        change
        for event in (words[0], Spilled(chat.head.id), Tagged("t", chat.head.id), words[1])
        for change in widget.changes([event])
    ]
    assert javascript.call(PROBE, "liveAfter", snapshot, changes) == ["The tide", 2]


def test_a_row_says_where_its_rows_are(chat: Chat) -> None:
    widget = Timeline(chat)
    events: list[Event] = []
    chat.tree.on_change(events.append)
    place = chat.head

    def flags() -> list[int]:
        assert chat.tree.flush()
        changes = [*widget.changes([*events])]
        events.clear()
        rows = [row for change in changes for row in change.get("rows", ())]
        return [row[-1] & 2 for row in rows if row[0] == place.id]

    chat.tree.spill(place)
    assert flags() == [2]
    chat.undo()
    assert flags() == []
    chat.redo()
    assert flags() == [0]


def test_rows_with_thoughts_and_calls_are_marked(tiny: Callable[..., Any]) -> None:
    call = {"type": "function", "function": {"name": "depth", "arguments": {}}}
    template = CHATML.replace("message['content']", "message | tojson")
    chat = Chat(tiny("llama"), chat_template=template, n_ctx=2048, n_threads=1)
    said: list[dict[str, Any]] = [{}, {"reasoning_content": "Hm."}, {"tool_calls": [call]}]
    for fields in (*said, {**said[1], **said[2]}):
        answer = {"role": "assistant", "content": "A", **fields}
        chat.replay([{"role": "user", "content": "Q"}, answer])
    flags = {row[0]: row[-1] for row in Timeline(chat).take_snapshot()["rows"]}
    assert [flags[turn.id] & 12 for turn in chat.turns[1::2]] == [0, 4, 8, 12]


def test_pruning_sends_what_is_gone_alone(chat: Chat) -> None:
    widget = Timeline(chat)
    first, second = chat.head.siblings
    chat.ask("b", max_tokens=2)
    gone = (first.id, *(child.id for child in first.children))
    chat.tree.prune(first)
    assert list(widget.changes([Pruned(gone)])) == [{"gone": [*gone], "head": chat.head.id}]
    assert second in chat.tree


def test_what_came_back_lies_behind_its_siblings(chat: Chat) -> None:
    first, second = chat.head.siblings
    assert first.parent is not None
    parent = first.parent.id
    events = [
        Committed(first.id, parent),
        Pruned((first.id,)),
        Committed(second.id, parent),
        Committed(first.id, parent),
    ]
    (change,) = Timeline(chat).changes(events)
    assert change["gone"] == [first.id]
    assert [row[0] for row in change["rows"]] == [parent, second.id, first.id]


def test_a_card_says_what_a_row_has_no_room_for(chat: Chat) -> None:
    widget, sent = Timeline(chat), []
    widget.queue_change = sent.append  # type: ignore[method-assign]
    chat.edit("word " * 200, chat.turns[-2], max_tokens=1)
    asked = chat.turns[-2].checkpoint
    widget.handle("look", {"checkpoint": asked.id})
    card = sent[0]["card"]
    assert card["text"] == "word " * 200
    assert not card["is_cut"]
    assert (card["tokens"], card["bytes"]) == (len(asked.tokens), asked.n_bytes)
    assert card["path"] == asked.stop


def test_a_checkpoint_is_compared_with_the_head(chat: Chat) -> None:
    widget, sent = Timeline(chat), []
    widget.queue_change = sent.append  # type: ignore[method-assign]
    first, second = chat.head.siblings
    assert chat.head is second
    widget.handle("compare", {"checkpoint": first.id})
    shown = sent[0]["comparison"]
    difference = chat.tree.diff(first, second)
    assert shown["common"] == difference.position
    names, tokens, chances, said = zip(*shown["sides"], strict=True)
    assert names == (first.short_id, "head")
    detokenize = chat.model.detokenize
    assert difference.a_token is not None
    assert difference.b_token is not None
    assert tokens == tuple(
        signs(detokenize([token])) for token in (difference.a_token, difference.b_token)
    )
    assert chances == (difference.a_probability, difference.b_probability)
    for [(who, shared, own)], checkpoint in zip(said, (first, second), strict=True):
        assert (who, shared + own) == ("Model", words(checkpoint))


def test_a_comparison_says_who_says_what_without_the_template(chat: Chat) -> None:
    """On either side of a fork there are whole messages; a path that ends first says so."""
    widget, sent = Timeline(chat), []
    widget.queue_change = sent.append  # type: ignore[method-assign]
    first, _ = chat.turns
    answered = chat.edit("An answer.", chat.turns[-1])
    chat.ask("c", max_tokens=2)
    widget.handle("compare", {"checkpoint": answered.id})
    chat.checkout(first.checkpoint)
    chat.tree.checkout("ROOT")
    chat.ask("something else", max_tokens=2)
    widget.handle("compare", {"checkpoint": answered.id})
    (ended, on), (one, other) = (each["comparison"]["sides"] for each in sent)
    assert (ended[1], ended[3]) == (None, [])
    assert [who for who, _, _ in on[3]] == ["You", "Model"]
    assert [[who for who, *_ in side[3]] for side in (one, other)] == [["You", "Model"]] * 2
    assert (one[3][0][2], other[3][0][2]) == ("a", "something else")
    assert "<|im_" not in json.dumps(sent)


def test_actions_move_the_head_tag_and_prune(chat: Chat) -> None:
    widget = Timeline(chat)
    first, second = chat.head.siblings
    widget.handle("checkout", {"checkpoint": first.id})
    assert chat.head is first
    widget.handle("tag", {"checkpoint": first.id, "name": "good"})
    assert chat.tree.tags["good"] is first
    widget.handle("prune", {"checkpoint": second.id})
    assert second.id not in chat.tree
    widget.handle("undo", {})
    assert chat.turns == []


def test_pruning_an_answer_leaves_its_question_to_be_seen(tiny: ModelMaker) -> None:
    begins = CHATML + "{%- if add_generation_prompt -%}<t>{%- endif -%}"
    chat = Chat(tiny("llama", chat_template=begins), n_ctx=512, n_threads=1)
    said = [{"role": "user", "content": "why"}, {"role": "assistant", "content": " two"}]
    begun = chat.ask(said, max_tokens=3).checkpoint.parent
    assert begun is not None
    assert begun.parent is not None
    assert begun.parent.metadata.cut
    Timeline(chat).handle("prune", {"checkpoint": begun.id, "force": True})
    assert [turn.text for turn in chat.turns] == ["why"]


def test_the_bundle_holds_the_drawing(chat: Chat) -> None:
    bundle, _ = Timeline(chat)._repr_mimebundle_()
    assert bundle["image/svg+xml"] in bundle["text/html"]


def test_the_drawing_has_the_lines_and_the_sign_of_the_live_one(
    chat: Chat, javascript: JavaScript
) -> None:
    chat.fork(chat.turns[-1], token=1, max_tokens=2)
    drawn = ET.fromstring(Timeline(chat)._repr_mimebundle_()[0]["image/svg+xml"])
    lines = [*drawn.findall(f"{SVG}path"), *drawn.findall(f"{SVG}circle")]
    assert {line.attrib["stroke"] for line in lines} == {BLUE, GREY}
    style = str(Timeline._css)
    assert f"--m-blue:{BLUE};" in style
    assert f"--m-grey:{GREY};" in style
    looks = dict(re.findall(r"\.mullama-row (path\S*) \{[^}]*stroke: var\(--m-(\w+)\)", style))
    assert looks == {"path": "grey", "path.active": "blue"}
    url = (FRONT_END / "timeline_picture.js").as_uri()
    sign = javascript.call(SHOW, "constant", url, "FORK")
    assert [path.attrib["d"] for path in drawn.iter(f"{SVG}path")].count(sign) == 1
