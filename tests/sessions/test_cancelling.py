"""Cancelling a manager's async forms: CancelledError, and a whole session or none."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest
from async_checks import cancelled, run
from conftest import ModelMaker
from engine.test_cancelling import hold_decoding

from mullama_nb import Context, ContextParams, SessionManager

PROMPT = "a long prompt " * 12


@pytest.fixture
def manager(tiny: ModelMaker, tmp_path: Path) -> SessionManager:
    params = ContextParams(n_ctx=512, n_batch=16, n_ubatch=16, n_threads=1, n_threads_batch=1)
    return SessionManager(tiny(), tmp_path / "sessions", params)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["acreate_session", "aload_or_create"])
@pytest.mark.parametrize("chunk", [1, 4])
def test_while_the_prompt_is_evaluated(
    manager: SessionManager, form: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        reached = hold_decoding(monkeypatch, chunk, lambda decoder: decoder._flag.is_set())
        task = asyncio.ensure_future(getattr(manager, form)("name", PROMPT))
        await reached.wait()
        await cancelled(task)

    run(work())
    monkeypatch.undo()
    assert "name" not in manager
    gc.collect()
    contexts = [c for c in gc.get_objects() if isinstance(c, Context)]
    assert not [c for c in contexts if c.model is manager.model and not c._scheduler.is_closed]
    with manager.create_session("name", PROMPT) as context:
        n_tokens = context.token_count()
    assert manager.info("name").n_tokens == n_tokens


def test_wait_for_says_that_time_is_up(
    manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        hold_decoding(monkeypatch, 2, lambda decoder: decoder._flag.is_set())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(manager.acreate_session("name", PROMPT), 0.3)

    run(work())
    monkeypatch.undo()
    assert "name" not in manager


@pytest.mark.slow
@pytest.mark.parametrize("n", range(6))
def test_at_any_moment(manager: SessionManager, n: int) -> None:
    async def work() -> None:
        for form in (manager.acreate_session, manager.aload_or_create):
            task = asyncio.ensure_future(form("name", PROMPT))
            for _ in range(4**n):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result().close()

    run(work())
    if "name" in manager:
        with manager.load("name") as context:
            assert context.token_count() == len(manager.model.tokenize(PROMPT, special=True))
    assert list(manager.verify()) == []
