"""Memory for a state that is about to be filled."""

from __future__ import annotations

import contextlib
import mmap
import weakref
from collections import deque

import numpy as np

from .blocks import ByteArray

__all__ = ["empty_bytes"]

_LARGE = 1 << 20
_IS_LINUX = hasattr(mmap, "MADV_HUGEPAGE") and hasattr(mmap, "MADV_FREE")
_HUGE_PAGES: int = getattr(mmap, "MADV_HUGEPAGE", 0)
_FREE: int = getattr(mmap, "MADV_FREE", 0)

# What was used last and is not any more. The system may have its pages back whenever it wants them;
# until then nothing has to be zeroed anew, which takes longer than to fill it.
_spare: deque[mmap.mmap] = deque(maxlen=1)


def empty_bytes(n_bytes: int, offset: int = 0) -> ByteArray:
    """Bytes of no particular value.

    Large ones lie in huge pages where the system has them: to touch 50 MB for the first time takes
    longer than to copy it, and a huge page counts as one touch instead of 512. When nobody holds
    the array or a part of it any longer, its memory is kept for the next one.

    Parameters
    ----------
    n_bytes : int
    offset : int
        How far behind the beginning of a page large ones begin.

    Raises
    ------
    MemoryError
        When there is not so much.
    """
    if n_bytes < _LARGE or not _IS_LINUX:
        return np.empty(n_bytes, np.uint8)
    try:
        pages = _take_spare(n_bytes + offset) or _new(n_bytes + offset)
    except (OSError, OverflowError):
        return np.empty(n_bytes, np.uint8)
    array = np.frombuffer(pages, np.uint8, n_bytes, offset)
    weakref.finalize(array, _keep, pages).atexit = False
    return array


def _new(n_bytes: int) -> mmap.mmap:
    pages = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(_HUGE_PAGES)
    return pages


def _take_spare(n_bytes: int) -> mmap.mmap | None:
    """The spare memory, where it is large enough and not much too large."""
    with contextlib.suppress(IndexError):
        pages = _spare.pop()
        if n_bytes <= len(pages) <= 2 * n_bytes:
            return pages
    return None


def _keep(pages: mmap.mmap) -> None:
    with contextlib.suppress(OSError):
        pages.madvise(_FREE)
        _spare.append(pages)
