"""The process-wide side of llama.cpp: its log, its start-up, and a flag that stops a decode."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import os
import re
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import llama_cpp
from blake3 import blake3

__all__ = [
    "StopFlag",
    "build",
    "captured_log",
    "captured_stderr",
    "has_amx",
    "start",
    "switched_on",
    "system_info",
]

# They choose among kernels that round differently, at the first product of a process.
_KERNELS = ("GGML_CPU_TILED_MM", "GGML_CPU_TILED_MM_FORCE", "GGML_CPU_DISABLE_FUSION")
_ERROR_LEVELS = (3, 4)  # GGML_LOG_LEVEL_WARN, GGML_LOG_LEVEL_ERROR
_recent: deque[str] = deque(maxlen=20)
_verbose: list[object] = []  # who wants to see the log; adding to a list is atomic
_started = False
_telling = threading.Lock()


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
def _log(level: int, text: bytes, _user_data: Any) -> None:
    line = text.decode("utf-8", "replace")
    if _verbose:
        sys.stderr.write(line)
    elif level in _ERROR_LEVELS and line.strip():
        _recent.append(line.strip())


def start() -> None:
    """Start llama.cpp once per process, with its log under our control."""
    global _started
    if not _started:
        llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        _started = True


@contextlib.contextmanager
def captured_log(*, verbose: bool) -> Iterator[deque[str]]:
    """Run native code; show its log when ``verbose``, else collect its last complaints."""
    start()
    _recent.clear()
    wish = object()
    if verbose:
        _verbose.append(wish)
    try:
        yield _recent
    finally:
        if verbose:
            _verbose.remove(wish)


_redirecting = threading.Lock()


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Run native code that writes past the log; yields a list that gets its lines afterwards."""
    lines: list[str] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(_redirecting)
        with contextlib.suppress(OSError):  # a process may have no standard error
            kept = os.dup(2)
            stack.callback(os.close, kept)
            file = stack.enter_context(tempfile.TemporaryFile())
            os.dup2(file.fileno(), 2)
            stack.callback(lambda: lines.extend(_read_lines(file)))
            stack.callback(os.dup2, kept, 2)
        yield lines


def _read_lines(file: IO[bytes]) -> list[str]:
    file.seek(0)
    return file.read().decode("utf-8", "replace").splitlines()


@functools.cache
def build() -> str:
    """Return the build of llama.cpp, as far as results may depend on it."""
    version = f"llama-cpp-python {llama_cpp.__version__}"
    if "LLAMA_CPP_LIB_PATH" not in os.environ:
        return version
    # Then it is not the llama.cpp that the package came with, and only its bytes tell which one.
    library = Path(llama_cpp.llama_cpp._lib._name)
    return f"{version} on {library.name} {blake3(library.read_bytes()).hexdigest(length=8)}"


def switched_on(variable: str) -> bool:
    """Return whether llama.cpp takes an environment variable as set: to a non-zero number.

    It is read as llama.cpp reads it: ``os.environ`` does not know what other languages have set
    since Python started.
    """
    if sys.platform == "win32":
        value = os.environ.get(variable, "").encode()
    else:
        getenv = ctypes.CDLL(None).getenv
        getenv.restype, getenv.argtypes = ctypes.c_char_p, [ctypes.c_char_p]
        value = getenv(variable.encode()) or b""
    number = re.match(rb"\s*([+-]?\d+)", value)  # atoi
    return number is not None and bool(number[1].lstrip(b"+-0"))


def system_info() -> str:
    """Return the CPU features, backends and kernels that llama.cpp uses."""
    start()
    with _telling:  # llama.cpp writes it into one static string, whoever reads that just now
        info = llama_cpp.llama_print_system_info().decode("utf-8", "replace").split()
    chosen = [f"{name}={os.environ[name]}" for name in _KERNELS if name in os.environ]
    return " ".join([*info, *chosen])


def has_amx() -> bool:
    """Return whether llama.cpp was built for Intel's matrix tiles, and may crash on them.

    GCC 12 leaves out most of what llama.cpp writes into a tile's shape: ``_tile_loadconfig``
    tells it of 8 bytes only. The first prompt of a quantised model then dies of SIGILL.
    Weights outside the "extra" buffers never reach that code.
    """
    return "AMX_INT8 = 1" in system_info()


class StopFlag:
    r"""A byte that llama.cpp polls between the nodes of a graph, without taking the GIL.

    llama.cpp wants a C function that takes a pointer and returns a boolean. libc's ``strlen`` over
    a two-byte buffer is that function: 0 for ``"\0"``, 1 for ``"\1\0"``.
    """

    def __init__(self) -> None:
        self._byte = ctypes.create_string_buffer(2)
        libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        self.callback = ctypes.cast(libc.strlen, llama_cpp.ggml_abort_callback)
        self.data = ctypes.cast(self._byte, ctypes.c_void_p)

    def set(self) -> None:
        """Make the running decode return soon, and every later one at once."""
        self._byte[0] = b"\x01"

    def clear(self) -> None:
        """Let decodes run again."""
        self._byte[0] = b"\x00"

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return bool(self._byte[0] != b"\x00")
