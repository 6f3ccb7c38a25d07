"""What a step costs must not depend on how many were made before."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from conftest import ModelMaker
from history.conftest import ChatMaker
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import steps

from mullama_nb import Chat, CheckpointTree, Context, ContextParams
from mullama_nb.errors import RefError
from mullama_nb.history.graph import common_ancestor
from mullama_nb.history.paths import Redo, Totals
from mullama_nb.history.tree import Checkpoint

FEW, MANY = 20, 320


def line_of(n: int, tiny: ModelMaker) -> CheckpointTree:
    """A line of checkpoints, with a sibling of the last one that is the head."""
    params = ContextParams(n_ctx=512, n_threads=1, n_threads_batch=1)
    context = Context(tiny("llama"), params)
    tree = CheckpointTree(context)
    for i in range(n):
        context.evaluate([5 + i % 50])
        tree.commit()
    tree.tag("last")
    tree.undo()
    context.evaluate([70, 71])
    tree.commit()
    return tree


@pytest.fixture(scope="module")
def trees(tiny: ModelMaker) -> tuple[CheckpointTree, CheckpointTree]:
    return line_of(FEW, tiny), line_of(MANY, tiny)


def commit(tree: CheckpointTree) -> None:
    tree.context.evaluate([9])
    tree.commit()


def undo_and_redo(tree: CheckpointTree) -> None:
    tree.undo(3)
    tree.redo()
    tree.redo(2)


def go_all_the_way_back(tree: CheckpointTree) -> None:
    for _ in range(FEW - 2):
        tree.undo()
    for _ in range(FEW - 2):
        tree.redo()


def visit(tree: CheckpointTree) -> None:
    with tree.visit("last"):
        pass


def look_up(tree: CheckpointTree) -> None:
    assert tree[tree.head.id] is tree.head
    assert tree[tree.head.short_id] is tree.head
    assert tree["HEAD~1"] is tree.head.parent


def count(tree: CheckpointTree) -> None:
    tree.undo()
    assert tree.undo_steps >= FEW - 2
    tree.redo()
    assert tree.undo_steps >= FEW - 1


def spill(tree: CheckpointTree) -> None:
    with tree._workspace.operation():
        tree.spill(tree.head)


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [
        commit,
        undo_and_redo,
        go_all_the_way_back,
        lambda tree: tree.checkout("last"),
        visit,
        look_up,
        count,
        spill,
        lambda tree: tree.fork(token=1),
    ],
    ids=["commit", "redo", "far", "checkout", "visit", "look up", "count", "spill", "fork"],
)
def test_a_step_costs_the_same_behind_many(
    trees: tuple[CheckpointTree, CheckpointTree], step: Callable[[CheckpointTree], object]
) -> None:
    taken = []
    for tree in trees:
        home = tree.head
        heard = tree.on_change(lambda _: None)
        step(tree)  # what is counted once is counted here
        tree.checkout(home)
        taken.append(steps(lambda tree=tree: step(tree)))
        heard.cancel()
        tree.checkout(home)
    few, many = taken
    assert few > 5
    assert many <= 1.2 * few + 10  # a search for an id takes a few steps more


@pytest.fixture(scope="module")
def chats(new_chat: ChatMaker) -> tuple[Chat, Chat]:
    made = []
    for n in (5, 60):
        chat = new_chat(n_ctx=2048)
        for i in range(n):
            chat.replay([{"role": "user", "content": str(i)}])
            chat.replay([{"role": "assistant", "content": "a"}])
        made.append(chat)
    return made[0], made[1]


def undo_counted(chat: Chat) -> None:
    n = chat.undo_steps
    assert chat.undo() is not None
    assert (chat.undo_steps, chat.redo_steps) == (n - 1, 1)
    assert chat.redo() is not None
    assert (chat.undo_steps, chat.redo_steps) == (n, 0)


@pytest.mark.slow
def test_moves_of_a_chat_cost_the_same_behind_many(chats: tuple[Chat, Chat]) -> None:
    taken = []
    for chat in chats:
        undo_counted(chat)
        taken.append(steps(lambda chat=chat: undo_counted(chat)))
    few, many = taken
    assert many <= 1.1 * few


def test_turns_ahead_are_counted_once(chats: tuple[Chat, Chat]) -> None:
    chat = chats[1]
    n = chat.undo_steps
    for i in range(1, n + 1):
        chat.undo()
        assert (chat.undo_steps, chat.redo_steps) == (n - i, i)
    chat.redo(n)
    assert (chat.undo_steps, chat.redo_steps) == (n, 0)


# -- what is kept is what a recount gives ---------------------------------------------------------


def recounted(tree: CheckpointTree) -> tuple[int, list[Checkpoint]]:
    return sum(1 for _ in tree.head.lineage()) - 1, [tree.root, *tree]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), max_size=30))
def test_counts_and_look_ups_are_right_after_any_steps(
    tiny: ModelMaker, done: list[tuple[int, int]]
) -> None:
    params = ContextParams(n_ctx=256, n_threads=1, n_threads_batch=1)
    with Context(tiny("llama"), params) as context:
        tree = CheckpointTree(context)
        for kind, value in done:
            places = [tree.root, *tree]
            place = places[value % len(places)]
            if kind == 0 or len(tree) < 3:
                context.evaluate([5 + value, 6])
                tree.commit(role="user")
            elif kind == 1:
                tree.checkout(place)
            elif kind == 2:
                tree.undo(1 + value % 3)
            elif kind == 3:
                tree.redo(1 + value % 3)
            elif kind == 4 and place is not tree.root:
                tree.prune(place, force=True)
            elif kind == 5 and len(place.tokens) > 1:
                tree.fork(place, token=1)
            depth, everything = recounted(tree)
            assert tree.undo_steps == depth
            for checkpoint in everything:
                for n in (1, 3, 7, 20):
                    prefix = checkpoint.id[:n]
                    same = [c for c in everything if c.id.startswith(prefix)]
                    assert set(tree._workspace.graph.starting_with(prefix)) == set(same)
                common = common_ancestor(checkpoint, tree.head)
                above = set(checkpoint.lineage())
                assert common is next(c for c in tree.head.lineage() if c in above)
                if checkpoint.address is not None:
                    assert checkpoint in tree._workspace.rows.holders(checkpoint.address)
            holders = tree._workspace.rows._holders.values()
            held = {c for by_id in holders for c in by_id.values()}
            assert held <= set(everything)
            with pytest.raises(RefError):
                tree["0" * 21]


def test_checkpoints_of_two_trees_have_nothing_in_common(
    trees: tuple[CheckpointTree, CheckpointTree],
) -> None:
    with pytest.raises(ValueError, match="different trees"):
        common_ancestor(trees[0].head, trees[1].head)


class Place:
    """A link of a chain."""

    def __init__(self, before: Place | None) -> None:
        self.before = before


def test_totals_follow_an_edition_and_keep_nothing_alive() -> None:
    worth = 1
    totals: Totals[Place] = Totals(lambda place: (worth, place.before))
    last = None
    for _ in range(10):
        last = Place(last)
    assert (totals.at(last, 0), totals.at(None, 0)) == (10, 0)
    worth = 2
    assert (totals.at(last, 0), totals.at(last, 1)) == (10, 20)
    del last
    gc.collect()
    assert len(totals._known) == 0


@pytest.mark.slow
def test_a_long_way_ahead_goes_without_a_deep_stack(
    trees: tuple[CheckpointTree, CheckpointTree],
) -> None:
    root = trees[0].root
    way = Redo.of([root] * 200_000)
    assert way is not None
    assert way.n == sum(1 for _ in way) == 200_000
    del way
