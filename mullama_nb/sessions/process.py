"""Which process somebody is, so that it can be told whether it still runs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["is_running", "this_process"]


def this_process() -> str:
    """A text for this process; its start time tells it from a later one with the same number."""
    return f"{os.getpid()}:{_start_time(os.getpid())}"


def is_running(process: str) -> bool:
    """Whether the process of such a text still runs on this machine."""
    number, _, started = process.partition(":")
    if not number.isdecimal():
        return False
    if Path("/proc/self/stat").exists():
        return bool(started) and _start_time(int(number)) == started
    if os.name != "posix":
        return False
    with contextlib.suppress(OSError):
        os.kill(int(number), 0)
        return True
    return False


def _start_time(number: int) -> str:
    try:
        # Behind the program's name, which may hold anything but ends with the last bracket.
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
