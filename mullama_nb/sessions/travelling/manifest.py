"""A session or chat as it travels: what the catalog has of it, in one JSON object.

==========  =======================================================================================
key         value
==========  =======================================================================================
format      1
name        the session's name
record      the catalog's record, as JSON text
body        the body, as JSON text, without folders of the machine that it comes from
rows        a chat's checkpoints: pairs of number and JSON text
==========  =======================================================================================
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import SessionError, SessionFormatError, shown
from ..entries import EntryRow, parse_chat
from ..records import (
    ADDRESS,
    MalformedError,
    as_json,
    digest,
    from_json,
    parse_body,
    parse_record,
    read_list,
    read_number,
    read_text,
)
from ..versions import Version, Versions, Written
from .lineage import content_digest

__all__ = ["MOST_BYTES", "Manifest", "damaged", "departing", "parse_manifest"]

MOST_BYTES = 64 << 20
_FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """A version of a name as it travels.

    Attributes
    ----------
    data : bytes
        All of it.
    written : Written
        What the catalog takes in.
    where : str
        Where it was read, for messages.
    """

    data: bytes
    written: Written
    where: str = ""

    @property
    def content(self) -> str:
        """The digest of the data."""
        return content_digest(self.data)

    @property
    def addresses(self) -> list[str]:
        """The segments that it needs, each once."""
        return sorted({*self.written.addresses})


def departing(versions: Versions, version: Version) -> Manifest:
    """Return a version of a name as it travels; the same version always gives the same bytes.

    Raises
    ------
    SessionFormatError
        When it is damaged.
    """
    name, record = version.name, version.record()
    body = _without_folders(versions.body(version, record))
    text = as_json(body, name)
    record = replace(record, body=digest(text.encode()))
    rows = versions.rows(version) if record.kind == "chat" else []
    if record.kind == "chat":
        parse_chat(name, record, rows)
    written = Written(record, body, [EntryRow(n, data, 0, address) for n, data, address in rows])
    values = {
        "format": _FORMAT,
        "name": name,
        "record": as_json(asdict(record), name),
        "body": text,
        "rows": [[number, data] for number, data, _ in rows],
    }
    data = as_json(values, name).encode()
    if len(data) > MOST_BYTES:
        raise SessionError(
            f"the session {name!r} cannot travel: its checkpoints take {len(data):,} bytes, and at "
            f"most {MOST_BYTES:,} do. Prune branches, or fork the chat and push that"
        )
    return Manifest(data, written)


def _without_folders(body: dict[str, Any]) -> dict[str, Any]:
    """What others need not know: where files are on this machine."""
    if isinstance(body.get("model"), str):
        body = body | {"model": _file_name(body["model"])}
    adapters = body.get("adapters")
    if adapters:
        files = {key: _file_name(path) for key, path in adapters["files"].items()}
        body = body | {"adapters": adapters | {"files": files}}
    return body


def _file_name(path: str) -> str:
    return Path(path.replace("\\", "/")).name


def parse_manifest(name: str, where: str, data: bytes) -> Manifest:
    """Return what arrived, with every value checked as in a catalog.

    Parameters
    ----------
    name : str
        The session that it must be of.
    where : str
        Path of the object, for messages.
    data : bytes

    Raises
    ------
    SessionFormatError
        When it is of another name, damaged, or made to harm.
    """
    try:
        values = from_json(data)
        if values.get("format") != _FORMAT:
            raise MalformedError(
                f"it is of version {shown(values.get('format'), 20)}, and this mullama_nb reads "
                f"version {_FORMAT}"
            )
        if values.get("name") != name:
            raise MalformedError(f"it is of {shown(repr(values.get('name')))}, not of {name!r}")
        record = parse_record(name, read_text(values, "record"))
        body = parse_body(name, record, read_text(values, "body").encode())
        rows = _rows(read_list(values, "rows"))
        if record.chain if record.kind == "chat" else rows:
            raise MalformedError(f"it is a {record.kind} with what only the other kind has")
        if record.kind == "chat":
            parse_chat(name, record, ((row.number, row.data, row.address) for row in rows))
    except (MalformedError, UnicodeEncodeError) as error:
        raise damaged(where, str(error)) from None
    except SessionFormatError as error:
        raise damaged(where, str(error)) from None
    return Manifest(data, Written(record, body, rows), where)


def _rows(pairs: list[Any]) -> list[EntryRow]:
    rows = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise MalformedError("one of its rows is not a pair of number and text")
        values = {"number": pair[0], "data": pair[1]}
        number, data = read_number(values, "number"), read_text(values, "data")
        address = from_json(data, but="text").get("address")
        if not (address is None or (isinstance(address, str) and ADDRESS.fullmatch(address))):
            raise MalformedError(f"{address!r:.60} is not a segment's address")
        rows.append(EntryRow(number, data, 0, address))
    if len({row.number for row in rows}) != len(rows):
        raise MalformedError("two of its rows have the same number")
    return rows


def damaged(where: str, what: str) -> SessionFormatError:
    """Return the error for an entry that is not as it was written."""
    return SessionFormatError(
        f"{where} is damaged: {what}. Nothing of it was taken in; push the session again from "
        "where it is whole"
    )
