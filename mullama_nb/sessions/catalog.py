"""Which names there are and which segments they need, in SQLite, for many processes at once.

A record is JSON with a checksum over name and record, so that a catalog which was tampered with, or
damaged, gives an error and never another session. What a name's segments are is a part of its
record; ``segments`` says what lies in the folder, so that prefixes are found without reading it.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from ..errors import ParameterError, SessionError, SessionFormatError, SessionWriteError
from ..state.segment import Segment

__all__ = ["Catalog", "Record"]

_FILE = "catalog.sqlite"
_WAIT_SECONDS = 60.0
_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS sessions (
    name TEXT PRIMARY KEY, record TEXT NOT NULL, body BLOB NOT NULL, checksum BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segments (
    address TEXT PRIMARY KEY, family TEXT NOT NULL, parent TEXT NOT NULL,
    first_token INTEGER NOT NULL, whole INTEGER NOT NULL, n_bytes INTEGER NOT NULL,
    tokens BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS prefixes ON segments (family, parent, first_token);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Record:
    """What the catalog says about a name.

    Attributes
    ----------
    kind : str
        ``"session"`` or ``"chat"``.
    metadata : mapping
        What a session file would say: model, settings, environment, n_ctx, created.
    n_tokens : int
    chain : sequence of str
        Addresses of the segments from the first token to the last; empty where rows are missing.
    others : sequence of str
        Addresses that are needed besides, by the other branches of a chat.
    body : str
        Digest of what only opening reads: the tokens, a chat's tree.
    process : str
        Who saves it after every turn; empty when nobody does.
    """

    kind: str
    metadata: Mapping[str, Any]
    n_tokens: int
    chain: Sequence[str]
    others: Sequence[str] = field(default=())
    body: str = ""
    process: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All segments that the name depends on."""
        return (*self.chain, *self.others)


def _share(connection: sqlite3.Connection) -> None:
    """Let a new file have many readers and one writer at once.

    SQLite waits for locks, but not here: several processes may be making the same file.
    """
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


