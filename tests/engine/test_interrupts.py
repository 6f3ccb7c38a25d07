"""Ctrl-C at any moment leaves a context that is whole and goes on exactly."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import PARAMS, assert_twins, context_of, words
from interrupting import count_lines, interrupt
from tiny_models import CHATML
from waiting import gate, in_thread, wait_until

from mullama_nb import Context, Model

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are another thing there")

ROUNDS = 7


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    """Python's own handler, which must be there again whatever happened."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
        found = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert found is signal.default_int_handler


def check(context: Context, tmp_path: Path) -> None:
    """Check that rows, tokens and logits belong together, and that nobody holds a lock."""
    tokens = list(context.tokens)
    assert context.token_count() == len(tokens)
    if not tokens:
        context.evaluate(words(3))
        return
    fresh = context_of(context.model, tokens)
    np.testing.assert_allclose(context.logits, fresh.logits, atol=0.1)
    context.save_session(tmp_path / "check")
    fresh.load_session(tmp_path / "check")
    assert_twins(context, fresh, 5)


def prefill(context: Context, _: Path) -> None:
    context.clear()
    context.evaluate(words(300))


def generation(context: Context, _: Path) -> None:
    context.rewind(0)
    context.generate(words(20), 60, seed=1)


def stream(context: Context, _: Path) -> None:
    context.clear()
    for token in context.stream(words(20), 60, seed=1):
        assert context.tokens[-1] == token.id


def conversation(context: Context, _: Path) -> None:
    for text in ("Hello there", "Hello you"):
        context.generate(messages=[{"role": "user", "content": text}], max_tokens=10)


def rewind(context: Context, _: Path) -> None:
    context.evaluate(words(9))
    context.generate(None, 3)
    context.rewind(-5)
    context.rewind(-7)
    if context.token_count() > 300:
        context.clear()


def restore(context: Context, _: Path) -> None:
    context.clear()
    context.evaluate(words(30))
    first = context.capture()
    context.evaluate(words(7, 1))
    second = context.capture(30, parent=first.address)
    for _ in range(10):
        context.restore([first, second])
        if not first.whole:
            context.restore(second, keep=30)


def save_and_load(context: Context, folder: Path) -> None:
    if context.token_count() > 100:
        context.clear()
    context.evaluate(words(20))
    context.save_session(folder / "s")
    context.load_session(folder / "s")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "lfm2"])
@pytest.mark.parametrize(
    "job", [prefill, generation, stream, conversation, rewind, restore, save_and_load]
)
@pytest.mark.filterwarnings("ignore:.*were evaluated again:mullama_nb.errors.InexactWarning")
def test_an_interrupt_leaves_an_exact_context(
    tiny: ModelMaker,
    tmp_path: Path,
    architecture: str,
    job: Callable[[Context, Path], None],
) -> None:
    model = tiny(architecture, chat_template=CHATML)
    context = Context(model, PARAMS.with_changes(n_batch=32, n_ubatch=32))
    rng = random.Random(job.__name__)
    n_lines = count_lines(lambda: job(context, tmp_path))
    for _ in range(ROUNDS):
        interrupt(lambda: job(context, tmp_path), rng.randint(1, n_lines))
        check(context, tmp_path)


def test_interrupts_while_a_real_model_works(
    smollm2: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "It was a bright cold day in April, and the clocks were striking thirteen. " * 6
    n_tokens = len(smollm2.tokenize(text))
    decode, n_decoded, due = llama_cpp.llama_decode, 0, 0

    def interrupted(*arguments: object) -> int:
        nonlocal n_decoded
        n_decoded += 1
        if n_decoded == due:  # native code runs while the main thread hears of it
            os.kill(os.getpid(), signal.SIGINT)
            if due == 1:  # what it ends is all that there is to decode: it hears in time
                wait_until(context._scheduler._abort.is_set)
        return int(decode(*arguments))

    monkeypatch.setattr(llama_cpp, "llama_decode", interrupted)
    context = Context(smollm2, PARAMS.with_changes(n_ctx=1024))
    for number, least, most in (
        (1, 0, 0),
        (12, n_tokens, n_tokens + 40),
        (30, n_tokens, n_tokens + 40),
    ):
        context.clear()
        n_decoded, due = 0, number
        with pytest.raises(KeyboardInterrupt):
            context.generate(text, 40, seed=1)
        assert least <= context.token_count() <= most
    due = 0
    context.evaluate("The end.")
    context.save_session(tmp_path / "s")
    other = Context(smollm2, context.params)
    other.load_session(tmp_path / "s")
    assert_twins(context, other, 8)


def test_an_interrupt_is_for_the_request_that_waits(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    running, results = threading.Event(), []
    with gate() as go_on:

        def listen(_token: object) -> None:
            running.set()
            go_on.wait()

        def generate() -> None:
            results.append(context.generate(None, 6, on_token=listen))

        def interrupt_the_other() -> None:
            wait_until(context._scheduler._worker._executor._work_queue.qsize)
            os.kill(os.getpid(), signal.SIGINT)

        thread = in_thread(generate)
        running.wait()
        # Queued behind the other thread's request, it is given up at once and that one goes on.
        interrupting = in_thread(interrupt_the_other)
        with pytest.raises(KeyboardInterrupt):
            context.generate(None, 400)
        interrupting.join()
        assert not results
        go_on.set()
        thread.join()
    assert len(results[0].tokens) == 6
    assert results[0].finish_reason == "length"
    assert context.token_count() == 26


def test_an_interrupt_while_loading_frees_what_was_loaded(smollm2_path: Path) -> None:
    def interrupt(fraction: float) -> None:
        if fraction > 0.2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Model.load(smollm2_path, progress=interrupt, n_gpu_layers=0)
    assert Model.load(smollm2_path, n_gpu_layers=0).n_vocab == 49152
