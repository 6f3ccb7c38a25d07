"""Sessions under names, whose common beginnings are stored once."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..engine.awaiting import in_thread
from ..engine.context import Context
from ..engine.model import Model
from ..engine.params import ContextParams
from ..engine.prompt import plan_prompt
from ..engine.warn import warn
from ..errors import (
    InexactWarning,
    ParameterError,
    SessionError,
    SessionFormatError,
    SessionMismatchError,
    SessionWriteError,
)
from ..state.session_info import SessionInfo, inspect_session
from .catalog import Record
from .names import check_name
from .states import check_settings, resume, reuse, segments_of
from .store import Damage, SessionStore, StoredSession, not_found

__all__ = ["SessionManager"]

_ENDING = ".session"
_N_CTX = 4096


class SessionManager:
    """A folder of sessions under names, opened with one model.

    Rows that several sessions have in common are stored once, and are not evaluated again for a
    new one. What a session gets back is always its own rows, to the bit. Any number of processes
    may use a folder.

    Parameters
    ----------
    model : Model
    session_dir : str or path, optional
        Made when it is missing, for its owner alone. None: in the user's data folder, where chats
        are saved.
    params : ContextParams, optional
        Of the contexts that the manager makes. None: 4,096 tokens, or as many as the model was
        trained with.

    Notes
    -----
    Files that end in ``.session`` in the folder are sessions, too, unless the catalog has their
    name.
    """

    def __init__(
        self,
        model: Model,
        session_dir: str | os.PathLike[str] | None = "./sessions",
        params: ContextParams | None = None,
    ) -> None:
        if not isinstance(model, Model):
            raise ParameterError(f"SessionManager takes a Model, not {type(model).__name__}")
        self.model = model
        self.params = params or ContextParams(n_ctx=min(_N_CTX, model.n_ctx_train))
        self.store = SessionStore(session_dir)
        self.session_dir = self.store.folder

    def session_path(self, session_id: str) -> Path:
        """Where a session lies that is a file of its own, or :meth:`export` puts it by itself.

        Raises
        ------
        ParameterError
            When the name could lead out of the folder or holds what no file's name should.
        """
        return self.session_dir / f"{check_name(session_id)}{_ENDING}"

    # -- make, load, save --------------------------------------------------------------------

    def create_session(self, session_id: str, system_prompt: str) -> Context:
        """Evaluate a system prompt in a new context and save it.

        The longest beginning that is stored already, under whatever name, is not evaluated again.

        Parameters
        ----------
        session_id : str
            A session of that name is replaced.
        system_prompt : str
        """
        check_name(session_id)
        context = Context(self.model, self.params)
        try:
            plan = plan_prompt(self.model, (), system_prompt, None, special=True)
            reused = reuse(context, self.store, plan.tokens) if plan.tokens else 0
            context.evaluate(plan.tokens[reused:])
            self.save(session_id, context)
        except BaseException:
            context.close()
            raise
        return context

    def load_or_create(self, session_id: str, system_prompt: str) -> Context:
        """A new context with the session of that name, or else with the system prompt, saved.

        A session that exists and cannot be loaded raises; it is not replaced.
        """
        check_name(session_id)
        if session_id not in self:
            return self.create_session(session_id, system_prompt)
        return self.load(session_id)

    def load(
        self, session_id: str, *, on_mismatch: Literal["error", "replay"] = "error"
    ) -> Context:
        """A new context that goes on where the session was.

        Parameters
        ----------
        session_id : str
        on_mismatch : {"error", "replay"}
            What to do with a session of another model or other settings, or whose rows are
            damaged: raise, or evaluate its tokens, or with another model its text, again.

        Raises
        ------
        SessionNotFoundError
            When there is no such session; the message names those that are close.
        SessionError
            When it is damaged or does not fit.

        Warns
        -----
        InexactWarning
            When it was evaluated again.
        """
        if on_mismatch not in ("error", "replay"):
            raise ParameterError(f'on_mismatch={on_mismatch!r} must be "error" or "replay"')
        name = self._existing(session_id)
        context = Context(self.model, self.params)
        try:
            if self._is_file(name):
                context.load_session(self.session_path(name))
            elif on_mismatch == "error":
                self._resume(name, context)
            else:
                try:
                    self._resume(name, context)
                except (SessionMismatchError, SessionFormatError) as error:
                    self._replay(name, context, error)
        except BaseException:
            context.close()
            raise
        return context

    def _resume(self, name: str, context: Context) -> None:
        record, body = self.store.open(name)
        check_settings(record.metadata, context, name)
        record, body, segments = self.store.open_whole(name)
        if (
            segments and segments[-1].whole
        ):  # of a chat: the state of all tokens, kept with the last
            segments = [replace(segments[-1], start=0, tokens=tuple(body["tokens"]))]
        resume(context, segments, dict(record.metadata), repr(name))
        if list(context.tokens) != body.get("tokens"):
            raise SessionFormatError(f"the session {name!r} is damaged: its rows are of other text")

    def _replay(self, name: str, context: Context, reason: SessionError) -> None:
        record, body = self.store.open(name)
        here, there = context.session_metadata["settings"], record.metadata["settings"]
        if here["fingerprint"] == there["fingerprint"]:
            context.evaluate(body["tokens"])
        else:
            context.evaluate(str(body["text"]))
        warn(
            f"{name!r} was evaluated again in this context, {context.token_count():,} tokens: "
            f"{reason}",
            InexactWarning,
        )

    def save(self, session_id: str, context: Context) -> StoredSession:
        """Save a context under a name; a session of that name is replaced."""
        name = check_name(session_id)
        metadata = context.session_metadata
        segments = {s.address: s for s in segments_of(context, self.store)}
        tokens = [token for segment in segments.values() for token in segment.tokens]
        record = Record("session", metadata, len(tokens), [*segments])
        body = {"tokens": tokens, "text": context.model.detokenize(tokens, special=True)}
        self.store.save(name, record, body, segments.get)
        if self.session_path(name).is_file():
            self._unlink(name)  # the older form of the same name
        return self.store.info(name)

    def add(self, path: str | os.PathLike[str], name: str | None = None) -> StoredSession:
        """Take a session file into the store.

        Parameters
        ----------
        path : str or path
            As ``Context.save_session`` or llama.cpp wrote it; it stays.
        name : str, optional
            None: the file's name without its ending.
        """
        path = Path(path).expanduser()
        name = check_name(path.stem if name is None else name)
        with Context(self.model, self.params) as context:
            context.load_session(path)
            return self.save(name, context)

    def export(self, session_id: str, path: str | os.PathLike[str] | None = None) -> SessionInfo:
        """Write a session as a single file, which llama.cpp loads, too.

        Parameters
        ----------
        session_id : str
        path : str or path, optional
            None: the name with the ending ``.session`` in the present folder.
        """
        name = self._existing(session_id)
        with self.load(name) as context:
            return context.save_session(f"{name}{_ENDING}" if path is None else path)

    # -- look --------------------------------------------------------------------------------

    def info(self, session_id: str) -> SessionInfo:
        """What is known of a session without loading it."""
        name = self._existing(session_id)
        if self._is_file(name):
            return replace(inspect_session(self.session_path(name)), name=name)
        return self.store.info(name)

    def list(self) -> list[SessionInfo]:
        """What is known of each session, by name; those that cannot be read are left out."""
        found: dict[str, SessionInfo] = {entry.name: entry for entry in self.store.entries()}
        for name in self:
            if name not in found and self._is_file(name):
                try:
                    found[name] = self.info(name)
                except SessionError:
                    continue
        return [found[name] for name in sorted(found)]

    def verify(self) -> Sequence[Damage]:
        """Read everything that is stored; what is damaged, and which names depend on it."""
        return self.store.verify()

    # -- change ------------------------------------------------------------------------------

    def delete(self, session_id: str) -> None:
        """Forget a session, and remove what only it needed.

        Raises
        ------
        SessionNotFoundError
            When there is no such session.
        SessionWriteError
            When it cannot be removed.
        """
        name = self._existing(session_id)
        if self._is_file(name):
            self._unlink(name)
        else:
            self.store.delete(name)

    def rename(self, session_id: str, new_name: str) -> None:
        """Give a session another name, which must be free."""
        self._move_into_store(session_id, new_name)
        self.store.rename(session_id, new_name)

    def copy(self, session_id: str, new_name: str) -> None:
        """Have a second name go on from the same point; it costs no rows."""
        self._move_into_store(session_id, new_name)
        self.store.copy(session_id, new_name)

    def gc(self) -> int:
        """Remove rows that no name needs any more; returns the bytes that got free."""
        return self.store.gc()

    def _move_into_store(self, session_id: str, new_name: str) -> None:
        name = self._existing(session_id)
        if new_name in self:
            raise SessionError(f"there is a session {new_name!r} already; delete it first")
        if self._is_file(name):
            self.add(self.session_path(name), name)

    def _unlink(self, name: str) -> None:
        try:
            self.session_path(name).unlink(missing_ok=True)
        except OSError as error:
            raise SessionWriteError(
                f"the session {name!r} cannot be deleted: {error.strerror}"
            ) from error

    # -- async forms -------------------------------------------------------------------------

    async def acreate_session(self, session_id: str, system_prompt: str) -> Context:
        """:meth:`create_session` for asyncio; cancelled, it saves the whole session or none."""
        return await in_thread(lambda: self.create_session(session_id, system_prompt))

    async def aload_or_create(self, session_id: str, system_prompt: str) -> Context:
        """:meth:`load_or_create` for asyncio."""
        return await in_thread(lambda: self.load_or_create(session_id, system_prompt))

    async def aload(
        self, session_id: str, *, on_mismatch: Literal["error", "replay"] = "error"
    ) -> Context:
        """:meth:`load` for asyncio."""
        return await in_thread(lambda: self.load(session_id, on_mismatch=on_mismatch))

    async def asave(self, session_id: str, context: Context) -> StoredSession:
        """:meth:`save` for asyncio."""
        return await in_thread(lambda: self.save(session_id, context))

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
        """Whether a session is a file of its own, as those of earlier versions are."""
        return name not in self.store and self.session_path(name).is_file()

    def _existing(self, session_id: str) -> str:
        name = check_name(session_id)
        if name not in self:
            raise not_found(name, [*self])
        return name

    def __repr__(self) -> str:
        return f"SessionManager({self.model.name!r}, {len(self)} sessions)"
