"""Adapters that fit a model are loaded once and freed; others are refused by name."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest
from conftest import ModelMaker
from engine.adapters.adapted import MakeLoRA, evaluated, vector
from engine.helpers import PARAMS, context_of, words
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_adapters import write_lora
from tiny_models import make_model
from waiting import wait_until

from mullama_nb import Context, LoRA, Model
from mullama_nb.errors import (
    AdapterError,
    MullamaError,
)


def test_an_adapter_of_another_model_is_refused_by_name(
    tiny: ModelMaker, lora: MakeLoRA, tmp_path: Path
) -> None:
    model, other, wide = tiny(), tiny("gemma3"), tiny(head_dim=32)
    deep = tiny(n_layer=6)
    for there, adapter, words_ in [
        (other, lora(model), "architecture llama, not gemma3"),
        (wide, lora(model), "matrix of 64 x 64, and the model's is 128 x 128"),
        (model, lora(deep), r"no tensor 'blk\.4"),
        (wide, vector(model), "64 values, and the model's layers 128"),
        (model, vector(deep), "direction for layer 5, and the model's last layer is 3"),
        (model, vector(model, layers=(2, 4)), r"layers=\(2, 4\)"),
        (
            tiny("gemma2"),
            LoRA(_embeddings(tmp_path / "e.gguf", tiny("gemma2"))),
            "ends the process",
        ),
    ]:
        with pytest.raises(AdapterError, match=words_) as caught:
            Context(there, PARAMS, adapters=[adapter])
        assert adapter.name in str(caught.value)
        with context_of(there, words(3)) as context:
            with pytest.raises(AdapterError, match=words_):
                context.adapters = [adapter]
            assert context.adapters == ()


def _embeddings(path: Path, model: Model) -> Path:
    writer = gguf.GGUFWriter(path, model.architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    for half, n in (("a", model.n_vocab), ("b", model.n_embd)):
        values = np.random.default_rng(n).normal(0, 0.5, (n, 2)).astype(np.float32)
        writer.add_tensor(f"token_embd.weight.lora_{half}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_embeddings_can_be_changed_where_the_output_is_another_matrix(
    model: Model, tmp_path: Path
) -> None:
    adapter = LoRA(_embeddings(tmp_path / "e.gguf", model))
    assert not np.array_equal(evaluated(model, [adapter]), evaluated(model, []))


def test_a_file_that_changed_since_it_was_read_is_refused(model: Model, tmp_path: Path) -> None:
    adapter = LoRA(write_lora(tmp_path / "l.gguf", model))
    write_lora(tmp_path / "l.gguf", model, seed=1, rank=4)
    with pytest.raises(AdapterError, match="was changed since"):
        Context(model, PARAMS, adapters=[adapter])
    (tmp_path / "l.gguf").unlink()
    with pytest.raises(AdapterError, match="was changed since"):
        Context(model, PARAMS, adapters=[adapter])


@settings(max_examples=60)
@given(data=st.data())
def test_native_code_takes_what_passed_the_checks(
    data: st.DataObject, tiny: ModelMaker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = tiny()
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    names = ["blk.0.attn_q.weight", "blk.3.ffn_down.weight", "output.weight"]
    write_lora(path, model, alpha=4.0, names=names)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 900) | st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        adapter = LoRA(path)
        context = Context(model, PARAMS, adapters=[adapter])
    except MullamaError:
        return
    with context:
        context.evaluate(words(5))
        assert context.logits.shape == (model.n_vocab,)


# -- loaded and freed ----------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many LoRAs llama.cpp has loaded and freed."""
    counts = {"init": 0, "free": 0}

    def count(what: str) -> None:
        function = getattr(llama_cpp, f"llama_adapter_lora_{what}")

        def counting(*values: Any) -> Any:
            counts[what] += 1
            return function(*values)

        monkeypatch.setattr(llama_cpp, f"llama_adapter_lora_{what}", counting)

    count("init")
    count("free")
    return counts


def test_a_lora_is_loaded_once_however_often_it_is_switched_on(
    tmp_path: Path, counted: dict[str, int]
) -> None:
    model = Model.load(make_model(tmp_path / "m.gguf", "llama"))
    adapter = LoRA(write_lora(tmp_path / "l.gguf", model))
    with Context(model, PARAMS) as context, Context(model, PARAMS) as other:
        for i in range(100):
            context.adapters = [adapter.with_scale(i % 3)]
            other.adapters = [adapter]
            context.evaluate(words(2, i))
        assert counted == {"init": 1, "free": 0}


def test_what_no_context_holds_any_more_is_freed(tmp_path: Path, counted: dict[str, int]) -> None:
    model = Model.load(make_model(tmp_path / "m.gguf", "llama"))
    for seed in range(20):
        adapter = LoRA(write_lora(tmp_path / f"{seed}.gguf", model, seed=seed))
        context = Context(model, PARAMS, adapters=[adapter])
        context.evaluate(words(3))
        stream = context.stream(None, 3)
        next(stream)
        del adapter
        context.close()
        del context, stream
        gc.collect()
    assert counted["init"] == 20

    def all_are_freed() -> bool:
        gc.collect()
        model.loras.free_unused()
        return counted["free"] == 20

    wait_until(all_are_freed)  # the thread of a closed context ends by itself


def test_loading_beside_contexts_that_evaluate(tmp_path: Path) -> None:
    """llama.cpp goes through its list of LoRAs where others are loaded and freed."""
    model = Model.load(make_model(tmp_path / "m.gguf", "llama"))
    adapters = [LoRA(write_lora(tmp_path / f"{seed}.gguf", model, seed=seed)) for seed in range(12)]
    expected = [evaluated(model, [adapter], 8) for adapter in adapters]
    wrong = list[int]()

    def work(first: int) -> None:
        for i in range(first, first + 40):
            at = i % len(adapters)
            if not np.array_equal(evaluated(model, [adapters[at]], 8), expected[at]):
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(4 * i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
