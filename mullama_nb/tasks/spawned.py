"""A process that is spawned, never forked, and carries out one call at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from multiprocessing import spawn
from multiprocessing.connection import Pipe

from ..errors import TaskError, WorkerLostError

__all__ = ["SpawnedProcess"]

_SECONDS = 1.0  # between two looks whether the process is still there
_SECONDS_TO_END = 5.0


class SpawnedProcess:
    """A new interpreter with this one's options, environment and module path.

    It never imports ``__main__``, so a script needs no guard, and a notebook may be where it is.
    It is in a session of its own, which the terminal's interrupts do not reach, and ends with this
    process, however that ends.

    Raises
    ------
    TaskError
        When the system starts no further process.
    """

    def __init__(self) -> None:
        with contextlib.ExitStack() as at_failure:
            self._connection, there = Pipe()
            at_failure.callback(self._connection.close)
            lifeline, self._lifeline = os.pipe()
            at_failure.callback(os.close, self._lifeline)
            try:
                self._process = subprocess.Popen(
                    _command(there.fileno(), lifeline),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(there.fileno(), lifeline),
                    start_new_session=True,
                )
            except OSError as error:
                raise TaskError(f"no worker process can be started: {error}") from error
            finally:
                there.close()
                os.close(lifeline)
            at_failure.pop_all()
        self.is_killed = False

    @property
    def id(self) -> int:
        """The number that the system knows the process by."""
        return self._process.pid

    def run(self, call: bytes) -> bytes:
        """Have a packed call carried out; return its outcome.

        Raises
        ------
        WorkerLostError
            When the process ended before it had one.
        """
        try:
            self._connection.send_bytes(call)
            while not self._connection.poll(_SECONDS):
                # A process that it forked may hold the connection open.
                if self._process.poll() is not None and not self._connection.poll():
                    raise EOFError
            return self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            self.kill()
            raise WorkerLostError(
                f"the worker's process {self.id} {_said(self._process.wait())}"
            ) from error

    def kill(self) -> None:
        """End it at once; what it runs is lost."""
        self.is_killed = True
        self._process.kill()

    def end(self) -> None:
        """Let it end, which it does when no call comes any more, and wait for that."""
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS_TO_END)
        self._process.kill()
        self._process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def _command(calls: int, lifeline: int) -> list[str]:
    *interpreter, _, _, _ = spawn.get_command_line()  # with its options, then -c, code, a mark
    path = [entry for entry in sys.path if isinstance(entry, str)]
    code = (
        f"import sys; sys.path[:] = {path!r}; from mullama_nb.tasks.serving import serve; "
        f"serve({calls}, {lifeline}, {os.getpid()})"
    )
    return [*map(os.fsdecode, interpreter), "-c", code]


def _said(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}; what it wrote to standard error says why"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-status).name
        why = " (which the system does when memory is short)" if name == "SIGKILL" else ""
        return f"was ended by {name}{why}"
    return f"was ended by signal {-status}"
