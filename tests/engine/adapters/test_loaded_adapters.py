"""Adapters in a context: the bits are llama.cpp's own, and going back finds what was on there."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from conftest import ModelMaker
from engine.adapters.adapted import Logits, MakeLoRA, evaluated, vector
from engine.helpers import EVERY, PARAMS, assert_twins, context_of, words
from gguf import GGMLQuantizationType as Type
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb import Context, ControlVector, Model
from mullama_nb.engine.adapters.loaded import NONE, AdapterRuns, LoadedAdapters
from mullama_nb.engine.adapters.values import Adapter
from mullama_nb.engine.llama_context import make_llama_context
from mullama_nb.errors import (
    AdapterError,
)
from mullama_nb.state.segment_file import read_segment, write_segment


class Own:
    """llama.cpp's own context, without anything of ours in between."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.handle = make_llama_context(model, PARAMS, 512, verbose=False)

    def load(self, path: Path) -> Any:
        return llama_cpp.llama_adapter_lora_init(self.model.handle, str(path).encode())

    def switch(self, loras: Sequence[Any], scales: Sequence[float]) -> None:
        n = len(loras)
        handles = (llama_cpp.llama_adapter_lora_p_ctypes * n)(*loras)
        llama_cpp.llama_set_adapters_lora(self.handle, handles, n, (ctypes.c_float * n)(*scales))

    def steer(self, rows: Logits, first: int, last: int) -> None:
        data = np.ascontiguousarray(rows[1:], np.float32)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        llama_cpp.llama_set_adapter_cvec(
            self.handle, pointer, data.size, rows.shape[1], first, last
        )

    def evaluate(self, tokens: Sequence[int]) -> Logits:
        """All but the last token at once, as every evaluation of ours."""
        for part in filter(None, (tokens[:-1], tokens[-1:])):
            array = (llama_cpp.llama_token * len(part))(*part)
            batch = llama_cpp.llama_batch_get_one(array, len(part))
            assert llama_cpp.llama_decode(self.handle, batch) == 0
        logits = llama_cpp.llama_get_logits_ith(self.handle, -1)
        return np.array(np.ctypeslib.as_array(logits, (self.model.n_vocab,)))

    def close(self) -> None:
        llama_cpp.llama_free(self.handle)


# -- the bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", EVERY)
def test_logits_are_those_of_llama_cpp(tiny: ModelMaker, lora: MakeLoRA, architecture: str) -> None:
    model = tiny(architecture)
    adapter, tokens = lora(model, scale=0.75, alpha=3.0), words(40)
    own = Own(model)
    handle = own.load(Path(adapter.path))
    own.switch([handle], [0.75])
    expected = [own.evaluate(tokens), own.evaluate([7])]
    own.switch([], [])
    expected.append(own.evaluate([8]))
    own.close()
    llama_cpp.llama_adapter_lora_free(handle)
    with Context(model, PARAMS, adapters=[adapter]) as context:
        context.evaluate(tokens)
        found = [context.logits]
        context.evaluate([7])
        found.append(context.logits)
        context.adapters = []
        context.evaluate([8])
        found.append(context.logits)
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found[0], evaluated(model, []))


@pytest.mark.parametrize("architecture", EVERY)
def test_control_vectors_are_those_of_llama_cpp(tiny: ModelMaker, architecture: str) -> None:
    model, tokens = tiny(architecture), words(40)
    adapter = vector(model, layers=(2, 3))
    own = Own(model)
    own.steer(adapter.directions, 2, 3)
    expected = own.evaluate(tokens)
    own.close()
    np.testing.assert_array_equal(evaluated(model, [adapter]), expected)
    assert not np.array_equal(expected, evaluated(model, []))


@pytest.mark.parametrize("dtype", [Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0])
def test_types_of_weights_differ_by_rounding(model: Model, lora: MakeLoRA, dtype: Type) -> None:
    exact = evaluated(model, [lora(model, 0, 0.1, rank=32)])
    rounded = evaluated(model, [lora(model, 0, 0.1, rank=32, dtype=dtype)])
    assert not np.array_equal(rounded, exact)
    assert np.abs(rounded - exact).mean() < np.abs(evaluated(model, []) - exact).mean() / 2


def test_scale_0_is_none_to_the_bit(model: Model, lora: MakeLoRA) -> None:
    plain = evaluated(model, [])
    for adapter in (lora(model, scale=0), vector(model, scale=0)):
        np.testing.assert_array_equal(evaluated(model, [adapter]), plain)


