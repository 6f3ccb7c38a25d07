"""Whether an adapter fits a model; llama.cpp would end the process over some that do not."""

from __future__ import annotations

from typing import Protocol

from ...errors import AdapterError, shown
from ..files.gguf_parser import GGUFFile
from .values import Adapter, ControlVector, LoRA

__all__ = ["Fitted", "check_fit"]

_EMBEDDINGS = "token_embd.weight"


class Fitted(Protocol):
    """A model, as far as adapters have to fit it."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def architecture(self) -> str:
        """The architecture's name in the GGUF file."""

    @property
    def file(self) -> GGUFFile:
        """The parsed header of the GGUF file."""

    @property
    def n_layers(self) -> int:
        """The number of layers."""

    @property
    def n_embd(self) -> int:
        """The length of an embedding."""


def check_fit(model: Fitted, value: Adapter) -> None:
    """Check an adapter against a model.

    Raises
    ------
    AdapterError
        When they do not fit together; the message says in what.
    """
    problem = _lora_problem(model, value) if isinstance(value, LoRA) else _misfit(model, value)
    if problem is not None:
        raise AdapterError(f"{value!r} does not fit {model.name!r}: {problem}")


def _lora_problem(model: Fitted, lora: LoRA) -> str | None:
    file = lora.file
    if file.architecture != model.architecture:
        return f"it is for the architecture {shown(file.architecture)}, not {model.architecture}"
    tensors = {tensor.name: tensor for tensor in model.file.tensors}
    for name, (a, b) in file.pairs.items():
        tensor = tensors.get(name)
        if tensor is None:
            return f"the model has no tensor {shown(repr(name))}"
        ends = (b.shape[1], a.shape[1]) if name == _EMBEDDINGS else (a.shape[0], b.shape[1])
        if tensor.shape != (*ends, *a.shape[2:]) or a.shape[2:] != b.shape[2:]:
            return (
                f"it changes {shown(repr(name))} by a matrix of {ends[0]} x {ends[1]}, and the "
                f"model's is {' x '.join(map(str, tensor.shape))}"
            )
        if tensor.type.name == "NVFP4":
            return f"llama.cpp has no LoRA for {shown(repr(name))}, which is of type NVFP4"
    if _EMBEDDINGS in file.pairs and "output.weight" not in tensors:
        return (
            f"it changes {_EMBEDDINGS}, with which this model also computes its logits: "
            "llama.cpp ends the process there"
        )
    return None


def _misfit(model: Fitted, vector: ControlVector) -> str | None:
    n_layers, n_embd = vector.directions.shape
    if n_embd != model.n_embd:
        return f"its directions have {n_embd:,} values, and the model's layers {model.n_embd:,}"
    if n_layers > model.n_layers and vector.directions[model.n_layers :].any():
        return (
            f"it has a direction for layer {n_layers - 1}, and the model's last layer is "
            f"{model.n_layers - 1}"
        )
    if vector.layers is not None and vector.layers[1] >= model.n_layers:
        return f"layers={vector.layers}, and the model's last layer is {model.n_layers - 1}"
    return None
