"""What another process needs to know of an adapter to use the same one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engine.adapters.values import Adapter, ControlVector, LoRA
from ..errors import AdapterError, shown

__all__ = ["AdapterRecipe"]


@dataclass(frozen=True, slots=True)
class AdapterRecipe:
    """An adapter as a small value that can be pickled.

    Attributes
    ----------
    kind : {"lora", "control_vector"}
    name : str
    fingerprint : str
        The contents that are meant; another file is refused.
    scale : float
    layers : tuple of int, optional
        Of a control vector.
    path : str, optional
        The file.
    directions : bytes
        A control vector that was made of an array, float32; empty where there is a file.
    n_layers : int
        Its number of rows.
    """

    kind: str
    name: str
    fingerprint: str
    scale: float
    layers: tuple[int, int] | None = None
    path: str | None = None
    directions: bytes = b""
    n_layers: int = 0

    @classmethod
    def of(cls, adapter: Adapter) -> AdapterRecipe:
        """Return the recipe of an adapter."""
        layers = adapter.layers if isinstance(adapter, ControlVector) else None
        known = adapter.kind, adapter.name, adapter.fingerprint, adapter.scale, layers
        if adapter.path is not None or isinstance(adapter, LoRA):
            return cls(*known, path=str(adapter.path))
        directions = adapter.directions
        return cls(*known, directions=directions.tobytes(), n_layers=len(directions))

    def load(self) -> Adapter:
        """Return the adapter.

        Raises
        ------
        AdapterError
            When its file is not here, or another one.
        """
        adapter: Adapter
        if self.path is None:
            rows = np.frombuffer(self.directions, np.float32).reshape(self.n_layers, -1)
            adapter = ControlVector.from_array(
                rows, name=self.name, scale=self.scale, layers=self.layers
            )
        elif self.kind == LoRA.kind:
            adapter = LoRA(self.path, self.scale)
        else:
            adapter = ControlVector(self.path, self.scale, self.layers)
        if adapter.fingerprint != self.fingerprint:
            raise AdapterError(
                f"the task is for the adapter {shown(self.name)!r} with fingerprint "
                f"{self.fingerprint}, but the file {shown(Path(self.path or '').name)!r} that this "
                f"worker has at its path has {adapter.fingerprint}: copy the same file there"
            )
        return adapter
