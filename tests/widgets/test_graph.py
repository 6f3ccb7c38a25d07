"""The timeline's graph in the page: the lanes of the drawing, whatever happened to the tree."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from hypothesis import given, settings
from hypothesis import strategies as st
from javascript import JavaScript
from tiny_models import CHATML
from waiting import wait_until

from mullama_nb import Chat, Checkpoint, CheckpointTree, Context, ContextParams
from mullama_nb.history.events import Event, Tagged
from mullama_nb.history.layout import lay_out, path_rows, segments, shared_tokens
from mullama_nb.widgets import Timeline

PROBE = Path(__file__).with_name("probe.js")
STEPS = (
    *("commit", "commit", "commit", "say", "answer", "answer", "resume", "resume"),
    *("checkout", "checkout", "prune", "split", "split", "tag"),
)
STEP = st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.booleans())


class Heard:
    """What a timeline sends while a tree changes, and the drawing's lanes at each message."""

    def __init__(self, tree: CheckpointTree) -> None:
        self.tree = tree
        self.timeline = Timeline(tree)
        self.events: list[Event] = []
        self.subscription = tree.on_change(self.events.append)
        self.snapshot = self.timeline.take_snapshot()
        self.changes: list[dict[str, Any]] = []
        self.drawn = [self.lanes()]

    def lanes(self) -> list[Any]:
        active = path_rows(self.tree.head)
        return [
            [
                *(row.checkpoint.id, row.lane, [*row.lines], row.checkpoint in active),
                sum(len(part.tokens) for part in segments(row.checkpoint)),
                shared_tokens(row.checkpoint),
            ]
            for row in lay_out(self.tree)
        ]

    def look(self) -> None:
        """Send what happened since."""
        mark = f"mark {len(self.drawn)}"
        self.tree.tag(mark, self.tree.root)
        wait_until(lambda: Tagged(mark, self.tree.root.id) in self.events)
        events = self.events[:]
        self.events.clear()
        self.changes += self.timeline.changes(events)
        self.drawn += [self.lanes()] * (1 + len(self.changes) - len(self.drawn))

    def close(self) -> None:
        self.subscription.cancel()
        self.timeline.close()


def change_tree(tree: CheckpointTree, step: str, which: int) -> None:
    everything: list[Checkpoint] = [tree.root, *tree]
    chosen = everything[which % len(everything)]
    if step == "commit":
        tree.commit(allow_empty=True, role="user", message={"role": "user", "content": "said"})
    elif step == "say":
        tree.context.evaluate("some words")
        tree.commit()
    elif step == "answer":
        tree.context.evaluate("an answer")
        tree.commit(role="assistant", finish_reason="stopped")
    elif step == "resume" and tree.head.metadata.is_answer:
        tree.context.evaluate(" that goes on")
        tree.commit(role="assistant", continues=True)
    elif step == "checkout":
        tree.checkout(chosen)
    elif step == "prune" and not chosen.is_root:
        tree.prune(chosen, force=True)
    elif step == "split" and len(chosen.tokens) > 1:
        tree.fork(chosen, token=1)
    elif step == "tag":
        tree.tag(f"tag {which}", chosen, force=True)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(STEP, min_size=8, max_size=30))
def test_pages_give_every_tree_the_lanes_of_the_drawing(
    javascript: JavaScript, tiny: ModelMaker, steps: list[tuple[str, int, bool]]
) -> None:
    with Context(tiny("llama"), ContextParams(n_ctx=256, n_threads=1)) as context:
        heard = Heard(CheckpointTree(context))
        for step, which, is_looked_at in steps:
            change_tree(heard.tree, step, which)
            if is_looked_at:
                heard.look()
        heard.look()
        seen = javascript.call(PROBE, "rowsAfter", heard.snapshot, heard.changes)
        assert seen == heard.drawn
        anew = heard.timeline.take_snapshot()
        assert javascript.call(PROBE, "rowsAfter", anew, []) == heard.drawn[-1:]
        heard.close()


def test_a_page_follows_a_chat(javascript: JavaScript, tiny: ModelMaker) -> None:
    """Answers that stream, that are explored, edited and cut, as a chat makes them."""
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=512, n_threads=1, temperature=2.0)
    heard = Heard(chat.tree)
    actions: list[Callable[[], object]] = [
        lambda: chat.ask("a", max_tokens=6),
        lambda: chat.regenerate(max_tokens=6),
        lambda: chat.fork(chat.turns[-1], token=2, max_tokens=3),
        lambda: chat.explore("b", 3, max_tokens=4),
        lambda: chat.edit("c", chat.turns[0], max_tokens=3),
        chat.undo,
        lambda: chat.ask("d", max_tokens=2),
        lambda: chat.tree.prune(chat.tree.root.children[0]),
    ]
    for action in actions:
        action()
        heard.look()
    seen = javascript.call(PROBE, "rowsAfter", heard.snapshot, heard.changes)
    assert seen == heard.drawn
    heard.close()


class Model:
    """A tree as its parents, and the changes that a page hears of it."""

    def __init__(self) -> None:
        self.parents: dict[str, str] = {"root": ""}
        self.head = "root"
        self._names = (f"c{n}" for n in count())

    def snapshot(self) -> dict[str, Any]:
        return {"rows": [*map(self.row, self.parents)], "head": self.head, "tags": {}}

    def row(self, name: str) -> list[Any]:
        return [name, self.parents[name], "user", name, 1, 10, 0]

    def commit(self, parent: str, moves: bool) -> dict[str, Any]:
        name = next(self._names)
        self.parents[name] = parent
        self.head = name if moves else self.head
        return {"rows": [self.row(parent), self.row(name)], "head": self.head}

    def prune(self, name: str) -> dict[str, Any]:
        gone = [name]
        gone += [each for each in self.parents if self.is_below(each, name)]
        if self.head in gone:
            self.head = self.parents[name]
        for each in gone:
            del self.parents[each]
        return {"gone": gone, "head": self.head}

    def is_below(self, name: str, other: str) -> bool:
        parent = self.parents[name]
        return parent == other or (parent != "" and self.is_below(parent, other))


@pytest.mark.slow
@given(st.data())
def test_folding_hides_no_head_and_loses_no_row(
    javascript: JavaScript, data: st.DataObject
) -> None:
    tree = Model()
    for _ in range(data.draw(st.integers(0, 8))):
        tree.commit(data.draw(st.sampled_from([*tree.parents])), data.draw(st.booleans()))
    snapshot = tree.snapshot()
    steps: list[tuple[str, Any]] = []
    for _ in range(data.draw(st.integers(1, 15))):
        name = data.draw(st.sampled_from([*tree.parents]))
        kind = data.draw(
            st.sampled_from(
                ["fold", "unfold", "focus", "show", "commit", "prune", "move", "live", "explored"]
            )
        )
        if kind == "commit":
            steps.append(("apply", tree.commit(name, data.draw(st.booleans()))))
        elif kind == "prune" and name != "root":
            steps.append(("apply", tree.prune(name)))
        elif kind == "move":
            tree.head = name
            steps.append(("apply", {"head": name}))
        elif kind == "live":
            steps.append(("apply", {"live": ["word", 1]}))
        elif kind == "explored":
            branch = data.draw(st.integers(0, 2))
            steps.append(("apply", {"explored": [[name, branch, "word", 1]]}))
        elif kind == "focus":
            steps.append((kind, data.draw(st.booleans())))
        elif kind != "prune":
            steps.append((kind, name))
    assert javascript.call(PROBE, "faultsAfter", snapshot, steps) == []
