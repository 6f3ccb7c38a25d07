"""Files of adapters, checked before native code sees them: LoRA and control vectors.

llama.cpp ends the process for a value of another type than it expects, and for two matrices that
cannot be multiplied; both are found here. The formats are those of llama.cpp's
``convert_lora_to_gguf.py`` and ``cvector-generator``.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from types import MappingProxyType
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType, GGUFWriter

from ...errors import AdapterError, ModelError, ModelNotFoundError, SessionWriteError, shown
from ...state.atomic import write_atomically
from ..files.gguf_file import read_gguf
from ..files.gguf_parser import GGUFFile, TensorInfo

__all__ = [
    "Directions",
    "LoRAFile",
    "read_control_vector",
    "read_lora",
    "read_model_hint",
    "write_control_vector",
]

Directions = npt.NDArray[np.float32]
"""Of a control vector: float32 of shape ``(n_layers, n_embd)``, the row of layer 0 all zeros."""

_PIECE_BYTES = 1 << 24
_MOST_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
_CONTROL_VECTOR = "controlvector"
_MODEL_HINT = f"{_CONTROL_VECTOR}.model_hint"
_DIRECTION = re.compile(r"direction\.([1-9]\d{0,2})")
_ALORA = "adapter.alora.invocation_tokens"
_NUMBERS = (Type.F32, Type.F16, Type.BF16)
_MULTIPLIED = {  # what ggml multiplies with on any CPU
    *_NUMBERS,
    *(Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0),
    *(Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K),
}


@dataclass(frozen=True)
class LoRAFile:
    """A checked LoRA file.

    Attributes
    ----------
    path : Path
    fingerprint : str
        32 hexadecimal digits of a BLAKE3 hash of the whole file.
    architecture : str
        Of the models that it is for.
    pairs : mapping
        The matrices A and B, by the name of the model's tensor that they change.
    unused : tuple of str
        Names of tensors that llama.cpp passes over: norms.
    state : tuple of int
        Size and modification time of the file when it was read.
    """

    path: Path
    fingerprint: str
    architecture: str
    pairs: Mapping[str, tuple[TensorInfo, TensorInfo]]
    unused: tuple[str, ...]
    state: tuple[int, int]


def read_lora(path: str | os.PathLike[str]) -> LoRAFile:
    """Read and check a LoRA file.

    Raises
    ------
    AdapterError
        When there is no such file, or llama.cpp could not use it.
    """
    path, state = _state(path)
    return _read_lora(path, state)


def read_control_vector(path: str | os.PathLike[str]) -> Directions:
    """Read and check a file of a control vector.

    Returns
    -------
    ndarray of float32, shape (n_layers, n_embd)
        Up to the last layer with a direction; zeros for layers without one.

    Raises
    ------
    AdapterError
        When there is no such file, or it holds no control vector.
    """
    path, state = _state(path)
    return _read_control_vector(path, state)[0]


def read_model_hint(path: str | os.PathLike[str]) -> str:
    """Return the architecture that a file of a control vector says it is for, or an empty text.

    Raises
    ------
    AdapterError
        As for :func:`read_control_vector`, or when what it says is not a text.
    """
    path, state = _state(path)
    hint = _read_control_vector(path, state)[1]
    if not isinstance(hint, str):
        _fail(path, f"{_MODEL_HINT} is {shown(hint)}, and not a text")
    return hint


def write_control_vector(
    path: str | os.PathLike[str], directions: Directions, model_hint: str = ""
) -> None:
    """Write a file of a control vector, as llama.cpp's ``cvector-generator`` does.

    Parameters
    ----------
    path : str or path
    directions : ndarray of float32, shape (n_layers, n_embd)
        Zeros for layers without a direction, of which layer 0 is one.
    model_hint : str
        The architecture that it is for; empty: left out.

    Raises
    ------
    SessionWriteError
        When the file cannot be written; an existing one is intact.
    """
    path = Path(path).expanduser()
    try:
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, "vector.gguf")
            writer = GGUFWriter(temporary, _CONTROL_VECTOR)
            if model_hint:
                writer.add_string(_MODEL_HINT, model_hint)
            writer.add_int32(f"{_CONTROL_VECTOR}.layer_count", len(directions) - 1)
            for layer, row in enumerate(directions):
                # The last one says how many layers there are, and -0 is kept as it is.
                if row.tobytes().strip(b"\0") or layer == len(directions) - 1 > 0:
                    writer.add_tensor(f"direction.{layer}", np.array(row))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            data = temporary.read_bytes()
    except OSError as error:  # the folder for temporary files
        raise SessionWriteError(
            f"{path.name} could not be written: {error.strerror or error}. What was there before "
            "is intact; free some space"
        ) from error
    write_atomically(path, [data])


def _state(path: str | os.PathLike[str]) -> tuple[Path, tuple[int, int]]:
    path = Path(path).expanduser().absolute()
    try:
        stat = path.stat()
    except OSError as error:
        raise AdapterError(f"the adapter {path} cannot be read: {error.strerror}") from None
    if not S_ISREG(stat.st_mode):
        raise AdapterError(f"the adapter {path} is not a file")
    return path, (stat.st_size, stat.st_mtime_ns)


def _read(path: Path) -> GGUFFile:
    try:
        file = read_gguf(path)
    except ModelNotFoundError:
        raise AdapterError(f"there is no file {path}") from None
    except ModelError as error:
        raise AdapterError(str(error)) from None
    if len(file.paths) > 1 or file.metadata.get("split.count", 1) != 1:
        _fail(path, "it is split, and adapters are read from one file")
    return file


def _fail(path: Path, what: str) -> NoReturn:
    raise AdapterError(f"{shown(path.name)} cannot be used as an adapter: {what}")


# -- LoRA ------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def _read_lora(path: Path, state: tuple[int, int]) -> LoRAFile:
    file = _read(path)
    architecture = _check_header(path, file)
    halves: dict[str, dict[str, TensorInfo]] = {"a": {}, "b": {}}
    unused = []
    for tensor in file.tensors:
        name, _, half = tensor.name.rpartition(".lora_")
        if half in halves and name:
            halves[half][name] = tensor
        elif tensor.name.endswith("_norm.weight"):
            unused.append(tensor.name)
        else:
            _fail(
                path, f"the tensor {shown(repr(tensor.name))} ends in neither .lora_a nor .lora_b"
            )
    if single := sorted(halves["a"].keys() ^ halves["b"].keys()):
        _fail(path, f"{shown(repr(single[0]))} has one of the matrices A and B and not the other")
    if not halves["a"]:
        _fail(path, "it changes no tensor")
    pairs = {name: (a, halves["b"][name]) for name, a in halves["a"].items()}
    for name, pair in pairs.items():
        for tensor in pair:
            if tensor.type not in _MULTIPLIED:
                _fail(path, f"{shown(repr(tensor.name))} is of type {tensor.type.name}")
        _check_rank(path, name, *pair)
    fingerprint = _fingerprint(path, file)
    return LoRAFile(path, fingerprint, architecture, MappingProxyType(pairs), tuple(unused), state)


def _check_header(path: Path, file: GGUFFile) -> str:
    values, kinds = file.metadata, file.kinds
    kind, adapter = values.get("general.type"), values.get("adapter.type")
    if kind != "adapter":
        _fail(path, f"general.type is {shown(repr(kind))} and not 'adapter': it is another file")
    if adapter != "lora":
        _fail(path, f"adapter.type is {shown(repr(adapter))}, and llama.cpp knows 'lora'")
    if kinds.get("adapter.lora.alpha", GGUFValueType.FLOAT32) is not GGUFValueType.FLOAT32:
        _fail(path, "adapter.lora.alpha is not a float32 number")
    alpha = values.get("adapter.lora.alpha", 0.0)
    if not isinstance(alpha, float) or not math.isfinite(alpha):
        _fail(path, "adapter.lora.alpha is not finite")
    if _ALORA in values:
        _fail(
            path,
            "it is an activated LoRA, which is on from certain tokens in the text on and off "
            "before them. That is not done here; use a LoRA without invocation tokens",
        )
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str):
        _fail(path, "general.architecture does not say which models it is for")
    return architecture


def _check_rank(path: Path, name: str, a: TensorInfo, b: TensorInfo) -> None:
    is_flipped = name == "token_embd.weight"  # there llama.cpp looks rows of A up
    rank = a.shape[:1] if is_flipped else a.shape[1:2]
    if len(a.shape) != len(b.shape) or not 2 <= len(a.shape) <= 3 or rank != b.shape[:1]:
        _fail(
            path,
            f"A and B of {shown(repr(name))} have the shapes {a.shape} and {b.shape}, which "
            "cannot be multiplied",
        )


def _fingerprint(path: Path, file: GGUFFile) -> str:
    digest = blake3(b"mullama_nb adapter 1")
    try:
        with path.open("rb") as data:
            while piece := data.read(_PIECE_BYTES):
                digest.update(piece)
        for tensor in file.tensors:
            if tensor.type in _NUMBERS and not _is_finite(tensor):
                _fail(path, f"{shown(repr(tensor.name))} holds numbers that are not finite")
    except OSError as error:
        raise AdapterError(f"the adapter {path} cannot be read: {error.strerror}") from error
    return digest.hexdigest(16)


def _is_finite(tensor: TensorInfo) -> bool:
    data = np.memmap(tensor.path, np.uint8, "r", tensor.offset, (tensor.n_bytes,))
    if tensor.type == Type.BF16:
        exponents = data.view("<u2") & 0x7F80
        return not bool((exponents == 0x7F80).any())
    return bool(np.isfinite(data.view("<f4" if tensor.type == Type.F32 else "<f2")).all())


# -- control vectors -------------------------------------------------------------------------


@lru_cache(maxsize=32)
def _read_control_vector(path: Path, _state: tuple[int, int]) -> tuple[Directions, object]:
    file = _read(path)
    rows: dict[int, Directions] = {}
    for tensor in file.tensors:
        match = _DIRECTION.fullmatch(tensor.name)
        layer = int(match[1]) if match else 0
        if not 0 < layer < _MOST_LAYERS:
            _fail(
                path,
                f"its tensor {shown(repr(tensor.name))} is not named direction.1, direction.2, …",
            )
        if tensor.type != Type.F32 or len(tensor.shape) != 1:
            _fail(
                path,
                f"{tensor.name} is {tensor.type.name} of shape {tensor.shape}, and a direction is "
                "a row of F32",
            )
        rows[layer] = np.fromfile(tensor.path, "<f4", tensor.shape[0], offset=tensor.offset)
    if not rows:
        _fail(path, "it holds no directions")
    if len(sizes := {row.size for row in rows.values()}) > 1:
        _fail(path, f"its directions have {' and '.join(map(str, sorted(sizes)))} values")
    directions = np.zeros((max(rows) + 1, sizes.pop()), np.float32)
    for layer, row in rows.items():
        directions[layer] = row
    if not np.isfinite(directions).all():
        _fail(path, "it holds numbers that are not finite")
    directions.setflags(write=False)
    return directions, file.metadata.get(_MODEL_HINT, "")
