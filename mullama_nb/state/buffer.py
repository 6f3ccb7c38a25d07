"""Memory for states that are about to be filled."""

from __future__ import annotations

import contextlib
import mmap
from collections import deque

import numpy as np

from .blocks import ByteArray

__all__ = ["empty_bytes"]

_LARGE = 1 << 20
_KEPT_AT_MOST = 64 << 20
_IS_LINUX = hasattr(mmap, "MADV_HUGEPAGE")
_HUGE_PAGES: int = getattr(mmap, "MADV_HUGEPAGE", 0)
_latest: deque[mmap.mmap] = deque(maxlen=1)


def empty_bytes(n_bytes: int, offset: int = 0) -> ByteArray:
    """Return uninitialised bytes.

    Large arrays use huge pages where available: touching 50 MB for the first time takes longer than
    copying it, and a huge page needs one page fault instead of 512. The latest arrays are reused
    once no reference to any part of them is left.

    Parameters
    ----------
    n_bytes : int
    offset : int
        Offset of large arrays from the beginning of a page.

    Raises
    ------
    MemoryError
        When there is not enough memory.
    """
    if n_bytes < _LARGE or not _IS_LINUX:
        return np.empty(n_bytes, np.uint8)
    try:
        pages = _unused(n_bytes + offset) or _new(n_bytes + offset)
    except (OSError, OverflowError):
        return np.empty(n_bytes, np.uint8)
    array = np.frombuffer(pages, np.uint8, n_bytes, offset)
    if len(pages) <= _KEPT_AT_MOST:
        _latest.append(pages)
    return array


def _new(n_bytes: int) -> mmap.mmap:
    pages = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(_HUGE_PAGES)
    return pages


def _unused(n_bytes: int) -> mmap.mmap | None:
    """The latest memory, if it is free, large enough and not much too large."""
    with contextlib.suppress(IndexError, BufferError):
        pages = _latest.pop()
        pages.resize(len(pages))  # refused while anybody looks at it
        if n_bytes <= len(pages) <= 2 * n_bytes:
            return pages
    return None
