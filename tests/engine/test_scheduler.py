"""Streams, stopping, and who may touch the context when."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, PARAMS, assert_twins, context_of, words
from waiting import in_thread, wait_until

from mullama_nb import Context, Model, Token
from mullama_nb.errors import ContextClosedError, ContextError, GrammarError

every = pytest.mark.parametrize("architecture", EVERY[:-1])


# -- streams -----------------------------------------------------------------------------------


@every
def test_leaving_a_stream_keeps_what_was_handed_out(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context, twin = context_of(model, words(40)), context_of(model, words(40))
    handed_out: list[Token] = []
    for token in context.stream(None, 30, seed=1):
        handed_out.append(token)
        if len(handed_out) == 9:
            break
    assert context.token_count() == 49
    assert context.tokens[40:] == tuple(token.id for token in handed_out)
    assert twin.generate(None, 9, seed=1).tokens == tuple(handed_out)
    assert_twins(context, twin)


@pytest.mark.slow
@every
def test_what_is_held_back_is_not_seen(tiny: ModelMaker, tmp_path: Path, architecture: str) -> None:
    model = tiny(architecture)
    context, twin = context_of(model, words(40)), context_of(model, words(40))
    grammar = 'root ::= "abSTOxySTOzwSTOP"'
    whole = twin.generate(None, grammar=grammar, stop="STOP")
    twin.rewind(40)
    n_tokens = 40
    for token in context.stream(None, grammar=grammar, stop="STOP"):
        n_tokens += 1
        twin.evaluate([token.id])
        assert (context.token_count(), context.tokens) == (n_tokens, twin.tokens)
        assert len(context.capture(40).tokens) == n_tokens - 40
        np.testing.assert_array_equal(context.logits, twin.logits)
        assert context.save_session(tmp_path / "s").n_tokens == n_tokens
    assert context.tokens == twin.tokens
    assert whole == "abSTOxySTOzw"
    assert n_tokens == 40 + len(whole.tokens)


@pytest.mark.slow
@every
def test_leaving_with_half_a_stop_string_drops_it(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context, twin = context_of(model, words(40)), context_of(model, words(40))
    grammar = 'root ::= "aSTObSTOc"'
    ids = [token.id for token in context.generate(None, grammar=grammar).tokens]
    for n_tokens in range(1, len(ids)):
        context.rewind(40)
        twin.rewind(40)
        for count, _ in enumerate(context.stream(None, grammar=grammar, stop="STOP"), 1):
            if count == n_tokens:
                break
        for token in ids[:n_tokens]:
            twin.evaluate([token])
        assert_twins(context, twin, 3)


def test_a_closed_stream_is_over(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    with context.stream(None, 30) as stream:
        first = next(stream)
        assert stream.completion.tokens == (first,)
    assert list(stream) == []
    assert stream.completion.finish_reason == "stopped"
    assert context.token_count() == 41
    stream.close()
    unused = context.stream("more", 5)
    unused.close()
    assert list(unused) == []
    assert context.token_count() == 41


def test_a_second_stream_ends_the_first(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    first, second = context.stream(None, 30, seed=1), context.stream(None, 30, seed=2)
    a = [next(first), next(first)]
    b = [next(second), next(second)]
    assert list(first) == []
    assert first.completion.finish_reason == "stopped"
    assert first.completion.tokens == tuple(a)
    assert context.tokens[40:] == tuple(token.id for token in a + b)


@every
def test_moving_ends_a_stream(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), words(40))
    segment = context.capture()
    moves = (
        lambda: context.rewind(41),
        lambda: context.restore(segment),
        context.clear,
        lambda: context.evaluate(words(3)),
    )
    for move, left in zip(moves, (41, 40, 0, None), strict=True):
        context.restore(segment)
        tokens = []
        for token in context.stream(None, 30):
            tokens.append(token.id)
            if len(tokens) == 4:
                move()
        assert len(tokens) == 4
        assert context.token_count() == (47 if left is None else left)
    assert context.tokens == (*words(40), *tokens, *words(3))


def test_looking_does_not_end_a_stream(tiny: ModelMaker) -> None:
    context, twin = context_of(tiny(), words(40)), context_of(tiny(), words(40))
    for token in context.stream(None, 12, seed=1):
        twin.evaluate([token.id])
        assert context.text() == twin.text()
        assert context.kv_bytes() == twin.kv_bytes()
        np.testing.assert_array_equal(context.logits, twin.logits)
        assert context.fork().tokens == twin.tokens
    assert context.token_count() == 52


def test_a_stream_outlives_its_context(tiny: ModelMaker) -> None:
    expected = context_of(tiny()).generate(words(20), 6, seed=1)
    stream = context_of(tiny()).stream(words(20), 6, seed=1)
    gc.collect()
    assert tuple(stream) == expected.tokens


def test_what_is_dropped_is_freed(tiny: ModelMaker) -> None:
    n_threads = threading.active_count()
    for _ in range(5):
        context = context_of(tiny(), words(20))
        gone = weakref.ref(context._scheduler)
        del context
        assert gone() is None
    wait_until(lambda: threading.active_count() <= n_threads)


# -- stop --------------------------------------------------------------------------------------


@every
def test_stopping_a_prompt_leaves_everything_as_it_was(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context = context_of(model, words(40), n_batch=32, n_ubatch=32)
    twin = context.fork()
    seen = []

    def stop(done: int, _total: int) -> None:
        seen.append(done)
        in_thread(context.stop).join()

    completion = context.generate(words(200, 1), 5, progress=stop)
    assert (completion, completion.tokens, completion.finish_reason) == ("", (), "stopped")
    assert completion.evaluated == 0
    assert seen == [32]
    np.testing.assert_array_equal(context.logits, twin.logits)
    assert context.generate(words(200, 1), 0, progress=stop).finish_reason == "stopped"
    assert context.evaluate(words(200, 1), progress=stop) == 0
    assert_twins(context, twin)


def test_a_decode_in_native_code_is_stopped(
    smollm2: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, done, stati = llama_cpp.llama_decode, list[int](), list[int]()
    is_due = threading.Event()

    def stopped(*arguments: object) -> int:
        if not is_due.is_set():
            return int(decode(*arguments))
        stopping = in_thread(context.stop)  # native code runs while this thread comes to it
        stati.append(int(decode(*arguments)))
        stopping.join()
        return stati[-1]

    monkeypatch.setattr(llama_cpp, "llama_decode", stopped)
    context = Context(smollm2, PARAMS.with_changes(n_ctx=2048))
    context.generate("The weather in June", 4, temperature=0)
    tokens, logits = context.tokens, context.logits
    is_due.set()
    evaluated = context.evaluate([100] * 1900, progress=lambda n, _: done.append(n))
    is_due.clear()
    assert evaluated == 0
    assert context.tokens == tokens
    np.testing.assert_array_equal(context.logits, logits)
    assert stati[-1] == 2  # llama.cpp's own: aborted
    assert len(done) < 3


def test_stopping_a_generation_keeps_what_it_has(tiny: ModelMaker) -> None:
    context, twin = context_of(tiny(), words(40)), context_of(tiny(), words(40))
    heard: list[Token] = []

    def listen(token: Token) -> None:
        heard.append(token)
        if len(heard) == 7:
            in_thread(context.stop).join()

    completion = context.generate(None, seed=1, on_token=listen)
    assert completion.finish_reason == "stopped"
    assert completion.tokens == tuple(heard)
    assert len(heard) == 7
    twin.generate(None, 7, seed=1)
    assert_twins(context, twin)
    for token in context.stream(None, 20):
        heard.append(token)
        context.stop()
    assert len(heard) == 8


def test_stopping_nothing_does_nothing(tiny: ModelMaker) -> None:
    context = context_of(tiny())
    context.stop()
    assert len(context.generate(words(40), 5).tokens) == 5
    context.stop()
    assert context.evaluate(words(40)) == 40
    assert context.logits.shape == (512,)


def test_moving_makes_a_long_prompt_give_way(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40), n_batch=16, n_ubatch=16)
    movers = []

    def move(done: int, _total: int) -> None:
        if done == 32:
            movers.append(in_thread(context.rewind, 30))
            wait_until(lambda: context._scheduler._n_movers)

    completion = context.generate(words(400, 1), 5, progress=move)
    movers[0].join()
    assert completion.finish_reason == "stopped"
    assert context.tokens == tuple(words(30))


def test_moving_from_another_thread_ends_a_generation(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    movers = []

    def move(_token: Token) -> None:
        if not movers:
            movers.append(in_thread(context.rewind, 30))
            wait_until(lambda: context._scheduler._n_movers or context.token_count() == 30)

    completion = context.generate(None, on_token=move)
    movers[0].join()
    assert completion.finish_reason == "stopped"
    assert context.tokens == tuple(words(30))
    assert len(completion.tokens) <= 2


# -- callbacks ---------------------------------------------------------------------------------


def test_a_token_callback_may_move_and_close_but_not_evaluate(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))

    def evaluate(_token: Token) -> None:
        context.evaluate(words(3))

    with pytest.raises(ContextError, match="a callback of a running evaluation cannot evaluate"):
        context.generate(None, 5, on_token=evaluate)
    assert context.token_count() == 41

    completion = context.generate(None, 5, on_token=lambda _: context.rewind(20))
    assert completion.finish_reason == "stopped"
    assert context.token_count() == 20
    completion = context.generate(None, 5, on_token=lambda _: context.close())
    assert completion.finish_reason == "stopped"


@pytest.mark.parametrize("use", ["rewind", "capture", "close", "restore"])
def test_a_progress_callback_cannot_use_the_context(tiny: ModelMaker, use: str) -> None:
    context = context_of(tiny(), words(40), n_batch=16, n_ubatch=16)
    segment = context.capture()

    def misuse(_done: int, _total: int) -> None:
        arguments = {"rewind": (0,), "restore": (segment,)}.get(use, ())
        getattr(context, use)(*arguments)

    with pytest.raises(ContextError, match="a progress callback cannot use the context"):
        context.evaluate(words(100), progress=misuse)
    assert context.tokens == tuple(words(40))
    assert_twins(context, context_of(tiny(), words(40), n_batch=16, n_ubatch=16))


def test_an_error_in_a_stream_leaves_what_was_handed_out(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    # U+40000 begins with a byte that the vocabulary does not have.
    stream = context.stream(None, grammar='root ::= "ok" [\\U00040000]', temperature=0)
    texts = []
    with pytest.raises(GrammarError, match="no token of the vocabulary continues the grammar"):
        texts.extend(token.text for token in stream)
    assert list(stream) == []
    handed_out = tuple(token.id for token in stream.completion.tokens)
    assert context.tokens == (*words(40), *handed_out)
    assert stream.completion == "ok"


# -- end ---------------------------------------------------------------------------------------


def test_a_closed_context_says_so(tiny: ModelMaker, tmp_path: Path) -> None:
    with context_of(tiny(), words(20)) as context:
        segment = context.capture()
        stream = context.stream(None, 5)
        next(stream)
        context.save_session(tmp_path / "s")
    context.close()
    uses = (
        context.token_count,
        lambda: context.tokens,
        lambda: context.logits,
        lambda: context.generate("Hi"),
        lambda: next(stream),
        lambda: next(context.stream("Hi")),
        lambda: context.rewind(0),
        context.clear,
        context.fork,
        context.capture,
        lambda: context.restore(segment),
        lambda: context.save_session(tmp_path / "s"),
        lambda: context.load_session(tmp_path / "s"),
        context.kv_bytes,
    )
    for use in uses:
        with pytest.raises(ContextClosedError, match="the context was closed; make a new one"):
            use()
    context.stop()
    stream.close()
    assert repr(context).startswith("Context('tiny-")


def test_closing_ends_what_is_running(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    results: list[object] = []
    started = threading.Event()

    def listen(_token: Token) -> None:
        started.set()
        wait_until(lambda: context._scheduler._n_movers or context._scheduler.is_closed)

    def run() -> None:
        try:
            results.append(context.generate(None, on_token=listen).finish_reason)
        except ContextClosedError as error:
            results.append(error)

    threads = [in_thread(run) for _ in range(3)]
    started.wait()
    context.close()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(r == "stopped" or isinstance(r, ContextClosedError) for r in results)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_gets_an_error_and_ends(tiny: ModelMaker) -> None:
    # In a process of its own: a fork of this one would inherit pytest.
    script = """
        import os, sys
        from mullama_nb import Context, ContextParams, Model
        from mullama_nb.errors import ContextClosedError
        context = Context(Model.load(sys.argv[1]), ContextParams(n_ctx=256, n_threads=1))
        context.generate("Hello", 5)
        stream = context.stream(" there", 5)
        next(stream)
        child = os.fork()
        if child == 0:
            for use in (context.token_count, lambda: context.generate("Hi", 3), context.clear,
                        context.capture, lambda: context.logits, lambda: next(stream)):
                try:
                    use()
                except ContextClosedError as error:
                    assert "belongs to the process that made it" in str(error)
                else:
                    os._exit(7)
            stream.close()
            context.close()
            sys.exit(3)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 3, status
        assert len(list(stream)) == 4
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tiny().path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
