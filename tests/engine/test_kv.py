"""Sizes that are known before anything is allocated."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, PARAMS, context_of, words

from mullama_nb import Context, Model
from mullama_nb.engine.kv import kv_bytes_per_token, predict_session_bytes
from mullama_nb.engine.params import KV_CACHE_TYPES
from mullama_nb.errors import ParameterError

EXACT = [1, 31, 32, 33, 100]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY)
def test_a_sessions_size_is_predicted_to_the_byte(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    model = tiny(architecture)
    for n_tokens in EXACT:
        for include_logits in (True, False):
            predicted = predict_session_bytes(
                model, n_tokens, PARAMS, include_logits=include_logits
            )
            context = context_of(model, words(n_tokens))
            info = context.save_session(tmp_path / "s", include_logits=include_logits)
            assert predicted == info.n_bytes == (tmp_path / "s").stat().st_size
            context.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kv_cache_type", [*KV_CACHE_TYPES, ("q8_0", "f16"), ("f16", "q4_0")], ids=str
)
def test_every_kv_cache_type(
    tiny: ModelMaker, tmp_path: Path, kv_cache_type: str | tuple[str, str]
) -> None:
    for architecture in ("llama", "qwen2vl", "gemma3", "lfm2", "jamba"):
        model = tiny(architecture, head_dim=32)
        params = PARAMS.with_changes(kv_cache_type=kv_cache_type)
        predicted = predict_session_bytes(model, 40, params)
        with Context(model, params) as context:
            context.evaluate(words(40))
            assert context.save_session(tmp_path / "s").n_bytes == predicted
            assert context.token_count() == 40


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"flash_attention": False}, {"n_ctx": 300}, {"n_parallel": 1}])
def test_other_settings(tiny: ModelMaker, tmp_path: Path, changes: dict[str, object]) -> None:
    for architecture in EVERY:
        params = PARAMS.with_changes(**changes)
        predicted = predict_session_bytes(tiny(architecture), 40, params)
        with Context(tiny(architecture), params) as context:
            context.evaluate(words(40))
            assert context.save_session(tmp_path / "s").n_bytes == predicted


def test_bytes_of_a_token(tiny: ModelMaker) -> None:
    # 4 layers, 2 heads of 16 values, K and V, 2 bytes each
    assert kv_bytes_per_token(tiny(), PARAMS) == 4 * 2 * 16 * 2 * 2
    assert kv_bytes_per_token(tiny("mamba"), PARAMS) == 0
    assert kv_bytes_per_token(tiny("lfm2"), PARAMS) == 2 * 2 * 16 * 2 * 2
    quantised = PARAMS.with_changes(kv_cache_type="q8_0")
    assert kv_bytes_per_token(tiny(head_dim=32), quantised) == 4 * 2 * 34 * 2


@pytest.mark.parametrize("architecture", EVERY)
def test_bytes_of_a_context(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    context = context_of(model)
    assert context.kv_bytes() == 0
    sizes = []
    for _ in range(3):
        context.evaluate(words(10))
        sizes.append(context.kv_bytes())
    per_token = kv_bytes_per_token(model, PARAMS)
    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] == 10 * per_token
    if architecture in ("mamba", "mamba2"):
        assert sizes[0] > 0
    elif architecture in ("llama", "qwen2vl", "gemma3", "gemma2"):
        assert sizes[0] == 10 * per_token


def test_a_real_model(smollm2: Model, tmp_path: Path) -> None:
    sizes = {}
    for kv_cache_type, per_token in (("f16", 23040), ("q8_0", 12240), ("q4_0", 6480)):
        params = PARAMS.with_changes(kv_cache_type=kv_cache_type)
        assert kv_bytes_per_token(smollm2, params) == per_token
        context = Context(smollm2, params)
        n_tokens = context.evaluate("The size of a session is known before it is made. " * 3)
        assert context.kv_bytes() == n_tokens * per_token
        sizes[kv_cache_type] = context.save_session(tmp_path / kv_cache_type).n_bytes
        assert sizes[kv_cache_type] == predict_session_bytes(smollm2, n_tokens, params)
    assert sizes["f16"] > sizes["q8_0"] > sizes["q4_0"]


def test_a_session_has_a_token(tiny: ModelMaker) -> None:
    with pytest.raises(ParameterError, match="n_tokens=0: a session has at least 1"):
        predict_session_bytes(tiny(), 0, PARAMS)
