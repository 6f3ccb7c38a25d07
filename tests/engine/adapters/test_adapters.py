"""Adapters as values, and their files: what llama.cpp could not take is refused in words."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_adapters import write_control_vector, write_lora
from tiny_models import make_model

from mullama_nb import ControlVector, LoRA, Model
from mullama_nb.engine.adapters.file import read_control_vector, read_lora
from mullama_nb.engine.adapters.values import checked_adapters, key_of, parse_key
from mullama_nb.errors import AdapterError, MullamaError, ParameterError


def directions(seed: int = 0, n_layers: int = 4, n_embd: int = 64) -> Any:
    rows = np.random.default_rng(seed).normal(0, 1, (n_layers, n_embd)).astype(np.float32)
    rows[0] = 0
    return rows


# -- values --------------------------------------------------------------------------------------


def test_a_lora_is_known_by_its_contents(model: Model, tmp_path: Path) -> None:
    first = LoRA(write_lora(tmp_path / "a.gguf", model))
    moved = LoRA(write_lora(tmp_path / "b.gguf", model))
    other = LoRA(write_lora(tmp_path / "c.gguf", model, seed=1))
    assert first == moved != other
    assert hash(first) == hash(moved)
    assert first != first.with_scale(0.5) == moved.with_scale(0.5)
    assert (first.name, moved.name) == ("a", "b")
    assert repr(first.with_scale(0.5)) == "LoRA('a', scale=0.5)"


def test_a_control_vector_is_known_by_its_directions(tmp_path: Path) -> None:
    made = ControlVector.from_array(directions(), name="calm")
    made.save(tmp_path / "kept.gguf")
    read = ControlVector(tmp_path / "kept.gguf")
    assert made == read
    assert made.fingerprint == read.fingerprint
    np.testing.assert_array_equal(read.directions, directions())
    assert repr(ControlVector.from_array(directions(), name="calm", layers=(1, 2))) == (
        "ControlVector('calm', scale=1, layers=(1, 2))"
    )
    assert made != ControlVector.from_array(directions(1))


@pytest.mark.parametrize("n_layers", [2, 5])
def test_a_saved_control_vector_may_end_in_zeros(tmp_path: Path, n_layers: int) -> None:
    rows = directions(n_layers=n_layers)
    rows[-1] = 0
    made = ControlVector.from_array(rows)
    made.save(tmp_path / "v.gguf")
    assert ControlVector(tmp_path / "v.gguf") == made


def test_what_is_saved_is_read_by_the_gguf_package(tmp_path: Path) -> None:
    ControlVector.from_array(directions()).save(tmp_path / "v.gguf")
    tensors = gguf.GGUFReader(tmp_path / "v.gguf").tensors
    assert [tensor.name for tensor in tensors] == ["direction.1", "direction.2", "direction.3"]
    np.testing.assert_array_equal(tensors[1].data, directions()[2])


@pytest.mark.parametrize("scale", [True, "1", None, float("nan"), float("inf"), 1e9])
def test_scales_are_numbers(scale: Any) -> None:
    with pytest.raises(ParameterError, match="scale"):
        ControlVector.from_array(directions(), scale=scale)


def test_scales_may_be_numpys() -> None:
    made = ControlVector.from_array(directions(), scale=np.float32(0.5))  # type: ignore[arg-type]
    assert type(made.scale) is float


@pytest.mark.parametrize("layers", [(0, 2), (3, 2), (1,), "12", (1, 2.0), 3])
def test_layers_are_the_first_and_the_last(layers: Any) -> None:
    with pytest.raises(ParameterError, match="layers"):
        ControlVector.from_array(directions(), layers=layers)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones((3, 8)), "layer 0"),
        (np.zeros(8), "shape"),
        (np.zeros((1, 8)), "shape"),
        (np.zeros((3, 0)), "shape"),
        ([[0, 0], [np.nan, 1]], "finite"),
        ([[0, 0], [1e300, 1]], "finite"),
        ([[0, 0], [10**400, 1]], "numbers"),
        (np.ones((3, 8)) * 1j, "numbers"),
        ("abc", "numbers"),
        ([[0, 0], [1]], "numbers"),
    ],
)
def test_directions_are_rows_of_layers(values: Any, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        ControlVector.from_array(values)


@pytest.mark.parametrize("values", ["style.gguf", 3, {"a": 1}, ["style.gguf"], [None]])
def test_adapters_are_a_list_of_them(values: Any) -> None:
    with pytest.raises(
        ParameterError, match=r"adapters(=.* must be| are) a list of LoRA and ControlVector"
    ):
        checked_adapters(values)


def test_a_lora_is_on_once_and_with_scale_0_not_at_all(model: Model, tmp_path: Path) -> None:
    lora = LoRA(write_lora(tmp_path / "a.gguf", model))
    with pytest.raises(ParameterError, match="twice"):
        checked_adapters([lora, lora.with_scale(2)])
    vector = ControlVector.from_array(directions())
    assert checked_adapters([lora.with_scale(0), vector]) == (vector,)
    assert checked_adapters(lora) == (lora,)
    assert checked_adapters([lora.with_scale(1e-60)]) == ()  # float32 has no such number


def test_notes_say_what_rows_depend_on(model: Model, tmp_path: Path) -> None:
    lora = LoRA(write_lora(tmp_path / "a.gguf", model), scale=0.25)
    vector = ControlVector.from_array(directions(), layers=(1, 2))
    for adapter in (lora, vector):
        assert key_of(adapter.note()) == adapter.key
        assert parse_key([*adapter.key]) == adapter.key
        assert str(tmp_path) not in str(adapter.note())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_a_strangers_key_is_one_or_is_refused(values: Any) -> None:
    with pytest.raises(MullamaError):
        parse_key(values)


# -- files ---------------------------------------------------------------------------------------


def rewritten(path: Path, change: Callable[[gguf.GGUFWriter], object], **options: Any) -> Path:
    """A file with one pair for the first matrix, changed before its end."""
    writer = gguf.GGUFWriter(path, options.get("architecture", "llama"))
    if options.get("typed", True):
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
    if options.get("pairs", True):
        writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((2, 64), np.float32))
        writer.add_tensor("blk.0.attn_q.weight.lora_b", np.ones((64, 2), np.float32))
    change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensor(name: str, *shape: int, dtype: Any = np.float32) -> Callable[[gguf.GGUFWriter], object]:
    return lambda writer: writer.add_tensor(name, np.ones(shape[::-1], dtype))


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda w: w.add_uint32("x", 1), {"typed": False}, "general.type is None"),
        (lambda w: w.add_uint32("general.type", 7), {"typed": False}, "general.type is '?7"),
        (lambda w: w.add_float64("adapter.lora.alpha", 8.0), {}, "alpha is not a float32"),
        (lambda w: w.add_string("adapter.lora.alpha", "8"), {}, "alpha is not a float32"),
        (lambda w: w.add_float32("adapter.lora.alpha", np.inf), {}, "alpha is not finite"),
        (lambda w: w.add_array("adapter.alora.invocation_tokens", [1, 2]), {}, "activated LoRA"),
        (tensor("blk.0.attn_k.weight.lora_a", 64, 2), {}, "one of the matrices"),
        (tensor("blk.0.attn_k.weight", 64, 2), {}, "neither .lora_a nor .lora_b"),
        (lambda _: None, {"pairs": False}, "changes no tensor"),
        (tensor("blk.0.attn_norm.weight", 64), {"pairs": False}, "changes no tensor"),
    ],
)
def test_a_file_that_llama_cpp_could_not_take_is_refused(
    tmp_path: Path, change: Any, options: dict[str, Any], words: str
) -> None:
    path = rewritten(tmp_path / "x.gguf", change, **options)
    with pytest.raises(AdapterError, match=words) as caught:
        LoRA(path)
    assert "x.gguf" in str(caught.value)


@pytest.mark.parametrize(
    ("a", "b", "dtype", "words"),
    [
        ((64, 3), (2, 64), np.float32, "cannot be multiplied"),
        ((64, 2, 3), (2, 64), np.float32, "cannot be multiplied"),
        ((64,), (2, 64), np.float32, "cannot be multiplied"),
        ((64, 2), (2, 64), np.int32, "of type I32"),
        ((64, 2), (2, 64), np.float64, "of type F64"),
    ],
)
def test_matrices_that_cannot_be_multiplied_are_refused(
    tmp_path: Path, a: Any, b: Any, dtype: Any, words: str
) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        tensor("blk.0.attn_k.weight.lora_a", *a, dtype=dtype)(writer)
        tensor("blk.0.attn_k.weight.lora_b", *b, dtype=dtype)(writer)

    with pytest.raises(AdapterError, match=words):
        LoRA(rewritten(tmp_path / "x.gguf", change))


def test_numbers_that_are_not_finite_are_refused(model: Model, tmp_path: Path) -> None:
    for dtype in (Type.F32, Type.F16):
        path = write_lora(tmp_path / f"{dtype}.gguf", model, dtype=dtype)
        read_lora(path)
        data = bytearray(path.read_bytes())
        data[-2:] = b"\xc0\x7f" if dtype == Type.F32 else b"\x00\x7e"  # NaN
        path.write_bytes(data)
        with pytest.raises(AdapterError, match="not finite"):
            read_lora(path)
    rows = directions()
    rows[2, 5] = np.inf
    with pytest.raises(AdapterError, match="not finite"):
        ControlVector(write_control_vector(tmp_path / "v.gguf", rows))


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "words"),
    [
        ("direction.0", (64,), np.float32, "is not named direction"),
        ("direction.x", (64,), np.float32, "is not named direction"),
        ("direction.1x", (64,), np.float32, "is not named direction"),
        ("direction.999", (64,), np.float32, "is not named direction"),
        ("vector.1", (64,), np.float32, "is not named direction"),
        ("direction.2", (64, 2), np.float32, "row of F32"),
        ("direction.2", (64,), np.float16, "row of F32"),
        ("direction.2", (32,), np.float32, "32 and 64 values"),
    ],
)
def test_a_control_vector_has_a_row_for_each_layer(
    tmp_path: Path, name: str, shape: Any, dtype: Any, words: str
) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        tensor("direction.1", 64)(writer)
        tensor(name, *shape, dtype=dtype)(writer)

    path = rewritten(tmp_path / "x.gguf", change, typed=False, pairs=False)
    with pytest.raises(AdapterError, match=words):
        ControlVector(path)


def test_other_files_are_no_adapters(tmp_path: Path, model: Model) -> None:
    for kind in (LoRA, ControlVector):
        with pytest.raises(AdapterError, match="No such file"):
            kind(tmp_path / "none.gguf")
        with pytest.raises(AdapterError, match="is not a file"):
            kind(tmp_path)
        with pytest.raises(AdapterError):
            kind(make_model(tmp_path / "model.gguf", "llama"))
        (tmp_path / "text.gguf").write_text("text")
        with pytest.raises(AdapterError, match="not a GGUF file"):
            kind(tmp_path / "text.gguf")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AdapterError, match="is not a file"):
        LoRA(tmp_path / "pipe")
    with pytest.raises(AdapterError, match="is not named direction"):
        ControlVector(write_lora(tmp_path / "l.gguf", model))


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read(
    data: st.DataObject, model: Model, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing but our own errors; what native code makes of what is read: test_loaded_adapters."""
    folder = tmp_path_factory.getbasetemp()
    lora = data.draw(st.booleans())
    path = folder / f"damaged-{lora}.gguf"
    if lora:
        write_lora(path, model, alpha=4.0, names=["blk.0.attn_q.weight"])
    else:
        write_control_vector(path, directions())
    content = bytearray(path.read_bytes())
    end = min(len(content), 400)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    os.utime(path, ns=(0, data.draw(st.integers(0, 2**60))))
    with contextlib.suppress(AdapterError):
        (read_lora if lora else read_control_vector)(path)
