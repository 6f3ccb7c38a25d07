"""Running coroutines so that nothing that asyncio would only log goes unnoticed."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["cancelled", "run", "until"]


def run(job: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine; an exception that nobody retrieved, or a thread that goes on, fails."""
    logged: list[dict[str, Any]] = []

    async def watched() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        try:
            return await job
        finally:
            await asyncio.sleep(0)
            gc.collect()  # futures tell of what they were not asked for when they go
            await asyncio.sleep(0)

    result = asyncio.run(watched())
    assert logged == []
    for thread in threading.enumerate():
        if thread.name == "mullama-async":
            thread.join()
    return result


async def until(holds: Callable[[], object]) -> None:
    """Wait for a state."""
    while not holds():
        await asyncio.sleep(0.001)


async def cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel a task, and check that this is what comes of it."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        assert task.cancelled()
    else:
        raise AssertionError("it was not cancelled")
