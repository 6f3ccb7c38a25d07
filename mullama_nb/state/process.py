"""Identifying processes, to find out whether they are still running.

A number and a start time identify a process among those that see each other. Containers on one
machine may share a folder and not see each other's processes, and machines may share one over a
network: a process that cannot be seen from here counts as running.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from pathlib import Path
from typing import NamedTuple

__all__ = ["is_running", "this_process"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


class _Place(NamedTuple):
    """Where processes see each other; an empty text is what this system does not tell."""

    machine: str
    boot: str
    namespace: str


def this_process() -> str:
    """Return an identifier of this process; its start time makes reused numbers distinct."""
    return ":".join((str(os.getpid()), _start_time(os.getpid()), *_here()))


def is_running(process: str) -> bool:
    """Return whether a process is still running, as far as can be seen from here.

    Parameters
    ----------
    process : str
        From :func:`this_process`, on this machine or another one.

    Returns
    -------
    bool
        False if it has ended, ran before this machine was started, or the identifier is invalid.
        True if it cannot be seen: in another container, or on another machine.
    """
    number, _, rest = process.partition(":")
    started, *there = rest.split(":")
    if not (number.isascii() and number.isdecimal()):
        return False
    if len(there) == len(_Place._fields):
        place, here = _Place(*there), _here()
        if place.boot != here.boot:
            return place.machine != here.machine
        if place.namespace != here.namespace or (not here.boot and place.machine != here.machine):
            return True
    if Path("/proc/self/stat").exists():
        return bool(started) and _start_time(int(number)) == started
    try:
        os.kill(int(number), 0)
    except PermissionError:  # somebody else's
        return True
    except (OSError, OverflowError):
        return False
    return True


@functools.cache  # a machine may be given another name while this process runs
def _here() -> _Place:
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = _BOOT.read_text().strip()
    with contextlib.suppress(OSError):
        namespace = str(_NAMESPACE.readlink()).strip("pid:[]")
    return _Place(platform.node().replace(":", "."), boot, namespace)


def _start_time(number: int) -> str:
    try:
        # Behind the program's name, which may hold anything but ends with the last bracket.
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
