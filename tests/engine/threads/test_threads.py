"""Many threads at one context: nobody waits for ever, and what is left is whole."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import PARAMS, assert_twins, context_of, words
from waiting import in_thread, wait_until

from mullama_nb import Context
from mullama_nb.errors import ContextError, ContextFullError, ParameterError

ROUNDS = 12

# What a thread may be told when another one moved the context just before.
RACES = ["cannot follow", "cannot keep", "is empty", "no tokens to capture"]


def generate(context: Context, rng: random.Random, _: Path) -> None:
    context.generate(words(rng.randrange(1, 9)), rng.randrange(5))


def stream(context: Context, rng: random.Random, _: Path) -> None:
    n_tokens = rng.randrange(1, 6)
    for count, token in enumerate(context.stream(words(2), 9)):
        assert 0 <= token.id < 512
        if count == n_tokens:
            break


def rewind(context: Context, rng: random.Random, _: Path) -> None:
    context.rewind(rng.randrange(20, 60))


def capture(context: Context, _rng: random.Random, __: Path) -> None:
    segment = context.capture()
    assert len(segment.tokens) == segment.stop


def restore(context: Context, rng: random.Random, _: Path) -> None:
    segment = context.capture()
    context.restore(segment)
    if not segment.whole:
        context.restore([], keep=rng.randrange(1, 20))


def save(context: Context, rng: random.Random, folder: Path) -> None:
    context.save_session(folder / f"{rng.randrange(3)}.session")


def load(context: Context, rng: random.Random, folder: Path) -> None:
    sessions = sorted(folder.glob("*.session"))
    if sessions:
        context.load_session(rng.choice(sessions))


def look(context: Context, _rng: random.Random, __: Path) -> None:
    assert context.token_count() <= 512
    assert np.isfinite(context.logits).all()
    assert len(context.top_tokens(3)) == 3
    assert context.text() is not None
    context.stop()


JOBS = [generate, stream, rewind, capture, restore, save, load, look]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*were evaluated again:mullama_nb.errors.InexactWarning")
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2"])
def test_eight_threads_at_once(tiny: ModelMaker, tmp_path: Path, architecture: str) -> None:
    context = context_of(tiny(architecture), words(30), n_batch=32, n_ubatch=32)
    failures: list[BaseException] = []
    counts = dict.fromkeys(range(8), 0)

    def work(index: int, job: Callable[[Context, random.Random, Path], None]) -> None:
        rng = random.Random(index)
        while min(counts.values()) < ROUNDS and not failures:  # nobody waits for ever
            try:
                job(context, rng, tmp_path)
            except (ContextFullError, ParameterError):
                context.clear()  # another thread was there first
            except ContextError as error:
                if not any(reason in str(error) for reason in RACES):
                    failures.append(error)
                    return
            except BaseException as error:  # shown by the main thread
                failures.append(error)
                return
            counts[index] += 1

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(JOBS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures

    context.evaluate(words(3))
    fresh = Context(context.model, PARAMS)
    fresh.evaluate(context.tokens)
    np.testing.assert_allclose(context.logits, fresh.logits, atol=0.1)
    context.save_session(tmp_path / "end")
    fresh.load_session(tmp_path / "end")
    assert_twins(context, fresh)


def test_contexts_of_one_model_do_not_disturb_each_other(tiny: ModelMaker) -> None:
    model = tiny()
    alone = context_of(model, words(40)).generate(None, 60, seed=1)
    answers: list[str] = []

    def work() -> None:
        context = context_of(model, words(40))
        answers.append(context.generate(None, 60, seed=1))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [alone] * 6


def test_closing_while_others_work(tiny: ModelMaker) -> None:
    for n_rounds in range(5):
        context = context_of(tiny(), words(40))
        errors: list[BaseException] = []
        counts = [0] * 4

        def work(
            index: int,
            context: Context = context,
            errors: list[BaseException] = errors,
            counts: list[int] = counts,
        ) -> None:
            try:
                while True:
                    context.rewind(20)
                    context.generate(None, 5)
                    for _ in context.stream(None, 3):
                        pass
                    context.capture()
                    counts[index] += 1
            except ContextError as error:
                errors.append(error)

        threads = [in_thread(work, index) for index in range(4)]
        wait_until(lambda: errors or min(counts) >= n_rounds)  # noqa: B023 - at once
        context.close()
        for thread in threads:
            thread.join()
        assert len(errors) == 4
        assert all("was closed" in str(e) or "no tokens to capture" in str(e) for e in errors)


def test_no_thread_that_goes_on_living_decodes(
    tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenMP would keep a team of threads for it, and every token would take longer."""
    decode, decoded = llama_cpp.llama_decode, set()

    def noted(*arguments: object) -> int:
        decoded.add(threading.current_thread())
        return int(decode(*arguments))

    monkeypatch.setattr(llama_cpp, "llama_decode", noted)
    with context_of(tiny(), words(40)) as context, context.fork() as other:
        for _ in range(2):
            context.rewind(30)  # whose logits have to be worked out again
            stream = context.stream(words(2), 9)
            next(stream)
            context.capture(0)
            stream.close()
            other.generate(words(1), 3)
            context.logits_at(10)
    wait_until(lambda: not any(thread.is_alive() for thread in decoded))
    assert threading.main_thread() not in decoded
