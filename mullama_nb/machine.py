"""The CPUs and memory available to this process, within the limits of containers and hubs.

A container sees the whole machine: its limits are in the files of its control groups (cgroups),
which nest, and all of a process's groups apply. JupyterHub gives a user's share in ``CPU_LIMIT``
and ``MEM_LIMIT``, whether or not anything enforces it. The lowest limit applies.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .cached import cached

__all__ = ["CPUs", "Machine", "Memory", "here"]

_MEMORY_WHERE_UNKNOWN = 4 << 30
_MOST_TEXT = 1 << 20  # bytes of a file that are looked at
_UNLIMITED = 1 << 60  # cgroups v1 write a number near 2**63 for no limit
_HUB_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}  # as JupyterHub reads
_HUB_BYTES = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)\s*([KMGT]?)", re.ASCII)
_ESCAPED = re.compile(r"\\([0-7]{3})")
_CGROUP = "the cgroup's limit"
_NO_LIMIT = (math.inf, "")


@dataclass(frozen=True)
class CPUs:
    """The CPUs available to this process.

    Attributes
    ----------
    usable : int
        A fractional quota is rounded down, but to at least 1. One more thread would use the quota
        up before the period ends, and then everything in the container, including the notebook's
        kernel, stands still.
    n_affinity : int
        Number of CPUs in the affinity mask.
    limit : float
        CPU time as a number of CPUs; infinite without a limit.
    decided_by : str
        The source of ``usable``.
    """

    usable: int
    n_affinity: int
    limit: float
    decided_by: str


@dataclass(frozen=True)
class Memory:
    """The memory available to this process.

    Attributes
    ----------
    free : int
        Bytes available now.
    total : int
        The upper limit in bytes.
    decided_by : str
        The source of ``free``.
    """

    free: int
    total: int
    decided_by: str


class Machine:
    """The resources of a system, read from its files and environment.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.
    environment : mapping, optional
        None: this process's.
    """

    def __init__(
        self, root: Path = Path("/"), environment: Mapping[str, str] | None = None
    ) -> None:
        self._root = root
        self._environment = os.environ if environment is None else environment

    # -- what holds --------------------------------------------------------------------------

    @property
    def cpus(self) -> CPUs:
        """Return the CPUs by affinity, quota and ``CPU_LIMIT``; the quota is read once."""
        affinity = getattr(os, "sched_getaffinity", None)
        n_affinity = len(affinity(0)) if affinity else (os.cpu_count() or 1)
        limit, decided_by = min(self._quota, self._hub_cpus)
        usable = max(1, math.floor(min(limit, n_affinity)))
        if limit >= n_affinity:
            decided_by = "affinity" if affinity else "the machine"
        return CPUs(usable, n_affinity, limit, decided_by)

    @property
    def memory(self) -> Memory:
        """Return the memory by free memory, cgroups and ``MEM_LIMIT``, read anew each time."""
        free, total = self._machines_memory()
        frees, totals = [(free, "the machine")], [total]
        for limit, used in self._cgroups_memory():
            frees.append((max(0, limit - used), _CGROUP))
            totals.append(limit)
        hub = self._hub_bytes
        if hub is not None:
            frees.append((max(0, hub - self._own_bytes()), "MEM_LIMIT"))
            totals.append(hub)
        least, decided_by = min(frees, key=lambda each: each[0])
        return Memory(least, min(totals), decided_by)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Return the invalid settings, each in a sentence."""
        kinds = {"CPU_LIMIT": "a number of CPUs", "MEM_LIMIT": "a number of bytes"}
        read = {"CPU_LIMIT": self._hub_cpus != _NO_LIMIT, "MEM_LIMIT": self._hub_bytes is not None}
        return tuple(
            f"{name}={self._environment[name][:40]!r} is not {kind} and was ignored"
            for name, kind in kinds.items()
            if self._environment.get(name) and not read[name]
        )

    def spare_threads(self) -> float:
        """Return how many threads may still be started, as far as cgroups limit that."""
        spare = math.inf
        for folder in self._folders("pids"):
            most, present = self._number(folder / "pids.max"), self._number(folder / "pids.current")
            if most is not None and present is not None:
                spare = min(spare, max(0, most - present))
        return spare

    # -- CPUs --------------------------------------------------------------------------------

    @cached
    def _quota(self) -> tuple[float, str]:
        quotas = []
        for folder in self._folders("cpu"):
            # Version 2 has both in one file, version 1 in one each.
            numbers = self._read(folder / "cpu.max").split() or [
                *self._read(folder / "cpu.cfs_quota_us").split()[:1],
                *self._read(folder / "cpu.cfs_period_us").split()[:1],
            ]
            quota, period = (_count(text) for text in (*numbers, "", "")[:2])
            if quota and period:
                quotas.append(quota / period)
        return (min(quotas), "the cgroup's quota") if quotas else _NO_LIMIT

    @property
    def _hub_cpus(self) -> tuple[float, str]:
        try:
            limit = float(self._environment.get("CPU_LIMIT", ""))
        except ValueError:
            return _NO_LIMIT
        return (limit, "CPU_LIMIT") if 0 < limit < math.inf else _NO_LIMIT

    # -- memory ------------------------------------------------------------------------------

    def _machines_memory(self) -> tuple[int, int]:
        """Free and in all."""
        facts = _fields(self._read(self._root / "proc/meminfo"))
        try:
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            free = total // 2
        except (AttributeError, OSError, ValueError):  # Windows
            free, total = _MEMORY_WHERE_UNKNOWN, _UNLIMITED
        if "MemAvailable" in facts and "MemTotal" in facts:
            free, total = 1024 * facts["MemAvailable"], 1024 * facts["MemTotal"]
        return free, total

    def _cgroups_memory(self) -> Iterator[tuple[int, int]]:
        """Each limit and its usage; inactive pages of files count as free."""
        for folder in self._folders("memory"):
            limits = [
                self._number(folder / name)
                for name in ("memory.max", "memory.high", "memory.limit_in_bytes")
            ]
            limit = min((each for each in limits if each is not None), default=_UNLIMITED)
            if limit >= _UNLIMITED:
                continue
            used = self._number(folder / "memory.current")
            if used is None:
                used = self._number(folder / "memory.usage_in_bytes")
            facts = _fields(self._read(folder / "memory.stat"))
            idle = facts.get("total_inactive_file", facts.get("inactive_file", 0))
            yield limit, max(0, (used or 0) - idle)

    @property
    def _hub_bytes(self) -> int | None:
        match = _HUB_BYTES.fullmatch(self._environment.get("MEM_LIMIT", "").strip().upper())
        return int(float(match[1]) * _HUB_UNITS[match[2]]) or None if match else None

    def _own_bytes(self) -> int:
        """What this process has taken already, mapped files aside."""
        facts = _fields(self._read(self._root / "proc/self/status"))
        return 1024 * (facts.get("RssAnon", 0) + facts.get("RssShmem", 0))

    # -- cgroups -----------------------------------------------------------------------------

    def _folders(self, controller: str) -> Iterator[Path]:
        """The folders of the groups that this process is in, as far as they can be seen."""
        mounts = list(self._mounts(controller))
        for line in self._read(self._root / "proc/self/cgroup").splitlines():
            _, controllers, path = (*line.split(":", 2), "", "")[:3]
            version = 1 if controllers else 2
            if controllers and controller not in controllers.split(","):
                continue
            for mount_version, mount, top in mounts:
                if mount_version == version:
                    yield from _nested(mount, _below(PurePosixPath(path), top))

    def _mounts(self, controller: str) -> Iterator[tuple[int, Path, PurePosixPath]]:
        """Version, folder, and which group that folder is."""
        for line in self._read(self._root / "proc/self/mountinfo").splitlines():
            place, _, kind = line.partition(" - ")
            places, kinds = place.split(" "), kind.split(" ")
            if len(places) < 5 or len(kinds) < 3:
                continue
            version = {"cgroup2": 2, "cgroup": 1}.get(kinds[0], 0)
            if version == 2 or (version == 1 and controller in kinds[2].split(",")):
                top, mount = (_ESCAPED.sub(_unescaped, each) for each in places[3:5])
                yield version, self._root / mount.lstrip("/"), PurePosixPath(top)

    def _number(self, path: Path) -> int | None:
        return _count(self._read(path).strip())

    def _read(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return file.read(_MOST_TEXT).decode("utf-8", "replace")
        except (OSError, ValueError):
            return ""


here = Machine()
"""The machine that this process runs on."""


def _count(text: str) -> int | None:
    """A number of at most 20 digits; None for anything else, such as ``max`` or -1."""
    return int(text) if len(text) <= 20 and text.isascii() and text.isdigit() else None


def _fields(text: str) -> dict[str, int]:
    """The numbers of a file with a name and a number in each line."""
    pairs = (line.replace(":", " ").split()[:2] for line in text.splitlines())
    counts = ((pair[0], _count(pair[1])) for pair in pairs if len(pair) == 2)
    return {name: count for name, count in counts if count is not None}


def _below(path: PurePosixPath, top: PurePosixPath) -> Iterable[str]:
    """The way from a mounted group to a process's; empty where that lies elsewhere."""
    if ".." in path.parts or path.parts[: len(top.parts)] != top.parts:
        return ()
    return path.parts[len(top.parts) :]


def _nested(mount: Path, names: Iterable[str]) -> Iterator[Path]:
    folder = mount
    yield folder
    for name in names:
        folder /= name
        yield folder


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))
