"""What another process needs to know of a model to use the same one."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ..engine.files.gguf_file import fingerprint
from ..engine.files.locate import locate_model
from ..engine.model import Model

__all__ = ["ModelRecipe"]


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """A model as a small value that can be pickled; a worker loads it when it is first needed.

    Attributes
    ----------
    name : str
        What ``Model.load`` takes; for a model that was loaded by its path, the file's name.
    fingerprint : str
        The weights that are meant; another file under that name is refused.
    n_gpu_layers : int
        As ``Model.load`` takes it.
    path : str
        Where the file is here; used where the name says nothing and a file is there, too.
    is_named : bool
        Whether the name leads to the file, rather than the path.
    """

    name: str
    fingerprint: str
    n_gpu_layers: int = -1
    path: str = field(default="", repr=False, compare=False)
    is_named: bool = field(default=True, repr=False, compare=False)

    @classmethod
    def of(cls, model: Model) -> ModelRecipe:
        """Return the recipe of a loaded model."""
        name, n_gpu_layers = model.load_arguments
        path = str(model.path)
        is_named = name != path
        return cls(
            name if is_named else model.path.name,
            model.fingerprint,
            n_gpu_layers,
            path,
            is_named=is_named,
        )

    @classmethod
    def named(cls, name: str | os.PathLike[str]) -> ModelRecipe:
        """Return the recipe of a model that need not be loaded here.

        Raises
        ------
        ModelNotFoundError, ModelFormatError
            As ``Model.load`` does.
        """
        path = locate_model(name)
        is_named = str(name)[:1] != "~" and Path(name).absolute() != path
        return cls(
            str(name) if is_named else path.name,
            fingerprint(path),
            path=str(path),
            is_named=is_named,
        )

    @property
    def places(self) -> tuple[str, ...]:
        """Where to look for the file, in this order; the first that is there decides."""
        places = (self.name, self.path) if self.is_named else (self.path, self.name)
        return tuple(place for place in places if place)
