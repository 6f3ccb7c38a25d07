"""Cancelling a context's async forms, in every phase: CancelledError, and all is whole."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from async_checks import cancelled, run, until
from conftest import ModelMaker
from engine.helpers import assert_twins, context_of, words

from mullama_nb import Context, Token
from mullama_nb.engine.decoder import Decoder
from mullama_nb.state.session_info import inspect_session


async def stream(context: Context, prompt: list[int]) -> None:
    async for _ in context.astream(prompt, 9, seed=1):
        pass


FORMS: dict[str, Callable[[Context, list[int]], Coroutine[Any, Any, object]]] = {
    "agenerate": lambda context, prompt: context.agenerate(prompt, 9, seed=1),
    "aevaluate": lambda context, prompt: context.aevaluate(prompt),
    "astream": stream,
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
Form = Callable[[Context, list[int]], Coroutine[Any, Any, object]]


def make(tiny: ModelMaker) -> Context:
    return context_of(tiny(), words(40), n_batch=16, n_ubatch=16)


def hold_decoding(
    monkeypatch: pytest.MonkeyPatch, n: int, until_stopped: Callable[[Decoder], bool]
) -> asyncio.Event:
    """Have the n-th stoppable decode from now on wait until it is stopped."""
    reached, loop, decode = asyncio.Event(), asyncio.get_running_loop(), Decoder.decode
    seen: list[int] = []

    def held(decoder: Decoder, tokens: Any, start: int, *, stoppable: bool = False) -> Any:
        if stoppable:
            seen.append(start)
            if len(seen) == n:
                loop.call_soon_threadsafe(reached.set)
                while not until_stopped(decoder):
                    time.sleep(0.001)
        return decode(decoder, tokens, start, stoppable=stoppable)

    monkeypatch.setattr(Decoder, "decode", held)
    return reached


@pytest.mark.slow
@every_form
def test_before_it_has_begun(tiny: ModelMaker, form: Form) -> None:
    context, twin = make(tiny), make(tiny)

    async def work() -> None:
        await cancelled(asyncio.ensure_future(form(context, words(60, 1))))

    run(work())
    assert_twins(context, twin)


@pytest.mark.slow
@every_form
def test_while_others_are_before_it(tiny: ModelMaker, form: Form) -> None:
    context, twin = make(tiny), make(tiny)
    begun, go = threading.Event(), threading.Event()

    def slowly(_: Token) -> None:
        begun.set()
        assert go.wait()

    async def work() -> None:
        first = asyncio.ensure_future(context.agenerate(None, 5, seed=2, on_token=slowly))
        await until(begun.is_set)
        second = asyncio.ensure_future(form(context, words(60, 1)))
        await asyncio.sleep(0)
        await cancelled(second)
        assert not first.done()
        go.set()
        assert len((await first).tokens) == 5

    run(work())
    twin.generate(None, 5, seed=2)
    assert_twins(context, twin)


@pytest.mark.slow
@every_form
@pytest.mark.parametrize("chunk", [1, 3])
def test_while_the_prompt_is_evaluated(
    tiny: ModelMaker, form: Form, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = make(tiny), make(tiny)

    async def work() -> None:
        reached = hold_decoding(monkeypatch, chunk, lambda decoder: decoder._flag.is_set())
        task = asyncio.ensure_future(form(context, words(200, 1)))
        await reached.wait()
        await cancelled(task)

    run(work())
    monkeypatch.undo()
    assert_twins(context, twin)


@pytest.mark.slow
@every_form
def test_wait_for_says_that_time_is_up(
    tiny: ModelMaker, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = make(tiny), make(tiny)

    async def work() -> None:
        hold_decoding(monkeypatch, 2, lambda decoder: decoder._flag.is_set())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(form(context, words(200, 1)), 0.2)

    run(work())
    monkeypatch.undo()
    assert_twins(context, twin)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 4, 9])
def test_a_callback_that_fails_once_cancelled(tiny: ModelMaker, n: int) -> None:
    context, twin = make(tiny), make(tiny)
    heard: list[Token] = []
    go = threading.Event()

    def on_token(token: Token) -> None:
        heard.append(token)
        if len(heard) == n:
            assert go.wait()
            raise ZeroDivisionError

    async def work() -> None:
        task = asyncio.ensure_future(context.agenerate(None, 9, seed=1, on_token=on_token))
        await until(lambda: len(heard) == n)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        await cancelled(task)

    run(work())
    assert len(twin.generate(None, n, seed=1).tokens) == n
    assert_twins(context, twin)


def test_saving_waits_for_nothing_once_cancelled(tiny: ModelMaker, tmp_path: Path) -> None:
    context = make(tiny)
    begun, go = threading.Event(), threading.Event()

    def slowly(_: Token) -> None:
        begun.set()
        assert go.wait()

    async def work() -> None:
        first = asyncio.ensure_future(context.agenerate(None, 5, on_token=slowly))
        await until(begun.is_set)
        saving = asyncio.ensure_future(context.asave_session(tmp_path / "s"))
        await until(lambda: any(t.name == "mullama-async" for t in threading.enumerate()))
        await cancelled(saving)
        assert not first.done()
        go.set()
        await first

    run(work())
    assert not (tmp_path / "s").exists()


def test_a_file_is_whole_or_not_there_however_saving_ends(tiny: ModelMaker, tmp_path: Path) -> None:
    context = make(tiny)
    kept = 0

    async def work() -> None:
        nonlocal kept
        for i in range(12):
            path = tmp_path / f"{i}"
            task = asyncio.ensure_future(context.asave_session(path))
            for _ in range(3 * i):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if path.exists():
                assert inspect_session(path).n_tokens == 40
                kept += 1
        assert sorted(p.name for p in tmp_path.iterdir() if not p.name.isdigit()) == []

    run(work())


def test_loading_leaves_one_or_the_other(tiny: ModelMaker, tmp_path: Path) -> None:
    context = make(tiny)
    context.save_session(tmp_path / "s")

    async def work() -> None:
        for i in range(12):
            context.clear()
            context.evaluate(words(9, 3))
            task = asyncio.ensure_future(context.aload_session(tmp_path / "s"))
            for _ in range(3 * i):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert context.tokens in (tuple(words(9, 3)), tuple(words(40)))

    run(work())
    context.load_session(tmp_path / "s")
    assert_twins(context, make(tiny))
