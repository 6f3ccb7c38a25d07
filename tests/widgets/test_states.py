"""A view that heard every change knows what a view knows that has just come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from hypothesis import example, given, settings
from hypothesis import strategies as st
from javascript import FRONT_END, JavaScript
from tiny_models import CHATML
from waiting import wait_until

from mullama_nb import Chat
from mullama_nb.history.events import Event, Tagged
from mullama_nb.widgets import ChatPanel, Choice, Explorer, KVPlot, Lens, Likely

SHOW = Path(__file__).with_name("show.js")
STEPS = ("ask", "regenerate", "edit", "fork", "explore", "undo", "redo", "go", "prune", "trim")


def change_chat(chat: Chat, step: str, which: int) -> None:
    answers = [turn for turn in chat.turns if turn.role == "assistant"]
    everything = [chat.tree.root, *chat.tree]
    chosen = everything[which % len(everything)]
    options = {"max_tokens": 1 + which, "temperature": 2.0}
    if step == "ask" and len(chat.turns) < 8:
        chat.ask("**why** \U0001f600?", **options)
    elif step == "regenerate" and answers:
        chat.regenerate(**options)
    elif step == "edit" and answers:
        chat.edit("how?", chat.turns[0], **options)
    elif step == "fork" and answers and len(answers[-1].tokens) > 1:
        chat.fork(answers[-1], token=1, **options)
    elif step == "explore" and len(chat.turns) < 8:
        found = chat.explore("which?", 2 + which % 3, **options)
        if which % 2:
            found[0].keep()
    elif step == "undo":
        chat.undo()
    elif step == "redo" and chat.redo_steps:
        chat.redo()
    elif step == "go":
        chat.tree.checkout(chosen)
    elif step == "prune" and not chosen.is_root:
        chat.tree.prune(chosen, force=True)
    elif (
        step == "trim" and chat.tree.head.siblings[1:]
    ):  # which changes the count of one that stays
        chat.tree.prune(next(c for c in chat.tree.head.siblings if c is not chat.tree.head))


STEP = st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 30))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "script"),
    [
        (ChatPanel, "chat_panel"),
        (Choice, "choice"),
        (Explorer, "explorer"),
        (KVPlot, "kv_plot"),
        (Lens, "lens"),
        (Likely, "likely"),
    ],
)
@settings(max_examples=40)
@example(steps=[("explore", 2, 0), ("explore", 3, 0)])  # four answers, then two
@given(steps=st.lists(STEP, min_size=4, max_size=8))
def test_changes_lead_to_what_a_snapshot_says(
    javascript: JavaScript,
    tiny: ModelMaker,
    kind: Any,
    script: str,
    steps: list[tuple[str, int, int]],
) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=1024, n_threads=1)
    widget = kind(chat)
    widget.listen(False)  # what it hears is given to it here
    events: list[Event] = []
    subscription = chat.tree.on_change(events.append)
    snapshot = widget.take_snapshot()
    live = [snapshot.get("live")]
    changes: list[dict[str, Any]] = []
    for n, (step, which, split) in enumerate(steps):
        change_chat(chat, step, which)
        mark = Tagged(f"mark {n}", chat.tree.root.id)
        chat.tree.tag(mark.tag, chat.tree.root)
        wait_until(lambda mark=mark: mark in events)
        heard, events[:] = events[:], []
        for part in (heard[:split], heard[split:]):  # as messages are cut while an answer streams
            for change in widget.changes(part) if part else ():
                changes.append(change)
                live.append(widget.take_snapshot().get("live"))
    url = (FRONT_END / f"{script}.js").as_uri()
    seen = javascript.call(SHOW, "states", url, snapshot, changes)
    fresh = widget.take_snapshot()
    assert seen[-1:] == javascript.call(SHOW, "states", url, fresh, [])
    if kind is not KVPlot:  # whose rows become objects
        assert seen[-1] == json.loads(json.dumps(fresh))
    if kind in (ChatPanel, Explorer, Lens):
        assert [state["live"] for state in seen] == json.loads(json.dumps(live))
    subscription.cancel()
    widget.close()
    chat.context.close()
