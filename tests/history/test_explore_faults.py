"""Answers that other workers decode, where something goes wrong: what is whole is kept."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from interrupting import count_lines, interrupt
from waiting import gate, in_thread

from mullama_nb import Chat, Model, Token
from mullama_nb.errors import (
    ContextFullError,
    GrammarError,
    ParameterError,
    TaskError,
)

from .conftest import ChatMaker
from .executing import Pickling, Refusing
from .same_answers import OPTIONS, assert_equal
from .test_lock import check_every_checkpoint


@pytest.mark.parametrize(
    ("question", "options", "error"),
    [
        ("word " * 600, {}, ContextFullError),
        ("Why?", {"grammar": 'root ::= "yes'}, GrammarError),
        ("Why?", {"temperature": -1}, ParameterError),
        ("Why?", {"logit_bias": {99_999: 1.0}}, ParameterError),
        ("Why?", {"n": 0}, ParameterError),
        ("Why?", {"exact": 3}, ParameterError),
        ("Why?", {"vary": {"max_tokens": [3, -1]}}, ParameterError),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    chat: Chat, question: str, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        chat.explore(question, executor=Refusing(), **options)
    assert not [node for node in chat.tree if node.metadata.is_answer]


def test_what_is_no_executor_is_refused(chat: Chat) -> None:
    with pytest.raises(ParameterError, match="get_executor"):
        chat.explore("Why?", executor="4 workers")  # type: ignore[arg-type]
    context = multiprocessing.get_context("fork")
    with (
        ProcessPoolExecutor(1, mp_context=context) as pool,
        pytest.raises(ParameterError, match="fork"),
    ):
        chat.explore("Why?", executor=pool)
    assert len(chat.tree) == 0


def test_a_lost_worker_is_made_up_for(new_chat: ChatMaker) -> None:
    def die_once(number: int) -> None:
        if number == 1:
            raise BrokenExecutor("it was killed")

    here, there = new_chat(n_parallel=2), new_chat(n_parallel=2)
    local = [a for n in range(3) for a in here.explore(None if n else "Why?", 2, **OPTIONS)]
    with Pickling(2, die_once) as pool:
        assert_equal(there.explore("Why?", 6, executor=pool, **OPTIONS), local)
    assert pool.n_calls == 4


def test_answers_of_what_is_lost_twice_are_missing(
    chat_model: Model, new_chat: ChatMaker, tmp_path: Path
) -> None:
    here, there = new_chat(n_parallel=2), new_chat(n_parallel=2)
    local = [a for n in range(3) for a in here.explore(None if n else "Why?", 2, **OPTIONS)]

    def kill(number: int) -> None:
        if number in (1, 3):  # the second task, and the same again
            raise BrokenExecutor("it was killed")

    with (
        Pickling(1, kill) as pool,
        pytest.raises(TaskError, match=r"2 answers are missing: 2 to 3\. .*killed.* other 4 are"),
    ):
        there.explore("Why?", 6, executor=pool, **OPTIONS)
    answers = there.head.children
    assert [a.id for a in answers] == [a.id for a in (*local[:2], *local[4:])]
    assert [a.tokens for a in answers] == [a.tokens for a in (*local[:2], *local[4:])]
    assert [a.metadata.sibling for a in answers] == [0, 1, 4, 5]
    there.save("gap", tmp_path)
    opened = Chat.open("gap", chat_model, tmp_path)
    for chat in (there, opened):
        (more,) = chat.explore(n=1, **OPTIONS)
        assert more.checkpoint.metadata.sibling == 6  # no draws are used twice
    check_every_checkpoint(there)


def test_all_workers_failing_is_said_once(new_chat: ChatMaker) -> None:
    def fail(_number: int) -> None:
        raise BrokenExecutor("the cluster is down")

    chat = new_chat(n_parallel=2)
    with Pickling(2, fail) as pool, pytest.raises(TaskError, match=r"cluster is down.*None came"):
        chat.explore("Why?", 6, executor=pool, **OPTIONS)
    assert chat.head.children == ()
    chat.explore(n=2, **OPTIONS)


def test_a_grammar_that_nothing_goes_on_with_leaves_what_there_is(
    new_chat: ChatMaker, pool: Pickling
) -> None:
    chats = [new_chat(n_parallel=2) for _ in range(2)]
    options = OPTIONS | {"grammar": 'root ::= "ab" [\\x01]', "logit_bias": {}}
    said = []
    for chat, executor in zip(chats, (None, pool), strict=True):
        try:
            said.append(repr(chat.explore("Why?", 2, executor=executor, **options)))
        except GrammarError as error:
            said.append(str(error))
    assert said[0] == said[1]
    assert [c.tokens for c in chats[0].head.children] == [c.tokens for c in chats[1].head.children]


def test_a_stop_keeps_what_came_and_cancels_the_rest(new_chat: ChatMaker) -> None:
    chat = new_chat(n_parallel=2)
    with gate() as go_on:
        held = threading.Event()

        def hold(number: int) -> None:
            if number == 1:
                held.set()
                go_on.wait()

        with Pickling(1, hold) as pool:

            def stop() -> None:
                held.wait()
                chat.stop()

            stopper = in_thread(stop)
            answers = chat.explore("Why?", 8, executor=pool, **OPTIONS)
            stopper.join()
            assert [a.checkpoint.metadata.sibling for a in answers] == [0, 1]
            go_on.set()
        assert pool.n_ran == 2  # the others were cancelled
    check_every_checkpoint(chat)
    assert [a.checkpoint.metadata.sibling for a in chat.explore(n=2, **OPTIONS)] == [2, 3]


def test_an_interrupt_keeps_what_came_and_is_raised(new_chat: ChatMaker) -> None:
    chat = new_chat(n_parallel=2)
    with gate() as go_on:

        def hold(number: int) -> None:
            if number == 1:
                os.kill(os.getpid(), signal.SIGINT)
                go_on.wait()

        with Pickling(1, hold) as pool:
            with pytest.raises(KeyboardInterrupt):
                chat.explore("Why?", 8, executor=pool, **OPTIONS)
            go_on.set()
    assert [c.metadata.sibling for c in chat.head.children] == [0, 1]
    check_every_checkpoint(chat)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_an_interrupt_at_any_line_leaves_whole_answers(new_chat: ChatMaker, seed: int) -> None:
    chat = new_chat(n_parallel=2)
    options: dict[str, Any] = {"max_tokens": 2, "temperature": 1.5}
    with Pickling(2) as pool:

        def job() -> None:
            chat.checkout("ROOT")
            chat.explore("Why?", 4, executor=pool, **options)

        job()  # the workers have their models
        interrupt(job, random.Random(seed).randint(1, count_lines(job)))
    for question in chat.tree.root.children:
        answers = question.children
        assert {len(answer.tokens) for answer in answers} <= {2}
        assert [a.metadata.sibling for a in answers] == [a.ordinal for a in answers]
    check_every_checkpoint(chat)
    assert chat.ask("And?", max_tokens=1).tokens


def test_cancelling_the_async_form_keeps_what_came(new_chat: ChatMaker) -> None:
    chat = new_chat(n_parallel=2)

    async def cancelled(go_on: threading.Event) -> None:
        loop, held = asyncio.get_running_loop(), asyncio.Event()

        def hold(number: int) -> None:
            if number == 1:
                loop.call_soon_threadsafe(held.set)
                go_on.wait()

        with Pickling(1, hold) as pool:
            task = asyncio.create_task(chat.aexplore("Why?", 8, executor=pool, **OPTIONS))
            await held.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go_on.set()

    with gate() as go_on:
        asyncio.run(cancelled(go_on))
    assert [c.metadata.sibling for c in chat.head.children] == [0, 1]
    check_every_checkpoint(chat)


def test_a_callback_that_fails_ends_it(new_chat: ChatMaker) -> None:
    def fail(index: int, _token: Token) -> None:
        if index == 2:
            raise ZeroDivisionError

    chat = new_chat(n_parallel=2)
    with Pickling(1) as pool, pytest.raises(ZeroDivisionError):
        chat.explore("Why?", 8, executor=pool, on_token=fail, **OPTIONS)
    assert [c.metadata.sibling for c in chat.head.children] == [0, 1, 2, 3]
