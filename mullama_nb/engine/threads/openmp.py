"""How OpenMP's threads wait for each other, and a switch for that with libgomp.

llama.cpp's threads meet at a barrier some hundred times a token. libgomp lets early threads spin
there for milliseconds, which is fastest if every thread has a CPU, and worst if one does not: then
the others use up the time that the late one needs.

libgomp reads what it is to do from the environment when it is loaded, with one exception: while it
manages more threads than there are CPUs it spins a hundred rounds only, and then gives the CPU away
(``do_spin`` in libgomp's ``config/linux/wait.h``; ``gomp_managed_threads``, counted in ``team.c``,
is one and, for each team that lives, its threads but one). So a team that has nothing to do
switches the whole process over, and its end switches back. Results do not depend on it: the threads
that compute are the same.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import llama_cpp

from ... import machine
from .. import native

__all__ = ["Switch", "Unswitchable", "find_switch"]

_SETTINGS = (
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "OMP_DYNAMIC",
    "OMP_THREAD_LIMIT",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "GOMP_CPU_AFFINITY",
)
"""What decides how threads wait, or how many there are and where; OMP_NUM_THREADS decides nothing
here, as llama.cpp says how many it wants."""

_settings_when_loaded = {name: os.environ[name] for name in _SETTINGS if os.environ.get(name)}
_cpus_when_loaded = machine.here.cpus.n_affinity  # libgomp counts once, when llama.cpp loads it
_SPARE_THREADS = 32  # libgomp ends the process when it cannot start a thread
_BACKEND = re.compile(r"lib(?:ggml|llama)\b.*\.so[.0-9]*")
_LIBGOMP = re.compile(r"libgomp\b.*\.so[.0-9]*")


@dataclass(frozen=True)
class Unswitchable:
    """The reason why the way of waiting cannot be switched.

    Attributes
    ----------
    reason : str
    is_set : bool
        Whether the user has chosen the way of waiting.
    """

    reason: str
    is_set: bool = False


class Switch:
    """Makes the threads of this process spin, or yield soon; not thread-safe.

    Parameters
    ----------
    library : CDLL
        One through which libgomp's functions are found.
    name : str
        libgomp's file.
    """

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self.name = name
        self._parallel = library.GOMP_parallel
        self._parallel.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_uint,
        ]
        self._parallel.restype = None
        self._most_threads = library.omp_get_max_threads
        self._nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
        self._over: threading.Event | None = None

    @property
    def is_yielding(self) -> bool:
        """Whether waiting threads yield their CPU."""
        return self._over is not None

    def yields(self, n_threads: int) -> bool:
        """Return whether a team of threads yields by itself, lacking a CPU for each of them."""
        return n_threads > _cpus_when_loaded

    def make_yield(self) -> bool:
        """Have them yield; False where no more threads should be started."""
        if self._over is None:
            if machine.here.spare_threads() < _cpus_when_loaded + _SPARE_THREADS:
                return False
            over, begun = threading.Event(), threading.Event()
            # A daemon: it sleeps until it is told, and an interpreter that ends need not tell it.
            thread = threading.Thread(
                target=self._keep_a_team, args=(begun, over), name="mullama-waiting", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # no thread left, or the interpreter ends
                return False
            begun.wait()
            self._over = over
        return True

    def make_spin(self) -> None:
        """Have them spin again."""
        if self._over is not None:
            self._over.set()
            self._over = None

    def _keep_a_team(self, begun: threading.Event, over: threading.Event) -> None:
        """Own a team that does nothing; it lives as long as this thread.

        With one thread for each CPU, and a thread of another team beside them, libgomp manages more
        than there are CPUs.
        """
        n_threads = _cpus_when_loaded
        if "OMP_NUM_THREADS" not in os.environ:  # in a new thread that is what libgomp counted
            n_threads = max(n_threads, int(self._most_threads()))
        self._parallel(self._nothing, None, max(2, n_threads), 0)
        begun.set()
        over.wait()


def find_switch() -> Switch | Unswitchable:
    """Return the switch of the libgomp that llama.cpp's CPU backend uses; load nothing."""
    if not sys.platform.startswith("linux"):
        return Unswitchable("only Linux has a libgomp that can be switched")
    if "OPENMP = 1" not in native.system_info():
        return Unswitchable("llama.cpp was built without OpenMP and waits as its own threads do")
    if llama_cpp.llama_supports_gpu_offload():
        return Unswitchable("llama.cpp was built for a GPU, for which its threads wait as well")
    if _settings_when_loaded:
        return Unswitchable(_said(_settings_when_loaded), is_set=True)
    for backend in _backends():
        path = _provider("GOMP_parallel", backend)
        if path is not None and not _LIBGOMP.fullmatch(path.name):
            return Unswitchable(f"OpenMP is {path.name} here, not libgomp")
        if path is not None:
            return Switch(ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD), path.name)
    return Unswitchable("the libgomp that llama.cpp uses was not found")


def _said(settings: Mapping[str, str]) -> str:
    return f"{', '.join(f'{name}={value}' for name, value in settings.items())} is left alone"


def _backends() -> list[str]:
    """The mapped files of llama.cpp that may hold the CPU backend, the likeliest first."""
    try:
        lines = Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    fields = (line.split(None, 5) for line in lines)
    paths = {Path(field[5]) for field in fields if len(field) == 6}
    found = [path for path in paths if _BACKEND.fullmatch(path.name)]
    return [str(path) for path in sorted(found, key=lambda p: ("ggml-cpu" not in p.name, p))]


class _Place(ctypes.Structure):
    """``Dl_info`` of ``dladdr``."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _provider(function: str, library: str) -> Path | None:
    """The file whose function a loaded library calls by that name; a preloaded one comes first."""
    for scope in (None, library):
        try:
            loaded = ctypes.CDLL(scope, mode=os.RTLD_NOLOAD) if scope else ctypes.CDLL(None)
            address = ctypes.cast(loaded[function], ctypes.c_void_p)
        except (AttributeError, OSError):
            continue
        place = _Place()
        if ctypes.CDLL(None).dladdr(address, ctypes.byref(place)) and place.file:
            return Path(os.fsdecode(place.file))
    return None
