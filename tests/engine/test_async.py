"""The forms for asyncio: the same results, an event loop that runs on, and cancelling."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
from conftest import ModelMaker
from engine.helpers import PARAMS, assert_twins, context_of, words

from mullama_nb import Context, Model, Token
from mullama_nb.errors import ContextClosedError, ContextFullError, GrammarError

pytestmark = pytest.mark.usefixtures("no_deadlock")


def run(job: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(job, 50))


@contextlib.asynccontextmanager
async def heartbeat(longest: float) -> AsyncIterator[None]:
    """Check that the event loop is never kept for long."""
    pauses: list[float] = []

    async def beat() -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(0.001)
            pauses.append(loop.time() - began)

    task = asyncio.ensure_future(beat())
    await asyncio.sleep(0)
    yield
    await asyncio.sleep(0.002)
    task.cancel()
    assert len(pauses) > 3
    assert sorted(pauses)[len(pauses) * 9 // 10] < longest


def test_the_results_are_the_same(tiny: ModelMaker, tmp_path: Path) -> None:
    context, twin = context_of(tiny()), context_of(tiny())

    async def work() -> None:
        assert await context.aevaluate(words(40)) == 40
        completion = await context.agenerate(None, 9, seed=1)
        assert completion == twin.generate(words(40), 9, seed=1)
        streamed = [token async for token in context.astream(None, 7, seed=1)]
        assert tuple(streamed) == twin.generate(None, 7, seed=1).tokens
        info = await context.asave_session(tmp_path / "s", include_logits=False)
        assert (info.n_tokens, info.has_logits) == (56, False)
        context.clear()
        assert (await context.aload_session(tmp_path / "s")).n_tokens == 56

    run(work())
    assert_twins(context, twin)


def test_callbacks_and_errors_come_through(tiny: ModelMaker) -> None:
    context = context_of(tiny())
    heard: list[Token] = []

    async def work() -> None:
        completion = await context.agenerate(words(40), 5, on_token=heard.append)
        assert tuple(heard) == completion.tokens
        with pytest.raises(ContextFullError):
            await context.aevaluate(words(500))
        with pytest.raises(GrammarError):
            await context.agenerate(None, grammar="root ::= x")
        with pytest.raises(ZeroDivisionError):
            await context.agenerate(None, 5, on_token=lambda _: 1 // 0)
        context.close()
        with pytest.raises(ContextClosedError):
            await context.agenerate(None, 5)
        with pytest.raises(ContextClosedError):
            await anext(context.astream(None, 5))

    run(work())


def test_the_event_loop_runs_on(smollm2: Model, tmp_path: Path) -> None:
    context = Context(smollm2, PARAMS)

    async def work() -> None:
        async with heartbeat(0.1):
            await context.aevaluate("The weather was fine and everybody went out. " * 20)
            await context.agenerate(None, 8)
            async for _ in context.astream(None, 8):
                pass
            await context.asave_session(tmp_path / "s")
            await context.aload_session(tmp_path / "s")

    run(work())


def test_leaving_a_stream_early_keeps_what_was_handed_out(tiny: ModelMaker) -> None:
    context, twin = context_of(tiny(), words(40)), context_of(tiny(), words(40))

    async def work() -> None:
        handed_out = []
        async for token in context.astream(None, 30, seed=1):
            handed_out.append(token.id)
            assert context.tokens[40:] == tuple(handed_out)
            if len(handed_out) == 7:
                break
        assert context.token_count() == 47

    run(work())
    twin.generate(None, 7, seed=1)
    assert_twins(context, twin)


@pytest.mark.parametrize("n_batch", [16, 512])
def test_cancelling_a_prompt_leaves_everything_as_it_was(tiny: ModelMaker, n_batch: int) -> None:
    context = context_of(tiny(), words(40), n_batch=n_batch, n_ubatch=n_batch)
    twin = context.fork()
    begun = threading.Event()

    async def work() -> None:
        task = asyncio.ensure_future(
            context.agenerate(words(400, 1), 5, progress=lambda *_: begun.wait(0.2))
        )
        await asyncio.sleep(0.05)
        task.cancel()
        begun.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert context.token_count() in (40, 440, *range(441, 446))

    run(work())
    context.rewind(40)
    assert_twins(context, twin)


def test_cancelling_a_generation_keeps_what_it_has(tiny: ModelMaker) -> None:
    context, twin = context_of(tiny(), words(40)), context_of(tiny(), words(40))

    async def work() -> None:
        reached = asyncio.Event()
        loop = asyncio.get_running_loop()
        heard: list[Token] = []

        def listen(token: Token) -> None:
            heard.append(token)
            if len(heard) == 5:
                loop.call_soon_threadsafe(reached.set)

        task = asyncio.ensure_future(context.agenerate(None, seed=1, on_token=listen))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert context.tokens[40:] == tuple(token.id for token in heard)
        assert len(heard) < 400

    run(work())
    twin.generate(None, context.token_count() - 40, seed=1)
    assert_twins(context, twin)


def test_cancelling_a_stream(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    handed_out = []

    async def consume() -> None:
        async for token in context.astream(None):
            handed_out.append(token.id)  # noqa: PERF401 - one by one

    async def work() -> None:
        task = asyncio.ensure_future(consume())
        while len(handed_out) < 5:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # One more may have been chosen while the cancelling was on its way.
        assert context.tokens[40:][: len(handed_out)] == tuple(handed_out)
        assert context.token_count() - 40 <= len(handed_out) + 1

    run(work())
    assert len(context.generate(None, 3).tokens) == 3


def test_cancelling_one_request_leaves_the_others_alone(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    gate = threading.Event()

    async def work() -> None:
        first = asyncio.ensure_future(context.agenerate(None, 6, on_token=lambda _: gate.wait(5)))
        second = asyncio.ensure_future(context.agenerate(words(9), 400))
        third = asyncio.ensure_future(context.agenerate(words(3), 4))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not first.done(), "it was given up before its turn"
        gate.set()
        assert len((await first).tokens) == 6
        assert len((await third).tokens) == 4

    run(work())
    assert context.token_count() == 40 + 6 + 3 + 4


def test_requests_run_one_after_the_other(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))

    async def work() -> None:
        answers = await asyncio.gather(*(context.agenerate(words(5), 5) for _ in range(6)))
        assert [len(answer.tokens) for answer in answers] == [5] * 6
        assert [answer.reused for answer in answers] == [40, 50, 60, 70, 80, 90]

    run(work())
