"""The forms for asyncio: the same results, an event loop that runs on, and cancelling."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from conftest import ModelMaker
from engine.helpers import assert_twins, context_of, words
from waiting import gate

from mullama_nb import Token
from mullama_nb.errors import ContextClosedError, ContextFullError, GrammarError

run: Callable[[Coroutine[Any, Any, Any]], Any] = asyncio.run


class Answers:
    """Has native code and the disk wait until the event loop answers: a kept one never would."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.counts: dict[str, int] = {}
        for owner, name in (
            (llama_cpp, "llama_decode"),
            (llama_cpp, "llama_state_seq_get_data_ext"),
            (llama_cpp, "llama_state_seq_set_data"),
            (os, "fsync"),
        ):
            patch.setattr(owner, name, self.asking(name, getattr(owner, name)))

    def asking(self, name: str, job: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            if self.loop is not None:
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result()
                self.counts[name] = self.counts.get(name, 0) + 1
            return job(*arguments)

        return ask


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


def test_the_event_loop_runs_on(
    tiny: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answers(monkeypatch)
    context = context_of(tiny())

    async def work() -> None:
        answers.loop = asyncio.get_running_loop()
        await context.aevaluate(words(200))
        await context.agenerate(None, 8)
        async for _ in context.astream(None, 8):
            pass
        assert answers.counts["llama_decode"] > 16
        await context.asave_session(tmp_path / "s")
        await context.aload_session(tmp_path / "s")
        answers.loop = None

    run(work())
    assert {"llama_state_seq_get_data_ext", "llama_state_seq_set_data", "fsync"} <= {
        *answers.counts
    }


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
    begun, seen = asyncio.Event(), []

    async def work() -> None:
        loop = asyncio.get_running_loop()

        def wait(done: int, _total: int) -> None:
            seen.append(done)
            loop.call_soon_threadsafe(begun.set)
            go_on.wait()

        with gate() as go_on:
            task = asyncio.ensure_future(context.agenerate(words(400, 1), 5, progress=wait))
            await begun.wait()
            task.cancel()
            await asyncio.sleep(0)  # it hears of it
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(work())
    assert seen == [min(399, n_batch)]  # the last token comes by itself
    assert context.token_count() in ((40,) if n_batch < 400 else (40, 440))
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

    async def work() -> None:
        begun, loop = asyncio.Event(), asyncio.get_running_loop()

        def wait(_token: Token) -> None:
            loop.call_soon_threadsafe(begun.set)
            go_on.wait()

        with gate() as go_on:
            first = asyncio.ensure_future(context.agenerate(None, 6, on_token=wait))
            second = asyncio.ensure_future(context.agenerate(words(9), 400))
            third = asyncio.ensure_future(context.agenerate(words(3), 4))
            await begun.wait()
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert not first.done(), "it was given up before its turn"
            go_on.set()
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
