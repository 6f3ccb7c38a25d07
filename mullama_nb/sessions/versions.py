"""Names and their versions in the catalog; each of these reads and writes its own rows alone.

One version of a name is the current one. Replaced versions stay as earlier ones until they are
collected. A save names the version that it came from and how often that had been saved, so that
nothing is overwritten unseen.
"""

from __future__ import annotations

import secrets
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blake3 import blake3

from .entries import EntryRow, SavedChat, parse_chat
from .owners import Holder, Owner
from .records import Record, as_json, damaged_name, digest, parse_body, parse_record

__all__ = ["Place", "Version", "Versions", "Written", "checksum"]

_COLUMNS = "id, name, number, is_current, generation, saved, record, checksum"


@dataclass(frozen=True)
class Place:
    """A known version of a name.

    Attributes
    ----------
    version : int
        A number unique among all versions of all names in all folders.
    generation : int
        Number of saves so far.
    """

    version: int
    generation: int


@dataclass(frozen=True)
class Version:
    """A row of the catalog.

    Attributes
    ----------
    place : Place
    name : str
    number : int
        Number among the name's versions, from 1.
    is_current : bool
    saved : int
        Seconds since 1970.
    text, checksum
        Of the record, as stored.
    """

    place: Place
    name: str
    number: int
    is_current: bool
    saved: int
    text: Any
    checksum: Any

    def record(self) -> Record:
        """Return the version's record, checked.

        Raises
        ------
        SessionFormatError
            When it is damaged.
        """
        if not isinstance(self.text, str) or self.checksum != checksum(
            self.place.version, self.name, self.text
        ):
            raise damaged_name(self.name, "its record does not match its checksum")
        return parse_record(self.name, self.text)


@dataclass(frozen=True)
class Written:
    """The data to write of a version.

    Attributes
    ----------
    record : Record
        Without the body's digest.
    body : mapping
    rows : sequence of EntryRow
        A chat's new or changed rows.
    removed : sequence of int
        Numbers of removed rows.
    """

    record: Record
    body: Mapping[str, Any]
    rows: Sequence[EntryRow] = ()
    removed: Sequence[int] = ()

    @property
    def addresses(self) -> list[str]:
        """The segments that must exist when it is written."""
        return [*self.record.chain, *(row.address for row in self.rows if row.address is not None)]


def checksum(version: int, name: str, record: str) -> bytes:
    """Return the checksum of a record and its place."""
    encoded = name.encode()
    data = struct.pack("<qQ", version, len(encoded)) + encoded + record.encode()
    return bytes(blake3(data).digest())


