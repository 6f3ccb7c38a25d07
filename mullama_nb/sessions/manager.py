"""Sessions under names, one file each."""

from __future__ import annotations

import dataclasses
import difflib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..engine.context import Context
from ..engine.model import Model
from ..engine.params import ContextParams
from ..errors import ParameterError, SessionError, SessionNotFoundError, SessionWriteError
from ..state.atomic import make_private_folder
from ..state.session_info import SessionInfo, inspect_session
from .names import check_name

__all__ = ["SessionManager"]

_ENDING = ".session"
_N_CTX = 4096


class SessionManager:
    """A folder of sessions of one model.

    Parameters
    ----------
    model : Model
    session_dir : str or path
        Made when it is missing, for its owner alone.
    params : ContextParams, optional
        Of the contexts that the manager makes. None: 4,096 tokens, or as many as the model was
        trained with.
    """

    def __init__(
        self,
        model: Model,
        session_dir: str | os.PathLike[str] = "./sessions",
        params: ContextParams | None = None,
    ) -> None:
        if not isinstance(model, Model):
            raise ParameterError(f"SessionManager takes a Model, not {type(model).__name__}")
        self.model = model
        self.session_dir = Path(session_dir).expanduser()
        self.params = params or ContextParams(n_ctx=min(_N_CTX, model.n_ctx_train))
        make_private_folder(self.session_dir)

    def session_path(self, session_id: str) -> Path:
        """The file of a session, whether it exists or not.

        Raises
        ------
        ParameterError
            When the name could lead out of the folder or holds what no file's name should.
        """
        return self.session_dir / f"{check_name(session_id)}{_ENDING}"

    def create_session(self, session_id: str, system_prompt: str) -> Context:
        """Evaluate a system prompt in a new context and save it.

        Parameters
        ----------
        session_id : str
            A session of that name is replaced.
        system_prompt : str
        """
        path = self.session_path(session_id)
        context = Context(self.model, self.params)
        try:
            context.evaluate(system_prompt)
            context.save_session(path)
        except BaseException:
            context.close()
            raise
        return context

    def load_or_create(self, session_id: str, system_prompt: str) -> Context:
        """A new context with the session of that name, or else with the system prompt, saved.

        A session that exists and cannot be loaded raises; it is not replaced.
        """
        if session_id not in self:
            return self.create_session(session_id, system_prompt)
        return self.load(session_id)

    def load(self, session_id: str) -> Context:
        """A new context that goes on where the session was.

        Raises
        ------
        SessionNotFoundError
            When there is no such session; the message names those that are close.
        SessionError
            When it is damaged or does not fit.
        """
        path = self._existing(session_id)
        context = Context(self.model, self.params)
        try:
            context.load_session(path)
        except BaseException:
            context.close()
            raise
        return context

    def save(self, session_id: str, context: Context) -> SessionInfo:
        """Save a context under a name; a session of that name is replaced."""
        context.save_session(self.session_path(session_id))
        return self.info(session_id)

    def info(self, session_id: str) -> SessionInfo:
        """What a session says about itself."""
        info = inspect_session(self._existing(session_id))
        return dataclasses.replace(info, name=check_name(session_id))

    def list(self) -> list[SessionInfo]:
        """What each session says about itself, by name; files that are no session are left out."""
        found = []
        for name in self:
            try:
                found.append(self.info(name))
            except SessionError:
                continue
        return found

    def delete(self, session_id: str) -> None:
        """Remove a session's file.

        Raises
        ------
        SessionNotFoundError
            When there is no such session.
        SessionWriteError
            When its file cannot be removed.
        """
        path = self._existing(session_id)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise SessionWriteError(
                f"the session {session_id!r} cannot be deleted: {error.strerror}"
            ) from error

    def __getitem__(self, session_id: str) -> SessionInfo:
        return self.info(session_id)

    def __contains__(self, session_id: object) -> bool:
        try:
            return isinstance(session_id, str) and self.session_path(session_id).is_file()
        except ParameterError:
            return False

    def __iter__(self) -> Iterator[str]:
        files = self.session_dir.glob(f"*{_ENDING}")
        names = {unicodedata.normalize("NFC", path.name.removesuffix(_ENDING)) for path in files}
        return iter(sorted(name for name in names if name in self))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _ipython_key_completions_(self) -> Sequence[str]:
        return [*self]

    def _existing(self, session_id: str) -> Path:
        path = self.session_path(session_id)
        if not path.is_file():
            names = [*self]
            close = difflib.get_close_matches(session_id, names, n=3) or names[:5]
            hint = f"; there is {', '.join(close)}" if close else "; the folder holds none"
            raise SessionNotFoundError(f"there is no session {session_id!r}{hint}")
        return path

    def __repr__(self) -> str:
        return f"SessionManager({self.model.name!r}, {len(self)} sessions)"