def test_control_vectors_add_up(model: Model) -> None:
    a, b = vector(model, 1, 0.5), vector(model, 2, -2.0, layers=(1, 2))
    rows = a.directions * np.float32(0.5)
    rows[1:3] += b.directions[1:3] * np.float32(-2)
    together = evaluated(model, [ControlVector.from_array(rows)])
    np.testing.assert_array_equal(evaluated(model, [a, b]), together)
    np.testing.assert_array_equal(evaluated(model, [a, a.with_scale(-0.5)]), evaluated(model, []))


def test_a_shorter_vector_leaves_nothing_of_the_one_before(model: Model) -> None:
    short = ControlVector.from_array(vector(model).directions[:2])
    with Context(model, PARAMS, adapters=[vector(model, 1)]) as context:
        context.evaluate(words(4))
        context.clear()
        context.adapters = [short]
        context.evaluate(words(40))
        np.testing.assert_array_equal(context.logits, evaluated(model, [short]))


def test_the_order_of_loras_is_the_one_given(model: Model, lora: MakeLoRA) -> None:
    a, b = lora(model, 0), lora(model, 1)
    first, other = evaluated(model, [a, b]), evaluated(model, [b, a])
    assert not np.array_equal(first, other)  # floats are added in another order
    np.testing.assert_allclose(first, other, atol=0.1)
    del a, b
    gc.collect()
    np.testing.assert_array_equal(evaluated(model, [lora(model, 0), lora(model, 1)]), first)


# -- a path with several -------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", EVERY)
def test_going_back_finds_what_was_on_there(
    tiny: ModelMaker, lora: MakeLoRA, architecture: str
) -> None:
    model = tiny(architecture)
    context, logits = Context(model, PARAMS), dict[int, Logits]()
    with context:
        for i, on in enumerate([[], [lora(model)], [vector(model)], [lora(model), vector(model)]]):
            context.adapters = on
            np.testing.assert_array_equal(context.logits if i else 0, logits.get(6 * i, 0))
            for n in (3, 3):
                context.evaluate(words(n, i))
                logits[context.token_count()] = context.logits
        assert context.adapters == (lora(model), vector(model))
        for n_tokens in (20, 13, 12, 7, 6, 5):
            if n_tokens in logits:
                np.testing.assert_array_equal(context.logits_at(n_tokens), logits[n_tokens])
        for n_tokens in (21, 15, 12, 6):
            context.rewind(n_tokens)
            np.testing.assert_array_equal(context.logits, logits[n_tokens])
            assert context.adapters == (lora(model), vector(model))


@pytest.mark.parametrize("architecture", EVERY)
def test_captured_rows_say_what_they_were_made_with(
    tiny: ModelMaker, lora: MakeLoRA, architecture: str
) -> None:
    model = tiny(architecture)
    with context_of(model, words(8)) as context, context_of(model) as other:
        context.adapters = [lora(model)]
        context.evaluate(words(8, 1))
        context.adapters = [vector(model)]
        segment = context.capture()
        assert [first for first, _ in segment.adapters] == [8]
        with pytest.raises(AdapterError, match="not at hand"):
            other.restore(segment)
        assert other.tokens == ()
        other.known_adapters.offer([lora(model, scale=7)])
        other.restore(segment)
        assert other.adapters == ()
        other.adapters = context.adapters
        assert_twins(context, other)
        if not segment.whole:
            other.rewind(10)
            context.rewind(10)
            np.testing.assert_array_equal(context.logits, other.logits)


def test_addresses_tell_adapters_apart(model: Model, lora: MakeLoRA) -> None:
    def address(adapters: Sequence[Adapter]) -> str:
        with Context(model, PARAMS, adapters=adapters) as context:
            context.evaluate([7])  # of the first token's row nothing depends on control vectors
            return context.capture().address

    addresses = [
        address(on)
        for on in ([], [lora(model)], [lora(model, scale=0.5)], [vector(model)], [vector(model, 1)])
    ]
    assert len({*addresses}) == 5
    assert address([lora(model, scale=0)]) == addresses[0]


def test_a_segment_that_is_cut_says_it_in_both_parts(
    model: Model, lora: MakeLoRA, tmp_path: Path
) -> None:
    with context_of(model, words(4)) as context:
        context.adapters = [lora(model)]
        context.evaluate(words(4))
        context.adapters = []
        context.evaluate(words(4))
        segment, structure = context.capture(), context.layout[0]
        ((_, text), _) = segment.adapters
        assert segment.adapters == ((4, text), (8, ""))
        for n, runs in {
            2: ((), ((4, text), (8, ""))),
            4: ((), ((4, text), (8, ""))),
            6: (((4, text),), ((6, text), (8, ""))),
            8: (((4, text),), ()),
            10: (((4, text), (8, "")), ()),
        }.items():
            parts = segment.split(n, structure)
            assert tuple(part.adapters for part in parts) == runs
            for part in parts:
                write_segment(tmp_path / "s", part)
                again = read_segment(tmp_path / "s")
                assert (again.adapters, again.address) == (part.adapters, part.address)