class Versions:
    """The names in a transaction.

    Parameters
    ----------
    connection : sqlite3.Connection
    folder : Path
        Of the store.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder

    # -- look --------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return all names, sorted."""
        rows = self._connection.execute("SELECT name FROM versions WHERE is_current ORDER BY name")
        return [str(row[0]) for row in rows]

    def current(self, name: str) -> Version | None:
        """Return the current version of a name."""
        return self._one("name = ? AND is_current", name)

    def numbered(self, name: str, number: int) -> Version | None:
        """Return one version of a name."""
        return self._one("name = ? AND number = ?", name, number)

    def newest_earlier(self, name: str) -> Version | None:
        """Return the latest earlier version of a name."""
        return self._one("name = ? AND NOT is_current ORDER BY number DESC LIMIT 1", name)

    def of_name(self, name: str) -> list[Version]:
        """Return all versions of a name, the oldest first."""
        return [*self._some("name = ? ORDER BY number", name)]

    def all(self, *, earlier: bool = False) -> Iterator[Version]:
        """Return the versions of all names, by name."""
        return self._some(
            "1 ORDER BY name, number" if earlier else "is_current ORDER BY name, number"
        )

    def _one(self, which: str, *values: object) -> Version | None:
        return next(self._some(which, *values), None)

    def _some(self, which: str, *values: object) -> Iterator[Version]:
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM versions WHERE {which}", values)
        for version, name, number, is_current, generation, saved, text, check in rows:
            if any(type(value) is not int for value in (number, generation, saved)):
                number, generation, saved, check = 0, 0, 0, None  # damaged
            yield Version(
                Place(version, generation), str(name), number, bool(is_current), saved, text, check
            )

    def body(self, version: Version, record: Record) -> dict[str, Any]:
        """Return a version's body, checked."""
        row = self._connection.execute(
            "SELECT data FROM bodies WHERE version = ?", (version.place.version,)
        ).fetchone()
        return parse_body(version.name, record, row and row[0])

    def chat(self, version: Version, record: Record) -> SavedChat:
        """Return a chat's checkpoints, checked."""
        return parse_chat(version.name, record, self.rows(version))

    def rows(self, version: Version) -> list[tuple[Any, Any, Any]]:
        """Return the number, data and address of each of a chat's rows, as they are."""
        return self._connection.execute(
            "SELECT entries.number, data, address FROM entries LEFT JOIN uses "
            "ON uses.version = entries.version AND uses.number = entries.number "
            "WHERE entries.version = ? ORDER BY entries.number",
            (version.place.version,),
        ).fetchall()

    def addresses(self, version: Version) -> list[str]:
        """Return the segments that a version needs, each once."""
        rows = self._connection.execute(
            "SELECT DISTINCT address FROM uses WHERE version = ?", (version.place.version,)
        )
        return [str(row[0]) for row in rows]

    def checked_addresses(self, version: Version) -> set[str]:
        """Return the segments that a version needs, by data that its checksums cover.

        Raises
        ------
        SessionFormatError
            When it is damaged: its needs are unknown.
        """
        record = version.record()
        if record.kind == "session":
            return {*record.chain}
        return {e.address for e in self.chat(version, record).entries if e.address is not None}

    def sizes(self, version: Version) -> tuple[int, int]:
        """Return the bytes of segments that only a name needs, and of those it shares."""
        rows = self._connection.execute(
            "SELECT n_bytes, EXISTS (SELECT 1 FROM uses AS u JOIN versions AS v "
            "ON v.id = u.version WHERE u.address = s.address AND v.name <> ?2) "
            "FROM (SELECT DISTINCT address FROM uses WHERE version = ?1) AS mine "
            "JOIN segments AS s ON s.address = mine.address",
            (version.place.version, version.name),
        )
        sums = [0, 0]
        for n_bytes, is_shared in rows:
            sums[bool(is_shared)] += n_bytes if isinstance(n_bytes, int) else 0
        return sums[0], sums[1]

    def is_needed(self, address: str) -> bool:
        """Return whether any version of any name needs a segment."""
        row = self._connection.execute(
            "SELECT 1 FROM uses JOIN versions ON versions.id = uses.version "
            "WHERE address = ? LIMIT 1",
            (address,),
        ).fetchone()
        return row is not None

    # -- owners ------------------------------------------------------------------------------

    def holder(self, version: Version) -> Holder | None:
        """Return the present or last owner."""
        row = self._connection.execute(
            "SELECT token, process FROM owners WHERE version = ?", (version.place.version,)
        ).fetchone()
        return None if row is None else Holder(self._folder, str(row[0]), str(row[1]))

    def own(self, place: Place, owner: Owner) -> None:
        """Set the owner."""
        self._connection.execute(
            "INSERT OR REPLACE INTO owners VALUES (?, ?, ?)",
            (place.version, owner.token, owner.process),
        )

    def disown(self, version: Version) -> None:
        """Remove the owner."""
        self._connection.execute("DELETE FROM owners WHERE version = ?", (version.place.version,))

    # -- write -------------------------------------------------------------------------------

    def add(self, name: str, written: Written) -> tuple[Place, int]:
        """Add a current version; the previous one becomes an earlier one.

        Returns
        -------
        Place
        int
            Bytes.
        """
        self._connection.execute(
            "UPDATE versions SET is_current = 0 WHERE name = ? AND is_current", (name,)
        )
        return self._write(Place(secrets.randbits(62), 1), name, self._next_number(name), written)

    def rewrite(self, version: Version, written: Written) -> tuple[Place, int]:
        """Rewrite a version with its changes."""
        place = replace(version.place, generation=version.place.generation + 1)
        for number in written.removed:
            for table in ("entries", "uses"):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE version = ? AND number = ?",
                    (place.version, number),
                )
        if written.record.kind == "session":
            self._connection.execute("DELETE FROM uses WHERE version = ?", (place.version,))
        return self._write(place, version.name, version.number, written)

    def _next_number(self, name: str) -> int:
        (number,) = self._connection.execute(
            "SELECT MAX(number) FROM versions WHERE name = ?", (name,)
        ).fetchone()
        return int(number or 0) + 1

    def _write(self, place: Place, name: str, number: int, written: Written) -> tuple[Place, int]:
        data = as_json(written.body, name).encode()
        text = as_json(asdict(replace(written.record, body=digest(data))), name)
        execute, version = self._connection.execute, place.version
        execute(
            f"INSERT OR REPLACE INTO versions ({_COLUMNS}) VALUES (?, ?, ?, 1, ?, ?, ?, ?)",
            (
                *(version, name, number, place.generation, int(time.time()), text),
                checksum(version, name, text),
            ),
        )
        n_bytes = len(text)
        if self._body_digest(version) != digest(data):
            execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (version, data))
            n_bytes += len(data)
        for row in written.rows:
            execute(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (version, row.number, row.data)
            )
            if row.address is None:
                execute("DELETE FROM uses WHERE version = ? AND number = ?", (version, row.number))
            n_bytes += len(row.data)
        self._use(version, [(row.number, row.address) for row in written.rows if row.address])
        self._use(version, enumerate(written.record.chain))
        return place, n_bytes

    def _body_digest(self, version: int) -> str:
        row = self._connection.execute(
            "SELECT data FROM bodies WHERE version = ?", (version,)
        ).fetchone()
        return digest(row[0]) if row and isinstance(row[0], bytes) else ""

    def _use(self, version: int, addresses: Iterable[tuple[int, str | None]]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO uses VALUES (?, ?, ?)",
            ((version, number, address) for number, address in addresses),
        )

    def move(self, version: Version, name: str, number: int | None = None) -> None:
        """Move a version to another name; damage stays detectable."""
        number = version.number if number is None else number
        check = version.checksum
        if isinstance(version.text, str) and check == checksum(
            version.place.version, version.name, version.text
        ):
            check = checksum(version.place.version, name, version.text)
        self._connection.execute(
            "UPDATE versions SET name = ?, number = ?, checksum = ? WHERE id = ?",
            (name, number, check, version.place.version),
        )

    def copy(self, version: Version, name: str) -> Place:
        """Copy a version to another name, as its first one."""
        version.record()  # what is damaged is not copied
        text, place = str(version.text), Place(secrets.randbits(62), 1)
        execute = self._connection.execute
        execute(
            f"INSERT INTO versions ({_COLUMNS}) VALUES (?, ?, 1, 1, 1, ?, ?, ?)",
            (place.version, name, version.saved, text, checksum(place.version, name, text)),
        )
        for table, columns in (
            ("bodies", "data"),
            ("entries", "number, data"),
            ("uses", "number, address"),
        ):
            execute(
                f"INSERT INTO {table} SELECT ?, {columns} FROM {table} WHERE version = ?",
                (place.version, version.place.version),
            )
        return place

    def restore(self, version: Version) -> None:
        """Make an earlier version the current one; the current one becomes an earlier one.

        Numbers do not change: they give the order of creation.
        """
        self._connection.execute(
            "UPDATE versions SET is_current = 0 WHERE name = ? AND is_current", (version.name,)
        )
        self._connection.execute(
            "UPDATE versions SET is_current = 1, generation = generation + 1 WHERE id = ?",
            (version.place.version,),
        )

    def remove(self, versions: Iterable[Version]) -> None:
        """Remove versions; their data remains until it is collected."""
        for version in versions:
            for table, column in (("versions", "id"), ("owners", "version")):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE {column} = ?", (version.place.version,)
                )

    def clear(self, version: int) -> None:
        """Remove what a removed version has left behind."""
        for table in ("bodies", "entries", "uses"):
            self._connection.execute(f"DELETE FROM {table} WHERE version = ?", (version,))

    def left_over(self) -> list[int]:
        """Return removed versions that have left something behind."""
        tables = " UNION ".join(
            f"SELECT DISTINCT version FROM {table} "
            "WHERE NOT EXISTS (SELECT 1 FROM versions WHERE id = version)"
            for table in ("bodies", "entries", "uses")
        )
        return [row[0] for row in self._connection.execute(tables)]
