"""What runs in a process of a ``SpawnedPool``: one call after the other, until its pool is gone."""

from __future__ import annotations

import os
import threading
from multiprocessing.connection import Connection, wait

from .calling import carried_out

__all__ = ["serve"]

_SECONDS = 1.0  # between two looks whether the parent is still there


def serve(calls: int, lifeline: int, parent: int) -> None:
    """Carry calls out, and end when the parent process does, whatever is running then.

    Parameters
    ----------
    calls : int
        A file descriptor, on which packed calls come and their outcomes go.
    lifeline : int
        A file descriptor that comes to its end with the parent.
    parent : int
        The parent's process id: a fork of it may hold the other end of the lifeline.
    """
    for descriptor in (calls, lifeline):
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_end_with, args=(lifeline, parent), daemon=True).start()
    with Connection(calls) as connection:
        while True:
            try:
                data = connection.recv_bytes()
            except EOFError:  # nothing is left to do
                return
            connection.send_bytes(carried_out(data))


def _end_with(lifeline: int, parent: int) -> None:
    while os.getppid() == parent and not wait([lifeline], _SECONDS):
        pass
    os._exit(1)
