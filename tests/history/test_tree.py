"""The tree: nothing is overwritten, and every point is there again to the bit."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from mullama_nb import Chat, CheckpointTree, Context, ContextParams, Model
from mullama_nb.errors import ContextFullError, HistoryError, ParameterError, RefError

PARAMS = ContextParams(n_ctx=256, n_threads=1, n_threads_batch=1)


@pytest.fixture
def tree(chat_model: Model) -> CheckpointTree:
    return CheckpointTree(Context(chat_model, PARAMS))


def grow(tree: CheckpointTree, *texts: str) -> list[str]:
    """Commit some texts one behind the other; their ids."""
    ids = []
    for text in texts:
        tree.context.evaluate(text)
        ids.append(tree.commit(text=text).id)
    return ids


def test_undo_and_redo_go_the_same_way(tree: CheckpointTree) -> None:
    a, b, c = grow(tree, "one", " two", " three")
    logits = tree.context.logits
    assert [checkpoint.id for checkpoint in tree.path()] == [a, b, c]
    assert tree.undo(2).id == a
    assert tree.context.text() == "one"
    assert (tree.undo_steps, [c.id for c in tree.redo_path]) == (1, [b, c])
    assert tree.redo().id == b
    assert tree.redo(5).id == c
    assert np.array_equal(tree.context.logits, logits)
    assert tree.undo(9) is tree.root
    assert tree.context.token_count() == 0


def test_text_after_an_undo_makes_a_sibling(tree: CheckpointTree) -> None:
    a, b = grow(tree, "one", " two")
    logits = tree.context.logits
    tree.undo()
    (other,) = grow(tree, " or else")
    assert [c.id for c in tree.siblings()] == [b, other]
    assert [c.id for c in tree.children(a)] == [b, other]
    assert tree.redo_path == ()
    tree.checkout(b)
    assert tree.context.text() == "one two"
    assert np.array_equal(tree.context.logits, logits)


def test_a_fork_splits_a_checkpoint_and_keeps_it(tree: CheckpointTree) -> None:
    (whole,) = grow(tree, "one two three four")
    tokens = tree.tokens()
    segment = tree.segment(whole)
    assert segment is not None
    point = tree.fork(whole, token=2)
    assert tree.context.tokens == tokens[:2] == point.tokens
    assert tree.tokens(whole) == tokens
    chosen = tree.fork(point, choose=" else")
    assert chosen.parent is point
    assert len(chosen.logprobs) == len(chosen.tokens)
    tree.checkout(whole)
    assert tree.context.tokens == tokens
    fresh = Context(tree.context.model, PARAMS)
    fresh.restore(segment)
    assert np.array_equal(fresh.logits, tree.context.logits)


def test_tags_name_checkpoints(tree: CheckpointTree) -> None:
    a, b = grow(tree, "one", " two")
    tree.tag("begin", a)
    assert tree["begin"].id == tree["HEAD~1"].id == a
    with pytest.raises(HistoryError, match="force=True"):
        tree.tag("begin", b)
    tree.tag("begin", b, force=True)
    assert tree["begin"].tags == ("begin",)
    tree.untag("begin")
    with pytest.raises(RefError, match="no checkpoint is called 'begin'"):
        tree["begin"]
    assert "HEAD" in tree._ipython_key_completions_()


def test_prune_asks_where_something_would_be_lost(tree: CheckpointTree) -> None:
    a, b, c = grow(tree, "one", " two", " three")
    with pytest.raises(HistoryError, match="the head"):
        tree.prune(b)
    tree.checkout(a)
    tree.tag("kept", c)
    with pytest.raises(HistoryError, match="the tag 'kept'"):
        tree.prune(b)
    assert tree.prune(b, force=True) == 2
    assert [checkpoint.id for checkpoint in tree] == [a]
    assert dict(tree.tags) == {}
    with pytest.raises(HistoryError, match="root"):
        tree.prune("ROOT")
    (again,) = grow(tree, " two")
    assert again not in (b, c)  # what was pruned does not come back under its name


def test_diff_says_where_and_how_likely(tree: CheckpointTree) -> None:
    a, _ = grow(tree, "one", " two")
    tree.checkout(a)
    grow(tree, " else")
    first = tree.children(a)[0]
    difference = tree.diff(first)
    assert difference.common.id == a
    assert (difference.a_text, difference.b_text) == (" two", " else")
    position = difference.position
    tree.checkout(first)
    likely = {t.id: t.probability for t in tree.context.top_tokens(512, at=position)}
    assert difference.a_probability == pytest.approx(likely[difference.a_token or 0], abs=0)
    assert tree.diff(first, first).is_same


def test_find_log_and_leaves(tree: CheckpointTree) -> None:
    a, b = grow(tree, "one", " two")
    assert [c.id for c in tree.find("TWO")] == [b]
    assert [c.id for c in tree.log()] == [b, a]
    assert [c.id for c in tree.leaves()] == [b]
    assert repr(tree) == "CheckpointTree(2 checkpoints, 1 leaf)"


def test_the_same_steps_give_the_same_ids(chat_model: Model) -> None:
    ids = []
    for _ in range(2):
        tree = CheckpointTree(Context(chat_model, PARAMS))
        ids.append(grow(tree, "one", " two"))
    assert ids[0] == ids[1]


# -- somebody works on the context directly ----------------------------------------------------


def test_appended_tokens_are_committed_before_the_next_move(tree: CheckpointTree) -> None:
    (a,) = grow(tree, "one")
    tree.context.evaluate(" two")
    assert tree.uncommitted == len(tree.context.tokens) - tree.head.stop > 0
    tree.undo()
    assert tree.head.id == a
    assert [c.text for c in tree.children(a)] == [" two"]


def test_a_rewind_moves_the_head(tree: CheckpointTree) -> None:
    a, b = grow(tree, "one", " two three")
    n = len(tree.tokens(a))
    tree.context.rewind(n + 1)
    assert tree.head.stop == n + 1
    assert tree.tokens(b) == (*tree.tokens(tree.head), *tree[b].tokens)


def test_a_loaded_state_is_a_new_branch_at_the_root(tree: CheckpointTree) -> None:
    (a,) = grow(tree, "one")
    with Context(tree.context.model, PARAMS) as other:
        other.evaluate("another")
        tree.context.restore(other.capture())
    tree.tag("loaded")
    assert tree.head.parent is tree.root
    assert tree.head.text == "another"
    tree.checkout(a)
    assert tree.context.text() == "one"


def test_a_second_tree_is_an_error(tree: CheckpointTree, chat_model: Model) -> None:
    with pytest.raises(HistoryError, match="belongs to"):
        CheckpointTree(tree.context)
    context = Context(chat_model, PARAMS)
    first = CheckpointTree(context)
    del first
    gc.collect()
    CheckpointTree(context)  # its owner is gone


# -- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, -1, True, "2"])
def test_steps_are_checked(tree: CheckpointTree, n: object) -> None:
    with pytest.raises(ParameterError, match=r"n=.* must be 1 or more|n must be an integer"):
        tree.undo(n)  # type: ignore[arg-type]


def test_a_full_context_leaves_the_tree_as_it_was(tree: CheckpointTree) -> None:
    (a,) = grow(tree, "one")
    with pytest.raises(ContextFullError):
        tree.fork(a, choose="word " * 300)
    assert (tree.head.id, len(tree)) == (a, 1)


def test_logprobs_must_fit(tree: CheckpointTree) -> None:
    tree.context.evaluate("one two")
    with pytest.raises(ParameterError, match="do not fit"):
        tree.commit(logprobs=[0.0])


def test_a_tree_goes_when_nobody_uses_it(chat_model: Model) -> None:
    chat = Chat(Context(chat_model, PARAMS))
    checkpoint = chat.tree.root
    del chat
    gc.collect()
    with pytest.raises(HistoryError, match="is gone"):
        _ = checkpoint.tree
