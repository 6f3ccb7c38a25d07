"""Named sessions, whose common prefixes are stored once."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..engine.adapters.values import Adapter, checked_adapters
from ..engine.context import Context
from ..engine.live import Live
from ..engine.model import Model
from ..engine.params import ContextParams
from ..engine.prompt import plan_prompt
from ..engine.threads.awaiting import in_thread
from ..engine.warn import warn
from ..errors import (
    InexactWarning,
    MullamaWarning,
    ParameterError,
    SessionError,
    SessionFormatError,
    SessionMismatchError,
)
from ..state.session_info import SessionInfo
from .folder import SessionFolder
from .listing import StoredSession
from .names import check_name
from .records import Record
from .states import check_prompt, replay_session, resume_session, reuse, segments_of
from .versions import Place, Written

__all__ = ["SessionManager"]

_ENDING = ".session"
_N_CTX = 4096
# What each context was loaded from or saved as, by folder and name.
_known: weakref.WeakKeyDictionary[Context, dict[tuple[str, str], Place]] = (
    weakref.WeakKeyDictionary()
)


def _places(context: Context) -> dict[tuple[str, str], Place]:
    return _known.setdefault(context, {})


class SessionManager(SessionFolder, Live):
    """A folder of named sessions, opened with one model.

    Rows common to several sessions are stored once, and not evaluated again for a new one. A
    session always gets its own rows back, to the bit. Any number of processes may use a folder.

    Parameters
    ----------
    model : Model
    session_dir : str or path, optional
        Created if missing, for its owner only. None: in the user's data folder, where chats are
        saved.
    params : ContextParams, optional
        Of the contexts that the manager makes. None: 4,096 tokens, or the model's training context
        if that is smaller.
    adapters : sequence of LoRA and ControlVector
        On in sessions that are created here, and at hand for those that are loaded.

    Notes
    -----
    Files in the folder with the suffix ``.session`` are sessions, too, unless the catalog has their
    name.
    """

    _instead_of_a_copy = (
        "make one on the same folder: SessionManager(model, session_dir). Where work is given to "
        "an executor=, as in chat.explore, what a prefix needs is sent with it"
    )

    def __init__(
        self,
        model: Model,
        session_dir: str | os.PathLike[str] | None = "./sessions",
        params: ContextParams | None = None,
        *,
        adapters: Sequence[Adapter] = (),
    ) -> None:
        if not isinstance(model, Model):
            raise ParameterError(f"SessionManager takes a Model, not {type(model).__name__}")
        self.adapters = checked_adapters(adapters)
        self.model = model
        self.params = params or ContextParams(n_ctx=min(_N_CTX, model.n_ctx_train))
        super().__init__(session_dir)

    # -- make, load, save --------------------------------------------------------------------

    def create_session(self, session_id: str, system_prompt: str) -> Context:
        """Evaluate a system prompt in a new context and save it.

        The longest prefix already stored, under any name, is not evaluated again.

        Parameters
        ----------
        session_id : str
            A session of that name is replaced, and becomes an earlier version; see :meth:`save`.
        system_prompt : str
        """
        check_name(session_id)
        context = Context(self.model, self.params, adapters=self.adapters)
        try:
            plan = plan_prompt(self.model, (), system_prompt, None, special=True)
            reused = reuse(context, self.store, plan.tokens) if plan.tokens else 0
            context.evaluate(plan.tokens[reused:])
            self.save(session_id, context)
        except BaseException:
            context.close()
            raise
        return context

    def load_or_create(
        self,
        session_id: str,
        system_prompt: str,
        *,
        on_other_prompt: Literal["error", "load", "replace"] = "error",
    ) -> Context:
        """Load the session of a name, or create it from a system prompt; return its context.

        An existing session that cannot be loaded raises an error; it is not replaced.

        Parameters
        ----------
        session_id : str
        system_prompt : str
        on_other_prompt : {"error", "load", "replace"}
            What to do with a session that does not begin with this prompt: raise, load it as it is,
            or replace it and keep it as an earlier version.

        Raises
        ------
        SessionMismatchError
            When the session begins with another prompt.
        """
        if on_other_prompt not in ("error", "load", "replace"):
            raise ParameterError(
                f'on_other_prompt={on_other_prompt!r} must be "error", "load" or "replace"'
            )
        check_name(session_id)
        if session_id not in self:
            return self.create_session(session_id, system_prompt)
        context = self.load(session_id)
        try:
            if on_other_prompt != "load":
                check_prompt(context, system_prompt, session_id)
        except SessionMismatchError:
            context.close()
            if on_other_prompt == "error":
                raise
            return self.create_session(session_id, system_prompt)
        except BaseException:
            context.close()
            raise
        return context

    def load(
        self, session_id: str, *, on_mismatch: Literal["error", "replay"] = "error"
    ) -> Context:
        """Return a new context with the state of a session.

        Parameters
        ----------
        session_id : str
        on_mismatch : {"error", "replay"}
            What to do with a session of another model or other settings, or with damaged rows:
            raise, or evaluate again its tokens or, with another model, its text.

        Raises
        ------
        SessionNotFoundError
            When there is no such session; the message lists similar names.
        SessionError
            When the session is damaged or does not fit.

        Warns
        -----
        InexactWarning
            When the session was evaluated again.
        """
        if on_mismatch not in ("error", "replay"):
            raise ParameterError(f'on_mismatch={on_mismatch!r} must be "error" or "replay"')
        name = self._existing(session_id)
        context = Context(self.model, self.params)
        try:
            context.known_adapters.offer(self.adapters)
            if self._is_file(name):
                context.load_session(self.session_path(name))
            elif on_mismatch == "error":
                _places(context)[self._key(name)] = resume_session(context, self.store, name)
            else:
                try:
                    _places(context)[self._key(name)] = resume_session(context, self.store, name)
                except (SessionMismatchError, SessionFormatError) as error:
                    replay_session(context, self.store, name)
                    warn(
                        f"{name!r} was evaluated again in this context, "
                        f"{context.token_count():,} tokens: {error}",
                        InexactWarning,
                    )
        except BaseException:
            context.close()
            raise
        return context

    def save(self, session_id: str, context: Context, *, replace: bool = False) -> StoredSession:
        """Save a context under a name; a session of that name is replaced.

        The session that the context was loaded from, or saved as, is updated. Any other session of
        that name stays as an earlier version until :meth:`gc`, for :meth:`restore`.

        Parameters
        ----------
        session_id : str
        context : Context
        replace : bool
            Whether to replace even a chat of that name; it becomes an earlier version.

        Raises
        ------
        SessionConflictError
            When the name holds a chat, or a chat is saved there after every turn.

        Warns
        -----
        MullamaWarning
            When the session was saved elsewhere since this context was loaded or saved.
        """
        name = check_name(session_id)
        segments = {s.address: s for s in segments_of(context, self.store)}
        tokens = [token for segment in segments.values() for token in segment.tokens]
        written = Written(
            Record("session", context.session_metadata, len(tokens), [*segments]),
            {"tokens": tokens, "text": context.model.detokenize(tokens, special=True)},
        )
        known = _places(context)
        before = known.get(self._key(name))
        origins = {} if before is None else {before.version: before}
        place = self.store.save(
            name, "session", lambda _: written, segments.get, origins=origins, replace=replace
        )
        known[self._key(name)] = place
        info = self.store.info(name)
        if before is not None and before.version != place.version and info.version > 1:
            warn(
                f"{name!r} was saved by somebody else since it was loaded here; what that was is "
                f"version {info.version - 1} now, which restore() brings back",
                MullamaWarning,
            )
        if self.session_path(name).is_file():
            self._unlink(name)  # it is in the store now
        return info

    def _key(self, name: str) -> tuple[str, str]:
        return str(self.session_dir.absolute()), name

    def add(self, path: str | os.PathLike[str], name: str | None = None) -> StoredSession:
        """Add a session file to the store.

        Parameters
        ----------
        path : str or path
            Written by ``Context.save_session`` or llama.cpp; it is kept.
        name : str, optional
            None: the file's name without suffix.
        """
        path = Path(path).expanduser()
        name = check_name(path.stem if name is None else name)
        with Context(self.model, self.params) as context:
            context.load_session(path, adapters=self.adapters)
            return self.save(name, context)

    def export(
        self,
        session_id: str,
        path: str | os.PathLike[str] | None = None,
        *,
        window_only: bool = False,
    ) -> SessionInfo:
        """Write a session to a single file, which llama.cpp can load, too.

        Parameters
        ----------
        session_id : str
        path : str or path, optional
            None: the name with the suffix ``.session`` in the current folder.
        window_only : bool
            As for ``Context.save_session``.
        """
        name = self._existing(session_id)
        path = f"{name}{_ENDING}" if path is None else path
        with self.load(name) as context:
            return context.save_session(path, window_only=window_only)

    # -- change ------------------------------------------------------------------------------

    def rename(self, session_id: str, new_name: str) -> None:
        """Rename a session; the new name must be free."""
        self._move_into_store(session_id, new_name)
        self.store.rename(session_id, new_name)

    def copy(self, session_id: str, new_name: str) -> None:
        """Copy a session to a second name; no rows are copied."""
        self._move_into_store(session_id, new_name)
        self.store.copy(session_id, new_name)

    def _move_into_store(self, session_id: str, new_name: str) -> None:
        name = self._existing(session_id)
        if new_name in self:
            raise SessionError(f"there is a session {new_name!r} already; delete it first")
        if self._is_file(name):
            self.add(self.session_path(name), name)

    # -- async forms -------------------------------------------------------------------------

    async def acreate_session(self, session_id: str, system_prompt: str) -> Context:
        """:meth:`create_session` for asyncio; a cancelled call saves the whole session or none."""
        return await in_thread(lambda: self.create_session(session_id, system_prompt))

    async def aload_or_create(
        self,
        session_id: str,
        system_prompt: str,
        *,
        on_other_prompt: Literal["error", "load", "replace"] = "error",
    ) -> Context:
        """:meth:`load_or_create` for asyncio."""
        return await in_thread(
            lambda: self.load_or_create(session_id, system_prompt, on_other_prompt=on_other_prompt)
        )

    async def aload(
        self, session_id: str, *, on_mismatch: Literal["error", "replay"] = "error"
    ) -> Context:
        """:meth:`load` for asyncio."""
        return await in_thread(lambda: self.load(session_id, on_mismatch=on_mismatch))

    async def asave(
        self, session_id: str, context: Context, *, replace: bool = False
    ) -> StoredSession:
        """:meth:`save` for asyncio."""
        return await in_thread(lambda: self.save(session_id, context, replace=replace))

    def __repr__(self) -> str:
        return f"SessionManager({self.model.name!r}, {len(self)} sessions)"
