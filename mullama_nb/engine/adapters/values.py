"""Adapters: LoRA files and control vectors, each with a scale, as values.

A row of the KV cache depends on the adapters that were on when it was computed. They are identified
by content, so that a file may be moved or renamed.
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ...cached import cached
from ...checks import check_list, is_integer, is_number
from ...errors import AdapterError, ParameterError, shown
from .file import Directions, LoRAFile, read_control_vector, read_lora, write_control_vector

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "Adapter",
    "ControlVector",
    "Key",
    "LoRA",
    "checked_adapters",
    "described",
    "in_words",
    "key_of",
    "listed_adapters",
    "parse_key",
]

Key: TypeAlias = tuple[Any, ...]
"""Kind, fingerprint, scale and, of a control vector on some layers only, the first and the last."""

_MOST_SCALE = 1e6


class _Scaled:
    """What both kinds have: equal ones give equal rows."""

    kind: str
    scale: float

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        raise NotImplementedError

    @property
    def key(self) -> Key:
        """The values that rows depend on, which JSON can hold."""
        return (self.kind, self.fingerprint, self.scale)

    def with_scale(self, scale: float) -> Self:
        """Return the same adapter with another scale; 0 is the same as none."""
        return self._with(scale=_checked_scale(scale))

    def _with(self, **values: object) -> Self:
        """A copy that has read its file already."""
        other = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(other, name, value)
        return other

    def note(self) -> dict[str, Any]:
        """Return what is saved of it: kind, name, fingerprint and scale."""
        return {
            "kind": self.kind,
            "name": self.name,
            "fingerprint": self.fingerprint,
            "scale": self.scale,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Scaled) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True, eq=False, repr=False)
class LoRA(_Scaled):
    """A LoRA file in GGUF, as llama.cpp's ``convert_lora_to_gguf.py`` makes it.

    Parameters
    ----------
    path : str or path
    scale : float
        1: as it was trained. 0 is the same as no adapter.

    Raises
    ------
    AdapterError
        When there is no such file, it is damaged, or an activated LoRA (aLoRA).
    """

    path: str | os.PathLike[str]
    scale: float = 1.0

    kind = "lora"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _checked_scale(self.scale))
        object.__setattr__(self, "path", self.file.path)  # what cannot be used is refused now

    @cached
    def file(self) -> LoRAFile:
        """The checked header of the file."""
        return read_lora(self.path)

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.file.path.stem

    @property
    def fingerprint(self) -> str:
        """A hash of the file's contents."""
        return self.file.fingerprint

    def as_saved(self, scale: float) -> Self:
        """Return the same adapter as a key says it, behind kind and fingerprint."""
        return self._with(scale=scale)

    def __repr__(self) -> str:
        return f"LoRA({self.name!r}, scale={self.scale:g})"


