"""Warnings point at the user's line, whatever stands between it and the place that warns."""

from __future__ import annotations

import asyncio
import linecache
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from state.helper import ModelMaker, bare_context, context_of, some_tokens
from tiny_models import CHATML

from mullama_nb import Chat, Context

LONG = "a text that is long enough to be known again"


@contextmanager
def warned_at(mark: str) -> Iterator[None]:
    """Check that what is within warns once, at the line of this file with a mark."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    (one,) = caught
    assert one.filename == __file__
    assert linecache.getline(one.filename, one.lineno).endswith(f"# {mark}\n")


@pytest.fixture
def context(tiny: ModelMaker) -> Context:
    """A context that warns of the text that it holds."""
    context = context_of(tiny())
    context.evaluate(LONG)
    return context


@pytest.fixture
def slot(tiny: ModelMaker, tmp_path: Path) -> Path:
    """A file of llama.cpp's: that it fits cannot be verified."""
    path = tmp_path / "slot.bin"
    with bare_context(tiny()) as bare:
        bare.decode(some_tokens(20))
        bare.save_file(path, some_tokens(20))
    return path


def test_a_call(context: Context, slot: Path) -> None:
    with warned_at("generates"):
        context.generate(LONG, 0)  # generates
    context.rewind(context.token_count() // 2)
    with warned_at("streams"):
        context.stream(LONG, 0)  # streams
    with warned_at("loads"):
        context.load_session(slot)  # loads


def test_a_call_from_a_callback(context: Context, slot: Path) -> None:
    """The innermost line of the user's: what called him may be ours, too."""
    other = context.fork()

    def callback(*_: object) -> None:
        other.load_session(slot)  # in the callback

    with warned_at("in the callback"):
        context.generate(None, 1, on_token=callback)


def test_a_call_that_warns_deep_below(tiny: ModelMaker) -> None:
    loop = "for message in messages"
    ignoring = CHATML.replace(loop, f"{loop} if message['role'] != 'system'")
    model = tiny(chat_template=ignoring)
    with warned_at("makes a chat"):
        Chat(model, system="Be kind.", n_ctx=512)  # makes a chat


@pytest.mark.usefixtures("main_module")
def test_a_cell_of_a_notebook(context: Context) -> None:
    shell = InteractiveShell()
    shell.user_ns.update(context=context, LONG=LONG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert shell.run_cell("first = 1\ncontext.generate(LONG, 0)\n", silent=True).success
    shell.reset(new_session=False)  # it would keep the context
    (one,) = caught
    assert one.lineno == 2
    assert linecache.getline(one.filename, 1) == "first = 1\n"


def test_what_runs_on_a_thread_of_ours(context: Context, slot: Path) -> None:
    async def work() -> None:
        await context.aload_session(slot)  # awaited

    with warned_at("awaited"):
        asyncio.run(work())


def test_a_task_of_its_own(context: Context, slot: Path) -> None:
    async def work() -> None:
        await asyncio.ensure_future(context.aload_session(slot))

    with warned_at("nothing of the user's is nearer"):
        asyncio.run(work())  # nothing of the user's is nearer


def test_a_thread_of_the_users(context: Context) -> None:
    def work() -> None:
        context.generate(LONG, 0)  # on his thread

    with warned_at("on his thread"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


def test_each_line_warns_once(context: Context) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            context.clear()
            context.evaluate(LONG)
            context.generate(LONG, 0)
    assert len(caught) == 1
