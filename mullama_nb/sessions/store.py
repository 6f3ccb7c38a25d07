"""A folder of sessions: segments once, by content address, and the catalog of who needs them.

Whoever writes holds the catalog's write lock from before its first segment until its record is
committed, and whoever collects holds it, too. So a segment is complete on disk before anything
refers to it, and is never removed between being found and being referred to. A process that is
killed leaves files that nobody needs, which the next collection removes.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from blake3 import blake3
from platformdirs import user_data_path

from ..errors import SessionError, SessionFormatError, SessionNotFoundError, SessionWriteError
from ..state.atomic import make_private_folder
from ..state.process import is_running
from ..state.segment import Segment
from ..state.segment_file import read_segment, write_segment
from ..state.session_info import SessionInfo
from .catalog import Catalog, Record
from .names import check_name

__all__ = ["Damage", "SessionStore", "StoredSession", "default_folder", "family"]

_SEGMENTS = "segments"
_ENDING = ".segment"
_ADDRESS = re.compile("[0-9a-f]{32}")
_TIMES_TO_READ = 5


def default_folder() -> Path:
    """Where sessions go that were not given a folder."""
    return user_data_path("mullama_nb", appauthor=False)


def family(metadata: Mapping[str, Any]) -> str:
    """A short name for weights, settings and environment, within which rows are exchangeable."""
    values = [metadata["settings"], metadata["environment"]]
    return str(blake3(json.dumps(values, sort_keys=True).encode()).hexdigest(length=16))


@dataclass(frozen=True, repr=False)
class StoredSession(SessionInfo):
    """What the catalog says about a name.

    Attributes
    ----------
    kind : str
        ``"session"`` or ``"chat"``.
    own_bytes : int
        Bytes of the files that only this name needs.
    shared_bytes : int
        Bytes of the files that others need as well.
    is_live : bool
        Whether a running process saves it after every turn.
    """

    kind: str = "session"
    own_bytes: int = 0
    shared_bytes: int = 0
    is_live: bool = False


@dataclass(frozen=True)
class Damage:
    """Something that cannot be read, and who depends on it.

    Attributes
    ----------
    what : str
        A segment's address; empty where the name's own record is damaged.
    why : str
    names : tuple of str
    """

    what: str
    why: str
    names: tuple[str, ...]


class SessionStore:
    """Names and segments in one folder, for any number of threads and processes.

    Parameters
    ----------
    folder : str or path, optional
        Made when it is missing, for its owner alone. None: in the user's data folder.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder).expanduser()
        make_private_folder(self.folder)
        self.catalog = Catalog(self.folder)

    @property
    def is_made(self) -> bool:
        """Whether anything was ever saved here."""
        return self.catalog.path.exists()

    def _segment_path(self, address: str) -> Path:
        if not _ADDRESS.fullmatch(address):  # it may come from a stranger's catalog
            raise SessionFormatError(
                f"the catalog is damaged: {address[:40]!r} is no segment's address"
            )
        return self.folder / _SEGMENTS / f"{address}{_ENDING}"

    # -- save --------------------------------------------------------------------------------

    def save(
        self,
        name: str,
        record: Record,
        body: Mapping[str, Any],
        segment_of: Callable[[str], Segment | None],
    ) -> None:
        """Give a name a record, and store the segments that are not there yet.

        Parameters
        ----------
        name : str
            What it named before is replaced.
        record : Record
        body : mapping
            What only opening reads.
        segment_of : callable
            Gives the segment of an address; called for those that have to be written.

        Raises
        ------
        SessionWriteError
            When that fails; the name means what it meant before.
        """
        name = check_name(name)
        make_private_folder(self.folder)
        make_private_folder(self.folder / _SEGMENTS)
        group, written = family(record.metadata), 0
        with self.catalog.connection(writes=True) as connection:
            for address in dict.fromkeys(record.addresses):
                n_bytes = self.catalog.segment_bytes(connection, address)
                if n_bytes is not None and self._file_bytes(address) == n_bytes:
                    continue
                segment = segment_of(address)
                if segment is None:
                    raise SessionWriteError(
                        f"the rows {address} of {name!r} are lost, so it cannot be saved"
                    )
                n_bytes = write_segment(self._segment_path(address), segment)
                self.catalog.add_segment(connection, segment, group, n_bytes)
                written += n_bytes
            written += self.catalog.set(connection, name, record, body)
            self.catalog.count_written(connection, written)

    def _file_bytes(self, address: str) -> int:
        try:
            return self._segment_path(address).stat().st_size
        except OSError:
            return -1

    # -- read --------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All names, sorted."""
        if not self.is_made:
            return []
        with self.catalog.connection() as connection:
            return self.catalog.names(connection)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str) or not self.is_made:
            return False
        with self.catalog.connection() as connection:
            return self.catalog.has(connection, name)

    def open(self, name: str) -> tuple[Record, dict[str, Any]]:
        """A name's record and body, checked.

        Raises
        ------
        SessionNotFoundError
            When there is no such name; the message names those that are close.
        SessionFormatError
            When the catalog is damaged.
        """
        name = check_name(name)
        if self.is_made:
            with self.catalog.connection() as connection:
                record = self.catalog.record(connection, name)
                if record is not None:
                    return record, self.catalog.body(connection, name, record)
        raise not_found(name, self.names())

    def open_whole(self, name: str) -> tuple[Record, dict[str, Any], list[Segment]]:
        """A name's record and body with the segments of its chain.

        Another process may replace the name meanwhile and collect what it needed; then what the
        name means now is read.
        """
        for left in reversed(range(_TIMES_TO_READ)):
            record, body = self.open(name)
            try:
                return record, body, [self.segment(address) for address in record.chain]
            except SessionNotFoundError as error:
                if not left:  # else it was replaced, and perhaps by the same again
                    raise SessionFormatError(
                        f"the session {name!r} is damaged: {error}. Its tokens must be evaluated "
                        'again: load it with on_mismatch="replay"'
                    ) from error
        raise AssertionError("unreachable")

    def segment(self, address: str) -> Segment:
        """The segment at an address, every byte of it checked.

        Raises
        ------
        SessionNotFoundError, SessionFormatError
            When it is missing or damaged.
        """
        segment = read_segment(self._segment_path(address))
        if segment.address != address:
            raise SessionFormatError(
                f"the file of segment {address} holds {segment.address}: it was exchanged"
            )
        return segment

    def prefix(self, group: str, tokens: Sequence[int]) -> list[tuple[str, int]]:
        """The stored segments that say the longest beginning of tokens; see ``Catalog``."""
        if not self.is_made:
            return []
        with self.catalog.connection() as connection:
            return self.catalog.longest_prefix(connection, group, tokens)

    def bytes_written(self) -> int:
        """Bytes of segments and records that were ever written here."""
        if not self.is_made:
            return 0
        with self.catalog.connection() as connection:
            return self.catalog.bytes_written(connection)

    # -- list --------------------------------------------------------------------------------

    def entries(self) -> list[StoredSession]:
        """What the catalog says about each name; damaged records are left out."""
        if not self.is_made:
            return []
        with self.catalog.connection() as connection:
            records = dict(self.catalog.records(connection))
            sizes = self.catalog.sizes(connection)
        users = Counter(a for r in records.values() if r is not None for a in {*r.addresses})
        return [
            _described(name, record, sizes, users)
            for name, record in records.items()
            if record is not None
        ]

    def info(self, name: str) -> StoredSession:
        """What the catalog says about a name."""
        self.open(name)
        return next(entry for entry in self.entries() if entry.name == check_name(name))

    # -- change ------------------------------------------------------------------------------

    def delete(self, name: str) -> None:
        """Forget a name, and remove what only it needed."""
        with self._writing(name) as (connection, record):
            self.catalog.remove(connection, check_name(name))
        # Only now: were this process killed before the commit, the name would still need them.
        candidates = set() if record is None else {*record.addresses}
        with (
            contextlib.suppress(SessionFormatError),  # gc() will say what is damaged
            self.catalog.connection(writes=True) as connection,
        ):
            self._collect(connection, candidates)

    def rename(self, name: str, new_name: str) -> None:
        """Give a name another one.

        Raises
        ------
        SessionError
            When the new name is taken.
        """
        self._copy(name, new_name, keep=False)

    def copy(self, name: str, new_name: str) -> None:
        """Have a second name mean the same; it costs no rows."""
        self._copy(name, new_name, keep=True)

    def _copy(self, name: str, new_name: str, *, keep: bool) -> None:
        name, new_name = check_name(name), check_name(new_name)
        with self._writing(name) as (connection, record):
            if record is None:
                raise self.catalog.damaged(f"the record of {name!r} cannot be read")
            if self.catalog.record(connection, new_name) is not None:
                raise SessionError(f"there is a session {new_name!r} already; delete it first")
            body = self.catalog.body(connection, name, record)
            process = "" if keep else record.process
            self.catalog.set(connection, new_name, replace(record, process=process), body)
            if not keep:
                self.catalog.remove(connection, name)

    @contextlib.contextmanager
    def _writing(self, name: str) -> Any:
        name = check_name(name)
        if not self.is_made:
            raise not_found(name, [])
        with self.catalog.connection(writes=True) as connection:
            names = self.catalog.names(connection)
            if name not in names:
                raise not_found(name, names)
            try:
                record = self.catalog.record(connection, name)
            except SessionFormatError:
                record = None
            yield connection, record

    # -- care --------------------------------------------------------------------------------

    def gc(self) -> int:
        """Remove what no name needs, and what killed processes left; returns bytes that got free.

        Raises
        ------
        SessionFormatError
            When a record is damaged: what it needs is not known, so nothing is removed.
        """
        if not self.is_made:
            return 0
        with self.catalog.connection(writes=True) as connection:
            return self._collect(connection, None)

    def _collect(self, connection: sqlite3.Connection, candidates: set[str] | None) -> int:
        needed: set[str] = set()
        for name, record in self.catalog.records(connection):
            if record is None:
                raise self.catalog.damaged(
                    f"what {name!r} needs is not known, so nothing was removed"
                )
            needed.update(record.addresses)
        held = set(self.catalog.sizes(connection))
        files = {path.stem: path for path in self._files(_ENDING)}
        unneeded = ({*held, *files} if candidates is None else candidates) - needed
        freed = 0
        for address in unneeded:
            self.catalog.forget_segment(connection, address)
        paths = [files[address] for address in unneeded if address in files]
        # Nobody else is writing: temporary files belong to the dead.
        for path in [*paths, *(self._files(".tmp") if candidates is None else ())]:
            with contextlib.suppress(OSError):
                n_bytes = path.stat().st_size
                path.unlink()
                freed += n_bytes
        return freed

    def _files(self, ending: str) -> list[Path]:
        folder = self.folder / _SEGMENTS
        if not folder.is_dir():
            return []
        return [path for path in folder.iterdir() if path.name.endswith(ending)]

    def verify(self) -> list[Damage]:
        """Read everything that a name needs; what is damaged, and which names depend on it."""
        if not self.is_made:
            return []
        with self.catalog.connection() as connection:
            records = dict(self.catalog.records(connection))
            found = []
            for name, record in records.items():
                try:
                    if record is None:
                        raise self.catalog.damaged(f"the record of {name!r} cannot be read")
                    self.catalog.body(connection, name, record)
                except SessionFormatError as error:
                    found.append(Damage("", str(error), (name,)))
        needed: dict[str, list[str]] = {}
        for name, record in records.items():
            for address in dict.fromkeys(record.addresses if record else ()):
                needed.setdefault(address, []).append(name)
        for address, names in needed.items():
            try:
                self.segment(address)
            except SessionError as error:
                found.append(Damage(address, str(error), tuple(names)))
        return found

    def __repr__(self) -> str:
        return f"SessionStore({len(self.names())} names)"


