"""A folder of sessions: segments, stored once by content address, and the catalog of names.

A writer holds the catalog's write lock from before its first segment until its record is committed,
and so does a collection. So a segment is complete on disk before anything refers to it, and is
never removed between lookup and reference. A killed process leaves unused files, which the next
collection removes.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import (
    SessionConflictError,
    SessionFormatError,
    SessionNotFoundError,
    SessionWriteError,
    shown,
)
from ..state.atomic import make_private_folder
from ..state.segment import Segment
from ..state.segment_file import write_segment
from .catalog import is_out_of_room
from .names import check_name
from .owners import Owner, sweep
from .reading import ENDING, SEGMENTS, not_found
from .records import family
from .rules import check_free, check_saving
from .travelling.arrivals import clear_arrivals
from .travelling.travelled import Travelled
from .travelling.travelling import TravellingStore
from .versions import Place, Version, Versions, Written

__all__ = ["SessionStore"]

_NONE: Mapping[int, Place] = {}


class SessionStore(TravellingStore):
    """Names and segments in one folder, for any number of threads and processes.

    Parameters
    ----------
    folder : str or path, optional
        Created for its owner only, on the first save. None: in the user's data folder.
    """

    # -- save --------------------------------------------------------------------------------

    def save(
        self,
        name: str,
        kind: str,
        write: Callable[[int | None], Written],
        segment_of: Callable[[str], Segment | None],
        *,
        origins: Mapping[int, Place] = _NONE,
        owner: Owner | None = None,
        replace: bool = False,
        take_over: bool = False,
    ) -> Place:
        """Save a record under a name, with the segments not stored yet.

        Parameters
        ----------
        name : str
        kind : str
            ``"session"`` or ``"chat"``.
        write : callable
            Returns the data to write: of a new version or, given a version, the changes since that
            was read or saved.
        segment_of : callable
            Returns the segment of an address; called for those that have to be written.
        origins : mapping
            The versions that this was read from or saved as, as of then.
        owner : Owner, optional
            The owner that saves it after every turn from now on.
        replace : bool
            Whether to replace something else; it becomes an earlier version.
        take_over : bool
            Whether to take the name from another owner.

        Returns
        -------
        Place
            The present version of the name.

        Raises
        ------
        SessionConflictError
            When the name holds something that this did not come from, or has another owner.
        SessionWriteError
            When it cannot be written; the name is unchanged.
        """
        name = check_name(name)
        make_private_folder(self.folder)
        make_private_folder(self.folder / SEGMENTS)
        with self.catalog.writing() as connection:
            versions = Versions(connection, self.folder)
            version = versions.current(name)
            is_same = check_saving(
                *(versions, version, kind, origins),
                owner=owner,
                replace=replace,
                take_over=take_over,
            )
            written = write(version.place.version if version is not None and is_same else None)
            n_bytes = self._write_segments(connection, name, written, segment_of)
            if version is not None and (not is_same or (owner is None and take_over)):
                versions.disown(version)
            if version is not None and is_same:
                place, n = versions.rewrite(version, written)
            else:
                place, n = versions.add(name, written)
            if owner is not None:
                versions.own(place, owner)
            self.catalog.count_written(connection, n_bytes + n)
        return place

    def _write_segments(
        self,
        connection: sqlite3.Connection,
        name: str,
        written: Written,
        segment_of: Callable[[str], Segment | None],
    ) -> int:
        group, n_written = family(written.record.metadata), 0
        for address in dict.fromkeys(written.addresses):
            n_bytes = self.catalog.segment_bytes(connection, address)
            if n_bytes is not None and self.file_bytes(address) == n_bytes:
                continue
            segment = segment_of(address)
            if segment is None:
                raise SessionWriteError(
                    f"the rows {address} of {name!r} are lost, so it cannot be saved"
                )
            n_bytes = write_segment(self.segment_path(address), segment)
            self.catalog.add_segment(connection, segment, group, n_bytes)
            n_written += n_bytes
        return n_written

    # -- change ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(
        self, name: str, what: str, *, take_over: bool
    ) -> Iterator[tuple[sqlite3.Connection, Versions, Version]]:
        with self._opened(name):  # a name that is not there makes no folder
            name = check_name(name)
        with self.catalog.writing() as connection:
            versions = Versions(connection, self.folder)
            version = versions.current(name)
            if version is None:
                raise not_found(name, versions.names())
            check_free(versions, version, what, owner=None, take_over=take_over)
            yield connection, versions, version

    def delete(self, name: str, *, take_over: bool = False) -> None:
        """Delete a name with its earlier versions, and the data that only they needed.

        This works on a full disk, too.

        Parameters
        ----------
        name : str
        take_over : bool
            Whether to delete it even if it has an owner.

        Raises
        ------
        SessionConflictError
            When it has an owner.
        """
        for unlinks in (False, True, False):
            try:
                gone, candidates = self._forget(name, take_over=take_over, unlinks=unlinks)
                break
            except SessionWriteError as error:
                if not is_out_of_room(error):
                    raise
                full = error
        else:
            raise full
        # Only now: were this process killed before the commit, the name would still need them.
        with contextlib.suppress(SessionFormatError):  # gc() will say what is damaged
            self._tidy(gone, candidates)

    def _forget(
        self, name: str, *, take_over: bool, unlinks: bool
    ) -> tuple[list[Version], set[str]]:
        """Forget a name's versions; where the disk is full, first remove what only they need."""
        with self._changing(name, "deleted", take_over=take_over) as (
            connection,
            versions,
            version,
        ):
            gone = versions.of_name(version.name)
            candidates = {address for v in gone for address in versions.addresses(v)}
            versions.remove(gone)
            Travelled(connection).forget(version.name)
            for address in candidates if unlinks else ():
                if not versions.is_needed(address):
                    self._unlink(address)
        return gone, candidates

    def _tidy(self, gone: Sequence[Version], candidates: set[str]) -> None:
        """Remove what versions that are forgotten have left; what does not work remains for gc."""
        unneeded: list[str] = []
        with contextlib.suppress(SessionWriteError), self.catalog.writing() as connection:
            versions = Versions(connection, self.folder)
            for version in gone:
                versions.clear(version.place.version)
            unneeded = [address for address in candidates if not versions.is_needed(address)]
            for address in unneeded:
                self._unlink(address)
                self.catalog.forget_segment(connection, address)

    def _unlink(self, address: str) -> int:
        with contextlib.suppress(OSError, SessionFormatError):
            path = self.segment_path(address)
            n_bytes = path.stat().st_size
            path.unlink()
            return n_bytes
        return 0

    def rename(self, name: str, new_name: str, *, take_over: bool = False) -> None:
        """Rename a name; the new one must be free.

        Raises
        ------
        SessionConflictError
            When the new name is taken, or the old one has an owner.
        """
        new_name = check_name(new_name)
        with self._changing(name, "renamed", take_over=take_over) as (
            connection,
            versions,
            version,
        ):
            version.record()
            _check_new(versions, new_name)
            for each in versions.of_name(version.name):
                versions.move(each, new_name)
            versions.disown(version)
            Travelled(connection).forget(version.name)

    def copy(self, name: str, new_name: str) -> None:
        """Copy a name to a second one; no rows are copied.

        Raises
        ------
        SessionConflictError
            When the new name is taken.
        """
        new_name = check_name(new_name)
        with self._changing(name, "copied", take_over=True) as (_, versions, version):
            _check_new(versions, new_name)
            versions.copy(version, new_name)

    def restore(self, name: str, number: int | None = None, *, take_over: bool = False) -> None:
        """Restore an earlier version of a name; the present one becomes an earlier version.

        Parameters
        ----------
        name : str
        number : int, optional
            A number from ``versions``. None: the latest earlier one.
        take_over : bool
            Whether to restore even if the name has an owner.

        Raises
        ------
        SessionNotFoundError
            When there is no such version.
        SessionConflictError
            When the name has an owner.
        """
        with self._changing(name, "restored", take_over=take_over) as (_, versions, version):
            name = version.name
            wanted = (
                versions.newest_earlier(name) if number is None else versions.numbered(name, number)
            )
            if wanted is None:
                numbers = ", ".join(str(v.number) for v in versions.of_name(name))
                which = "earlier version" if number is None else f"version {number!r}"
                raise SessionNotFoundError(f"{name!r} has no {which}; there is {numbers}")
            if not wanted.is_current:
                wanted.record()
                versions.disown(version)
                versions.restore(wanted)

    # -- care --------------------------------------------------------------------------------

    def gc(self) -> int:
        """Remove earlier versions, data that no name needs, and files of killed processes.

        Returns
        -------
        int
            Number of bytes freed.

        Raises
        ------
        SessionFormatError
            When a record is damaged: its needs are unknown, so nothing is removed.
        """
        with self._reading() as versions:
            if not versions.names() and not (self.folder / SEGMENTS).is_dir():
                return 0
        freed, again = 0, True
        while again:
            try:
                freed += self._collect()
                again = False
            except SessionWriteError as error:
                if not is_out_of_room(error):
                    raise
                n_bytes = self._collect(only_files=True)
                freed, again = freed + n_bytes, n_bytes > 0
        return freed

    def _collect(self, *, only_files: bool = False) -> int:
        with self.catalog.writing() as connection:
            versions = Versions(connection, self.folder)
            needed: set[str] = set()
            for version in versions.all():
                try:
                    needed |= versions.checked_addresses(version)
                except SessionFormatError as error:
                    raise SessionFormatError(
                        f"what {shown(repr(version.name))} needs is not known, so nothing was "
                        f"removed: {error}"
                    ) from error
            files = {path.stem for path in self._files(ENDING)}
            freed = sum(self._unlink(address) for address in files - needed)
            # Nobody else is writing: temporary files belong to the dead.
            for path in self._files(".tmp"):
                with contextlib.suppress(OSError):
                    n_bytes = path.stat().st_size
                    path.unlink()
                    freed += n_bytes
            sweep(self.folder)
            freed += clear_arrivals(self.folder)
            if not only_files:
                versions.remove([v for v in versions.all(earlier=True) if not v.is_current])
                for left in versions.left_over():
                    versions.clear(left)
                for address in self.catalog.segments(connection) - needed:
                    self.catalog.forget_segment(connection, address)
        return freed

    def _files(self, ending: str) -> list[Path]:
        folder = self.folder / SEGMENTS
        if not folder.is_dir():
            return []
        return [path for path in folder.iterdir() if path.name.endswith(ending)]


def _check_new(versions: Versions, name: str) -> None:
    if versions.current(name) is not None:
        raise SessionConflictError(f"there is a session {name!r} already; delete it first")
