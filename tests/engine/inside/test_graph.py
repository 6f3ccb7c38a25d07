"""Tensors as llama.cpp hands them to a callback, made by hand."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from mullama_nb.engine.inside.graph import GraphWatch, Step, Tensor, _Fields
from mullama_nb.errors import ContextError

F32, NEW_TYPE = 0, 999
INPUT = 1


def tensor(name: str, *sources: Any, shape: tuple[int, ...] = (1, 1, 1, 8), **fields: Any) -> Any:
    """A node or a leaf; its sources must live as long."""
    made = _Fields(name=name.encode(), **fields)
    made.ne[:] = shape[::-1]
    for i, source in enumerate(sources):
        made.src[i] = ctypes.addressof(source)
    return made


def recorded(*nodes: Any) -> list[Step]:
    watch = GraphWatch()
    with watch.recording() as steps:
        for node in nodes:
            assert watch.callback(ctypes.addressof(node), True, None) is False
    return steps


def test_steps_know_their_sources_and_inputs() -> None:
    weights, tokens = tensor("token_embd.weight"), tensor("inp_tokens", flags=INPUT)
    rows = tensor("embd", weights, tokens)
    norm = tensor("norm-0", rows)
    added = tensor("l_out-0", norm, rows, shape=(1, 1, 2, 4))
    assert recorded(rows, norm, added) == [
        Step("embd", "NONE", (1, 1, 1, 8), (), ("inp_tokens",), has_mask=True),
        Step("norm-0", "NONE", (1, 1, 1, 8), (0,), (), has_mask=False),
        Step("l_out-0", "NONE", (1, 1, 2, 4), (1, 0), (), has_mask=True),
    ]


def test_a_copy_on_another_device_is_what_it_copies() -> None:
    tokens = tensor("inp_tokens", flags=INPUT)
    rows = tensor("embd", tokens)
    copied = tensor("CUDA0#embd#0")
    norm, added = tensor("norm-0", copied), tensor("l_out-0", copied)
    steps = recorded(rows, norm, added)
    assert [step.sources for step in steps] == [(), (0,), (0,)]
    of_nothing_here = tensor("norm-1", tensor("CUDA0#blk.0.attn_q.weight#0"))
    assert recorded(rows, of_nothing_here)[1].sources == ()


def test_a_type_that_is_not_known_is_refused() -> None:
    made = tensor("cache_k_l0", type=NEW_TYPE)
    with pytest.raises(ContextError, match="'cache_k_l0' is of ggml's type 999"):
        _ = Tensor(ctypes.addressof(made)).kind


def test_what_is_raised_in_a_callback_is_raised_behind_it() -> None:
    watch, node = GraphWatch(), tensor("embd", type=F32)
    address = ctypes.addressof(node)

    def fail(_: Tensor) -> bool:
        raise KeyboardInterrupt

    answers: list[bool] = []

    def evaluate(wants: Any, see: Any) -> None:
        with watch.watching(wants, see):
            answers.extend(watch.callback(address, ask, None) for ask in (True, True, False))

    with pytest.raises(KeyboardInterrupt):
        evaluate(fail, lambda _: None)
    assert answers == [False, False, True]  # llama.cpp goes on to its end
    answers.clear()
    with pytest.raises(KeyboardInterrupt):
        evaluate(lambda _: True, fail)
    assert answers == [True, True, True]
    assert watch.callback(address, True, None) is False