def not_found(name: str, names: Sequence[str]) -> SessionNotFoundError:
    """The error that says so, and names those that are close."""
    close = difflib.get_close_matches(name, names, n=3) or list(names[:5])
    hint = f"; there is {', '.join(close)}" if close else "; the folder holds none"
    return SessionNotFoundError(f"there is no session {name!r}{hint}")


def _described(
    name: str, record: Record, sizes: Mapping[str, int], users: Mapping[str, int]
) -> StoredSession:
    addresses = {*record.addresses}
    own = sum(sizes.get(a, 0) for a in addresses if users[a] == 1)
    shared = sum(sizes.get(a, 0) for a in addresses if users[a] > 1)
    values = record.metadata
    created = datetime.strptime(values["created"], "%Y-%m-%dT%H:%M:%SZ")
    return StoredSession(
        name=name,
        n_tokens=record.n_tokens,
        n_bytes=own + shared,
        model=values["model"],
        settings=values["settings"],
        environment=values["environment"],
        n_ctx=values["n_ctx"],
        created=created.replace(tzinfo=timezone.utc),
        has_logits=False,
        kind=record.kind,
        own_bytes=own,
        shared_bytes=shared,
        is_live=bool(record.process) and is_running(record.process),
    )


def chain_problem(segments: Iterable[Segment]) -> str | None:
    """Why segments do not follow each other; None when they do."""
    at = 0
    for segment in segments:
        if segment.start != at:
            return f"a segment that starts at token {segment.start} follows {at} tokens"
        at = segment.stop
    return None
