"""Draws are a function of seed, sibling and position, and otherwise llama.cpp's own."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import PARAMS, context_of, words

from mullama_nb import Completion, Context, Model, SamplingParams
from mullama_nb.engine.path import ActivePath
from mullama_nb.engine.sampling.sampler import (
    Sampler,
    draw_seed,
    log_probabilities,
    log_probability,
)

Chain = Callable[[Any], None]

HOT = SamplingParams(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=7)


def ids(completion: Completion) -> list[int]:
    return [token.id for token in completion.tokens]


def answer(model: Model, n_tokens: int = 20, **options: Any) -> list[int]:
    context = context_of(model, words(20))
    return ids(context.generate(None, n_tokens, **{"sampling": HOT, **options}))


def test_draws_do_not_change_from_version_to_version() -> None:
    assert [draw_seed(*where) for where in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))] == [
        821045211,
        1054706992,
        3431450111,
        2638961461,
    ]
    assert draw_seed(2**64 - 1, 3, 5) < 2**32


def test_a_seed_repeats_and_another_one_does_not(tiny: ModelMaker) -> None:
    model = tiny()
    first = answer(model)
    assert answer(model) == first
    assert answer(model, seed=8) != first
    assert answer(model, seed=8) == answer(model, seed=8)
    assert len({tuple(answer(model, sibling=n)) for n in range(6)}) == 6
    assert answer(model, sibling=3) == answer(model, sibling=3)


def test_siblings_are_equal_at_temperature_0(tiny: ModelMaker) -> None:
    model = tiny()
    assert answer(model, temperature=0, sibling=1) == answer(model, temperature=0, seed=99)


def test_what_was_drawn_before_has_no_part_in_it(tiny: ModelMaker) -> None:
    model = tiny()
    whole = answer(model)
    context = context_of(model, words(20))
    parts: list[int] = []
    for n_tokens in (3, 1, 9, 7):
        parts += ids(context.generate(None, n_tokens, sampling=HOT))
    assert parts == whole
    context.rewind(25)
    assert ids(context.generate(None, 15, sampling=HOT)) == whole[5:]
    context.rewind(25)
    assert ids(context.generate(None, 15, sampling=HOT, sibling=1)) != whole[5:]
    context.rewind(25)
    assert ids(context.generate(None, 15, sampling=HOT)) == whole[5:]


def test_a_seed_that_was_drawn_is_recorded(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    completions = []
    for _ in range(3):
        context.rewind(20)
        completions.append(context.generate(None, 20, sampling=HOT, seed=None))
    seeds = {completion.sampling.seed for completion in completions}
    assert len(seeds) == 3
    for completion in completions:
        context.rewind(20)
        assert completion.sampling.seed is not None
        again = context.generate(None, 20, sampling=HOT, seed=completion.sampling.seed)
        assert again.tokens == completion.tokens
    stream = context.stream(None, 3, seed=None)
    list(stream)
    assert stream.completion.sampling.seed is not None


# -- llama.cpp's own ---------------------------------------------------------------------------

VARIETY = [
    {},
    {"temperature": 1.3, "top_k": 0, "top_p": 0.7, "min_p": 0.0},
    {"temperature": 2.0, "top_k": 5, "typical_p": 0.6},
    {"temperature": 0.9, "min_p": 0.2, "top_k": 100},
    {"repetition_penalty": 1.4, "penalty_window": 16},
    {"frequency_penalty": 0.7, "presence_penalty": 0.4, "penalty_window": -1},
    {"logit_bias": {30: 4.0, 31: -float("inf"), 32: 1}, "temperature": 1.2},
    {"temperature": 0.0, "repetition_penalty": 1.8, "penalty_window": 5},
    {"temperature": 0.0, "logit_bias": {40: 8.0}},
]


def bare(model: Model, params: SamplingParams, prompt: list[int], n_tokens: int) -> list[int]:
    """The tokens that a plain llama.cpp chain draws, made anew at each position."""
    context = context_of(model, prompt)
    tokens = list(prompt)
    for position in range(len(prompt), len(prompt) + n_tokens):
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())

        def add(sampler: Any, chain: Any = chain) -> None:
            llama_cpp.llama_sampler_chain_add(chain, sampler)

        fill(add, params, model, context.n_ctx)
        if params.temperature == 0:
            add(llama_cpp.llama_sampler_init_greedy())
        else:
            assert params.seed is not None
            add(llama_cpp.llama_sampler_init_dist(draw_seed(params.seed, 0, position)))
        for token in tokens:
            llama_cpp.llama_sampler_accept(chain, token)
        candidates = (llama_cpp.llama_token_data * model.n_vocab)(
            *((i, float(logit), 0.0) for i, logit in enumerate(context.logits))
        )
        array = llama_cpp.llama_token_data_array(
            ctypes.cast(candidates, llama_cpp.llama_token_data_p), model.n_vocab, -1, False
        )
        llama_cpp.llama_sampler_apply(chain, ctypes.byref(array))
        tokens.append(int(array.data[array.selected].id))
        llama_cpp.llama_sampler_free(chain)
        context.evaluate(tokens[-1:])
    return tokens[len(prompt) :]


def fill(add: Chain, params: SamplingParams, model: Model, n_ctx: int) -> None:
    """Add the samplers in the order that the documentation names."""
    bias = params.logit_bias
    biases = (llama_cpp.llama_logit_bias * len(bias))(*bias.items())
    add(llama_cpp.llama_sampler_init_logit_bias(model.n_vocab, len(bias), biases))
    window = n_ctx if params.penalty_window < 0 else params.penalty_window
    add(
        llama_cpp.llama_sampler_init_penalties(
            model.n_vocab,
            window,
            params.repetition_penalty,
            params.frequency_penalty,
            params.presence_penalty,
        )
    )
    if params.temperature > 0:
        add(llama_cpp.llama_sampler_init_top_k(params.top_k))
        add(llama_cpp.llama_sampler_init_typical(params.typical_p, 1))
        add(llama_cpp.llama_sampler_init_top_p(params.top_p, 1))
        add(llama_cpp.llama_sampler_init_min_p(params.min_p, 1))
        add(llama_cpp.llama_sampler_init_temp(params.temperature))


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIETY, ids=range(len(VARIETY)))
def test_tokens_are_those_of_a_bare_chain(tiny: ModelMaker, options: dict[str, Any]) -> None:
    model, params = tiny(), SamplingParams(seed=11, **options)
    ours = context_of(model, words(20)).generate(None, 40, sampling=params)
    assert ids(ours) == bare(model, params, words(20), 40)


@pytest.mark.parametrize(
    "options",
    [{"repetition_penalty": 1.4}, {"frequency_penalty": 0.5, "penalty_window": -1}],
    ids=["64 tokens", "all"],
)
def test_penalties_look_back_on_what_was_loaded(
    tiny: ModelMaker, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = tiny()
    context = context_of(model, words(60))
    whole = ids(context.generate(None, 60, sampling=HOT, **options))
    context.rewind(90)
    context.save_session(tmp_path / "s")
    fresh = context_of(model)
    fresh.load_session(tmp_path / "s")
    assert ids(fresh.generate(None, 30, sampling=HOT, **options)) == whole[30:]
    without = context_of(model, words(60))
    assert ids(without.generate(None, 60, sampling=HOT)) != whole


def test_a_forbidden_token_is_never_drawn(tiny: ModelMaker) -> None:
    model = tiny()
    free = answer(model, 60)
    common = max(set(free), key=free.count)
    assert common not in answer(model, 60, logit_bias={common: -float("inf")})
    forced = answer(model, 9, logit_bias={33: 1000.0})
    assert forced == [33] * 9


# -- the sampler alone -------------------------------------------------------------------------


def sampler(model: Model, **options: Any) -> Sampler:
    params = SamplingParams(**options)
    return Sampler(model.vocabulary, params, 0, [], 512)


def test_the_fast_way_to_the_likeliest_is_the_chains(tiny: ModelMaker) -> None:
    model = tiny()
    fast = sampler(model, temperature=0)
    chain = sampler(model, temperature=0, logit_bias={0: 0.0})
    rng = np.random.default_rng(0)
    for _ in range(50):
        logits = rng.integers(-5, 5, 512).astype(np.float32)  # with many that are equal
        assert fast.choose(logits, 0) == chain.choose(logits, 0) == logits.argmax()


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0, "logit_bias": {5: 3.0}},
        {"temperature": 0.8},
        {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 1.5, "top_k": 2000, "typical_p": 0.9},
        {"temperature": 1.2, "repetition_penalty": 1.3},
    ],
    ids=["biased", "default", "whole", "many", "penalties"],
)
def test_logits_that_llama_holds_give_the_draws_that_a_copy_gives(
    smollm2: Model, options: dict[str, Any]
) -> None:
    """As behind a session that was loaded: its stored logits are no row of llama.cpp's."""
    there, here = sampler(smollm2, **options), sampler(smollm2, **options)
    with Context(smollm2, PARAMS) as context:
        context.evaluate(smollm2.tokenize("Once upon a time"))
        context.generate(max_tokens=1, temperature=0)

        def draw(path: ActivePath) -> list[tuple[int, int]]:
            logits, copy = path.logits, np.array(path.logits)
            decoder = path.memory.decoder
            likeliest = int(copy.argmax())
            assert there.log_probability(logits, likeliest) == log_probability(copy, likeliest)
            return [
                (there.choose(logits, at, decoder), here.choose(copy, at, decoder))
                for at in range(60)
            ]

        drawn = context._scheduler.call(draw)
    assert all(a == b for a, b in drawn)
    assert len({a for a, _ in drawn}) > 1 or options["temperature"] == 0


