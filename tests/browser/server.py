"""A server of our own on this machine: started on a free port, waited for, and ended."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["PATIENCE", "Server"]

PATIENCE = 180
"""Seconds to wait for what a page or a kernel should come to; a busy machine takes long."""


class Server:
    """A server in a process of its own.

    Parameters
    ----------
    name : str
        What a failure calls it.

    Attributes
    ----------
    port : int
        A free one, for :meth:`start`'s command.
    address : str
        Its URL, without a path.
    """

    def __init__(self, name: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._name = name

    def start(
        self,
        command: Sequence[str],
        *,
        log: Path,
        answers_at: str,
        folder: Path,
        environment: Mapping[str, str],
    ) -> None:
        """Start the process, and wait until it answers.

        Parameters
        ----------
        command : sequence of str
        log : Path
            Gets what it prints.
        answers_at : str
            A path that is there as soon as it has started.
        folder : Path
        environment : mapping
        """
        self._log = log.open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.address}{answers_at}", timeout=5).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        self._process.kill()
        self._log.seek(0)
        raise RuntimeError(f"{self._name} did not start:\n{self._log.read()[-4000:]}")

    def close(self) -> None:
        """End the server, and with it its kernels."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
