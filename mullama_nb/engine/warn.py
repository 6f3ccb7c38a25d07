"""Warnings that point at the line that gave rise to them, however deep it was noticed."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from ..errors import MullamaWarning

__all__ = ["warn"]

_PACKAGE = str(Path(__file__).parents[1])


def warn(message: str, category: type[MullamaWarning]) -> None:
    """Warn at the innermost line outside this package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
