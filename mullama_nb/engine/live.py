"""Live objects, bound to one process: copying raises an error that says what to do instead."""

from __future__ import annotations

from typing import ClassVar, NoReturn, SupportsIndex

from ..errors import CopyError

__all__ = ["Live"]


class Live:
    """Base class that refuses pickling and copying, for ``copy`` and ``pickle`` alike."""

    __slots__ = ()

    _instead_of_a_copy: ClassVar[str]

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise CopyError(
            f"a {type(self).__name__} cannot be copied, pickled or sent to another process: it "
            f"belongs to llama.cpp's memory here. {self._instead_of_a_copy}"
        )
