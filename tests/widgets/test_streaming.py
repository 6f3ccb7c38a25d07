"""An answer as it streams, however it came about, is gathered, or is looked at too late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from hypothesis import example, given, settings
from hypothesis import strategies as st
from javascript import FRONT_END, JavaScript
from waiting import wait_until

from mullama_nb import Chat
from mullama_nb.history.asking import question_at
from mullama_nb.history.events import Event, Tagged, TokenAdded
from mullama_nb.widgets.chat_panel import ChatPanel
from mullama_nb.widgets.live_answer import begin_answer, head_after

SHOW = Path(__file__).with_name("show.js")
PANEL = (FRONT_END / "chat_panel.js").as_uri()
TEMPLATES = [
    (Path(__file__).parents[1] / "templates" / f"{name}.jinja").read_text("utf-8")
    for name in ("chatml", "qwen3_thoughts", "r1_opens_thought")
]
WAYS = ("ask", "resume", "regenerate", "fork", "answer", "edit", "instruct")
HOT = {"max_tokens": 6, "temperature": 2.0, "echo": False}


def lead(chat: Chat, way: str, which: int) -> None:
    """Have the model answer in one of the ways that there are."""
    turns = [turn for turn in chat.turns if turn.role == "assistant" and turn.tokens]
    if way == "resume" and turns and chat.head.is_unfinished:
        chat.resume(**HOT)
    elif way == "regenerate" and turns:
        chat.regenerate(**HOT)
    elif way == "fork" and turns:
        turn = turns[which % len(turns)]
        token = which % len(turn.tokens)
        chosen = [other.id for other in turn.alternatives(token)][which % 3]
        chat.fork(turn, token=token, choose=chosen, **HOT)
    elif way == "answer" and turns:
        chat.checkout(next(turn for turn in chat.turns if turn.role == "user"))
        chat.regenerate(**HOT)
    elif way == "edit" and turns:
        chat.edit("Ho", **HOT)
    elif way == "instruct" and turns:
        chat.edit(f"Be {which}.", "ROOT", **HOT)
    else:
        budget = {"reasoning_budget": 3} if chat.answer_format.has_thoughts else {}
        chat.ask("Hi", **budget, **HOT)


def heard(chat: Chat, way: str, which: int, events: list[Event]) -> list[Event]:
    """The events of one of them."""
    lead(chat, way, which)
    mark = Tagged(f"mark {len(chat.tree)} {which}", chat.tree.root.id)
    chat.tree.tag(mark.tag, chat.tree.root)
    wait_until(lambda: mark in events)
    found, events[:] = events[:], []
    return found


def is_token(event: Event) -> bool:
    return isinstance(event, TokenAdded)


STEP = st.tuples(st.sampled_from(WAYS), st.integers(0, 9))


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=15)
@given(steps=st.lists(STEP, max_size=4), last=STEP, data=st.data())
def test_no_token_is_lost(
    tiny: ModelMaker,
    javascript: JavaScript,
    template: str,
    steps: list[tuple[str, int]],
    last: tuple[str, int],
    data: st.DataObject,
) -> None:
    """What a view shows after each message is the answer from its first token to its latest."""
    chat = Chat(tiny("llama", chat_template=template), n_ctx=1024, n_threads=1, seed=1)
    events: list[Event] = []
    subscription = chat.tree.on_change(events.append)
    for way, which in steps:
        heard(chat, way, which, events)
    panel = ChatPanel(chat)
    panel.listen(False)  # what it hears is given to it here
    found = heard(chat, *last, events)
    tokens = [n for n, event in enumerate(found) if isinstance(event, TokenAdded)]
    begin = next((e for e in map(head_after, reversed(found[: tokens[0]])) if e), None)
    at = chat.tree[begin or chat.head.parent.id]
    late = data.draw(st.integers(0, tokens[-1]), "a view comes before this event")
    if late > tokens[0]:
        panel._at = at.id  # as it was when the view came
    else:
        late = 0
    snapshot: dict[str, Any] = panel.take_snapshot()
    reference = begin_answer(chat, at)
    n, changes, shown = late, list[Any](), list[Any]()
    for each in tokens:
        if each < late:
            reference.add([found[each]])
    while n <= tokens[-1]:
        size = data.draw(st.integers(1, 5), "events of a message")
        part = found[n : min(n + size, tokens[-1] + 1)]
        changes += panel.changes(part)
        for event in part:
            if isinstance(event, TokenAdded):
                reference.add([event])
        live, wanted = panel.take_snapshot()["live"], reference.snapshot()
        if live is None:
            assert not any(event.text for event in found[late : n + size] if is_token(event))
        else:
            assert live == wanted
            assert live["continues"] == at.metadata.is_answer
        shown.append(live)
        n += size
    states = javascript.call(SHOW, "states", PANEL, snapshot, changes)
    assert states[-1] is not None
    assert states[-1]["live"] == shown[-1]
    list(panel.changes(found[tokens[-1] + 1 :]))
    assert panel.take_snapshot()["live"] is None
    subscription.cancel()
    panel.close()
    chat.context.close()


@pytest.mark.slow
@settings(max_examples=25)
@given(steps=st.lists(STEP, max_size=4), which=st.integers(0, 30))
@example(steps=[("fork", 1)], which=1)  # two answers with the same first token
def test_a_panel_says_where_the_head_is_a_question(
    tiny: ModelMaker, steps: list[tuple[str, int]], which: int
) -> None:
    """It does exactly where the last row is no answer, and what it offers answers that row."""
    chat = Chat(tiny("llama", chat_template=TEMPLATES[0]), n_ctx=1024, n_threads=1, seed=1)
    panel = ChatPanel(chat)
    for way, n in [("ask", 0), *steps]:
        lead(chat, way, n)
    everything = [chat.tree.root, *chat.tree]
    chat.checkout(everything[which % len(everything)])
    shown = panel.take_snapshot()
    rows, standing = shown["messages"], shown["standing"]
    is_question = bool(rows) and rows[-1]["role"] not in ("system", "assistant")
    assert (standing is not None) == is_question == (question_at(chat.head) is chat.head)
    if standing is not None:
        assert standing["id"] == rows[-1]["id"]
        said = [row["text"] for row in rows]
        chat.regenerate(**HOT)
        after = panel.take_snapshot()
        assert [row["text"] for row in after["messages"]][:-1] == said
        assert after["messages"][-1]["count"] == standing["answers"] + 1
        assert after["standing"] is None
    panel.close()
    chat.context.close()


def test_an_edited_answer_keeps_its_thought_and_its_calls(tiny: ModelMaker) -> None:
    for name in ("qwen3_thoughts", "r1_opens_thought", "chatml_tools", "glm_thoughts"):
        source = (Path(__file__).parents[1] / "templates" / f"{name}.jinja").read_text("utf-8")
        for keeps in (False, True):
            chat = Chat(
                tiny("llama", chat_template=source),
                keep_reasoning=keeps,
                n_ctx=1024,
                n_threads=1,
            )
            thinks = chat.answer_format.has_thoughts
            call = {"type": "function", "function": {"name": "tide", "arguments": {"at": "noon"}}}
            thought = {"reasoning_content": "Let me see."} if thinks else {"tool_calls": [call]}
            said = {"role": "assistant", "content": "Two.", **thought}
            chat.replay([{"role": "user", "content": "Hi"}, said])
            panel = ChatPanel(chat)
            before = panel.take_snapshot()["messages"][-1]
            panel.handle("edit", {"checkpoint": chat.head.id, "text": "Three."})
            after = panel.take_snapshot()["messages"][-1]
            assert after["text"].strip() == "Three."
            assert (after["thought"], after["calls"]) == (before["thought"], before["calls"])
            assert before["thought"] or before["calls"]
            assert after["place"] == 2
            panel.close()
            chat.context.close()
