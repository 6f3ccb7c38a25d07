"""Chats for asyncio: operations on threads of their own, with clean cancellation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from ..engine.completion import Token
from ..engine.threads.awaiting import in_thread
from ..engine.threads.lock import CancelToken
from .lock import TreeLock

__all__ = ["await_job", "stream_tokens"]

T = TypeVar("T")


async def await_job(lock: TreeLock, job: Callable[[], T]) -> T:
    """Run a job that takes a tree's lock; cancelling it stops only that job."""
    token = CancelToken()

    def work() -> T:
        with lock.call(token):
            return job()

    return await in_thread(work, token.cancel)


async def stream_tokens(
    ask: Callable[[Callable[[Token], None]], Coroutine[Any, Any, object]],
) -> AsyncIterator[Token]:
    """Yield the tokens of an answer as they are generated; leaving early stops it.

    Parameters
    ----------
    ask : callable
        Returns an awaitable answer; called with a callback for each token.
    """
    loop = asyncio.get_running_loop()
    tokens: asyncio.Queue[Token | None] = asyncio.Queue()

    def tell(token: Token) -> None:
        loop.call_soon_threadsafe(tokens.put_nowait, token)

    asking = asyncio.ensure_future(ask(tell))
    asking.add_done_callback(lambda _: tokens.put_nowait(None))
    try:
        while (token := await tokens.get()) is not None:
            yield token
    except BaseException:  # cancelled, or left early: what was said stays
        asking.cancel()
        while not asking.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([asking])
        if not asking.cancelled():
            asking.exception()
        raise
    await asking
