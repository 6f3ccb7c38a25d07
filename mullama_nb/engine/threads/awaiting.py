"""Awaiting jobs on other threads, so that a cancellation leaves nothing running."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from ..warn import blamed_on_caller
from .lock import WAIT_SECONDS, CancelToken
from .worker import GivenUp, give_up_when

__all__ = ["awaited", "in_thread"]

T = TypeVar("T")


async def awaited(future: Future[T], stop: Callable[[], object]) -> T:
    """Await the result of a job; a cancellation stops it and is raised when it has ended.

    Exceptions of a cancelled job are dropped, as it was told to fail.

    Parameters
    ----------
    future : concurrent.futures.Future
    stop : callable
        Makes a running job end soon; may be called more than once.
    """
    ended = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        has_begun = not future.cancel()
        while not ended.done():  # cancelled twice, too: the job is to leave all whole
            if has_begun:
                stop()  # again and again: it may have been between two steps
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([ended], timeout=WAIT_SECONDS)
        if not ended.cancelled():
            ended.exception()  # or asyncio reports that nobody looked at it
        raise


async def in_thread(job: Callable[[], T], stop: Callable[[], object] | None = None) -> T:
    """Run a job on a thread of its own and await it as :func:`awaited` does.

    Not on asyncio's shared threads: they are few, and jobs that wait for each other fill them.

    Parameters
    ----------
    job : callable
    stop : callable, optional
        None: the job's present or next evaluation raises.
    """
    future: Future[T] = Future()
    given_up = CancelToken()
    with blamed_on_caller():
        context = contextvars.copy_context()

    def work() -> None:
        try:
            with give_up_when(given_up if stop is None else None):
                future.set_result(context.run(job))
        except (Exception, GivenUp) as error:
            future.set_exception(error)

    # Not through executor and wrapped future: the thread begins at once, or the job never.
    future.set_running_or_notify_cancel()
    threading.Thread(target=work, name="mullama-async").start()
    return await awaited(future, given_up.cancel if stop is None else stop)
