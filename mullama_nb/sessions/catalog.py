"""The catalog's file: an SQLite database that many processes read and change, and its segments.

Reading neither writes nor creates files: a folder on a full or read-only disk is read like any
other. So there is a rollback journal instead of a write-ahead log, which readers would have to
create. It stays between transactions, so that its space is available when something is to be
deleted from a full disk.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MullamaError, SessionError, SessionFormatError, SessionWriteError
from ..state.segment import Segment

__all__ = ["CATALOG", "Catalog", "is_out_of_room"]

CATALOG = "catalog.sqlite"
_WAIT_SECONDS = 60.0
_FORMAT = 2
_TABLES = """
CREATE TABLE versions (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, number INTEGER NOT NULL,
    is_current INTEGER NOT NULL, generation INTEGER NOT NULL, saved INTEGER NOT NULL,
    record TEXT NOT NULL, checksum BLOB NOT NULL
);
CREATE UNIQUE INDEX names ON versions (name) WHERE is_current;
CREATE UNIQUE INDEX numbers ON versions (name, number);
CREATE TABLE bodies (version INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE entries (
    version INTEGER NOT NULL, number INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (version, number)
) WITHOUT ROWID;
CREATE TABLE uses (
    version INTEGER NOT NULL, number INTEGER NOT NULL, address TEXT NOT NULL,
    PRIMARY KEY (version, number)
) WITHOUT ROWID;
CREATE INDEX users ON uses (address, version);
CREATE TABLE owners (version INTEGER PRIMARY KEY, token TEXT NOT NULL, process TEXT NOT NULL);
CREATE TABLE segments (
    address TEXT PRIMARY KEY, family TEXT NOT NULL, parent TEXT NOT NULL,
    first_token INTEGER NOT NULL, whole INTEGER NOT NULL, n_bytes INTEGER NOT NULL,
    tokens BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX prefixes ON segments (family, parent, first_token);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
# Of which entries elsewhere what a name holds is the successor. It came later than the others.
_TRAVELLED = """
CREATE TABLE IF NOT EXISTS travelled (
    name TEXT NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (name, entry)
) WITHOUT ROWID
"""


def is_out_of_room(error: BaseException) -> bool:
    """Return whether the disk, or a user's quota of it, is full."""
    while error.__cause__ is not None:
        error = error.__cause__
    return isinstance(error, sqlite3.OperationalError) and (
        "full" in str(error) or "disk I/O" in str(error)
    )


class Catalog:
    """The catalog of one folder.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / CATALOG

    # -- transactions ------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Begin a read transaction on one consistent state; it changes nothing, on disk or off.

        Raises
        ------
        SessionFormatError
            When the catalog is damaged.
        SessionError
            When it cannot be read.
        """
        try:
            with self._read_connection() as connection:
                yield connection
        except MullamaError:  # some are OSErrors, too
            raise
        except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
            if isinstance(error, (sqlite3.OperationalError, OSError)):
                raise SessionError(
                    f"the catalog {self.path.name} cannot be read: {error}"
                ) from error
            raise self.damaged(str(error)) from error

    @contextmanager
    def _read_connection(self) -> Iterator[sqlite3.Connection]:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(contextlib.closing(self._opened(self.path)))
            try:
                connection.execute("BEGIN")
                version = _version(connection)
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    raise
                # Somebody was killed while writing, and this folder cannot be written. A copy can.
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                for ending in ("", "-journal", "-wal"):
                    source = self.path.with_name(CATALOG + ending)
                    if source.exists():
                        shutil.copyfile(source, folder / source.name)
                connection = self._opened(folder / CATALOG)
                stack.enter_context(contextlib.closing(connection))
                connection.execute("BEGIN")
                version = _version(connection)
            if version == 0:  # nothing was ever saved
                connection = sqlite3.connect(":memory:", isolation_level=None)
                stack.enter_context(contextlib.closing(connection))
                connection.executescript(_TABLES)
            elif version != _FORMAT:
                raise self._of_another_version(version)
            yield connection

    def _opened(self, path: Path) -> sqlite3.Connection:
        if not path.exists():
            return sqlite3.connect(":memory:", isolation_level=None)
        place = urllib.parse.quote(str(path.absolute()))
        # A file that cannot be written is opened for reading then; none is made.
        return sqlite3.connect(
            f"file:{place}?mode=rw", timeout=_WAIT_SECONDS, isolation_level=None, uri=True
        )

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction that excludes other writers from its start.

        Raises
        ------
        SessionFormatError
            When the catalog is damaged.
        SessionWriteError
            When it cannot be written.
        """
        connection = None
        try:
            if not self.path.exists():  # SQLite would make it readable by everybody
                self.path.touch(mode=0o600)
            connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
            connection.execute("PRAGMA synchronous = FULL")
            with contextlib.suppress(sqlite3.OperationalError):
                # Another program may have given it a write-ahead log, and be using that.
                connection.execute("PRAGMA journal_mode = PERSIST")
            connection.execute("BEGIN IMMEDIATE")
            self._make_tables(connection)
            yield connection
            connection.execute("COMMIT")
        except MullamaError:
            raise
        except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
            if isinstance(error, (sqlite3.OperationalError, OSError)):
                raise SessionWriteError(
                    f"the catalog {self.path.name} cannot be written: {error}"
                ) from error
            raise self.damaged(str(error)) from error
        finally:
            if connection is not None:
                connection.close()  # rolls back what was not committed

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        version = _version(connection)
        if version not in (0, _FORMAT):
            raise self._of_another_version(version)
        connection.execute(_TRAVELLED)
        if version == _FORMAT:
            return
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_FORMAT}")

    def _of_another_version(self, version: int) -> SessionFormatError:
        return SessionFormatError(
            f"the catalog {self.path.name} is of version {version}, and this mullama_nb reads "
            f"version {_FORMAT}: it is from another one, or damaged. Install that one, or move "
            "the file out of the folder to begin anew"
        )

    def damaged(self, what: str) -> SessionFormatError:
        """Return the error for a damaged catalog."""
        return SessionFormatError(
            f"the catalog {self.path.name} is damaged: {what}. The segments beside it are whole, "
            "but what belongs to which name stands in the catalog: bring it back from a backup, or "
            "move it out of the folder to begin anew"
        )

    # -- segments ----------------------------------------------------------------------------

    def add_segment(
        self, connection: sqlite3.Connection, segment: Segment, group: str, n_bytes: int
    ) -> None:
        """Add a segment whose file is complete."""
        # What follows an empty checkpoint, or a cut, names no parent; it is not a beginning.
        is_way = segment.start == 0 or (segment.parent is not None and not segment.whole)
        tokens = np.asarray(segment.tokens, "<i4").tobytes()
        connection.execute(
            "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                segment.address,
                group if is_way else "",
                "" if segment.whole else segment.parent or "",
                segment.tokens[0],
                segment.whole,
                n_bytes,
                tokens,
            ),
        )

    def add_strange_segment(
        self, connection: sqlite3.Connection, address: str, n_bytes: int
    ) -> None:
        """Add a segment that was not evaluated here; it is no prefix of anything else.

        That its rows are those of its tokens, only its maker knows: who opens its session relies on
        that, and nobody else.
        """
        connection.execute(
            "INSERT OR REPLACE INTO segments VALUES (?, '', '', 0, 0, ?, x'')", (address, n_bytes)
        )

    def segments(self, connection: sqlite3.Connection) -> set[str]:
        """Return the addresses of all segments."""
        return {str(row[0]) for row in connection.execute("SELECT address FROM segments")}

    def segment_bytes(self, connection: sqlite3.Connection, address: str) -> int | None:
        """Return the bytes of a segment's file; None if it is not in the catalog."""
        row = connection.execute(
            "SELECT n_bytes FROM segments WHERE address = ?", (address,)
        ).fetchone()
        return row[0] if row and isinstance(row[0], int) else None

    def forget_segment(self, connection: sqlite3.Connection, address: str) -> None:
        """Remove a segment."""
        connection.execute("DELETE FROM segments WHERE address = ?", (address,))

    def longest_prefix(
        self, connection: sqlite3.Connection, group: str, tokens: Sequence[int]
    ) -> list[tuple[str, int]]:
        """Return the stored segments with the longest prefix of some tokens.

        Parameters
        ----------
        connection : sqlite3.Connection
        group : str
            Group of weights, settings and environment, within which rows are interchangeable.
        tokens : sequence of int

        Returns
        -------
        list of (str, int)
            Addresses, and how many tokens of each are used: all, except of the last one.
        """
        wanted = np.asarray(tokens, "<i4")
        best: list[tuple[str, int]] = []
        best_length, ways = 0, [("", 0, list[tuple[str, int]]())]
        while ways:
            parent, start, way = ways.pop()
            if start >= len(wanted):
                continue
            rows = connection.execute(
                "SELECT address, tokens, whole FROM segments "
                "WHERE family = ? AND parent = ? AND first_token = ?",
                (group, parent, int(wanted[start])),
            )
            for address, data, whole in rows:
                if not isinstance(data, bytes) or not data or len(data) % 4:
                    continue  # damaged; prefix reuse is only an optimisation
                held = np.frombuffer(data, "<i4")
                n = _common(held, wanted[start:])
                is_complete = n == len(held)
                if whole and (not is_complete or start):
                    continue
                here = [*way, (address, n)]
                if start + n > best_length:
                    best, best_length = here, start + n
                if is_complete and not whole:
                    ways.append((address, start + n, here))
        return best

    # -- counters ----------------------------------------------------------------------------

    def count_written(self, connection: sqlite3.Connection, n_bytes: int) -> None:
        """Add to the total of bytes written."""
        connection.execute(
            "INSERT INTO counters VALUES ('bytes_written', ?1) "
            "ON CONFLICT (name) DO UPDATE SET value = value + ?1",
            (n_bytes,),
        )

    def bytes_written(self, connection: sqlite3.Connection) -> int:
        """Return the total bytes of segments and records written."""
        row = connection.execute(
            "SELECT value FROM counters WHERE name = 'bytes_written'"
        ).fetchone()
        return row[0] if row else 0


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _common(a: Any, b: Any) -> int:
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if different.size else n
