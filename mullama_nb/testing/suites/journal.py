"""A file of results: a line for each, appended as it comes, so that a run that ends can go on.

The first line says what the suite is, and which tasks are to run, by the digests of what they do.
A run that finds other tasks there appends a line that says so; the last one holds. Each line has a
checksum. What a killed process leaves ends in the middle of a line at the worst.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import stat
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, BinaryIO

from blake3 import blake3

from ...errors import (
    ParameterError,
    RecordingError,
    SessionFormatError,
    SessionWriteError,
    shown,
)
from ...state.atomic import write_atomically
from ...state.reading import open_regular
from ..untrusted import Unsound, check_keys, need, parsed, refuse
from .cell import SuiteCell
from .matrix import Matrix
from .stored import cell_of, cell_values, check_line, header_of, header_values

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Journal", "read", "write"]

_BEGINNING = b'{"mullama_suite":1,"checksum":"'
_CHECKSUM = 32  # characters
_MOST_OF_A_LINE = 2**28
_MOST_BYTES = 2**32


class Journal:
    """A file of results that is open for a run.

    Parameters
    ----------
    path : str or path
        Made if there is none, readable by its owner only. What it holds of these tasks is kept.
    planned : Matrix
        The suite's name and labels, and the tasks to run; no cells.

    Raises
    ------
    RecordingError
        When the file holds something else, or is damaged; nothing of it was changed.
    ParameterError
        When another run writes it.
    SessionWriteError
        When it cannot be written, is a link, or belongs to somebody else.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, path: str | os.PathLike[str], planned: Matrix) -> None:
        self.path = Path(path)
        self._planned = dataclasses.replace(planned, cells=())
        self._lock = threading.Lock()
        self._descriptor = _open_alone(self.path)
        _opened.add(self)
        try:
            found = self._read()
            self._end = found.end
            self._cells = found.of(self._planned)
            if found.lacks_newline:
                self._write(b"\n")
            if found.header != self._planned:
                self._write(_line("suite", header_values(self._planned)))
        except BaseException:
            self.close()
            raise

    def _read(self) -> _Contents:
        with open(self._descriptor, "rb", closefd=False) as file:
            return _read(file, self.path.name)

    @property
    def cells(self) -> dict[str, SuiteCell]:
        """What need not run again, by id: the results of these tasks that have no error."""
        return {id_: cell for id_, cell in self._cells.items() if cell.error is None}

    @property
    def result(self) -> Matrix:
        """All that the file holds of these tasks."""
        return dataclasses.replace(self._planned, cells=tuple(self._cells.values()))

    def append(self, cell: SuiteCell) -> None:
        """Add a result; when this returns, a killed process does not lose it.

        Raises
        ------
        ParameterError
            When it is of none of the tasks.
        SessionWriteError
            When it cannot be written; what was written before is intact.
        """
        if self._planned.tasks.get(cell.id) != cell.digest:
            raise ParameterError(f"the result {cell.id!r} is of no task of this run")
        line = _line("cell", cell_values(cell))
        with self._lock:
            self._write(line)
            self._cells[cell.id] = cell

    def _write(self, data: bytes) -> None:
        if self._descriptor < 0:
            raise ParameterError(f"{self.path.name} was closed; begin another run")
        at, view = self._end, memoryview(data)
        try:
            if os.fstat(self._descriptor).st_size != at:  # a line that was not finished
                os.ftruncate(self._descriptor, at)
            while view.nbytes:  # a write may take less than it was given
                n = os.pwrite(self._descriptor, view, at)
                at, view = at + n, view[n:]
        except OSError as error:
            raise SessionWriteError(
                f"{self.path.name} could not be written: {error.strerror or error}. The results "
                "before are intact; free some space, and the run goes on where it ended"
            ) from error
        self._end = at

    def close(self) -> None:
        """Close the file, so that another run may go on with it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({self.path.name!r}, {len(self._cells)} of {len(self._planned.tasks)})"


_opened: weakref.WeakSet[Journal] = weakref.WeakSet()


def _leave_to_the_parent() -> None:
    """After a fork: a worker that outlives its parent must not hold the parent's lock."""
    for journal in _opened:
        journal.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def read(path: str | os.PathLike[str]) -> Matrix:
    """Read a file of results; one that a run still writes, too.

    Raises
    ------
    RecordingError
        When the file is missing, holds something else, or is damaged anywhere but in the line that
        a killed run did not finish.
    """
    path = Path(path)
    try:
        with open_regular(path) as raw, io.BufferedReader(raw) as file:
            found = _read(file, path.name)
    except FileNotFoundError:
        raise RecordingError(f"{path.name}: there is no such file") from None
    except (OSError, ValueError, SessionFormatError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{path.name}: it cannot be read ({error})") from None
    if found.header is None:
        raise RecordingError(f"{path.name}: it holds no results; run the suite anew")
    return dataclasses.replace(found.header, cells=tuple(found.of(found.header).values()))


def write(result: Matrix, path: str | os.PathLike[str]) -> None:
    """Write results as a file that :func:`read` reads and a run goes on with.

    Raises
    ------
    SessionWriteError
        When it cannot be written; an existing file is intact.
    """
    lines = [_line("suite", header_values(result))]
    write_atomically(Path(path), [*lines, *(_line("cell", cell_values(c)) for c in result.cells)])


@dataclass
class _Contents:
    """What a file holds.

    ``end`` is where the next line begins, ``lacks_newline`` says that the last one has no end.
    """

    header: Matrix | None = None
    cells: dict[tuple[str, str], SuiteCell] = field(default_factory=dict)  # by id and task
    labels: tuple[frozenset[str], ...] = ()
    end: int = 0
    lacks_newline: bool = False

    def of(self, planned: Matrix) -> dict[str, SuiteCell]:
        """The cells of these tasks."""
        return {task[0]: self.cells[task] for task in planned.tasks.items() if task in self.cells}

    def add(self, values: dict[str, Any]) -> None:
        if "suite" in values:
            self.header = header = header_of(values["suite"])
            orders = (header.cases, header.models, header.settings)
            self.labels = tuple(map(frozenset, orders))
            return
        if self.header is None:
            refuse("it does not begin with a suite")
        cell = cell_of(values["cell"])
        need(self.header.tasks.get(cell.id) == cell.digest, f"the task of {cell.id!r}")
        for label, labels in zip((cell.case, cell.model, cell.setting), self.labels, strict=True):
            need(label in labels, f"the place of {cell.id!r}")
        self.cells[cell.id, cell.digest] = cell


def _read(file: BinaryIO, name: str) -> _Contents:
    found = _Contents()
    for number, line in enumerate(_lines(file), 1):
        try:
            need(len(line) <= _MOST_OF_A_LINE, "its length")
            need(found.end + len(line) <= _MOST_BYTES, "the file's length")
            if not line.endswith(b"\n") and _is_torn(line):
                break
            found.add(_values(line))
        except Unsound as error:
            what = f"line {number}: {shown(str(error), 400)}"
            raise RecordingError(
                f"{name}: {what}; it is no file of results, or was changed: remove the line, "
                "and what it held is run again"
            ) from None
        found.end += len(line)
        found.lacks_newline = not line.endswith(b"\n")
    return found


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_MOST_OF_A_LINE + 1):
        yield line