@dataclass(frozen=True, eq=False, repr=False)
class ControlVector(_Scaled):
    """A control vector: a direction for each layer, added to what the layer puts out.

    Parameters
    ----------
    path : str or path
        A GGUF file with the tensors ``direction.1``, ``direction.2`` and so on.
    scale : float
        0 is the same as no vector.
    layers : tuple of int, optional
        The first and the last layer to add it to. None: all that it has a direction for.

    Raises
    ------
    AdapterError
        When there is no such file, or it holds no control vector.
    """

    path: str | os.PathLike[str] | None
    scale: float = 1.0
    layers: tuple[int, int] | None = None
    _given: tuple[str, Directions] | None = None

    kind = "control_vector"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _checked_scale(self.scale))
        object.__setattr__(self, "layers", _checked_layers(self.layers))
        if self._given is None:
            if self.path is None:
                raise ParameterError("a control vector needs a file, or from_array(...)")
            object.__setattr__(self, "path", Path(self.path).expanduser().absolute())
        self.directions  # noqa: B018 - what cannot be used is refused now

    @classmethod
    def from_array(
        cls,
        directions: npt.ArrayLike,
        *,
        name: str = "array",
        scale: float = 1.0,
        layers: tuple[int, int] | None = None,
    ) -> Self:
        """Make a control vector of an array.

        Parameters
        ----------
        directions : array_like, shape (n_layers, n_embd)
            A row for each layer, which is added to what the layer puts out. llama.cpp adds nothing
            to layer 0, whose row must be zeros. Layers after the last row get nothing.
        name : str
            What it is called where it is shown.
        scale, layers
            As for the class.
        """
        try:
            if np.iscomplexobj(directions):
                raise TypeError("these are complex")
            with np.errstate(over="ignore"):  # what float32 cannot hold is not finite below
                values = np.array(directions, np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise ParameterError(f"directions are an array of numbers: {error}") from None
        if values.ndim != 2 or len(values) < 2 or not values.shape[1]:
            raise ParameterError(
                "directions are an array of shape (n_layers, n_embd), with two layers or more; "
                f"this one has {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ParameterError("directions must be finite numbers")
        if values[0].any():
            raise ParameterError(
                "the row of layer 0 must be zeros, as llama.cpp adds no control vector there"
            )
        values[0] = 0  # not -0
        values.setflags(write=False)
        return cls(None, scale, layers, (name, values))

    @cached
    def directions(self) -> Directions:
        """Float32 of shape ``(n_layers, n_embd)``, not scaled; read-only."""
        if self._given is not None:
            return self._given[1]
        assert self.path is not None
        return read_control_vector(self.path)

    @property
    def name(self) -> str:
        """The file's name without its ending, or the name that was given."""
        return self._given[0] if self._given is not None else Path(str(self.path)).stem

    @cached
    def fingerprint(self) -> str:
        """A hash of the directions: a saved array has the same one."""
        used = np.flatnonzero(self.directions.any(axis=1))
        rows = np.ascontiguousarray(self.directions[: used[-1] + 1 if used.size else 0], "<f4")
        digest = blake3(b"mullama_nb control vector 1")
        digest.update(json.dumps([len(rows), self.directions.shape[1]]).encode())
        digest.update(rows.tobytes())
        return digest.hexdigest(16)

    @property
    def key(self) -> Key:
        """The values that rows depend on, which JSON can hold."""
        return super().key if self.layers is None else (*super().key, self.layers)

    def as_saved(self, scale: float, layers: tuple[int, int] | None = None) -> Self:
        """Return the same adapter as a key says it, behind kind and fingerprint."""
        return self._with(scale=scale, layers=layers)

    def note(self) -> dict[str, Any]:
        """Return what is saved of it: kind, name, fingerprint, scale and layers."""
        layers = {} if self.layers is None else {"layers": [*self.layers]}
        return super().note() | layers

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a GGUF file, which llama.cpp's own programs read, too; without the scale.

        Raises
        ------
        SessionWriteError
            When the file cannot be written; an existing one is intact.
        """
        write_control_vector(path, self.directions)

    def __repr__(self) -> str:
        layers = "" if self.layers is None else f", layers={self.layers}"
        return f"ControlVector({self.name!r}, scale={self.scale:g}{layers})"


Adapter: TypeAlias = LoRA | ControlVector


def listed_adapters(values: object) -> tuple[Adapter, ...]:
    """Return adapters as they are given: one or several.

    Raises
    ------
    ParameterError
        When they are no adapters.
    """
    if isinstance(values, (LoRA, ControlVector)):
        return (values,)
    given = tuple(check_list("adapters", values, "LoRA and ControlVector"))
    for value in given:
        if not isinstance(value, (LoRA, ControlVector)):
            raise ParameterError(
                f"adapters are a list of LoRA and ControlVector, such as "
                f"[LoRA('style.gguf', scale=0.5)]; {shown(value)} is neither"
            )
    return given


def checked_adapters(values: object) -> tuple[Adapter, ...]:
    """Return the adapters that are on, LoRAs first, in order: those with scale 0 are not.

    Raises
    ------
    ParameterError
        When they are no adapters, or a LoRA is given twice.
    """
    given = listed_adapters(values)
    loras = [value.fingerprint for value in given if isinstance(value, LoRA)]
    twice = [v for v in given if isinstance(v, LoRA) and loras.count(v.fingerprint) > 1]
    if twice:
        raise ParameterError(f"{twice[0]!r} is given twice; give it once, with the sum of scales")
    on = [value for value in given if value.scale]
    return tuple(sorted(on, key=lambda value: value.kind != LoRA.kind))


def key_of(note: Mapping[str, Any]) -> Key:
    """Return the key of a saved adapter.

    Raises
    ------
    AdapterError
        When it is none.
    """
    return parse_key([note.get(k) for k in ("kind", "fingerprint", "scale")] + _layers_of(note))


def _layers_of(note: Mapping[str, Any]) -> list[Any]:
    return [note["layers"]] if note.get("layers") is not None else []


def parse_key(values: object) -> Key:
    """Return a key that came from a file.

    Raises
    ------
    AdapterError, ParameterError
        When it is none.
    """
    match values:
        case [("lora" | "control_vector") as kind, str(fingerprint), float() | int() as scale]:
            key: Key = (kind, fingerprint, float(scale))
        case ["control_vector", str(fingerprint), float() | int() as scale, [int(), int()]]:
            key = ("control_vector", fingerprint, float(scale), _checked_layers(values[3]))
        case _:
            raise AdapterError(f"{shown(values)} is not a saved adapter")
    if isinstance(values[2], bool) or not math.isfinite(key[2]) or len(key[1]) != 32:
        raise AdapterError(f"{shown(values)} is not a saved adapter")
    return key


def described(note: Mapping[str, Any]) -> str:
    """Return a saved adapter in words, for messages."""
    what = "the LoRA" if note.get("kind") == "lora" else "the control vector"
    name = f" {shown(repr(note['name']))}" if "name" in note else ""
    return f"{what}{name} ({shown(note.get('fingerprint'), 12)})"


def in_words(note: Mapping[str, Any]) -> str:
    """Return a saved adapter as it is shown to readers, such as ``LoRA style, scale 0.5``."""
    what = "LoRA" if note.get("kind") == LoRA.kind else "control vector"
    scale, layers = note.get("scale", 1.0), note.get("layers")
    factor = "" if scale == 1 else f", scale {shown(scale, 12)}"
    where = f", layers {shown(layers[0], 8)} to {shown(layers[-1], 8)}" if layers else ""
    return f"{what} {shown(str(note.get('name')))}{factor}{where}"


def _checked_scale(scale: object) -> float:
    if isinstance(scale, (np.integer, np.floating)):
        scale = scale.item()
    if not is_number(scale):
        raise ParameterError(f"scale must be a number, not {shown(scale)}")
    if not -_MOST_SCALE <= scale <= _MOST_SCALE:
        raise ParameterError(f"scale={shown(scale)} is out of range")
    return float(np.float32(scale)) and float(scale)  # llama.cpp takes float32: 1e-60 is 0


def _checked_layers(layers: object) -> tuple[int, int] | None:
    if layers is None:
        return None
    if (
        not isinstance(layers, (tuple, list))
        or len(layers) != 2
        or not all(map(is_integer, layers))
        or not 1 <= layers[0] <= layers[1]
    ):
        raise ParameterError(
            f"layers={shown(layers)} must be the first and the last layer, such as (8, 20): "
            "1 or more, as llama.cpp adds no control vector to layer 0"
        )
    return (layers[0], layers[1])
