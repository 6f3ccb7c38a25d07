"""What a file asks of this machine is borne by it, or refused before anything is taken."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import pytest
from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb import ContextParams
from mullama_nb.engine.stored import check_room, params_from_file
from mullama_nb.errors import ParameterError
from mullama_nb.machine import Machine, Memory, here

NAMES = [field.name for field in fields(ContextParams)]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=4,
)


@pytest.mark.slow
@given(st.one_of(JSON, st.dictionaries(st.sampled_from([*NAMES, "nctx", "\x1b"]), JSON)))
def test_any_json_is_bounded_or_refused(values: Any) -> None:
    try:
        params = params_from_file(values)
    except ParameterError:
        return
    assert max(params.threads) <= here.cpus.usable
    assert params.n_ubatch <= 2**13
    assert params.n_batch <= 2**17
    assert params.n_parallel <= 255
    assert (params.n_ctx or 0) <= 2**24


@given(st.integers(1, 512), st.integers(1, 512))
def test_threads_are_those_of_this_machine(one: int, many: int) -> None:
    usable = here.cpus.usable
    params = params_from_file({"n_threads": one, "n_threads_batch": many})
    assert (params.n_threads, params.n_threads_batch) == (min(one, usable), min(many, usable))
    assert params_from_file({"n_threads": one}, n_threads=many).n_threads == many


def test_what_was_saved_is_what_comes_back() -> None:
    params = ContextParams(
        n_ctx=512, n_threads=1, kv_cache_type=("q8_0", "f16"), n_batch=64, n_ubatch=32
    )
    stored = asdict(params) | {"kv_cache_type": ["q8_0", "f16"]}
    assert params_from_file(stored) == params


@pytest.mark.parametrize("name", ["n_ctx", "n_batch", "n_ubatch"])
def test_what_is_absurd_is_named_and_can_be_given_by_hand(name: str) -> None:
    values = {"n_batch": 2**20, name: 2**20 if name != "n_ctx" else 2**31 - 1}
    given = {"n_batch": 2**16} if name == "n_ubatch" else {}
    with pytest.raises(ParameterError, match=rf"{name}=[\d,]+ is more .* give {name} yourself"):
        params_from_file(values, **given)
    assert params_from_file(values, n_ctx=256, n_batch=64, n_ubatch=64).n_batch == 64


def test_memory_is_counted_before_it_is_taken(
    tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny()
    check_room(model, ContextParams(n_ctx=256), 10)
    memory = Memory(free=1000, total=2**40, decided_by="a test")
    monkeypatch.setattr(Machine, "memory", property(lambda _: memory))
    with pytest.raises(ParameterError, match=r"n_ctx=256 would take .* of 10 or more"):
        check_room(model, ContextParams(n_ctx=256), 10)
