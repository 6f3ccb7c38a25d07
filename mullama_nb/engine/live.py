"""Objects that live in one process and are no values: copying says what to do instead."""

from __future__ import annotations

from typing import ClassVar, NoReturn, SupportsIndex

from ..errors import CopyError

__all__ = ["Live"]


class Live:
    """Refuses to be pickled and copied, in words; ``copy`` and ``pickle`` both ask here."""

    __slots__ = ()

    _instead_of_a_copy: ClassVar[str]

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise CopyError(
            f"a {type(self).__name__} cannot be copied, pickled or sent to another process: it "
            f"belongs to llama.cpp's memory here. {self._instead_of_a_copy}"
        )