@given(st.data())
def test_runs_are_those_of_each_token(data: st.DataObject) -> None:
    """Against a list that holds for each token what it was evaluated with."""
    kinds = [NONE]
    for name in "ab":
        kinds.append(LoadedAdapters())
        object.__setattr__(kinds[-1], "text", name)
    runs, plain, on = AdapterRuns(), list[str](), ""
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.integers(0, 2))
        if action == 0:
            plain += [on] * data.draw(st.integers(1, 3))
        elif action == 1:
            adapters = data.draw(st.sampled_from(kinds))
            runs, on = runs.switched(len(plain), adapters), adapters.text
        else:
            del plain[data.draw(st.integers(0, len(plain))) :]
            runs = runs.up_to(len(plain))
        assert [runs.at(i).text for i in range(len(plain))] == plain
        assert runs.on.text == on
        assert runs.runs[0][0] == 0
        start = data.draw(st.integers(0, len(plain)))
        found, text = [], ""
        begins = dict(runs.between(start, len(plain)))
        for i in range(start, len(plain)):
            assert begins.get(i, "other") != text
            text = begins.get(i, text)
            found.append(text)
        assert found == plain[start:]


# -- what else a context does --------------------------------------------------------------------


def test_a_context_that_rested_goes_on_with_them(model: Model, lora: MakeLoRA) -> None:
    with context_of(model, words(20)) as context, context_of(model, words(20)) as twin:
        for each in (context, twin):
            each.adapters = [lora(model), vector(model)]
            each.evaluate(words(5, 1))
        assert context.rest()
        assert context.is_resting
        assert_twins(context, twin)
        context.rest()
        context.adapters = []  # wakes it
        twin.adapters = []
        assert_twins(context, twin)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2"])
def test_branches_and_scores_use_what_is_on(
    tiny: ModelMaker, lora: MakeLoRA, architecture: str
) -> None:
    model = tiny(architecture)
    with context_of(model, words(20)) as context:
        context.adapters = [lora(model)]
        branch = context.explore(2, 6, exact=True, seed=1)[1]
        assert branch.segment is not None
        assert [first for first, _ in branch.segment.adapters] == [20]
        tokens = [token.id for token in branch.completion.tokens]
        scored = context.score(tokens).logprobs
        context.generate(None, 6, seed=1, sibling=1)
        assert [*context.tokens[20:]] == tokens
        after = context.logits
        context.rewind(20)
        context.restore(branch.segment, keep=20)
        np.testing.assert_array_equal(context.logits, after)
        logprobs = [token.logprob for token in branch.completion.tokens]
        np.testing.assert_allclose(scored, logprobs, atol=0.05)


def test_a_fork_has_the_same_on(model: Model, lora: MakeLoRA) -> None:
    with context_of(model, words(3)) as context:
        context.adapters = [lora(model, 1)]
        context.evaluate(words(3, 1))
        with context.fork() as other:
            other.adapters = []
            kept = other.capture()
            other.clear()
            other.restore(kept)
            np.testing.assert_array_equal(other.logits, context.logits)
            np.testing.assert_array_equal(other.logits_at(5), context.logits_at(5))
    with context_of(model) as context:
        context.adapters = [lora(model)]
        with context.fork() as other:
            assert other.adapters == context.adapters
        context.evaluate(words(9))
        context.adapters = [vector(model)]
        with context.fork() as other:
            assert other.adapters == context.adapters
            assert_twins(context, other)


def test_switching_ends_a_stream_where_it_stands(model: Model, lora: MakeLoRA) -> None:
    with context_of(model, words(9)) as context:
        stream = context.stream(None, 20, seed=1)
        tokens = [next(stream).id, next(stream).id]
        context.adapters = [lora(model)]
        assert [*stream] == []
        assert [*context.tokens[9:]] == tokens
        assert [first for first, _ in context.capture().adapters] == []


def test_what_is_on_is_shown(model: Model, lora: MakeLoRA) -> None:
    with context_of(model) as context:
        context.adapters = [lora(model, scale=0.5)]
        assert f"LoRA('{lora(model).name}', scale=0.5)" in repr(context)
