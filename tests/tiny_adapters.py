"""Tiny LoRAs and control vectors for the models of `tiny_models`, written with the gguf package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Type

from mullama_nb import Model

__all__ = ["matrices", "write_control_vector", "write_lora"]


def matrices(model: Model) -> list[str]:
    """The tensors of a model that a LoRA can change."""
    return [
        tensor.name
        for tensor in model.file.tensors
        if len(tensor.shape) == 2
        and tensor.name.startswith("blk.")
        # Convolutions and states are no matrices, though they have two dimensions.
        and not any(part in tensor.name for part in ("conv", "ssm_a", "ssm_d", "ssm_norm"))
    ]


def write_lora(
    path: Path,
    model: Model,
    *,
    seed: int = 0,
    rank: int = 2,
    strength: float = 0.5,
    alpha: float | None = None,
    dtype: Type = Type.F32,
    names: Iterable[str] | None = None,
    metadata: Mapping[str, Any] = {},
) -> Path:
    """Write a random LoRA.

    Parameters
    ----------
    path : Path
    model : Model
    seed : int
    rank : int
        Columns of A, rows of B.
    strength : float
        Of what it adds, compared to the model's own matrices.
    alpha : float, optional
        None: not said, so that the scale alone counts.
    dtype : gguf.GGMLQuantizationType
    names : iterable of str, optional
        Tensors to change. None: all matrices of the layers.
    metadata : mapping
        Further or other texts.
    """
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, metadata.get("general.architecture", model.architecture))
    texts = {"general.type": "adapter", "adapter.type": "lora", **metadata}
    for key, text in texts.items():
        if key != "general.architecture":
            writer.add_string(key, text)
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    shapes = {tensor.name: tensor.shape for tensor in model.file.tensors}
    for name in matrices(model) if names is None else names:
        n_in, n_out = shapes[name]
        a = rng.normal(0, n_in**-0.5, (rank, n_in))
        b = rng.normal(0, strength * rank**-0.5, (n_out, rank))
        for half, values in (("a", a), ("b", b)):
            rows = gguf.quants.quantize(values.astype(np.float32), dtype)
            writer.add_tensor(f"{name}.lora_{half}", rows, raw_dtype=dtype)
    return _finish(writer, path)


def write_control_vector(
    path: Path, directions: npt.NDArray[np.float32], *, layers: Iterable[int] | None = None
) -> Path:
    """Write a control vector; a row for each layer, of which the first is left out."""
    writer = gguf.GGUFWriter(path, "controlvector")
    for layer in range(1, len(directions)) if layers is None else layers:
        writer.add_tensor(f"direction.{layer}", np.array(directions[layer], np.float32))
    return _finish(writer, path)


def _finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
