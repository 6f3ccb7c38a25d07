"""Several answers at once, each as exact afterwards as any other checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from waiting import in_thread

from mullama_nb import Chat
from mullama_nb.engine.completion import Token
from mullama_nb.errors import HistoryError

from .conftest import ChatMaker
from .test_lock import check_every_checkpoint


def test_answers_are_siblings_with_draws_of_their_own(chat: Chat) -> None:
    answers = chat.explore("why?", n=4, max_tokens=5, temperature=1.5)
    question = chat.head
    assert [a.checkpoint.parent for a in answers] == [question] * 4
    assert [a.checkpoint.metadata["sibling"] for a in answers] == [0, 1, 2, 3]
    assert len({a.tokens for a in answers}) > 1
    answers[2].keep()
    assert chat.head is answers[2].checkpoint
    check_every_checkpoint(chat)


def test_more_answers_than_sequences_come_in_waves(new_chat: ChatMaker) -> None:
    chat = new_chat(n_parallel=2)
    heard: dict[int, int] = {}

    def count(branch: int, _token: Token) -> None:
        heard[branch] = heard.get(branch, 0) + 1

    answers = chat.explore("why?", n=5, max_tokens=3, on_token=count)
    assert [len(a.tokens) for a in answers] == [3] * 5
    assert heard == dict.fromkeys(range(5), 3)


def test_the_others_can_be_dropped(chat: Chat) -> None:
    answers = chat.explore("why?", n=3, max_tokens=2, temperature=1.5)
    chat.tag("good", answers[1])
    with pytest.raises(HistoryError, match="'good'"):
        answers.drop_others(0)
    kept = answers.drop_others(1)
    assert [c.id for c in kept.checkpoint.siblings] == [kept.checkpoint.id]
    assert len(chat.tree) == 2


def test_exploring_again_adds_to_the_siblings(chat: Chat) -> None:
    chat.ask("why?", max_tokens=3, temperature=1.5)
    more = chat.explore(n=2, max_tokens=3, temperature=1.5)
    assert [a.checkpoint.metadata["sibling"] for a in more] == [1, 2]
    assert len(chat.tree.root.children) == 1


@pytest.mark.parametrize("n_parallel", [1, 4])
def test_exact_answers_are_what_asking_would_say(new_chat: ChatMaker, n_parallel: int) -> None:
    said = [{"role": "user", "content": "tell me more " * 20}] * 2
    options = {"max_tokens": 12, "temperature": 1.5}
    one_by_one, together = new_chat(n_ctx=1024), new_chat(n_ctx=1024, n_parallel=n_parallel)
    asked = [one_by_one.ask(said, **options)]
    asked += [one_by_one.regenerate(**options) for _ in range(4)]
    answers = together.explore(said, n=5, exact=True, **options)
    for mine, theirs in zip(answers, asked, strict=True):
        assert mine.tokens == theirs.tokens
        assert mine.checkpoint.logprobs == theirs.checkpoint.logprobs
        assert mine.checkpoint.metadata == theirs.checkpoint.metadata
        rows = [c.tree.segment(c) for c in (mine.checkpoint, theirs.checkpoint)]
        assert rows[0] is not None and rows[1] is not None  # noqa: PT018
        np.testing.assert_array_equal(rows[0].data, rows[1].data)
        assert rows[0].address == rows[1].address  # so that a store keeps them once
    check_every_checkpoint(together)


def test_answers_of_a_batch_say_so(new_chat: ChatMaker) -> None:
    chat = new_chat(n_parallel=3)
    answers = chat.explore("why?", n=5, max_tokens=2)
    assert {str(a.checkpoint.metadata["explored"]) for a in answers} == {
        str({"n": 5, "n_parallel": 3})
    }
    (alone,) = chat.explore(n=1, max_tokens=2)
    assert "explored" not in alone.checkpoint.metadata


def test_a_stop_keeps_what_each_branch_has(new_chat: ChatMaker) -> None:
    chat = new_chat(n_ctx=2048)
    n_heard = 0

    def stop_at_the_tenth(_branch: int, _token: Token) -> None:
        nonlocal n_heard
        n_heard += 1
        if n_heard == 10:
            in_thread(chat.stop).join()

    answers = chat.explore("why?", n=3, max_tokens=400, on_token=stop_at_the_tenth)
    assert {a.finish_reason for a in answers} == {"stopped"}
    assert all(a.tokens for a in answers)
    check_every_checkpoint(chat)
