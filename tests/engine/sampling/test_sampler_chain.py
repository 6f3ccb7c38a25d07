"""DRY, XTC, top-n-sigma, dynamic temperature, Mirostat and adaptive-p are llama.cpp's own."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest
from conftest import ModelMaker
from engine.helpers import context_of, words
from hypothesis import given, settings
from hypothesis import strategies as st

from mullama_nb import Completion, Model, SamplingParams
from mullama_nb.engine.sampling.adaptive import check_state
from mullama_nb.engine.sampling.params import SAMPLERS
from mullama_nb.engine.sampling.sampler import Sampler, draw_seed
from mullama_nb.errors import ParameterError

PROMPT = words(12) * 3  # repeats itself, which DRY is about
AGAIN = {"logit_bias": dict.fromkeys(PROMPT, 6.0)}  # what makes it likely to repeat itself
WIDE = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
VARIETY: list[dict[str, Any]] = [
    {"dry_multiplier": 0.8, "dry_window": -1},
    {"dry_multiplier": 3.0, "dry_base": 1.2, "dry_allowed_length": 1, "dry_window": 9},
    {"dry_multiplier": 2.0, "dry_sequence_breakers": [], "repetition_penalty": 1.2},
    {"dry_multiplier": 2.0, "dry_window": 30, "dry_sequence_breakers": ["a", "of the"]},
    {"dry_multiplier": 3.0, "temperature": 0},
    {"xtc_probability": 0.5, "xtc_threshold": 0.01, **WIDE},
    {"xtc_probability": 1.0, "xtc_threshold": 0.005, "temperature": 1.5},
    {"xtc_probability": 0.5, "xtc_threshold": 0.01, "dry_multiplier": 1.0, "dry_window": -1},
    {"top_n_sigma": 1.0, **WIDE},
    {"top_n_sigma": 0.7, "temperature": 2.0, "min_p": 0.0},
    {"dynamic_temperature_range": 0.5, **WIDE},
    {"temperature": 0.6, "dynamic_temperature_range": 1.0, "dynamic_temperature_exponent": 0.4},
    {"samplers": ["temperature", "top_p"], "temperature": 2.0, "top_p": 0.5},
    {"samplers": SAMPLERS[::-1], "temperature": 1.7, "xtc_probability": 0.3, "xtc_threshold": 0.02},
    {"samplers": ["xtc", "dry"], "xtc_probability": 0.9, "xtc_threshold": 0.0, "dry_multiplier": 1},
    {"samplers": []},
    {"mirostat": 1},
    {"mirostat": 1, "mirostat_tau": 2.0, "mirostat_eta": 0.4, "temperature": 1.4},
    {"mirostat": 2},
    {"mirostat": 2, "mirostat_tau": 8.0, "mirostat_eta": 0.3, "dry_multiplier": 1.0},
    {"mirostat": 2, "mirostat_tau": 0.0, "mirostat_eta": 1.0},
    {"adaptive_p_target": 0.3},
    {"adaptive_p_target": 0.05, "adaptive_p_decay": 0.5, **WIDE, "temperature": 1.5},
    {"adaptive_p_target": 0.9, "adaptive_p_decay": 0.0, "min_p": 0.2},
    {"adaptive_p_target": 0.02, "xtc_probability": 0.5, "xtc_threshold": 0.01},
]


def ids(completion: Completion) -> list[int]:
    return [token.id for token in completion.tokens]


class Bare:
    """llama.cpp's samplers, made anew at each position; a state is moved from one to the next."""

    # Where the state lies within the samplers, in floats, in the version that is vendored.
    PLACES: ClassVar = {"mirostat1": (24, 1), "mirostat2": (16, 1), "adaptive": (5016, 2)}

    def __init__(self, model: Model, params: SamplingParams, n_ctx: int) -> None:
        self.model, self.params, self.n_ctx = model, params, n_ctx
        self.state: bytes | None = None

    def draw(self, logits: npt.NDArray[np.float32], tokens: Sequence[int]) -> int:
        position = len(tokens)
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for sampler in self.samplers(position):
            llama_cpp.llama_sampler_chain_add(chain, sampler)
        for token in tokens:
            llama_cpp.llama_sampler_accept(chain, token)
        candidates = (llama_cpp.llama_token_data * logits.size)(
            *((i, float(logit), 0.0) for i, logit in enumerate(logits))
        )
        array = llama_cpp.llama_token_data_array(
            ctypes.cast(candidates, llama_cpp.llama_token_data_p), logits.size, -1, False
        )
        last, place = self.last(position)
        if place is not None and self.state is not None:
            ctypes.memmove(place, self.state, len(self.state))
        llama_cpp.llama_sampler_chain_add(chain, last)
        llama_cpp.llama_sampler_apply(chain, ctypes.byref(array))
        token = int(array.data[array.selected].id)
        llama_cpp.llama_sampler_accept(last, token)
        if place is not None:
            self.state = bytes(place)
        llama_cpp.llama_sampler_free(chain)
        return token

    def samplers(self, position: int) -> Iterator[Any]:
        params, vocabulary = self.params, self.model.vocabulary
        texts = [text.encode() for text in params.dry_sequence_breakers]
        breakers = (ctypes.c_char_p * len(texts))(*texts)
        assert params.seed is not None
        biases = (llama_cpp.llama_logit_bias * len(params.logit_bias))(*params.logit_bias.items())
        yield llama_cpp.llama_sampler_init_logit_bias(vocabulary.n_tokens, len(biases), biases)
        made = {
            "penalties": lambda: llama_cpp.llama_sampler_init_penalties(
                vocabulary.n_tokens, 64, params.repetition_penalty, 0, 0
            ),
            "dry": lambda: llama_cpp.llama_sampler_init_dry(
                vocabulary.handle,
                params.dry_multiplier,
                params.dry_base,
                params.dry_allowed_length,
                self.n_ctx if params.dry_window < 0 else params.dry_window,
                breakers,
                len(texts),
            ),
            "top_n_sigma": lambda: llama_cpp.llama_sampler_init_top_n_sigma(params.top_n_sigma),
            "top_k": lambda: llama_cpp.llama_sampler_init_top_k(params.top_k),
            "typical_p": lambda: llama_cpp.llama_sampler_init_typical(params.typical_p, 1),
            "top_p": lambda: llama_cpp.llama_sampler_init_top_p(params.top_p, 1),
            "min_p": lambda: llama_cpp.llama_sampler_init_min_p(params.min_p, 1),
            "xtc": lambda: llama_cpp.llama_sampler_init_xtc(
                params.xtc_probability,
                params.xtc_threshold,
                1,
                draw_seed(params.seed or 0, 0, position, "xtc"),
            ),
            "temperature": lambda: llama_cpp.llama_sampler_init_temp_ext(
                params.temperature,
                params.dynamic_temperature_range,
                params.dynamic_temperature_exponent,
            ),
        }
        for name in params.samplers:
            if not params.mirostat or name in ("penalties", "dry", "temperature"):
                yield made[name]()

    def last(self, position: int) -> tuple[Any, Any]:
        params = self.params
        seed = draw_seed(params.seed or 0, 0, position)
        if params.mirostat == 1:
            name, sampler = (
                "mirostat1",
                llama_cpp.llama_sampler_init_mirostat(
                    self.model.n_vocab, seed, params.mirostat_tau, params.mirostat_eta, 100
                ),
            )
        elif params.mirostat == 2:
            name, sampler = (
                "mirostat2",
                llama_cpp.llama_sampler_init_mirostat_v2(
                    seed, params.mirostat_tau, params.mirostat_eta
                ),
            )
        elif params.adaptive_p_target is not None:
            name, sampler = (
                "adaptive",
                llama_cpp.llama_sampler_init_adaptive_p(
                    params.adaptive_p_target, params.adaptive_p_decay, seed
                ),
            )
        elif params.temperature == 0:
            return llama_cpp.llama_sampler_init_greedy(), None
        else:
            return llama_cpp.llama_sampler_init_dist(seed), None
        at, n = self.PLACES[name]
        address = ctypes.cast(sampler, ctypes.POINTER(ctypes.c_void_p))[1]
        assert address is not None
        return sampler, (ctypes.c_float * n).from_address(address + at)


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIETY, ids=range(len(VARIETY)))
def test_tokens_are_those_of_llama_cpps_own_samplers(
    tiny: ModelMaker, options: dict[str, Any]
) -> None:
    params = SamplingParams(seed=11, **options, **AGAIN)
    context = context_of(tiny(), PROMPT)
    ours = context.generate(None, 60, sampling=params)
    bare, tokens = Bare(tiny(), params, context.n_ctx), list(PROMPT)
    context.rewind(len(PROMPT))
    for token in ours.tokens:
        tokens.append(bare.draw(context.logits, tokens))
        assert tokens[-1] == token.id
        context.evaluate(tokens[-1:])
    if bare.state is not None:
        theirs = np.frombuffer(bare.state, np.float32)
        np.testing.assert_allclose(ours.sampler_states[-1], theirs, rtol=1e-5, atol=1e-5)
    assert len(ours.sampler_states) == (len(ours.tokens) if params.carries else 0)


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIETY, ids=range(len(VARIETY)))
def test_each_has_an_effect_and_repeats(tiny: ModelMaker, options: dict[str, Any]) -> None:
    base = {name: options[name] for name in ("temperature", *WIDE) if name in options}
    context, answers = context_of(tiny(), PROMPT), []
    for chosen in (options, options, base):
        context.rewind(len(PROMPT))
        answers.append(ids(context.generate(None, 60, seed=11, **chosen, **AGAIN)))
    assert answers[0] == answers[1] != answers[2]