class Catalog:
    """The catalog of one folder.

    Parameters
    ----------
    folder : Path
        It exists.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _FILE

    @contextmanager
    def connection(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction; one that writes shuts out other writers from its beginning.

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
            self._prepare(connection)
            connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            yield connection
            connection.execute("COMMIT")
        except SessionError:  # some are OSErrors, too
            raise
        except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
            if isinstance(error, (sqlite3.OperationalError, OSError)):
                raise SessionWriteError(
                    f"the catalog {self.path.name} cannot be used: {error}"
                ) from error
            raise self.damaged(str(error)) from error
        finally:
            if connection is not None:
                connection.close()  # rolls back what was not committed

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == _FORMAT:
            connection.execute("PRAGMA synchronous = FULL")
            return
        if version:
            raise SessionFormatError(
                f"the catalog {self.path.name} is of version {version}, and this mullama_nb reads "
                f"version {_FORMAT}: it is damaged, or from a newer one"
            )
        _share(connection)
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_FORMAT};")
        connection.execute("COMMIT")

    def damaged(self, what: str) -> SessionFormatError:
        """The error that says so."""
        return SessionFormatError(
            f"the catalog {self.path.name} is damaged: {what}. Segments are intact; delete the "
            "session and make it again"
        )

    # -- names -------------------------------------------------------------------------------

    def names(self, connection: sqlite3.Connection) -> list[str]:
        """All names, sorted."""
        return sorted(str(row[0]) for row in connection.execute("SELECT name FROM sessions"))

    def has(self, connection: sqlite3.Connection, name: str) -> bool:
        """Whether there is such a name, its record damaged or not."""
        row = connection.execute("SELECT 1 FROM sessions WHERE name = ?", (name,)).fetchone()
        return row is not None

    def record(self, connection: sqlite3.Connection, name: str) -> Record | None:
        """A name's record, checked; None when there is no such name."""
        row = connection.execute(
            "SELECT record, checksum FROM sessions WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else self._parsed(name, *row)

    def records(self, connection: sqlite3.Connection) -> Iterator[tuple[str, Record | None]]:
        """All names with their records, None for those that are damaged."""
        rows = connection.execute("SELECT name, record, checksum FROM sessions ORDER BY name")
        for name, record, checksum in rows:
            try:
                yield str(name), self._parsed(name, record, checksum)
            except SessionFormatError:
                yield str(name), None

    def body(self, connection: sqlite3.Connection, name: str, record: Record) -> dict[str, Any]:
        """What only opening reads."""
        (data,) = connection.execute(
            "SELECT body FROM sessions WHERE name = ?", (name,)
        ).fetchone() or (b"",)
        if not isinstance(data, bytes) or _digest(data) != record.body:
            raise self.damaged(f"the body of {name!r} does not match its checksum")
        return dict(json.loads(data))

    def set(
        self, connection: sqlite3.Connection, name: str, record: Record, body: Mapping[str, Any]
    ) -> int:
        """Give a name a record; returns the bytes of it.

        Raises
        ------
        ParameterError
            When it holds what JSON has no words for.
        """
        try:
            data = json.dumps(body, separators=(",", ":")).encode()
            text = json.dumps(asdict(record) | {"body": _digest(data)}, sort_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise ParameterError(
                f"{name!r} cannot be saved, as its metadata is no JSON: {error}. "
                "Give metadata of texts, numbers, lists and dicts"
            ) from None
        connection.execute(
            "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)",
            (name, text, data, _checksum(name, text)),
        )
        return len(text) + len(data)

    def remove(self, connection: sqlite3.Connection, name: str) -> None:
        """Forget a name."""
        connection.execute("DELETE FROM sessions WHERE name = ?", (name,))

    def _parsed(self, name: object, text: object, checksum: object) -> Record:
        if not (isinstance(name, str) and isinstance(text, str)) or checksum != _checksum(
            name, text
        ):
            raise self.damaged(f"the record of {name!r} does not match its checksum")
        values = json.loads(text)
        return Record(**{f.name: values[f.name] for f in fields(Record)})

    # -- segments ----------------------------------------------------------------------------

    def add_segment(
        self, connection: sqlite3.Connection, segment: Segment, family: str, n_bytes: int
    ) -> None:
        """Note a segment whose file is complete."""
        # What follows an empty checkpoint, or a cut, names no parent; it is no beginning.
        is_way = segment.start == 0 or (segment.parent is not None and not segment.whole)
        tokens = np.asarray(segment.tokens, "<i4").tobytes()
        connection.execute(
            "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                segment.address,
                family if is_way else "",
                "" if segment.whole else segment.parent or "",
                segment.tokens[0],
                segment.whole,
                n_bytes,
                tokens,
            ),
        )

    def sizes(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Bytes of each segment's file."""
        rows = connection.execute("SELECT address, n_bytes FROM segments")
        return {str(address): n for address, n in rows if isinstance(n, int)}

    def segment_bytes(self, connection: sqlite3.Connection, address: str) -> int | None:
        """Bytes of a segment's file; None when it is not in the catalog."""
        row = connection.execute(
            "SELECT n_bytes FROM segments WHERE address = ?", (address,)
        ).fetchone()
        return None if row is None else row[0]

    def forget_segment(self, connection: sqlite3.Connection, address: str) -> None:
        """Take a segment out."""
        connection.execute("DELETE FROM segments WHERE address = ?", (address,))

    def longest_prefix(
        self, connection: sqlite3.Connection, family: str, tokens: Sequence[int]
    ) -> list[tuple[str, int]]:
        """The stored segments that say the longest beginning of some tokens.

        Parameters
        ----------
        connection : sqlite3.Connection
        family : str
            Of weights, settings and environment, within which rows are exchangeable.
        tokens : sequence of int

        Returns
        -------
        list of (str, int)
            Addresses, and how many tokens of each are wanted: all, but for the last one.
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
                (family, parent, int(wanted[start])),
            )
            for address, data, whole in rows:
                if not isinstance(data, bytes) or not data or len(data) % 4:
                    continue  # damaged; reuse is no duty
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
        """Add to the bytes that were ever written."""
        connection.execute(
            "INSERT INTO counters VALUES ('bytes_written', ?1) "
            "ON CONFLICT (name) DO UPDATE SET value = value + ?1",
            (n_bytes,),
        )

    def bytes_written(self, connection: sqlite3.Connection) -> int:
        """Bytes of segments and records that were ever written."""
        row = connection.execute(
            "SELECT value FROM counters WHERE name = 'bytes_written'"
        ).fetchone()
        return row[0] if row else 0


def _common(a: Any, b: Any) -> int:
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if different.size else n


def _digest(data: bytes) -> str:
    return str(blake3(data).hexdigest())


def _checksum(name: str, record: str) -> bytes:
    encoded = name.encode()
    return bytes(blake3(struct.pack("<Q", len(encoded)) + encoded + record.encode()).digest())