def _line(kind: str, values: dict[str, Any]) -> bytes:
    text = json.dumps({kind: values}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    rest = text[1:].encode("utf-8", "replace")
    line = b'%b%b",%b\n' % (_BEGINNING, _checksum(rest), rest)
    if len(line) > _MOST_OF_A_LINE:
        raise ParameterError(f"a result of {len(line):,} bytes is too large to be stored")
    return line


def _checksum(data: bytes) -> bytes:
    return blake3(data).hexdigest(length=_CHECKSUM // 2).encode()


def _values(line: bytes) -> dict[str, Any]:
    need(line.startswith(_BEGINNING), "its beginning")
    checksum, rest = line[len(_BEGINNING) :][:_CHECKSUM], line[len(_BEGINNING) + _CHECKSUM + 2 :]
    need(checksum == _checksum(rest.removesuffix(b"\n")), "its checksum")
    values: dict[str, Any] = parsed(line)
    check_line(values)
    kind = "suite" if "suite" in values else "cell"
    keys = frozenset({"mullama_suite", "checksum", kind})
    check_keys(values, keys, keys, "it")
    return values


def _is_torn(line: bytes) -> bool:
    """Whether a last line is the beginning of one: the rest of it was never written.

    A power cut may leave zeros in its place. An object of JSON is no beginning of another.
    """
    line = line.rstrip(b"\0")
    if not (line.startswith(_BEGINNING) or _BEGINNING.startswith(line)):
        return False
    try:
        json.JSONDecoder().raw_decode(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return True
    return False


def _open_alone(path: Path) -> int:
    """Open a file of this user's for this run alone.

    The lock is on the file, so it is gone with its process. Between opening and locking the file
    may be replaced under its name; then it is opened again.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    while True:
        try:
            descriptor = os.open(path, flags, 0o600)
        except (OSError, ValueError) as error:
            _check_link(path)
            reason = error.strerror if isinstance(error, OSError) else None
            raise SessionWriteError(
                f"{path.name or str(path)!r} cannot be opened: {reason or error}"
            ) from error
        try:
            about = os.fstat(descriptor)
            _check_own(path, about)
            _lock(path, descriptor)
            if _is_at(path, about):
                os.chmod(descriptor if os.chmod in os.supports_fd else path, 0o600)  # noqa: PTH101
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _check_link(path: Path) -> None:
    if path.is_symlink():
        raise SessionWriteError(f"{path.name} is a link; give the file itself for results")


def _check_own(path: Path, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise SessionWriteError(f"{path.name} is not a file that can hold results")
    if hasattr(os, "geteuid") and about.st_uid != os.geteuid():
        raise SessionWriteError(
            f"{path.name} belongs to another user, who could read the answers; copy it, and go on "
            "with the copy"
        )


def _lock(path: Path, descriptor: int) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ParameterError(
            f"{path.name} is being written by another run; wait for it, or give another file for "
            "the results"
        ) from None
    except OSError:  # a file system without locks
        pass


def _is_at(path: Path, about: os.stat_result) -> bool:
    try:
        return os.path.samestat(about, path.lstat())
    except OSError:
        return False
