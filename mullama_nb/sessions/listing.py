"""Details of sessions, read without opening them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from ..errors import SessionFormatError
from ..state.session_info import SessionInfo
from .records import TIME
from .versions import Version, Versions

__all__ = ["Damage", "StoredSession", "damages_of", "described"]


@dataclass(frozen=True, repr=False)
class StoredSession(SessionInfo):
    """The catalog's details of a version of a name.

    Attributes
    ----------
    kind : str
        ``"session"`` or ``"chat"``.
    own_bytes : int
        Bytes in files that only this name needs.
    shared_bytes : int
        Bytes in files that other names need as well.
    is_live : bool
        Whether a chat is saved there after every turn.
    version : int
        Number among the name's versions, from 1.
    is_current : bool
        False for a replaced version that was not collected yet.
    saved : datetime, optional
        Time of the last save, UTC.
    """

    kind: str = "session"
    own_bytes: int = 0
    shared_bytes: int = 0
    is_live: bool = False
    version: int = 1
    is_current: bool = True
    saved: datetime | None = None


@dataclass(frozen=True)
class Damage:
    """Unreadable data, and the names that depend on it.

    Attributes
    ----------
    what : str
        A segment's address; empty if the name's own record is damaged.
    why : str
    names : tuple of str
    """

    what: str
    why: str
    names: tuple[str, ...]


def described(versions: Versions, version: Version) -> StoredSession:
    """Return the catalog's details of a version.

    Raises
    ------
    SessionFormatError
        When it is damaged.
    """
    record = version.record()
    own, shared = versions.sizes(version)
    values, holder = record.metadata, versions.holder(version)
    created = datetime.strptime(values["created"], TIME)
    return StoredSession(
        name=version.name,
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
        is_live=version.is_current and holder is not None and holder.is_living,
        version=version.number,
        is_current=version.is_current,
        saved=_time(version.saved),
    )


def _time(seconds: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc) if type(seconds) is int else None
    except (OverflowError, OSError, ValueError):
        return None


def damages_of(versions: Versions) -> tuple[list[Damage], dict[str, list[str]]]:
    """Return names with a damaged record, body or checkpoints; and the others' segments."""
    found: list[Damage] = []
    needed: dict[str, list[str]] = {}
    for version in [*versions.all()]:
        try:
            versions.body(version, version.record())
            addresses = versions.checked_addresses(version)
        except SessionFormatError as error:
            found.append(Damage("", str(error), (version.name,)))
        else:
            for address in sorted(addresses):
                needed.setdefault(address, []).append(version.name)
    return found, needed
