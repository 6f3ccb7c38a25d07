"""A folder of sessions, to list, delete and restore without a model."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import ParameterError, SessionError, SessionWriteError
from ..progress import Progress
from ..state.atomic import make_private_folder
from ..state.session_info import SessionInfo, inspect_session
from .listing import Damage, StoredSession
from .names import check_name
from .reading import not_found
from .store import SessionStore
from .travelling.transfer import Transfer, checked_names

__all__ = ["SessionFolder"]

_ENDING = ".session"


class SessionFolder:
    """The sessions of a folder; ``SessionManager`` adds the methods that need a model.

    Parameters
    ----------
    session_dir : str or path, optional
        Created if missing, for its owner only. None: in the user's data folder.
    """

    def __init__(self, session_dir: str | os.PathLike[str] | None) -> None:
        self.store = SessionStore(session_dir)
        self.session_dir = self.store.folder
        make_private_folder(self.session_dir)

    def session_path(self, session_id: str) -> Path:
        """Return the path of a session that is a separate file.

        Raises
        ------
        ParameterError
            When the name could lead out of the folder or is invalid as a file name.
        """
        return self.session_dir / f"{check_name(session_id)}{_ENDING}"

    # -- look --------------------------------------------------------------------------------

    def info(self, session_id: str) -> SessionInfo:
        """Return the details of a session without loading it."""
        name = self._existing(session_id)
        if self._is_file(name):
            return dataclasses.replace(inspect_session(self.session_path(name)), name=name)
        return self.store.info(name)

    def list(self) -> list[SessionInfo]:
        """Return the details of each session, by name, except of those that cannot be read."""
        found: dict[str, SessionInfo] = {entry.name: entry for entry in self.store.entries()}
        for name in self:
            if name not in found and self._is_file(name):
                try:
                    found[name] = self.info(name)
                except SessionError:
                    continue
        return [found[name] for name in sorted(found)]

    def versions(self, session_id: str) -> Sequence[StoredSession]:
        """Return the versions of a name that were not collected yet, the oldest first."""
        return self.store.versions(session_id)

    def verify(self) -> Sequence[Damage]:
        """Read all stored data; return what is damaged, and which names depend on it."""
        return self.store.verify()

    # -- change ------------------------------------------------------------------------------

    def delete(self, session_id: str, *, take_over: bool = False) -> None:
        """Delete a session with its earlier versions, and the data that only they needed.

        Parameters
        ----------
        session_id : str
        take_over : bool
            Whether to delete it even while a chat is saved there after every turn.

        Raises
        ------
        SessionNotFoundError
            When there is no such session.
        SessionConflictError
            When a chat is saved there after every turn.
        SessionWriteError
            When it cannot be removed.
        """
        name = self._existing(session_id)
        if self._is_file(name):
            self._unlink(name)
        else:
            self.store.delete(name, take_over=take_over)

    def restore(self, session_id: str, version: int | None = None) -> None:
        """Restore an earlier version of a name; the present one becomes an earlier version.

        Parameters
        ----------
        session_id : str
        version : int, optional
            A number from :meth:`versions`. None: the latest earlier one.
        """
        self.store.restore(session_id, version)

    def gc(self) -> int:
        """Remove earlier versions and rows that no name needs; return the bytes freed."""
        return self.store.gc()

    def _unlink(self, name: str) -> None:
        try:
            self.session_path(name).unlink(missing_ok=True)
        except OSError as error:
            raise SessionWriteError(
                f"the session {name!r} cannot be deleted: {error.strerror}"
            ) from error

    # -- elsewhere ---------------------------------------------------------------------------

    def push(
        self,
        url: str | os.PathLike[str],
        names: str | Iterable[str] | None = None,
        *,
        progress: Progress = None,
    ) -> Transfer:
        """Push sessions to a store elsewhere: a bucket, a server, a folder.

        Only what is missing there travels. What a name holds there becomes an earlier version, if
        it came from here or was pulled; otherwise nothing of that name is sent. A chat that is
        saved after every turn is sent as of its last turn.

        Parameters
        ----------
        url : str or path
            ``"s3://bucket/class"`` or any URL of fsspec, or a folder.
        names : str or iterable of str, optional
            None: all.
        progress : bool or callable, optional
            None: a bar where a terminal or a notebook shows it. A function is called with the bytes
            done and their total.

        Returns
        -------
        Transfer

        Raises
        ------
        SessionConflictError
            When something else was pushed under a name. Other names are sent all the same.
        SessionRemoteError
            When the place cannot be reached or written. What was sent stays there, and the same
            call goes on from there.

        Warns
        -----
        MullamaWarning
            When somebody else pushed under a name at the same time. Both are kept.
        """
        wanted = checked_names(names)
        for name in wanted or ():
            if self._is_file(name):
                raise SessionError(
                    f"{name!r} is a session file, which does not travel: add it to the store, "
                    f"SessionManager.add(path, {name!r})"
                )
        return self.store.push(url, wanted, progress=progress)

    def pull(
        self,
        url: str | os.PathLike[str],
        names: str | Iterable[str] | None = None,
        *,
        replace: bool = False,
        progress: Progress = None,
    ) -> Transfer:
        """Pull sessions from a store elsewhere, with every byte checked.

        Only what is missing here travels. What a name holds here becomes an earlier version.

        Parameters
        ----------
        url : str or path
            As for :meth:`push`.
        names : str or iterable of str, optional
            None: all that are there.
        replace : bool
            Whether to replace even what was changed here since it was pushed or pulled; it becomes
            an earlier version.
        progress : bool or callable, optional
            As for :meth:`push`.

        Returns
        -------
        Transfer

        Raises
        ------
        SessionConflictError
            When a name was changed here and elsewhere, or a chat is saved there after every turn.
            Other names are pulled all the same.
        SessionFormatError
            When something there is damaged; the message names the file. Other names are pulled all
            the same.
        SessionNotFoundError
            When there is no such name.
        SessionRemoteError
            When the place cannot be reached or read.

        Warns
        -----
        MullamaWarning
            When a name was pushed from several places at once. All are here, as versions.
        """
        return self.store.pull(url, names, replace=replace, progress=progress)

    # -- as a mapping ------------------------------------------------------------------------

    def __getitem__(self, session_id: str) -> SessionInfo:
        return self.info(session_id)

    def __contains__(self, session_id: object) -> bool:
        try:
            name = check_name(session_id) if isinstance(session_id, str) else None
        except ParameterError:
            return False
        return name is not None and (name in self.store or self.session_path(name).is_file())

    def __iter__(self) -> Iterator[str]:
        names = {*self.store.names()}
        for path in self.session_dir.glob(f"*{_ENDING}"):
            name = unicodedata.normalize("NFC", path.name.removesuffix(_ENDING))
            if name not in names and name in self:
                names.add(name)
        return iter(sorted(names))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _ipython_key_completions_(self) -> Sequence[str]:
        return [*self]

    def _is_file(self, name: str) -> bool:
        """Return whether a session is a separate file, as of ``Context.save_session``."""
        return name not in self.store and self.session_path(name).is_file()

    def _existing(self, session_id: str) -> str:
        name = check_name(session_id)
        if name not in self:
            raise not_found(name, [*self])
        return name
