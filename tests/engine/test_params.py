"""Parameters are checked when they are given, one by one and together."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mullama_nb import ContextParams, SamplingParams, machine
from mullama_nb.engine.params import KV_CACHE_TYPES
from mullama_nb.engine.sampling.params import SAMPLERS
from mullama_nb.errors import GrammarError, MullamaError, ParameterError

INT32 = 2**31 - 1

# name, lowest, highest, whether None is a value
CONTEXT_INTEGERS = [
    ("n_ctx", 1, INT32, True),
    ("n_ubatch", 1, 2048, False),
    ("n_batch", 512, 2**20, False),
    ("n_threads", 1, 512, True),
    ("n_threads_batch", 1, 512, True),
    ("n_parallel", 1, 255, False),
    ("yarn_orig_ctx", 1, INT32, True),
]
SAMPLING_INTEGERS = [
    ("top_k", 0, INT32, False),
    ("penalty_window", -1, INT32, False),
    ("dry_allowed_length", 0, INT32, False),
    ("dry_window", -1, INT32, False),
    ("mirostat", 0, 2, False),
    ("seed", 0, 2**64 - 1, True),
]
SAMPLING_NUMBERS = [
    ("temperature", 0.0, 1e4),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
    ("typical_p", 0.0, 1.0),
    ("repetition_penalty", 1e-3, 1e3),
    ("frequency_penalty", -1e3, 1e3),
    ("presence_penalty", -1e3, 1e3),
    ("top_n_sigma", 0.0, 1e4),
    ("xtc_probability", 0.0, 1.0),
    ("xtc_threshold", 0.0, 0.5),
    ("dynamic_temperature_range", 0.0, 1e4),
    ("dynamic_temperature_exponent", 0.0, 1e3),
    ("dry_multiplier", 0.0, 1e3),
    ("mirostat_tau", 0.0, 1e3),
    ("mirostat_eta", 0.0, 1e3),
    ("adaptive_p_target", 0.0, 1.0),
]
Made = type[ContextParams] | type[SamplingParams]


@pytest.mark.parametrize(
    ("make", "name", "low", "high", "optional"),
    [(ContextParams, *row) for row in CONTEXT_INTEGERS]
    + [(SamplingParams, *row) for row in SAMPLING_INTEGERS],
)
def test_integers(make: Made, name: str, low: int, high: int, optional: bool) -> None:
    for value in (low, high):
        assert getattr(make(**{name: value}), name) == value
        made = getattr(make(**{name: np.array(value)[()]}), name)
        assert (type(made), made) == (int, value)
    for value in (low - 1, high + 1):
        with pytest.raises(ParameterError, match=rf"\b{name}={value}\b"):
            make(**{name: value})
    for wrong in (1.0, "1", True, [1]):
        with pytest.raises(ParameterError, match=f"{name} must be an integer, not"):
            make(**{name: wrong})
    if optional:
        assert getattr(make(**{name: None}), name) is None
    else:
        with pytest.raises(ParameterError, match=f"{name} must be an integer, not None"):
            make(**{name: None})


@pytest.mark.parametrize(
    ("make", "name", "low", "high"),
    [(SamplingParams, *row) for row in SAMPLING_NUMBERS]
    + [(ContextParams, name, 1e-9, 1e12) for name in ("rope_freq_base", "rope_freq_scale")],
)
def test_numbers(make: Made, name: str, low: float, high: float) -> None:
    for value in (low, high, min(1, int(high))):
        assert getattr(make(**{name: value}), name) == value
        made = getattr(make(**{name: np.array(value)[()]}), name)
        assert (type(made), made) == (type(value), value)
    for value in (low - 0.1, high * 1.1, float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ParameterError, match=rf"{name}=.* is out of range: it must lie in"):
            make(**{name: value})
    for wrong in ("1", True, [1]):
        with pytest.raises(ParameterError, match=f"{name} must be a number, not"):
            make(**{name: wrong})


def test_a_batch_is_computed_in_smaller_pieces() -> None:
    with pytest.raises(ParameterError, match="n_ubatch=512 is larger than n_batch=256"):
        ContextParams(n_batch=256)
    assert ContextParams(n_batch=256, n_ubatch=256).n_batch == 256


def test_kv_cache_types() -> None:
    for name, kind in KV_CACHE_TYPES.items():
        made = ContextParams(kv_cache_type=name)
        assert (made.type_k, made.type_v) == (kind, kind)
    pair = ContextParams(kv_cache_type=["q8_0", "f16"])  # type: ignore[arg-type]
    assert (pair.type_k.name, pair.type_v.name) == ("q8_0", "f16")
    assert hash(pair) == hash(ContextParams(kv_cache_type=("q8_0", "f16")))


@pytest.mark.parametrize(
    ("kv_cache_type", "reason"),
    [
        ("q8", r"kv_cache_type 'q8' is unknown; there is f32, f16, .*did you mean 'q8_0'\?"),
        ("Q8_0", r"'Q8_0' is unknown; .*did you mean 'q8_0'\?"),
        ("gold", "'gold' is unknown"),
        (("f16", "q8"), "'q8' is unknown"),
        (("f16", []), r"\[\] is unknown"),
        (("f16",), "must be one name, or a pair"),
        (("f16", "f16", "f16"), "must be one name, or a pair"),
        (8, "must be one name, or a pair"),
        (None, "must be one name, or a pair"),
    ],
)
def test_unknown_kv_cache_types(kv_cache_type: Any, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        ContextParams(kv_cache_type=kv_cache_type)


def test_a_quantised_v_cache_needs_flash_attention() -> None:
    with pytest.raises(ParameterError, match=r"quantised V cache \(q8_0\) needs flash attention"):
        ContextParams(kv_cache_type="q8_0", flash_attention=False)
    ContextParams(kv_cache_type=("q8_0", "f16"), flash_attention=False)
    with pytest.raises(ParameterError, match="flash_attention must be a bool, not 1"):
        ContextParams(flash_attention=1)  # type: ignore[arg-type]


def test_rope_scaling() -> None:
    numbers = {None: -1, "none": 0, "linear": 1, "yarn": 2, "longrope": 3}
    for name, number in numbers.items():
        assert ContextParams(rope_scaling=name).rope_scaling_type == number
    with pytest.raises(ParameterError, match="rope_scaling='ntk' is unknown; there is none"):
        ContextParams(rope_scaling="ntk")


@pytest.mark.parametrize(
    ("n_affinity", "limit", "threads"),
    [(1, "", 1), (4, "", 4), (16, "", 8), (64, "6", 6), (64, "1.5", 1), (2, "8", 2), (3, "0.1", 1)],
)
def test_threads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, n_affinity: int, limit: str, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(n_affinity)), raising=False)
    monkeypatch.setattr(machine, "here", machine.Machine(tmp_path, {"CPU_LIMIT": limit}))
    assert ContextParams().threads == (threads, threads)
    assert ContextParams(n_threads=3).threads == (3, 3)
    assert ContextParams(n_threads=3, n_threads_batch=5).threads == (3, 5)
    assert ContextParams(n_threads_batch=5).threads == (threads, 5)


@pytest.mark.parametrize(
    ("make", "given", "hint"),
    [
        (ContextParams, "n_cxt", "ContextParams has no 'n_cxt' (did you mean 'n_ctx'?)"),
        (ContextParams, "kv_type", "ContextParams has no 'kv_type'"),
        (SamplingParams, "temp", "SamplingParams has no 'temp'"),
        (SamplingParams, "topk", "SamplingParams has no 'topk' (did you mean 'top_k'?)"),
    ],
)
def test_unknown_names_get_a_hint(make: Made, given: str, hint: str) -> None:
    for call in (lambda: make(**{given: 1}), lambda: make().with_changes(**{given: 1})):
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value).startswith(hint)
        assert "; it has " in str(caught.value)
    with pytest.raises(TypeError, match="positional"):
        make(4096)  # type: ignore[call-arg]


def test_parameters_are_values() -> None:
    made = ContextParams(n_ctx=4096, kv_cache_type="q8_0")
    assert made == ContextParams(kv_cache_type="q8_0", n_ctx=4096)
    assert pickle.loads(pickle.dumps(made)) == made
    assert dataclasses.replace(made, n_ctx=5).n_ctx == 5
    assert made.with_changes(n_ctx=5) == dataclasses.replace(made, n_ctx=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.n_ctx = 5  # type: ignore[misc]
    with pytest.raises(ParameterError):
        made.with_changes(n_ctx=0)
    sampling = SamplingParams(temperature=0)
    assert sampling.with_changes() is sampling
    assert sampling.with_changes(seed=None).seed is None


@pytest.mark.parametrize(
    ("logit_bias", "reason"),
    [
        ([(3, 1.0)], "must map token ids to numbers"),
        ({"3": 1.0}, "has the key '3'; keys are token ids"),
        ({-1: 1.0}, "has the key -1"),
        ({True: 1.0}, "has the key True"),
        ({3: "high"}, "of token 3 is 'high'; give a number"),
        ({3: float("nan")}, "of token 3 is nan"),
        ({3: float("inf")}, "of token 3 is inf"),
        ({3: "inf"}, "of token 3 is 'inf'; give a number"),
        ({3: True}, "of token 3 is True; give a number"),
    ],
)
def test_logit_bias(logit_bias: Any, reason: str) -> None:
    biases = {3: -float("inf"), 4: 1, np.int64(5): np.float32(0.5)}
    made = SamplingParams(logit_bias=biases)
    assert made.logit_bias == biases
    assert {type(token) for token in made.logit_bias} == {int}
    assert [type(bias) for bias in made.logit_bias.values()] == [float, int, float]
    plain = made.changed()["logit_bias"]
    assert json.loads(json.dumps(plain, allow_nan=False)) == {"3": "-inf", "4": 1, "5": 0.5}
    assert SamplingParams(logit_bias={3: "-inf"}).logit_bias == {3: -float("inf")}
    with pytest.raises(ParameterError, match=reason):
        SamplingParams(logit_bias=logit_bias)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"samplers": ["top_k", "topp"]}, r"holds 'topp', which is unknown; .*'top_p'\?"),
        ({"samplers": ["top_k", "top_k"]}, "holds 'top_k' twice"),
        ({"samplers": 5}, "samplers=5 must be a list of texts"),
        (
            {"samplers": ["top_p"], "min_p": 0.2},
            "leaves 'min_p' out, so min_p=0.2 would do nothing",
        ),
        ({"samplers": ["top_p"], "dry_multiplier": 1}, "leaves 'dry' out"),
        ({"samplers": [], "temperature": 0}, "leaves 'temperature' out"),
        ({"temperature": 0, "mirostat": 1}, "temperature=0 .* mirostat=1 would do nothing"),
        ({"temperature": 0, "xtc_probability": 0.1}, "temperature=0 takes the most likely token"),
        ({"temperature": 0, "adaptive_p_target": 0.1}, "temperature=0 takes the most likely token"),
        ({"temperature": 0, "dynamic_temperature_range": 0.1}, "temperature=0 takes"),
        ({"mirostat": 2, "typical_p": 0.9}, "mirostat chooses the tokens to keep, so typical_p"),
        ({"mirostat": 2, "adaptive_p_target": 0.9}, "mirostat chooses the tokens to keep"),
        ({"dry_sequence_breakers": [""]}, "give texts of 1 to 40 bytes"),
        ({"dry_sequence_breakers": ["x" * 41]}, "give texts of 1 to 40 bytes"),
        ({"dry_sequence_breakers": ["\0"]}, "give texts of 1 to 40 bytes"),
        ({"dry_sequence_breakers": ["\ud800"]}, "give texts of 1 to 40 bytes"),
        ({"dry_sequence_breakers": ["x"] * 65}, "at most 64"),
        ({"dry_sequence_breakers": [1]}, "must be a list of texts"),
    ],
)
def test_what_makes_no_sense_together(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        SamplingParams(**options)


def test_samplers_can_be_given_and_are_noted() -> None:
    made = SamplingParams(samplers=["min_p", "temperature"], dry_sequence_breakers="\n")
    assert made.samplers == ("min_p", "temperature")
    assert made.dry_sequence_breakers == ("\n",)
    noted = json.loads(json.dumps(made.changed()))
    assert noted == {"samplers": ["min_p", "temperature"], "dry_sequence_breakers": ["\n"]}
    assert SamplingParams(**noted) == made
    assert SamplingParams(samplers=SAMPLERS).changed() == {}
    # Of those that are on by default, one that is left out may keep its value or be off.
    assert SamplingParams(samplers=["min_p"], top_k=0, top_p=1.0).top_k == 0


def test_none_draws_a_seed() -> None:
    with pytest.raises(ParameterError, match=r"seed=-1 is out of range.*; None draws one$"):
        SamplingParams(seed=-1)


def test_every_error_is_the_packages_own() -> None:
    for error in (ParameterError, GrammarError):
        assert issubclass(error, MullamaError)
        assert issubclass(error, ValueError)