def test_only_what_llama_holds_is_sampled_there(smollm2: Model) -> None:
    with Context(smollm2, PARAMS) as context:
        context.evaluate(smollm2.tokenize("Once upon a time"))

        def ask(path: ActivePath) -> tuple[int | None, int | None]:
            drawer = sampler(smollm2, temperature=0.8)
            greedy = llama_cpp.llama_sampler_init_greedy()
            llama_cpp.llama_sampler_chain_add(drawer._chain.pointer, greedy)
            rows = path.logits, np.array(path.logits)
            held, copied = (path.memory.decoder.sample(drawer._chain.pointer, row) for row in rows)
            return held, copied

        held, copied = context._scheduler.call(ask)
        assert held == int(context.logits.argmax())
        assert copied is None


@pytest.mark.parametrize("n_numbers", [0, 3, 300])
def test_logits_that_are_no_numbers_end_in_a_token(smollm2: Model, n_numbers: int) -> None:
    logits = np.full(smollm2.n_vocab, np.nan, np.float32)
    logits[:n_numbers] = 0
    assert 0 <= sampler(smollm2).choose(logits, 0) < smollm2.n_vocab


def test_logits_are_not_changed(tiny: ModelMaker) -> None:
    logits = np.random.default_rng(1).standard_normal(512).astype(np.float32)
    kept = logits.copy()
    for options in ({"temperature": 0}, {"temperature": 1}, {"logit_bias": {3: 9.0}}):
        sampler(tiny(), **options).choose(logits, 3)
        np.testing.assert_array_equal(logits, kept)


