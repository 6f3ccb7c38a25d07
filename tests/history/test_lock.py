"""One operation at a time, whoever asks, and none that is left half done."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
from interrupting import count_lines, interrupt
from waiting import in_thread, wait_until

from mullama_nb import Chat, Context
from mullama_nb.errors import HistoryError, MullamaError

from .conftest import ChatMaker


def check_every_checkpoint(chat: Chat) -> None:
    """Each can be checked out, with the logits that a fresh context has behind its rows."""
    twin = Context(chat.model, chat.context.params)
    for checkpoint in chat.tree:
        chat.tree.checkout(checkpoint)
        assert chat.context.tokens == chat.tree.tokens(checkpoint)
        segments = [chat.tree.segment(c) for c in chat.tree.path(checkpoint) if c.tokens]
        twin.clear()
        twin.restore([segment for segment in segments if segment is not None])
        assert np.array_equal(twin.logits, chat.context.logits)


def test_eight_threads_give_an_order_and_never_a_mixture(new_chat: ChatMaker) -> None:
    chat = new_chat(n_ctx=2048)
    chat.ask("begin?", max_tokens=2)
    chat.tag("begin")
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        ways: list[Callable[[], object]] = [
            lambda: chat.ask(f"question {seed}?", max_tokens=3),
            chat.undo,
            lambda: chat.checkout("begin"),
        ]
        for _ in range(6):
            try:
                chance.choice(ways)()
            except MullamaError:
                continue  # another thread ended it, and it says so
            except BaseException as error:
                errors.append(error)
                raise

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for checkpoint in chat.tree:
        if checkpoint.metadata.get("role") == "assistant":
            assert checkpoint.parent is not None
            assert checkpoint.parent.metadata["role"] in ("user", "assistant")
    check_every_checkpoint(chat)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_an_interrupt_keeps_what_was_said(new_chat: ChatMaker, seed: int) -> None:
    chat = new_chat(n_ctx=2048)
    chat.ask("begin?", max_tokens=2)

    def job() -> None:
        chat.ask("on and on?", max_tokens=30)
        chat.undo()

    interrupt(job, random.Random(seed).randint(1, count_lines(job)))
    check_every_checkpoint(chat)


def test_a_callback_that_raises_leaves_what_was_said(chat: Chat) -> None:
    def fail(_token: object) -> None:
        if chat.context.token_count() > 20:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        chat.ask("why?", max_tokens=50, on_token=fail)
    assert chat.head.is_unfinished
    check_every_checkpoint(chat)
    chat.resume(max_tokens=2)


def test_a_callback_cannot_move_the_tree(chat: Chat) -> None:
    said: list[HistoryError] = []

    def move(_token: object) -> None:
        with pytest.raises(HistoryError, match="after the call has returned") as caught:
            chat.tree.undo()
        said.append(caught.value)

    chat.ask("why?", max_tokens=2, on_token=move)
    assert len(said) == 2


def test_undo_while_streaming_stops_the_stream_first(new_chat: ChatMaker) -> None:
    chat = new_chat(n_ctx=2048)
    begun = threading.Event()

    def listen(_token: object) -> None:
        if chat.context.token_count() > 40 and not begun.is_set():
            begun.set()
            wait_until(lambda: chat.tree._workspace.lock.is_stopped)

    thread = in_thread(lambda: chat.ask("why?", max_tokens=2000, on_token=listen))
    begun.wait()
    chat.undo()
    thread.join()
    assert chat.context.token_count() == 0
    answer = next(c for c in chat.tree if c.metadata["role"] == "assistant")
    assert answer.metadata["finish_reason"] == "stopped"


def test_a_stop_is_heeded_by_all_that_follows_in_a_turn(chat: Chat) -> None:
    chat.ask("begin?", max_tokens=2)
    with chat.tree.turn():
        thread = threading.Thread(target=chat.stop)
        thread.start()
        thread.join()
        with pytest.raises(HistoryError, match="it was stopped"):
            chat.ask("why?", max_tokens=50)
        assert chat.messages[-1]["role"] == "assistant"
        answer = chat.resume(max_tokens=50)
        assert answer.finish_reason == "stopped"
        assert len(chat.explore(n=2, max_tokens=5)) == 0
    assert len(chat.resume(max_tokens=3).tokens) > len(answer.tokens)
    assert chat.ask("why?", max_tokens=3).finish_reason == "length"
    check_every_checkpoint(chat)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["answering.py", "asking.py", "conversation.py", "workspace.py", "/chat.py"]
)
def test_an_interrupt_between_any_two_lines_loses_nothing(new_chat: ChatMaker, module: str) -> None:
    chat = new_chat(n_ctx=2048)
    chat.ask("begin?", max_tokens=2)
    twin = new_chat(n_ctx=2048)
    twin.ask("begin?", max_tokens=2)
    whole = twin.ask("on?", max_tokens=3).tokens
    begin = chat.head
    n_lines, interrupted = 0, True
    while interrupted:
        left = n_lines = n_lines + 1

        def trace(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith(module):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    signal.raise_signal(signal.SIGINT)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            chat.ask("on?", max_tokens=3)
            interrupted = False
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert chat.tree.uncommitted == 0
        head = chat.head
        if head.metadata["role"] == "assistant" and head is not begin:
            assert head.tokens == whole[: len(head.tokens)]
            assert head.is_unfinished
        chat.checkout(begin)
    assert n_lines > 2
    assert all("role" in checkpoint.metadata for checkpoint in chat.tree)
    check_every_checkpoint(chat)


def test_a_stop_does_not_outlive_what_it_stopped(chat: Chat) -> None:
    lock = chat.tree._workspace.lock
    with lock.free() as is_free, lock.operation() as within:
        lock.stop()
        assert (is_free, within.is_cancelled, lock.is_stopped) == (True, True, True)
    with lock.turn():
        with lock.operation() as first:
            assert not first.is_cancelled
            lock.stop()
        with lock.operation() as second:
            assert second.is_cancelled  # all that follows in the turn is stopped, too
    assert not lock.is_stopped
    with lock.operation() as last:
        assert not last.is_cancelled
        assert chat.ask("why?", max_tokens=2).tokens
