"""Cancelling a chat's async forms, in every phase: CancelledError, and a tree that is whole."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from async_checks import cancelled, run, until
from conftest import ModelMaker
from tiny_models import CHATML

from mullama_nb import Chat, Token
from mullama_nb.errors import ContextFullError
from mullama_nb.history.events import Event, Progress

LONG = "word " * 150  # some chunks of 16 tokens
OPTIONS = {"max_tokens": 12, "seed": 3, "temperature": 1.0}


@pytest.fixture
def make(tiny: ModelMaker) -> Callable[[], Chat]:
    model = tiny("llama", chat_template=CHATML)
    return lambda: Chat(model, n_ctx=1024, n_batch=16, n_ubatch=16, n_threads=1, n_threads_batch=1)


async def ask(chat: Chat, text: str, on_token: Callable[..., object] | None) -> object:
    return await chat.aask(text, on_token=on_token, **OPTIONS)


async def stream(chat: Chat, text: str, on_token: Callable[..., object] | None) -> object:
    handed_out = []
    async for token in chat.astream(text, **OPTIONS):
        handed_out.append(token)
        if on_token is not None:
            await asyncio.sleep(0)
    return handed_out


async def explore(chat: Chat, text: str, on_token: Callable[..., object] | None) -> object:
    return await chat.aexplore(text, 2, on_token=on_token, **OPTIONS)


FORMS = {"aask": ask, "astream": stream, "aexplore": explore}
Form = Callable[..., Coroutine[Any, Any, object]]
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def hold_until_stopped(chat: Chat) -> None:
    """Wait, on a thread that works for the chat, until that is asked to end."""
    while not chat.tree._workspace.lock.is_stopped:
        time.sleep(0.001)


def hold_prompt(chat: Chat, monkeypatch: pytest.MonkeyPatch, chunk: int) -> asyncio.Event:
    """Have the evaluation of the next prompt wait behind a chunk until it is stopped."""
    reached, loop, tell = asyncio.Event(), asyncio.get_running_loop(), chat.tree._workspace.notify
    seen: list[Event] = []

    def telling(event: Event) -> None:
        tell(event)
        if isinstance(event, Progress):
            seen.append(event)
            if len(seen) == chunk:
                loop.call_soon_threadsafe(reached.set)
                hold_until_stopped(chat)

    monkeypatch.setattr(chat.tree._workspace, "notify", telling)
    return reached


def hold_tokens(chat: Chat, n: int) -> tuple[Callable[..., None], asyncio.Event]:
    """A callback that waits at a token until the chat is stopped."""
    reached, loop = asyncio.Event(), asyncio.get_running_loop()
    heard: list[object] = []

    def on_token(*token: object) -> None:
        heard.append(token)
        if len(heard) == n:
            loop.call_soon_threadsafe(reached.set)
            hold_until_stopped(chat)

    return on_token, reached


def check_whole(chat: Chat, twin: Chat) -> None:
    """Check that a chat holds what its tree says, is free, and goes on as one that began anew."""
    tree = chat.tree
    assert tree.uncommitted == 0
    assert tree.tokens() == chat.context.tokens
    assert not tree._workspace.lock.is_stopped
    for turn in chat.turns:
        assert turn.checkpoint in tree
    tree.checkout("ROOT")
    turns = [one.ask("And now?", max_tokens=5, temperature=0) for one in (chat, twin)]
    assert turns[0].tokens == turns[1].tokens
    assert turns[0].logprobs == turns[1].logprobs
    assert tree.tokens() == chat.context.tokens == twin.context.tokens


@every_form
def test_before_it_has_begun(make: Callable[[], Chat], form: Form) -> None:
    chat = make()

    async def work() -> None:
        task = asyncio.ensure_future(form(chat, "Hello", None))
        await cancelled(task)

    run(work())
    assert len(chat.tree) == 0
    check_whole(chat, make())


@every_form
def test_while_it_waits_for_its_turn(make: Callable[[], Chat], form: Form) -> None:
    chat = make()
    begun, go = threading.Event(), threading.Event()

    def slowly(_: Token) -> None:
        begun.set()
        assert go.wait()

    other = threading.Thread(
        target=chat.ask, args=("First",), kwargs={**OPTIONS, "on_token": slowly}
    )
    other.start()
    assert begun.wait()

    async def work() -> None:
        task = asyncio.ensure_future(form(chat, "Second", None))
        await until(chat.tree._workspace.lock.is_wanted)
        await cancelled(task)
        assert other.is_alive()
        assert not chat.tree._workspace.lock.is_stopped, "another's answer was stopped"
        go.set()

    run(work())
    other.join()
    assert [turn.role for turn in chat.turns] == ["user", "assistant"]
    assert chat.turns[-1].finish_reason == "length"
    check_whole(chat, make())


@pytest.mark.slow
@every_form
@pytest.mark.parametrize("chunk", [1, 4])
def test_while_the_prompt_is_evaluated(
    make: Callable[[], Chat], form: Form, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = make()

    async def work() -> None:
        reached = hold_prompt(chat, monkeypatch, chunk)
        task = asyncio.ensure_future(form(chat, LONG, None))
        await reached.wait()
        await cancelled(task)

    run(work())
    monkeypatch.undo()
    assert len(chat.tree) == 0, "the question was evaluated in part, so it was not said"
    check_whole(chat, make())


@pytest.mark.parametrize("n", [1, 5, 12])
def test_between_tokens(make: Callable[[], Chat], n: int) -> None:
    chat, twin = make(), make()
    whole = twin.ask("Hello", **OPTIONS)

    async def work() -> None:
        on_token, reached = hold_tokens(chat, n)
        task = asyncio.ensure_future(ask(chat, "Hello", on_token))
        await reached.wait()
        await cancelled(task)

    run(work())
    answer = chat.turns[-1]
    assert answer.tokens == whole.tokens[:n]
    assert answer.finish_reason in ("stopped", "length")
    rest = chat.resume(max_tokens=12 - n or 1, temperature=1.0, seed=3) if n < 12 else answer
    assert rest.tokens == whole.tokens
    check_whole(chat, make())


def test_between_the_tokens_of_an_exploration(make: Callable[[], Chat]) -> None:
    chat = make()

    async def work() -> None:
        on_token, reached = hold_tokens(chat, 6)
        task = asyncio.ensure_future(explore(chat, "Hello", on_token))
        await reached.wait()
        await cancelled(task)

    run(work())
    answers = chat.head.children
    assert len(answers) == 2
    assert {a.metadata["finish_reason"] for a in answers} == {"stopped"}
    assert all(0 < len(a.tokens) < 12 for a in answers)
    check_whole(chat, make())


@pytest.mark.parametrize("n", [1, 7])
def test_a_stream_between_tokens(make: Callable[[], Chat], n: int) -> None:
    chat, twin = make(), make()
    whole = twin.ask("Hello", **OPTIONS)
    handed_out: list[Token] = []

    async def consume() -> None:
        async for token in chat.astream("Hello", **OPTIONS):
            handed_out.append(token)
            if len(handed_out) == n:
                await asyncio.Event().wait()

    async def work() -> None:
        task = asyncio.ensure_future(consume())
        await until(lambda: len(handed_out) == n)
        await cancelled(task)
        await until(lambda: chat.tree._workspace.lock._lock.owner is None)

    run(work())
    said = chat.turns[-1].tokens
    assert whole.tokens[: len(said)] == said
    assert said[:n] == tuple(token.id for token in handed_out)
    check_whole(chat, make())


def test_leaving_a_stream_early_keeps_the_answer_so_far(make: Callable[[], Chat]) -> None:
    chat, whole = make(), make().ask("Hello", **OPTIONS)

    async def work() -> None:
        async with contextlib.aclosing(chat.astream("Hello", **OPTIONS)) as tokens:
            first = await anext(tokens)
        assert chat.turns[-1].tokens[0] == first.id
        with pytest.raises(StopAsyncIteration):
            await anext(tokens)

    run(work())
    said = chat.turns[-1].tokens
    assert whole.tokens[: len(said)] == said
    check_whole(chat, make())


@every_form
def test_wait_for_says_that_time_is_up(
    make: Callable[[], Chat], form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = make()

    async def work() -> None:
        reached = hold_prompt(chat, monkeypatch, 2)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(form(chat, LONG, None), 0.2)
        assert reached.is_set()

    run(work())
    monkeypatch.undo()
    check_whole(chat, make())


def test_cancelling_twice_is_cancelling_once(
    make: Callable[[], Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = make()

    async def work() -> None:
        reached = hold_prompt(chat, monkeypatch, 2)
        task = asyncio.ensure_future(ask(chat, LONG, None))
        await reached.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        await cancelled(task)

    run(work())
    monkeypatch.undo()
    check_whole(chat, make())


def test_a_callback_that_fails_once_cancelled_is_not_reported(make: Callable[[], Chat]) -> None:
    chat = make()

    async def work() -> None:
        hold, reached = hold_tokens(chat, 3)

        def on_token(token: Token) -> None:
            hold(token)
            if reached.is_set():
                raise ZeroDivisionError

        task = asyncio.ensure_future(ask(chat, "Hello", on_token))
        await reached.wait()
        await cancelled(task)

    run(work())
    assert len(chat.turns[-1].tokens) == 3
    check_whole(chat, make())


def test_errors_come_through(make: Callable[[], Chat]) -> None:
    chat = make()

    async def all_of(tokens: AsyncIterator[Token]) -> None:
        async for _ in tokens:
            pass

    async def work() -> None:
        for coroutine in (chat.aask("word " * 2000), all_of(chat.astream("word " * 2000))):
            with pytest.raises(ContextFullError):
                await coroutine
        for coroutine in (chat.aask("a", nonsense=1), all_of(chat.astream("a", nonsense=1))):
            with pytest.raises(TypeError, match="nonsense"):
                await coroutine

    run(work())
    check_whole(chat, make())


def test_many_that_wait_do_not_fill_the_common_threads(make: Callable[[], Chat]) -> None:
    chat = make()

    async def work() -> None:
        asked = [chat.aask(f"Question {i}", max_tokens=2) for i in range(40)]
        tasks = [asyncio.ensure_future(one) for one in asked]
        assert await asyncio.to_thread(lambda: 3) == 3
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() or task.result() for task in tasks[::2])
        assert all(task.result().finish_reason for task in tasks[1::2])

    run(work())
    assert chat.tree.tokens() == chat.context.tokens
