"""The context in which tokens are decoded again: what goes on beside it, ends it, or fails."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, context_of, words
from engine.test_scoring import Unchanged
from hypothesis import given, settings
from hypothesis import strategies as st

from mullama_nb import Context, ContextParams, Model, machine
from mullama_nb.engine.decoder import Decoder
from mullama_nb.engine.inside import graph, probe
from mullama_nb.engine.inside.anatomy import Anatomy, anatomy_of
from mullama_nb.engine.inside.graph import GraphWatch
from mullama_nb.errors import ContextClosedError, ContextError, DecodeError, MullamaError

PROMPT = words(70)

every = pytest.mark.parametrize("architecture", EVERY)
one_of_each = pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])


def probe_of(context: Context) -> Any:
    return context._lens._probe


def native_of(context: Context) -> Any:
    native = probe_of(context)._native
    assert native is not None
    return native


# -- beside it ----------------------------------------------------------------------------------

actions = st.lists(
    st.one_of(
        st.tuples(st.just("evaluate"), st.integers(1, 90)),
        st.tuples(st.just("generate"), st.integers(1, 12)),
        st.tuples(st.just("rewind"), st.floats(0.05, 1)),
        st.tuples(st.just("look"), st.floats(0, 0.999)),
    ),
    min_size=3,
    max_size=9,
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(architecture=st.sampled_from(EVERY[:-1]), walk=actions, seed=st.integers(0, 9))
def test_looks_on_any_way_change_nothing(
    tiny: ModelMaker, architecture: str, walk: list[tuple[str, Any]], seed: int
) -> None:
    model = tiny(architecture)
    with context_of(model, PROMPT[:9]) as context, context_of(model, PROMPT[:9]) as twin:
        for i, (action, amount) in enumerate(walk):
            if action == "look":
                position = int(amount * context.token_count())
                look = context.look(position)
                np.testing.assert_array_equal(look.logits, twin.logits_at(position + 1))
                continue
            for each in (context, twin):
                n = each.token_count()
                if action == "evaluate":
                    each.evaluate(words(min(amount, 500 - n), seed + i))
                elif action == "generate":
                    each.generate(None, min(amount, 500 - n), seed=seed)
                else:
                    each.rewind(max(1, int(amount * n)))
        assert context.tokens == twin.tokens
        np.testing.assert_array_equal(context.capture().data, twin.capture().data)
        np.testing.assert_array_equal(context.logits, twin.logits)


@pytest.mark.slow
@one_of_each
def test_a_stream_goes_on_past_looks(tiny: ModelMaker, architecture: str) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    unchanged_looks = []
    tokens = []
    for token in context.stream(None, 20, seed=3):
        look = context.look()
        assert look.tokens == context.tokens
        assert look.tokens[-1] == token.id
        context.look(token.id % context.token_count()).guesses(1)
        unchanged_looks.append(look)
        tokens.append(token)
    assert tuple(tokens) == twin.generate(None, 20, seed=3).tokens
    for look in unchanged_looks[::5]:
        np.testing.assert_array_equal(look.logits, twin.logits_at(look.position + 1))


@pytest.mark.slow
@one_of_each
def test_threads_look_while_another_generates(tiny: ModelMaker, architecture: str) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    expected = [twin.look(position) for position in range(0, 70, 7)]
    with ThreadPoolExecutor(4) as pool:
        said = pool.submit(lambda: context.generate(None, 30, seed=3))
        looks = list(pool.map(context.look, range(0, 70, 7)))
        layers = list(pool.map(lambda look: look.guesses(2), looks))
        assert said.result().tokens == twin.generate(None, 30, seed=3).tokens
    for look, own in zip(looks, expected, strict=True):
        np.testing.assert_array_equal(look.logits, own.logits)
        np.testing.assert_array_equal(look.hidden, own.hidden)
    assert layers == [look.guesses(2) for look in expected]
    np.testing.assert_array_equal(context.logits, twin.logits)


def test_a_callback_cannot_look(tiny: ModelMaker) -> None:
    context, errors = context_of(tiny()), []

    def progress(_done: int, _total: int) -> None:
        try:
            context.look()
        except MullamaError as error:
            errors.append(error)

    context.evaluate(PROMPT, progress=progress)
    assert errors
    assert context.look().position == 69


def test_two_looks_do_not_mix(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    one, other = context.look(20), context.look(60)
    for look in (one, other, one):
        np.testing.assert_allclose(look.lens(4), look.logits, atol=1e-4)
        np.testing.assert_array_equal(look.lens(2), look.lens(2))


def test_small_batches_ask_all_layers(tiny: ModelMaker) -> None:
    model = tiny("llama", n_layer=7)
    contexts = [context_of(model, PROMPT, n_ubatch=n) for n in (3, 512)]
    few, many = (context.look() for context in contexts)
    for look in (few, many):
        np.testing.assert_allclose(look.lens(7), look.logits, atol=1e-4)
    np.testing.assert_array_equal(few.hidden[0], many.hidden[0])
    np.testing.assert_allclose(few.lens(0), many.lens(0), atol=1e-4)


# -- what it takes ------------------------------------------------------------------------------


def test_a_probe_is_no_larger_than_it_must_be(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT, n_ctx=2048)
    assert probe_of(context)._native is None  # who never looks pays nothing
    context.look()
    first = native_of(context)
    assert first.n_cells == 512
    context.evaluate(words(400))
    context.look()
    assert native_of(context) is first
    context.evaluate(words(100))
    context.look(511)
    assert native_of(context) is first
    context.look()
    assert native_of(context).n_cells == 1024
    assert not first.free.alive


def test_the_cells_decide_over_ropes_factors(tiny: ModelMaker) -> None:
    """LongRoPE has other factors beyond the original context, by cells and not by tokens."""
    model = tiny("longrope")
    for n_ctx, expected in ((1024, 512), (2048, 2048)):
        context = context_of(model, PROMPT, n_ctx=n_ctx)
        np.testing.assert_array_equal(context.look().logits, context.logits)
        assert native_of(context).n_cells == expected


@one_of_each
def test_rest_and_close_free_it(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), PROMPT)
    look = context.look(40)
    free = native_of(context).free
    assert context.rest()
    assert not free.alive
    np.testing.assert_allclose(look.lens(4), look.logits, atol=1e-4)  # another one is made
    np.testing.assert_array_equal(context.look(40).logits, look.logits)
    free = native_of(context).free
    context.close()
    assert not free.alive


def test_it_goes_with_a_context_that_nobody_closed(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    context.look()
    free, gone = native_of(context).free, weakref.ref(context)
    del context
    gc.collect()
    assert gone() is None
    assert not free.alive


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_leaves_it_alone(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    look = context.look()
    with probe_of(context)._lock:  # as if another thread were looking
        child = os.fork()
        if child == 0:
            try:
                context.look()
            except ContextClosedError:
                context.close()
                os._exit(7)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    np.testing.assert_array_equal(context.look().logits, look.logits)


# -- what ends it -------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["mamba", "lfm2"])
def test_a_stop_ends_a_long_look(
    tiny: ModelMaker, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = (context_of(tiny(architecture), words(200)) for _ in range(2))
    unchanged = Unchanged(context, twin)
    context.look(3)
    decoder = native_of(context).memory.decoder
    decode, calls = decoder.decode, []

    def stop_then(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        context.stop()
        return decode(*arguments, **options)

    monkeypatch.setattr(decoder, "decode", stop_then)
    with pytest.raises(ContextError, match="stopped"):
        context.look(150)
    assert len(calls) == 1
    unchanged.check()
    np.testing.assert_array_equal(context.look(150).logits, context.logits_at(151))


@pytest.mark.parametrize("architecture", ["mamba", "lfm2"])
def test_a_long_look_gives_way_to_a_move(
    tiny: ModelMaker, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = (context_of(tiny(architecture), words(200)) for _ in range(2))
    context.look(3)
    decode = Decoder.decode
    movers: list[threading.Thread] = []

    def moved_meanwhile(decoder: Decoder, *arguments: Any, **options: Any) -> Any:
        if not movers:
            movers.append(threading.Thread(target=lambda: context.rewind(180)))
            movers[0].start()
            while not context._scheduler._abort.is_set():
                pass
        return decode(decoder, *arguments, **options)

    monkeypatch.setattr(Decoder, "decode", moved_meanwhile)
    look = context.look(150)
    movers[0].join()
    monkeypatch.undo()
    twin.rewind(180)
    assert context.tokens == twin.tokens
    np.testing.assert_array_equal(look.logits, twin.logits_at(151))
    np.testing.assert_array_equal(context.logits, twin.logits)


@one_of_each
def test_an_interrupt_ends_a_look(
    tiny: ModelMaker, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)
    main = threading.main_thread().ident
    assert main is not None
    attend = probe.anatomy_of

    def interrupted(*arguments: Any) -> Any:
        signal.pthread_kill(main, signal.SIGINT)
        while not context._scheduler._abort.is_set():
            pass
        return attend(*arguments)

    monkeypatch.setattr(probe, "anatomy_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        context.look()
    monkeypatch.undo()
    unchanged.check()
    np.testing.assert_array_equal(context.look().logits, context.logits)


# -- what fails ---------------------------------------------------------------------------------


@one_of_each
def test_what_a_callback_raises_comes_out_and_harms_nothing(
    tiny: ModelMaker, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, twin = (context_of(tiny(architecture), PROMPT) for _ in range(2))
    unchanged = Unchanged(context, twin)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("within llama.cpp")

    for name in ("read", "check_layout"):
        with monkeypatch.context() as patch:
            patch.setattr("mullama_nb.engine.inside.graph.Tensor." + name, fail)
            with pytest.raises(ZeroDivisionError, match="within"):
                context.look()
    look = context.look(50)
    with monkeypatch.context() as patch:
        patch.setattr("mullama_nb.engine.inside.graph.Tensor.write", fail)
        with pytest.raises(ZeroDivisionError, match="within"):
            look.lens(2)
    np.testing.assert_allclose(look.lens(4), look.logits, atol=1e-4)
    unchanged.check()


def test_memory_that_is_short_is_said(tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(tiny(), PROMPT)
    memory = machine.Memory(free=1_000, total=10**12, decided_by="a test")
    monkeypatch.setattr(type(machine.here), "memory", memory)
    with pytest.raises(ContextError, match=r"0 MB for their rows, and 0 MB are free"):
        context.look()
    monkeypatch.undo()

    def short(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(probe, "attention_of", short)
        with pytest.raises(ContextError, match="not enough memory for a look at 70 tokens"):
            context.look()
    assert context.look().position == 69


def test_another_graph_than_expected_is_noticed(tiny: ModelMaker) -> None:
    context = context_of(tiny(), PROMPT)
    context.look()
    native = native_of(context)
    (anatomy,) = native._anatomies.values()
    step = min(anatomy.attention)
    for names in ({**anatomy.names, step: "Vcur-9"}, {**anatomy.names, 10**6: "l_out-9"}):
        changed = dataclasses.replace(anatomy, names=names)
        native_of(context)._anatomies[""] = changed
        with pytest.raises(DecodeError, match="comput"):
            context.look()
        context.look()


def test_a_layout_of_tensors_that_is_not_known_is_refused(
    tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(tiny(), PROMPT)
    with monkeypatch.context() as patch:
        patch.setattr(graph._Fields, "name", graph._Fields.op_params)
        with pytest.raises(ContextError, match="lays its tensors out"):
            context.look()
    assert context.look().position == 69


@pytest.mark.parametrize("kv_cache_type", ["f16", "q8_0"])
def test_what_numpy_cannot_see_is_copied(
    tiny: ModelMaker, kv_cache_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from the memory of a GPU, and with a build that lacks the CPU's own conversion."""
    context = context_of(tiny("llama", head_dim=32), PROMPT, kv_cache_type=kv_cache_type)
    seen = context.look()
    monkeypatch.setattr(graph._ggml(), "ggml_backend_buffer_is_host", lambda _: False)
    monkeypatch.setattr(graph, "_native_widening", lambda: None)
    copied = context.look()
    for name in ("attention", "hidden", "logits"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(copied, name))


def test_logits_that_need_more_than_the_last_layer_are_not_made_up(
    tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def headless(*arguments: Any) -> Anatomy:
        return dataclasses.replace(anatomy_of(*arguments), is_headed=False)

    monkeypatch.setattr(probe, "anatomy_of", headless)
    context = context_of(tiny(), PROMPT)
    look = context.look()
    with pytest.raises(ContextError, match="more than what leaves its last layer"):
        look.guesses()
    assert "more than what leaves" in look._repr_html_()
    np.testing.assert_array_equal(look.logits, context.logits)


def test_a_watch_that_is_not_told_to_lets_everything_pass() -> None:
    watch = GraphWatch()
    assert watch.callback(None, True, None) is False
    assert watch.callback(None, False, None) is True


def test_smollm2_is_looked_into_beside_its_answer(smollm2: Model) -> None:
    context = Context(smollm2, ContextParams(n_ctx=256, n_threads=2))
    answers = []
    for looks in (False, True):
        context.clear()
        for token in context.stream("The tide comes in", 12, seed=1):
            answers.append(token.id)
            if looks:
                look = context.look()
                np.testing.assert_array_equal(look.logits, context.logits)
    assert answers[:12] == answers[12:]
