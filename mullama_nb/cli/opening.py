"""Saved sessions on the command line: the model that one is of, and a chat on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.files.locate import known_by_file
from ..engine.model import Model
from ..engine.params import ContextParams
from ..engine.stored import params_from_file
from ..errors import ParameterError, SessionFormatError, shown
from ..history.chat import Chat
from ..sessions.manager import SessionManager
from ..sessions.store import SessionStore
from .models import load_model, own_template

__all__ = ["loaded_model", "opened", "parameters"]


def opened(store: SessionStore, name: str, model: str | None) -> Chat:
    """Return the chat on a saved session, whether that was one or a context's."""
    info = store.info(name)
    loaded = loaded_model(info.model, model)
    if info.kind == "chat":
        return Chat.open(name, model=loaded, folder=store.folder)
    manager = SessionManager(loaded, store.folder, parameters(info.settings, info.n_ctx))
    context = manager.load(name)
    return Chat(context, chat_template=own_template(loaded))


def parameters(settings: Mapping[str, Any], n_ctx: int | None) -> ContextParams:
    """Return the parameters of a context that fits a session."""
    if not settings:
        return ContextParams(n_ctx=n_ctx)
    rope = settings.get("rope")
    if not isinstance(rope, Mapping):
        raise SessionFormatError(f"the session's rope settings are {shown(rope)}, not a mapping")
    return params_from_file(
        {
            "n_ctx": n_ctx,
            "kv_cache_type": (settings.get("type_k"), settings.get("type_v")),
            "flash_attention": settings.get("flash_attention"),
            "rope_scaling": rope.get("scaling"),
            "rope_freq_base": rope.get("freq_base"),
            "rope_freq_scale": rope.get("freq_scale"),
            "yarn_orig_ctx": rope.get("yarn_orig_ctx"),
        }
    )


def loaded_model(saved_as: str | None, given: str | None) -> Model:
    """Load the named model, or the local one whose file has the name in the session."""
    if given is not None:
        return load_model(given)
    name = known_by_file(saved_as or "")
    if name is not None:
        return load_model(name)
    raise ParameterError(f"the session's model, {saved_as!r}, is not known here: give --model")
