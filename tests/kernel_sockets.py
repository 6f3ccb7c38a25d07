"""Kernels that are reached through files, not ports; with ``-p`` as in the Makefile, nbval's too.

A kernel is told five ports that were free a moment ago. Where several are started at once, or the
machine is busy, another process may have taken one by then, and the kernel dies at its start.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from typing import Any

from jupyter_client import manager

__all__ = ["AsyncKernelManager", "KernelManager"]


class _OverFiles:
    def __init__(self, **options: Any) -> None:
        folder = tempfile.mkdtemp(prefix="kernel-")  # short, as the names of sockets have to be
        super().__init__(transport="ipc", ip=f"{folder}/socket", **options)
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)


class KernelManager(_OverFiles, manager.KernelManager):
    """Starts one kernel."""


class AsyncKernelManager(_OverFiles, manager.AsyncKernelManager):
    """Starts one kernel, for ``NotebookClient``."""


def pytest_configure() -> None:
    import nbval.kernel

    nbval.kernel.KernelManager = KernelManager
