"""Reading a folder of sessions: the names, their records and their rows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from ..checks import close_names
from ..errors import SessionError, SessionFormatError, SessionNotFoundError, shown
from ..state.segment import Segment
from ..state.segment_file import read_segment
from .catalog import Catalog
from .entries import SavedChat
from .listing import Damage, StoredSession, damages_of, described
from .names import check_name
from .owners import Holder, Owner
from .records import ADDRESS, Record
from .rules import check_free
from .versions import Place, Version, Versions

__all__ = ["ENDING", "SEGMENTS", "StoreReader", "default_folder", "not_found"]

SEGMENTS = "segments"
ENDING = ".segment"
_TIMES_TO_READ = 5


def default_folder() -> Path:
    """Return the default folder for sessions."""
    return user_data_path("mullama_nb", appauthor=False)


class StoreReader:
    """Read access to a store, which writes and creates nothing; ``SessionStore`` adds changes.

    Parameters
    ----------
    folder : str or path, optional
        None: in the user's data folder.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder).expanduser()
        self.catalog = Catalog(self.folder)

    def segment_path(self, address: str) -> Path:
        """Return the path of a segment's file.

        Raises
        ------
        SessionFormatError
            When that is no address.
        """
        if not ADDRESS.fullmatch(address):  # the catalog is not trusted
            raise SessionFormatError(
                f"the catalog is damaged: {address[:40]!r} is not a segment's address"
            )
        return self.folder / SEGMENTS / f"{address}{ENDING}"

    def file_bytes(self, address: str) -> int:
        """Return the bytes of a segment's file; -1 if there is none."""
        try:
            return self.segment_path(address).stat().st_size
        except OSError:
            return -1

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Versions]:
        with self.catalog.reading() as connection:
            yield Versions(connection, self.folder)

    # -- read --------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return all names, sorted."""
        with self._reading() as versions:
            return versions.names()

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        with self._reading() as versions:
            return versions.current(name) is not None

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[tuple[Versions, Version]]:
        name = check_name(name)
        with self._reading() as versions:
            version = versions.current(name)
            if version is None:
                raise not_found(name, versions.names())
            yield versions, version

    def holder(self, name: str) -> Holder | None:
        """Return the present or last owner of a name; None if it never had one."""
        with self._reading() as versions:
            version = versions.current(check_name(name))
            return None if version is None else versions.holder(version)

    def check_free(self, name: str, *, owner: Owner | None, take_over: bool) -> None:
        """Check that a name has no other owner.

        Raises
        ------
        SessionConflictError
            When it has one.
        """
        with self._opened(name) as (versions, version):
            check_free(versions, version, "saved", owner=owner, take_over=take_over)

    def record(self, name: str) -> Record:
        """Return a name's record, checked.

        Raises
        ------
        SessionNotFoundError
            When there is no such name; the message lists similar names.
        SessionFormatError
            When it is damaged.
        """
        with self._opened(name) as (_, version):
            return version.record()

    def open_session(self, name: str) -> tuple[Place, Record, dict[str, Any]]:
        """Return a name's record and body; for a chat with tokens and text up to its head.

        Raises
        ------
        SessionNotFoundError, SessionFormatError
        """
        with self._opened(name) as (versions, version):
            record = version.record()
            body = versions.body(version, record)
            if record.kind == "chat":
                chat = versions.chat(version, record)
                body = {**body, "tokens": chat.tokens(), "text": chat.text(), "chain": chat.chain()}
            else:
                body["chain"] = record.chain
            return version.place, record, body

    def open_chat(self, name: str) -> tuple[Place, Record, dict[str, Any], SavedChat]:
        """Return a chat's record, body and checkpoints, checked.

        Raises
        ------
        SessionNotFoundError, SessionFormatError
        SessionError
            When the name holds a context's session.
        """
        with self._opened(name) as (versions, version):
            record = version.record()
            if record.kind != "chat":
                raise SessionError(
                    f"{name!r} is the session of a context, not a chat: load it with "
                    "SessionManager.load()"
                )
            body = versions.body(version, record)
            return version.place, record, body, versions.chat(version, record)

    def open_whole(self, name: str) -> tuple[Place, Record, dict[str, Any], list[Segment]]:
        """Return a name's record and body with the segments up to its head.

        If another process replaces the name meanwhile and collects its segments, the new version is
        read.
        """
        for left in reversed(range(_TIMES_TO_READ)):
            place, record, body = self.open_session(name)
            try:
                return place, record, body, self._segments(body["chain"])
            except SessionNotFoundError as error:
                if not left:  # else it was replaced, and perhaps by the same again
                    raise SessionFormatError(
                        f"the session {shown(repr(name))} is damaged: {error}. Its tokens must be "
                        'evaluated again: load it with on_mismatch="replay"'
                    ) from error
        raise AssertionError("unreachable")

    def _segments(self, chain: Sequence[str | None]) -> list[Segment]:
        if not chain or chain[-1] is None:
            return []
        last = self.segment(chain[-1])
        if last.whole:  # the state of all tokens
            return [last]
        found = [self.segment(address) for address in chain[:-1] if address is not None]
        return [*found, last] if len(found) == len(chain) - 1 else []

    def segment(self, address: str) -> Segment:
        """Return the segment at an address, with every byte checked.

        Raises
        ------
        SessionNotFoundError, SessionFormatError
            When it is missing or damaged.
        """
        segment = read_segment(self.segment_path(address))
        if segment.address != address:
            raise SessionFormatError(
                f"the file of segment {address} holds {segment.address}: it was exchanged"
            )
        return segment

    def prefix(self, group: str, tokens: Sequence[int]) -> list[tuple[str, int]]:
        """Return the stored segments with the longest prefix of tokens; see ``Catalog``."""
        with self.catalog.reading() as connection:
            return self.catalog.longest_prefix(connection, group, tokens)

    def bytes_written(self) -> int:
        """Return the total bytes of segments and records written here."""
        with self.catalog.reading() as connection:
            return self.catalog.bytes_written(connection)

    # -- list --------------------------------------------------------------------------------

    def entries(self, *, earlier: bool = False) -> list[StoredSession]:
        """Return the details of each name; damaged records are left out.

        Parameters
        ----------
        earlier : bool
            Whether to include earlier versions.
        """
        found = []
        with self._reading() as versions:
            for version in [*versions.all(earlier=earlier)]:
                with contextlib.suppress(SessionFormatError):
                    found.append(described(versions, version))
        return found

    def versions(self, name: str) -> list[StoredSession]:
        """Return the versions of a name, the oldest first; damaged ones are left out.

        Raises
        ------
        SessionNotFoundError
        """
        found = []
        with self._opened(name) as (versions, current):
            for version in versions.of_name(current.name):
                with contextlib.suppress(SessionFormatError):
                    found.append(described(versions, version))
        return found

    def info(self, name: str) -> StoredSession:
        """Return the details of a name.

        Raises
        ------
        SessionNotFoundError, SessionFormatError
        """
        with self._opened(name) as (versions, version):
            return described(versions, version)

    def verify(self) -> list[Damage]:
        """Read all data that names need; return what is damaged, and which names depend on it."""
        with self._reading() as versions:
            found, needed = damages_of(versions)
        for address, names in needed.items():
            try:
                self.segment(address)
            except SessionError as error:
                found.append(Damage(address, str(error), tuple(dict.fromkeys(names))))
        return found

    def __repr__(self) -> str:
        return f"SessionStore({len(self.names())} names)"


def not_found(name: str, names: Sequence[str]) -> SessionNotFoundError:
    """Return the error for an unknown name, with similar names."""
    close = close_names(name, names) or list(names[:5])
    hint = f"; there is {', '.join(map(shown, close))}" if close else "; the folder holds none"
    return SessionNotFoundError(f"there is no session {shown(repr(name))}{hint}")
