"""Memory for a state that is about to be filled."""

from __future__ import annotations

import mmap

import numpy as np

from .blocks import ByteArray

__all__ = ["empty_bytes"]

_LARGE = 4 << 20
_HUGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)


def empty_bytes(n_bytes: int) -> ByteArray:
    """Bytes of no particular value.

    Large ones lie in huge pages where the system has them: to touch 50 MB for the first time takes
    longer than to copy it, and a huge page counts as one touch instead of 512.

    Raises
    ------
    MemoryError
        When there is not so much.
    """
    if n_bytes < _LARGE or _HUGE_PAGES is None:
        return np.empty(n_bytes, np.uint8)
    try:
        pages = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages.madvise(_HUGE_PAGES)
    except (OSError, OverflowError):
        return np.empty(n_bytes, np.uint8)
    return np.frombuffer(pages, np.uint8)
