"""Catalogs of version 1, where a chat was one record: read as they are, brought over by writing."""

from __future__ import annotations

import json
import secrets
import sqlite3
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from blake3 import blake3

from ..errors import MullamaError
from .entries import Entry, sum_text
from .records import MalformedError, Record, as_json, digest, from_json
from .versions import checksum

__all__ = ["EARLIER", "bring_over"]

EARLIER = 1
_UNREADABLE = (MullamaError, ValueError, KeyError, TypeError, AttributeError, IndexError)
_PLACE = "INSERT INTO versions VALUES (?, ?, 1, 1, 1, ?, ?, ?)"


def bring_over(older: sqlite3.Connection, connection: sqlite3.Connection) -> None:
    """Put the names of an older catalog into the tables of this version.

    A record that cannot be read remains a name whose record cannot be read.

    Parameters
    ----------
    older : sqlite3.Connection
    connection : sqlite3.Connection
        May be the same; the older tables are then removed.
    """
    rows = older.execute("SELECT name, record, body, checksum FROM sessions").fetchall()
    for name, text, body, check in rows:
        version = secrets.randbits(62)
        try:
            _bring_over(connection, version, str(name), text, body, check)
        except _UNREADABLE:
            for table, column in (
                ("bodies", "version"),
                ("entries", "version"),
                ("uses", "version"),
            ):
                connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (version,))
            connection.execute(_PLACE, (version, str(name), int(time.time()), "", b""))
    if older is connection:
        connection.execute("DROP TABLE sessions")
        return
    for table, places in (("segments", "?, ?, ?, ?, ?, ?, ?"), ("counters", "?, ?")):
        connection.executemany(
            f"INSERT INTO {table} VALUES ({places})", older.execute(f"SELECT * FROM {table}")
        )


def _bring_over(
    connection: sqlite3.Connection, version: int, name: str, text: Any, body: Any, check: Any
) -> None:
    encoded = name.encode()
    data = struct.pack("<Q", len(encoded)) + encoded + text.encode()
    values, held = from_json(text), from_json(body)
    if check != blake3(data).digest() or values["body"] != digest(body):
        raise MalformedError("it does not match its checksum")
    rows: list[tuple[int, str | None]] = list(enumerate(values["chain"]))
    entries, total, places, chain = list[Entry](), 0, dict[str, Any](), values["chain"]
    if values["kind"] == "chat":
        tree = held.pop("tree")
        for derived in ("tokens", "text", "messages"):
            del held[derived]
        entries, places = _entries(tree)
        written = [entry.row(name) for entry in entries]
        connection.executemany(
            "INSERT INTO entries VALUES (?, ?, ?)",
            [(version, row.number, row.data) for row in written],
        )
        rows, chain = [(row.number, row.address) for row in written], []
        total = sum(row.digest for row in written)
    data = as_json(held, name).encode()
    record = Record(
        values["kind"], values["metadata"], values["n_tokens"], chain, digest(data),
        len(entries), sum_text(total) if entries else "", places,
    )  # fmt: skip
    text = json.dumps(asdict(record), separators=(",", ":"))
    connection.execute("INSERT INTO bodies VALUES (?, ?)", (version, data))
    connection.executemany(
        "INSERT INTO uses VALUES (?, ?, ?)",
        [(version, number, address) for number, address in rows if address is not None],
    )
    connection.execute(
        _PLACE, (version, name, int(time.time()), text, checksum(version, name, text))
    )


def _entries(tree: Mapping[str, Any]) -> tuple[list[Entry], dict[str, Any]]:
    root = tree["checkpoints"][0]["parent"] if tree["checkpoints"] else tree["head"]
    numbers, made = {root: 0}, tree["made"]
    entries = [_entry(0, root, None, tree["root"], made)]
    for number, c in enumerate(tree["checkpoints"], 1):
        numbers[c["id"]] = number
        parent = numbers[c["parent"]]
        entries.append(_entry(number, c["id"], parent, c["metadata"], made, c))
    places = {
        "head": numbers[tree["head"]],
        "redo": [numbers[i] for i in tree["redo"]],
        "tags": {tag: numbers[i] for tag, i in tree["tags"].items()},
        "n_made": tree["n_made"],
    }
    return entries, places


def _entry(
    number: int,
    identifier: str,
    parent: int | None,
    notes: Mapping[str, Any],
    made: Mapping[str, int],
    values: Mapping[str, Any] | None = None,
) -> Entry:
    c = values or {}
    return Entry(
        number,
        identifier,
        parent,
        c.get("tokens", ()),
        c.get("ordinal", 0),
        notes,
        c.get("address"),
        c.get("n_bytes", 0),
        c.get("logprobs", ()),
        c.get("exact", True),
        made.get(identifier, 0),
        made.get(f"{identifier} cut", 0),
        None if c.get("tokens") else "",
        None,
    )