ENDLESS = {"logit_bias": dict.fromkeys(range(17), -float("inf"))}
CARRYING: list[dict[str, Any]] = [
    {"mirostat": 1, "mirostat_tau": 3.0, "mirostat_eta": 0.5, **ENDLESS},
    {"mirostat": 2, "mirostat_tau": 3.0, "mirostat_eta": 0.5, **ENDLESS},
    {"adaptive_p_target": 0.1, "adaptive_p_decay": 0.8, **WIDE, **ENDLESS},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", CARRYING, ids=["mirostat 1", "mirostat 2", "adaptive-p"])
@settings(max_examples=12)
@given(cuts=st.lists(st.integers(1, 39), unique=True, max_size=5), stop=st.booleans())
def test_an_answer_in_pieces_is_the_whole_answer(
    tiny: ModelMaker, options: dict[str, Any], cuts: list[int], stop: bool
) -> None:
    """Also where a stop string may begin, so that tokens were chosen that are not handed out."""
    context = context_of(tiny(), PROMPT)
    held = {"stop": ["this is not said, but it may begin at any t"]} if stop else {}
    whole = context.generate(None, 40, **options, **held)
    context.rewind(len(PROMPT))
    tokens, states = [], list[tuple[float, ...]]()
    for begin, end in pairwise([0, *sorted(cuts), 40]):
        state = states[-1] if states else None
        if begin % 2:
            stream = context.stream(None, 40, sampler_state=state, **options, **held)
            for _ in range(end - begin):
                next(stream)
            stream.close()
            part = stream.completion
        else:
            part = context.generate(None, end - begin, sampler_state=state, **options, **held)
        tokens += part.tokens
        states += part.sampler_states
    assert [token.id for token in tokens] == ids(whole)
    assert states == list(whole.sampler_states)


def test_a_state_is_that_of_the_samplers() -> None:
    mirostat, adaptive = SamplingParams(mirostat=2), SamplingParams(adaptive_p_target=0.5)
    assert check_state(mirostat, [1.5]) == (1.5,)
    assert check_state(adaptive, (1.5, 2)) == (1.5, 2.0)
    assert check_state(SamplingParams(), None) is None
    wrong: list[tuple[SamplingParams, Any]] = [
        (SamplingParams(), (1.5,)),
        (mirostat, (1.5, 2.0)),
        (mirostat, (float("nan"),)),
        (mirostat, ("1",)),
        (mirostat, 1.5),
        (adaptive, (1.5,)),
        (adaptive, (1.5, 0.0)),
    ]
    for params, state in wrong:
        with pytest.raises(ParameterError, match=r"sampler_state=.*Completion\.sampler_states"):
            check_state(params, state)


@pytest.mark.parametrize("options", CARRYING, ids=["mirostat 1", "mirostat 2", "adaptive-p"])
def test_logits_that_are_no_numbers_end_in_a_token(
    tiny: ModelMaker, options: dict[str, Any]
) -> None:
    for value in (np.nan, -np.inf, np.inf):
        sampler = Sampler(tiny().vocabulary, SamplingParams(**options), 0, (), 512)
        logits = np.full(512, value, np.float32)
        for n_numbers in (0, 3, 300):
            logits[:n_numbers] = 0
            token = sampler.choose(logits, n_numbers)
            assert 0 <= token < 512
            sampler.accept(token)
        assert sampler.state is not None
        assert np.isfinite(sampler.state).all()


@pytest.mark.parametrize("options", CARRYING, ids=["mirostat 1", "mirostat 2", "adaptive-p"])
def test_a_token_that_is_forced_counts_as_if_it_had_been_drawn(
    tiny: ModelMaker, options: dict[str, Any]
) -> None:
    logits = np.random.default_rng(3).normal(0, 2, 512).astype(np.float32)
    drawn = Sampler(tiny().vocabulary, SamplingParams(**options, seed=1), 0, (), 512)
    other = Sampler(tiny().vocabulary, SamplingParams(**options, seed=2), 0, (), 512)
    for position in range(20):
        token = drawn.choose(logits, position)
        drawn.accept(token)
        other.choose(logits, position)
        assert other.force(token)
        assert other.state == drawn.state


def test_mirostat_comes_near_to_its_target(smollm2: Model) -> None:
    """The mean surprise, in bits, of what is drawn."""
    for version in (1, 2):
        for tau in (2.0, 4.0):
            context = context_of(smollm2, smollm2.tokenize("Once upon a time"))
            said = context.generate(None, 150, mirostat=version, mirostat_tau=tau, temperature=1)
            surprise = -np.mean([token.logprob for token in said.tokens]) / np.log(2)
            assert surprise == pytest.approx(tau, abs=0.8)


def test_no_seed_of_a_draw_asks_llama_cpp_for_a_random_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Digest:
        def __init__(self, data: bytes) -> None:
            pass

        def digest(self, length: int) -> bytes:
            return b"\xff" * length  # llama.cpp's LLAMA_DEFAULT_SEED

    assert draw_seed(0, 0, 0, "xtc") != draw_seed(0, 0, 0) == 821045211
    monkeypatch.setattr("mullama_nb.engine.sampling.sampler.blake3", Digest)
    assert draw_seed(0, 0, 0) < 2**32 - 1
