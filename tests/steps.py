"""Counting what the package does, where time would say more of the machine than of the code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import mullama_nb

__all__ = ["steps"]

_PACKAGE = str(Path(mullama_nb.__file__).parent)


def steps(job: Callable[[], object]) -> int:
    """Lines of the package that a job runs through, each as often as it is run."""
    n = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal n
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        n += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        job()
    finally:
        sys.settrace(before)
    return n
