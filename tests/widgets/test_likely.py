"""The tree is what the chat may say next; it is worked out when the chat rests, never before."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from conftest import ModelMaker
from tiny_models import CHATML
from waiting import gate, in_thread, wait_until

from mullama_nb import Chat
from mullama_nb.engine.continuations import Reach
from mullama_nb.errors import HistoryError, ParameterError
from mullama_nb.history.events import Moved, TokenAdded
from mullama_nb.widgets import Likely
from mullama_nb.widgets.publishing import run_in_turn

FEW = {"depth": 2, "min_p": 0.0, "width": 3}  # a tiny model finds everything unlikely


@pytest.fixture
def chat(tiny: ModelMaker) -> Chat:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=512, n_threads=1, n_threads_batch=1)
    chat.ask("Hi", max_tokens=4, seed=1)
    return chat


@pytest.fixture
def likely(chat: Chat) -> Iterator[Likely]:
    made = Likely(chat, **FEW)
    yield made
    made.close()


def test_sends_the_tree_of_the_chat(chat: Chat, likely: Likely) -> None:
    found = likely.look()
    assert found.checkpoint is chat.head
    expected = chat.likely(2, min_p=0.0, width=3)
    snapshot = likely.take_snapshot()
    json.dumps(snapshot)
    tokens = snapshot["tokens"]
    roots = [token for token in tokens if token[0] == -1]
    assert [p for _, _, _, p, *_ in roots] == pytest.approx(
        [root.probability for root in expected.roots], abs=1e-3
    )
    assert len(tokens) == 3 + 9
    for parent, _, _, probability, joint, _ in tokens:
        before = 1.0 if parent < 0 else tokens[parent][4]
        assert joint == pytest.approx(before * probability, rel=1e-3)
    assert snapshot["at"] == snapshot["here"]
    assert snapshot["evaluated"] == found.n_evaluated == 3
    assert snapshot["before"].startswith("…")
    assert repr(likely) == "Likely(12 tokens)"


def test_going_on_commits_the_way_and_looks_from_there(chat: Chat, likely: Likely) -> None:
    found = likely.look()
    before = chat.head
    key = likely.take_snapshot()["key"]
    first = next(i for i, token in enumerate(likely.take_snapshot()["tokens"]) if token[0] == 0)
    way = found.roots[0].token, found.roots[0].children[0].token
    likely.handle("follow", {"key": key, "token": first})
    assert chat.tree.tokens()[-2:] == way
    assert before.is_ancestor_of(chat.head)
    assert chat.head.is_unfinished
    assert likely.found is not None
    assert likely.found.checkpoint is chat.head
    with pytest.raises(HistoryError, match="look again"):  # a click on what was shown before
        likely.handle("follow", {"key": key, "token": 0})
    for wrong in (-1, 99):
        with pytest.raises(HistoryError, match="look again"):
            likely.handle("follow", {"key": key + 1, "token": wrong})


def test_reaches_as_far_as_a_view_asks(likely: Likely) -> None:
    likely.handle("reach", {"depth": 1, "min_p": 0, "width": 5})  # 0, as a page sends 0.0
    assert len(likely.take_snapshot()["tokens"]) == 5
    for wrong in ({"depth": 0}, {"min_p": 1.5}, {"width": 0}, {"depth": 1.5}):
        with pytest.raises(ParameterError):
            likely.handle("reach", {"depth": 2, "min_p": 0.1, "width": 2, **wrong})
    assert len(likely.take_snapshot()["tokens"]) == 5


def test_what_is_out_of_range_fails_when_given(chat: Chat) -> None:
    for wrong in ({"depth": 0}, {"min_p": 2.0}, {"width": 0}):
        with pytest.raises(ParameterError):
            Likely(chat, **wrong)
    with pytest.raises(ParameterError, match="shows a Chat"):
        Likely(chat.tree)  # type: ignore[arg-type]


def test_says_so_where_nothing_is_likely_enough(chat: Chat) -> None:
    likely = Likely(chat, min_p=1.0)
    likely.look()
    assert likely.take_snapshot()["is_there"]
    assert likely.take_snapshot()["tokens"] == []
    assert "100 %" in likely.to_html()
    likely.close()


def test_a_quiet_chat_is_looked_into_where_a_page_shows_it(chat: Chat, likely: Likely) -> None:
    likely.showing.hear("page", 1)
    likely.listen()
    wait_until(lambda: likely.found is not None and likely.found.checkpoint is chat.head)
    chat.undo()
    chat.ask("Ho", max_tokens=3)
    wait_until(lambda: likely.found.checkpoint is chat.head and not likely.is_busy)
    likely.handle("live", {"on": False})
    shown = likely.found
    chat.undo()
    likely._settle()
    queue_is_empty = threading.Event()
    run_in_turn(likely._acts_on, queue_is_empty.set)
    queue_is_empty.wait()
    assert likely.found is shown
    likely.handle("live", {"on": True})
    assert likely.found is None  # there is nothing in front of the first question


def test_is_never_worked_out_while_the_chat_answers(chat: Chat, likely: Likely) -> None:
    likely.showing.hear("page", 1)
    began = threading.Event()
    with gate() as goes_on:

        def wait(_: object) -> None:
            began.set()
            goes_on.wait()

        asking = in_thread(lambda: chat.ask("Ho", max_tokens=3, on_token=wait, echo=False))
        began.wait()
        found = likely.found
        likely.listen()
        likely._settle()  # as after a moment without a token
        likely._look_quietly()
        likely.look_if_due()
        assert likely.found is found
        goes_on.set()
        asking.join()
    wait_until(lambda: likely.found is not None and likely.found.checkpoint is chat.head)


def test_a_look_that_takes_long_is_stopped_and_not_repeated_unasked(
    chat: Chat, likely: Likely, monkeypatch: pytest.MonkeyPatch
) -> None:
    likely._reach = Reach(12, 0.0, 6)  # 362,797,056 tokens
    looking = in_thread(likely._do, "look", {})
    wait_until(lambda: likely.is_busy)
    wait_until(lambda: likely.tree.is_held)
    while looking.is_alive():
        likely.stop_generation()
        looking.join(0.1)
    wait_until(lambda: "stopped" in likely.error)
    monkeypatch.setattr("mullama_nb.widgets.looking._MOST_SECONDS", -1.0)
    likely.handle("reach", {"depth": 1, "min_p": 0, "width": 2})
    assert not likely.take_snapshot()["follows"]
    shown = likely.found
    chat.undo()
    likely.showing.hear("page", 1)
    likely._settle()
    assert likely.found is shown
    likely.handle("live", {"on": True})
    assert likely.take_snapshot()["follows"]


def test_tells_whether_the_chat_answers_and_where_it_is(chat: Chat, likely: Likely) -> None:
    likely.listen(False)
    token = TokenAdded(1, "a", -1.0)
    assert list(likely.changes([token, token])) == [{"is_answering": True}]
    assert list(likely.changes([token])) == []
    before = chat.head
    chat.undo()
    [change] = likely.changes([token, Moved(chat.head.id, before.id)])
    assert change == {"here": "", "is_answering": False}


def test_an_answer_that_fails_is_over_all_the_same(likely: Likely) -> None:
    list(likely.changes([TokenAdded(1, "a", -1.0)]))
    assert likely.take_snapshot()["is_answering"]
    wait_until(lambda: not likely.take_snapshot()["is_answering"])


def test_stays_where_it_was_put_until_one_goes_on(chat: Chat) -> None:
    turn = chat.turns[-1]
    likely = Likely(chat, at=turn, token=1, **FEW)
    found = likely.look()
    assert (found.checkpoint, found.token) == (turn.checkpoint, 1)
    chat.ask("Ho", max_tokens=2)
    likely.look_if_due()
    assert likely.found is found
    snapshot = likely.take_snapshot()
    assert snapshot["at"] == snapshot["here"]
    likely.handle("follow", {"key": snapshot["key"], "token": 0})
    assert likely.found is not None
    assert likely.found.token is None
    assert likely.found.checkpoint is chat.head
    assert chat.turns[-1].tokens[:1] == turn.tokens[:1]
    likely.close()


@pytest.mark.slow
def test_an_error_is_told_once_and_in_the_picture(chat: Chat) -> None:
    likely = Likely(chat, depth=64, min_p=0.0, width=1)
    while chat.context.token_count() < 512 - 32:
        chat.ask("Ho", max_tokens=8)
    likely.look_if_due()
    wait_until(lambda: likely.error)
    assert likely.found is None
    assert likely.failure == likely.error
    assert likely.failure in likely.to_html().replace("&#x27;", "'")
    likely.look_if_due()  # which is not due any more
    likely.close()


def test_nothing_said_is_nothing_to_look_at(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1)
    likely = Likely(chat, **FEW)
    bundle, _ = likely._repr_mimebundle_()
    assert "Nothing has been said yet." in bundle["text/html"]
    assert "image/svg+xml" not in bundle
    assert likely.failure == ""
    chat.ask("Hi", max_tokens=2)
    likely.look_if_due()
    assert likely.found is not None
    chat.undo()
    likely.look_if_due()
    assert likely.found is None
    likely.close()


def test_readers_without_a_kernel_see_the_tree(chat: Chat, likely: Likely) -> None:
    bundle, _ = likely._repr_mimebundle_()
    assert bundle["image/svg+xml"] in bundle["text/html"]
    assert bundle["text/plain"] == "Likely(12 tokens)"
    assert "<|im_" not in bundle["text/html"]  # the template's marks are escaped
    assert chat.context.token_count() == chat.head.stop
