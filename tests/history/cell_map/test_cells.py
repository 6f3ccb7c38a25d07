"""The cell map is what the tree says, whatever was done, and a view can follow it by messages."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from cell_receiver import Receiver, sent_bytes
from conftest import ModelMaker
from history.cell_map.following import Follower, received_strips, told_strips
from history.conftest import ChatMaker
from hypothesis import example, given, settings
from hypothesis import strategies as st
from steps import steps
from tiny_models import CHATML, make_model
from tree_walk import Walk

from mullama_nb import Chat, CheckpointTree, Context, ContextParams, Model
from mullama_nb.history.cell_map.live import CellMap, LiveCells, Strip, cell_map
from mullama_nb.history.events import Event
from mullama_nb.history.tree import Checkpoint


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_random_walk_is_followed(tmp_path: Path, seed: int) -> None:
    model = Model.load(make_model(tmp_path / "m.gguf", "llama", chat_template=CHATML))
    context = Context(model, ContextParams(n_ctx=1024, n_threads=1, n_parallel=4))
    chat = Chat(context, "Be brief.", seed=seed, max_bytes=200_000)
    walk, follower = Walk(chat, seed), Follower(chat)
    for _ in range(60):
        walk.step()
        follower.check()


# -- other ways to come to a tree -----------------------------------------------------------------

STEPS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 60)), max_size=25)


def do(tree: CheckpointTree, kind: int, value: int) -> None:
    """Something with a tree that has no chat."""
    places = [tree.root, *tree]
    place = places[value % len(places)]
    match kind:
        case 0 | 1:
            tree.context.evaluate([5 + value, *range(6, 6 + value % 4)])
            tree.commit(role=["user", "assistant", "<b>", "tool"][value % 4])
        case 2:
            tree.checkout(place)
        case 3:
            tree.undo(1 + value % 3)
        case 4:
            tree.redo(1 + value % 3)
        case 5 if place is not tree.root:
            tree.prune(place, force=True)
        case 6 if len(place.tokens) > 1:
            tree.fork(place, token=1)
        case 7:
            tree.commit(allow_empty=True, role="user")
            tree.spill(place)


@pytest.mark.slow
@settings(max_examples=40)
@given(STEPS)
def test_any_tree_is_followed(tiny: ModelMaker, done: list[tuple[int, int]]) -> None:
    params = ContextParams(n_ctx=512, n_threads=1, n_threads_batch=1)
    with Context(tiny("llama"), params) as context:
        tree = CheckpointTree(context, max_bytes=20_000)
        follower = Follower(tree)
        for kind, value in done:
            do(tree, kind, value)
            follower.check()


# At once, a strip gets another one before it and loses its end.
CUT_AND_MOVED = [
    [(0, 0)] * 3 + [(5, 22), (0, 0), (0, 22)] + [(0, 0)] * 4 + [(2, 13), (0, 0), (0, 0)],
    [(0, 0)] * 3,
    [(0, 14)],
    [(6, 45), (5, 55), (0, 0)],
]


# At once, a strip loses its end and is split, and another one begins in between.
CUT_AND_SPLIT = [
    [(0, 1), (6, 1), (0, 1), (0, 0), (0, 0)],
    [(0, 0), (5, 33), (6, 33), (0, 0)],
]


@settings(max_examples=15)
@given(st.lists(STEPS, max_size=5))
@example(CUT_AND_MOVED)
@example(CUT_AND_SPLIT)
def test_changes_may_come_late_and_together(
    tiny: ModelMaker, done: list[list[tuple[int, int]]]
) -> None:
    params = ContextParams(n_ctx=512, n_threads=1, n_threads_batch=1)
    with Context(tiny("llama"), params) as context:
        tree = CheckpointTree(context)
        follower = Follower(tree)
        for several in done:
            for kind, value in several:
                do(tree, kind, value)
            follower.check()


TEXT = st.text(max_size=12)
RUN = st.tuples(st.integers(1, 5), st.sampled_from(["user", "assistant", "template", "\u2028<&"]))


@st.composite
def maps(draw: st.DrawFn) -> CellMap:
    """Maps that no tree has: every field takes any value that it can."""
    strips: list[Strip] = []
    for number in range(draw(st.integers(0, 5))):
        tokens = draw(st.lists(st.integers(0, 2**31 - 1), max_size=12))
        n, start = len(tokens), draw(st.integers(0, 1000))
        stops = sorted(draw(st.lists(st.integers(start, start + n), max_size=4)))
        probability = st.none() | st.floats(0, 1, width=32)
        strips.append(
            Strip(
                id=f"{number}-{draw(TEXT)}",
                parent=draw(st.none() | st.integers(0, number - 1)) if number else None,
                start=start,
                tokens=tuple(tokens),
                checkpoints=tuple((draw(TEXT), stop) for stop in stops),
                lane=number,
                n_active=draw(st.integers(0, n)),
                texts=tuple(f"<{token}>\0\n" for token in tokens),
                roles=runs(draw(st.lists(RUN, max_size=9)), n, "system"),
                places=runs([(s, p) for s, p in draw(st.lists(PLACED, max_size=9))], n, "disk"),
                probabilities=tuple(draw(probability) for _ in tokens),
                checkpoint_bytes=tuple(draw(st.integers(0, 2**50)) for _ in stops),
            )
        )
    return CellMap(4096, draw(st.integers(0, 9)), "cells", 0, False, tuple(strips))


PLACED = st.tuples(st.integers(1, 5), st.sampled_from(["context", "memory", "disk", "dropped"]))


def runs(lengths: list[tuple[int, str]], n: int, last: str) -> tuple[tuple[int, str], ...]:
    """Runs of these lengths that end with the tokens."""
    found: list[tuple[int, str]] = []
    stop = 0
    for length, value in [*lengths, (n, last)]:
        stop = min(n, stop + length)
        if stop > (found[-1][0] if found else 0):
            if found and found[-1][1] == value:
                found.pop()
            found.append((stop, value))
    return tuple(found)


@pytest.mark.slow
@given(maps())
def test_a_message_holds_all_of_a_map(cells: CellMap) -> None:
    receiver = Receiver()
    receiver.receive(cells.to_message())
    received = {strip["id"]: strip for strip in receiver.in_order()}
    index = {strip.id: i for i, strip in enumerate(cells.strips)}
    assert receiver.facts["n_ctx"] == 4096
    for told in told_strips(cells):
        found = received[told["id"]]
        parent = None if found["parent"] is None else found["parent"]
        assert {**found, "parent": parent, "number": None} == told
        assert found["number"] == index[told["id"]]


# -- while it grows -------------------------------------------------------------------------------


def test_an_answer_fills_cells_token_by_token(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    chat.ask("one?", max_tokens=2)
    follower = Follower(chat)
    seen: list[tuple[int, int, tuple[str, ...]]] = []

    def look(_: object) -> None:
        message = follower.catch_up()
        assert message is not None
        cells = follower.live.map()
        (strip,) = cells.strips  # nothing forks, so all of it is one strip
        n_new = len(strip.tokens) - strip.checkpoints[-1][1]
        generated = strip.cells[strip.checkpoints[-1][1] :]
        assert {cell.role for cell in generated} == {"assistant"}
        assert all(cell.probability is not None for cell in generated)
        assert cells.n_used == chat.context.token_count() == strip.n_active
        assert received_strips(follower.receiver) == told_strips(cells)
        seen.append((n_new, len(message["tokens"]) // 4, strip.places[0]))

    chat.ask("two?", max_tokens=5, on_token=look)
    question = len(chat.tree.path()[-2].tokens)
    # The question comes with the first token; each later one is sent alone.
    assert [n for n, _, _ in seen] == [1, 2, 3, 4, 5]
    assert [n for _, n, _ in seen] == [question + 1, 1, 1, 1, 1]
    follower.check()


def test_an_answer_after_an_undo_is_a_strip_beside(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    chat.ask("one?", max_tokens=2)
    chat.undo()
    follower = Follower(chat)
    grown: list[CellMap] = []

    def look(_: object) -> None:
        follower.catch_up()
        grown.append(follower.live.map())
        assert received_strips(follower.receiver) == told_strips(grown[-1])

    chat.ask("other?", max_tokens=3, on_token=look)
    assert [[s.lane for s in cells.strips] for cells in grown] == [[0, 1]] * 3
    assert [len(cells.active) for cells in grown] == [
        chat.head.start + 1,
        chat.head.start + 2,
        chat.head.start + 3,
    ]
    follower.check()


def test_answers_that_are_explored_grow_side_by_side(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1, n_parallel=8)
    chat.ask("one?", max_tokens=2)
    follower = Follower(chat)
    widest: list[CellMap] = []

    def look(_branch: int, _: object) -> None:
        assert follower.tree.flush()
        message = follower.catch_up()
        cells = follower.live.map()
        assert message is not None
        assert received_strips(follower.receiver) == told_strips(cells)
        widest.append(cells)

    chat.explore("two?", n=8, max_tokens=3, temperature=1.5, on_token=look)
    last = widest[-1]
    grown = [strip for strip in last.strips if strip.id.startswith("~")]
    assert [strip.id for strip in grown] == [f"~{n}" for n in range(8)]
    assert sorted(strip.lane for strip in grown) == list(range(8))
    assert {strip.places[0][1] for strip in grown} == {"context"}
    assert last.n_used == chat.context.token_count() + sum(len(s.tokens) for s in grown)
    follower.check()
    assert len(follower.live.map().strips) == 9
    assert not any(s.id.startswith("~") for s in follower.live.map().strips)


def test_a_question_is_seen_while_it_is_evaluated(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1, n_ubatch=32)
    follower = Follower(chat)
    held: list[int] = []
    events: list[Event] = []
    chat.tree.on_change(events.append)
    steps = chat.steps("a long question " * 10, max_tokens=1)
    for stage in steps:
        follower.catch_up()
        cells = follower.live.map()
        assert cells.n_used == chat.context.token_count()
        if stage.name == "evaluate":
            (strip,) = cells.strips
            assert strip.checkpoints == ()
            assert strip.roles == ((len(strip.tokens), "text"),)  # not said yet
            held.append(strip.n_active)
    assert held == [chat.tree.path()[0].stop]
    follower.check()


def test_what_is_missed_is_looked_up_anew(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    live = LiveCells(chat)
    chat.ask("one?", max_tokens=2)
    chat.regenerate(max_tokens=3)
    live.restart()
    assert live.map() == cell_map(chat) == chat.tree.cells()
    assert live.message()["whole"]


def test_maps_and_strips_are_tables(new_chat: ChatMaker) -> None:
    chat = new_chat("Be <b>brief</b>.", seed=1)
    chat.ask("why? " * 60, max_tokens=2)
    cells = chat.tree.cells()
    (strip,) = cells.strips
    n = len(strip.tokens)
    assert repr(cells) == f"CellMap({n} of 512 cells, 1 strip)"
    assert repr(strip) == (
        f"Strip({strip.id[:7]}, tokens 0 to {n}, 3 checkpoints, {n} in the context)"
    )
    html = strip._repr_html_()
    assert html.count("<tr>") == 202  # heads, tokens, and how many there are besides
    assert f"{n - 200} more" in html
    assert "<b>" not in html
    assert f"{512 - n}</td>" in cells._repr_html_()


def test_a_closed_context_holds_nothing(new_chat: ChatMaker) -> None:
    chat = new_chat(seed=1)
    chat.ask("one?", max_tokens=2)
    follower = Follower(chat)
    chat.context.close()
    follower.catch_up()
    cells = follower.live.map()
    assert (cells.n_used, cells.active) == (0, [])
    assert {cell.place for strip in cells.strips for cell in strip.cells} == {"memory"}


class Hurried(Walk):
    """A walk that does not look where it goes."""

    def check(self, *, all_rows: bool = True) -> None:
        pass

    def _check_pieces(self, end: Checkpoint) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_tree_is_followed_while_another_thread_changes_it(tmp_path: Path, seed: int) -> None:
    """What is seen in between may be half of a change; what it comes to is all of it."""
    model = Model.load(make_model(tmp_path / "m.gguf", "llama", chat_template=CHATML))
    context = Context(model, ContextParams(n_ctx=1024, n_threads=1, n_parallel=4))
    chat = Chat(context, "Be brief.", seed=seed, max_bytes=200_000)
    walk, follower = Hurried(chat, seed), Follower(chat)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(80):
                walk.step()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    n_updates = 0
    while thread.is_alive():
        follower.catch_up(waits=False)
        n_updates += 1
    thread.join()
    assert failed == []
    assert n_updates > 10
    follower.check()


# -- every kind of memory -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "memory", "keeps_states"),
    [
        ("llama", "cells", False),
        ("qwen2vl", "cells", False),
        ("gemma3", "window", False),
        ("mamba", "state", True),
        ("mamba2", "state", True),
        ("lfm2", "hybrid", True),
        ("jamba", "hybrid", True),
    ],
)
def test_every_kind_of_memory_says_what_it_holds(
    tiny: ModelMaker, kind: str, memory: str, keeps_states: bool
) -> None:
    chat = Chat(tiny(kind, chat_template=CHATML), n_ctx=256, n_threads=1, seed=1)
    follower = Follower(chat)
    chat.ask("one?", max_tokens=3)
    chat.regenerate(max_tokens=3)
    chat.ask("two?", max_tokens=2)
    follower.check()
    chat.undo()
    follower.check()
    chat.redo()
    follower.check()
    cells = cell_map(chat)
    assert (cells.memory, cells.keeps_states) == (memory, keeps_states)
    assert bool(cells.window) == (memory == "window")
    n = chat.context.token_count()
    assert cells.window_start == (n + 1 - 32 if cells.window else 0)
    kept = sum(cell.n_bytes for strip in cells.strips for cell in strip.cells)
    assert kept == pytest.approx(sum(c.n_bytes for c in chat.tree if c.tokens))
    holders = [cell for strip in cells.strips for cell in strip.cells if cell.n_bytes]
    if keeps_states:  # one for each checkpoint, at its last token
        ends = {c.stop - 1 for c in chat.tree if c.tokens}
        assert {cell.position for cell in holders} <= ends
    else:
        assert len(holders) == cells.n_tokens
    assert "state" in repr(cells) or memory != "state"
    assert "<table>" in cells._repr_html_()


# -- size and speed -------------------------------------------------------------------------------


def wide_tree(context: Context, n_leaves: int, n_tokens: int) -> CheckpointTree:
    """Leaves behind one prefix, made without evaluating each: rows are looked at by nobody here."""
    tree = CheckpointTree(context)
    context.evaluate([5, 6, 7])
    tree.commit(role="system")
    graph = tree._workspace.graph
    for n in range(n_leaves):
        notes = {"role": "assistant", "sampling": {}}
        tokens = tuple((n + i) % 400 + 20 for i in range(n_tokens))
        graph.add(tree.head, tokens, notes, (-0.5,) * n_tokens)
    return tree


@pytest.mark.parametrize(("n_leaves", "n_tokens"), [(1, 1), (8, 30), (40, 5), (1000, 100)])
def test_a_message_takes_few_bytes_a_token(tiny: ModelMaker, n_leaves: int, n_tokens: int) -> None:
    context = Context(tiny("llama"), ContextParams(n_ctx=256, n_threads=1))
    tree = wide_tree(context, n_leaves, n_tokens)
    live = LiveCells(tree)
    cells = live.map()
    assert cells.n_tokens == 3 + n_leaves * n_tokens
    n_bytes = sent_bytes(live.message())
    assert n_bytes == sent_bytes(cells.to_message())
    overhead = 700  # the keys of a message, whatever it holds
    assert n_bytes < 100 * cells.n_tokens + overhead
    if cells.n_tokens > 1000:
        assert n_bytes < 12 * cells.n_tokens


def test_a_token_costs_the_same_beside_many(tiny: ModelMaker) -> None:
    """In lines of the package, of which time would be made elsewhere."""
    taken = []
    for n_leaves in (10, 1000):
        context = Context(tiny("llama"), ContextParams(n_ctx=256, n_threads=1))
        tree = wide_tree(context, n_leaves, 100)
        live = LiveCells(tree)
        context.evaluate([8])
        live.update([])  # a strip beside begins
        context.evaluate([9])
        taken.append(steps(lambda live=live: live.update([])))
        sent = live.update([])
        assert sent is None
        context.evaluate([10])
        message = live.update([])
        assert message is not None
        assert (len(message["tokens"]), len(message["strips"])) == (4, 1)
    few, many = taken
    assert many <= 1.1 * few


@pytest.mark.slow
def test_an_undo_costs_the_same_beside_many(tiny: ModelMaker) -> None:
    taken = []
    for n_leaves in (10, 1000):
        context = Context(tiny("llama"), ContextParams(n_ctx=256, n_threads=1))
        tree = wide_tree(context, n_leaves, 50)
        follower = Follower(tree)
        context.evaluate([8, 9])
        tree.commit()
        follower.check_sent()
        tree.undo()
        assert tree.flush()
        events = follower.take()
        taken.append(steps(lambda f=follower, e=events: f.live.update(e)))
    few, many = taken
    assert many <= 1.1 * few
