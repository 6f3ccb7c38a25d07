"""A folder of sessions, to list, delete and restore without a model."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import ParameterError, SessionError, SessionWriteError
from ..state.atomic import make_private_folder
from ..state.session_info import SessionInfo, inspect_session
from .listing import Damage, StoredSession
from .names import check_name
from .reading import not_found
from .store import SessionStore

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
