"""A browser of saved sessions: whether each can be loaded here; load, save and delete."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..engine.compatibility import settings
from ..engine.context import Context
from ..engine.differences import differences
from ..errors import ParameterError, SessionError
from ..history.chat import Chat
from ..sessions.manager import SessionManager
from ..sessions.store import SessionStore
from ..size import size
from ..state.session_info import SessionInfo
from ..tables import html_table
from .base import ActingWidget
from .esm import front_end
from .variables import offer_as_variable

__all__ = ["SessionBrowser"]

_OF_WEIGHTS = ("fingerprint", "architecture")
_NO_MODEL = "There is no model to load it with: pass a chat, or a SessionManager"


class SessionBrowser(ActingWidget):
    """The sessions and chats of a folder.

    Parameters
    ----------
    sessions : SessionManager, str or path, optional
        A manager, or only a folder: its sessions are loaded with the chat's model and context
        parameters. Without a chat, a chat is loaded with the model that it was saved with, and
        other sessions can be viewed and deleted. None: the user's data folder.
    chat : Chat, optional
        The chat that Save saves, with its whole tree.

    Attributes
    ----------
    loaded : Chat, Context or None
        The result of the last Load: a chat for a chat, a context for a session. In a notebook it is
        a variable, too, named after the session; the browser says how.
    """

    _esm, _css = front_end("session_browser")

    def __init__(
        self,
        sessions: SessionManager | str | os.PathLike[str] | None = None,
        chat: Chat | None = None,
    ) -> None:
        if not isinstance(sessions, SessionManager | str | os.PathLike | None):
            raise ParameterError(
                f"SessionBrowser shows a SessionManager or a folder, not a "
                f"{type(sessions).__name__}"
            )
        if not isinstance(chat, Chat | None):
            raise ParameterError(f"chat must be a Chat, not a {type(chat).__name__}")
        if not isinstance(sessions, SessionManager) and chat is not None:
            sessions = SessionManager(chat.model, sessions, chat.context.params)
        self.chat = chat
        self.loaded: Chat | Context | None = None
        self._sessions: SessionManager | SessionStore
        self._news = ""
        self._manager: SessionManager | None = None
        if isinstance(sessions, SessionManager):
            self._manager = self._sessions = sessions
        else:
            self._sessions = SessionStore(sessions)
        super().__init__(self if chat is None else chat.tree)

    # -- look --------------------------------------------------------------------------------

    def take_snapshot(self) -> dict[str, Any]:
        """Return the sessions with their details, and the possible actions."""
        return {
            "rows": self._rows(),
            "can_save": self.chat is not None,
            "said": self._news,
        }

    def draw_html(self) -> str:
        """Return the sessions as a table, without their ages, which change by themselves."""
        heads = ("name", "kind", "model", "tokens", "size", "loads here")
        rows = [
            (
                row["name"],
                row["kind"],
                row["model"],
                f"{row['tokens']:,}",
                size(row["bytes"]),
                row["why"] or "yes",
            )
            for row in self._rows()
        ]
        return html_table(rows, heads) if rows else "<p>Nothing is saved here.</p>"

    def _rows(self) -> list[dict[str, Any]]:
        if isinstance(self._sessions, SessionStore):
            return [self._row(info) for info in self._sessions.entries()]
        known = {info.name: info for info in self._sessions.list()}
        return [
            self._row(known[name]) if name in known else self._broken_row(self._sessions, name)
            for name in self._sessions
        ]

    def _row(self, info: SessionInfo) -> dict[str, Any]:
        return {
            "name": info.name,
            "kind": getattr(info, "kind", "session"),
            "model": info.model or "unknown model",
            "type": info.kv_cache_type or "",
            "tokens": info.n_tokens,
            "bytes": info.n_bytes,
            "created": info.created.isoformat() if info.created else None,
            "why": self._why_not(info),
        }

    def _broken_row(self, manager: SessionManager, name: str) -> dict[str, Any]:
        why = "it cannot be read"
        try:
            manager.info(name)
        except SessionError as error:
            why = str(error)
        row = {"name": name, "kind": "session", "model": "unknown model", "type": ""}
        return row | {"tokens": 0, "bytes": 0, "created": None, "why": why}

    def _why_not(self, info: SessionInfo) -> str:
        """Why a session cannot be loaded here; empty when nothing is known against it."""
        if self._manager is None:
            return "" if _is_chat(info) else _NO_MODEL
        if not info.is_verified:  # llama.cpp wrote it and does not say what with
            return ""
        model, params = self._manager.model, self._manager.params
        n_ctx = params.n_ctx or model.n_ctx_train
        saved, here = info.settings, settings(model, params, n_ctx)
        if _is_chat(info):  # it brings its own context along, but not its weights
            saved, here = _of_weights(saved), _of_weights(here)
        reasons = differences(saved, here)
        if info.n_tokens > n_ctx and not _is_chat(info):
            reasons.append(f"the tokens: {info.n_tokens:,} saved, room for {n_ctx:,} here")
        return f"It differs in {'; '.join(reasons)}" if reasons else ""

    @property
    def _folder(self) -> os.PathLike[str]:
        manager = self._manager
        return self._sessions.folder if manager is None else manager.session_dir  # type: ignore[union-attr]

    # -- do ----------------------------------------------------------------------------------

    def handle(self, action: str, arguments: dict[str, Any]) -> None:
        """Run an action of a view, then refresh, even after an error."""
        self._news = ""
        try:
            super().handle(action, arguments)
        finally:
            self.refresh()

    def do_refresh(self) -> None:
        """Refresh the list."""

    def do_save(self, name: str, replace: bool = False) -> None:
        """Save the chat under a name."""
        name = name.strip()
        if self.chat is None or self._manager is None:
            raise ParameterError("there is no chat to save: SessionBrowser(sessions, chat)")
        if name in self._manager and not replace:
            raise SessionError(f"{name!r} is saved already; replace it, or use another name")
        self.chat.save(name, self._manager.session_dir, replace=replace)
        self._news = f"Saved {name}"

    def do_load(self, name: str) -> None:
        """Load a session or chat by name into the attribute ``loaded``."""
        manager = self._manager
        if _is_chat(self._sessions.info(name)):
            model = None if manager is None else manager.model  # None: the one it was saved with
            self.loaded = Chat.open(name, model, self._folder)
        elif manager is None:
            raise ParameterError(_NO_MODEL)
        else:
            self.loaded = manager.load(name)
        variable = offer_as_variable(name, self.loaded)
        place = "it is the attribute .loaded of this browser"
        if variable is not None:
            place = f"it is the variable {variable}, and .loaded of this browser"
        self._news = f"Loaded {name}; {place}"

    def do_delete(self, name: str) -> None:
        """Delete a session or chat by name."""
        self._sessions.delete(name)
        self._news = f"Deleted {name}"

    def __repr__(self) -> str:
        n = len(self._rows())
        return f"SessionBrowser({n} saved)"


def _is_chat(info: SessionInfo) -> bool:
    return getattr(info, "kind", "session") == "chat"


def _of_weights(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in _OF_WEIGHTS}