def test_frequencies_follow_the_probabilities(tiny: ModelMaker) -> None:
    draw = sampler(tiny(), temperature=1, top_k=0, top_p=1, min_p=0, seed=3)
    logits = np.full(512, -30, np.float32)
    logits[:4] = np.log([0.4, 0.3, 0.2, 0.1])
    drawn = np.bincount([draw.choose(logits, n) for n in range(4000)], minlength=512)
    assert drawn[4:].sum() == 0
    np.testing.assert_allclose(drawn[:4] / 4000, [0.4, 0.3, 0.2, 0.1], atol=0.03)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_log_probabilities_are_right(scale: float) -> None:
    rng = np.random.default_rng(2)
    logits = (rng.standard_normal(49152) * scale).astype(np.float32)
    exact = logits.astype(np.float64)
    exact -= exact.max()
    exact -= np.log(np.exp(exact).sum())
    ours = log_probabilities(logits)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-5)
    assert np.exp(ours.astype(np.float64)).sum() == pytest.approx(1, abs=1e-4)
    for token in (0, 17, int(logits.argmax())):
        assert log_probability(logits, token) == pytest.approx(ours[token], rel=1e-6)


def test_a_real_model_is_sampled_as_by_a_bare_chain(smollm2: Model) -> None:
    prompt = smollm2.tokenize("Once upon a time")
    params = SamplingParams(temperature=1.1, seed=5, repetition_penalty=1.1)
    ours = Context(smollm2, PARAMS).generate(prompt, 12, sampling=params)
    assert ids(ours) == bare(smollm2, params, prompt, 12)


def test_a_forced_token_counts_as_if_it_had_been_drawn(tiny: ModelMaker) -> None:
    vocabulary, logits = tiny().vocabulary, np.zeros(512, np.float32)
    params = SamplingParams(temperature=0, repetition_penalty=2, seed=1)
    logits[[40, 50]] = 3, 2
    sampler = Sampler(vocabulary, params, 0, (), 512)
    assert sampler.choose(logits, 0) == 40
    assert sampler.force(40)
    assert sampler.choose(logits, 1) == 50


def test_a_token_that_the_grammar_does_not_allow_is_not_forced(tiny: ModelMaker) -> None:
    model = tiny()
    (a,), (b,) = model.tokenize("a"), model.tokenize("b")
    params = SamplingParams(temperature=0, grammar='root ::= "ab"', seed=1)
    sampler = Sampler(model.vocabulary, params, 0, (), 512)
    assert [sampler.force(token) for token in (b, a, a, b)] == [False, True, False, True]
