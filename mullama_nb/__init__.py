"""Git for a language model's memory, in a notebook."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.adapters.values import ControlVector, LoRA
    from .engine.completion import Completion, Token
    from .engine.context import Context, TokenProbability
    from .engine.inside.look import Look
    from .engine.kv import kv_bytes_per_token, predict_session_bytes
    from .engine.model import Model
    from .engine.params import ContextParams
    from .engine.sampling.params import SamplingParams
    from .errors import MullamaError, MullamaWarning, SessionError
    from .history.chat import Chat
    from .history.tree import Checkpoint, CheckpointTree
    from .history.turn import Turn
    from .sessions.manager import SessionManager
    from .state.session_info import SessionInfo, inspect_session
    from .tasks.pool import SpawnedPool

_PLACES = {
    "Chat": ".history.chat",
    "Checkpoint": ".history.tree",
    "CheckpointTree": ".history.tree",
    "Completion": ".engine.completion",
    "Context": ".engine.context",
    "ContextParams": ".engine.params",
    "ControlVector": ".engine.adapters.values",
    "LoRA": ".engine.adapters.values",
    "Look": ".engine.inside.look",
    "Model": ".engine.model",
    "MullamaError": ".errors",
    "MullamaWarning": ".errors",
    "SamplingParams": ".engine.sampling.params",
    "SessionError": ".errors",
    "SessionInfo": ".state.session_info",
    "SessionManager": ".sessions.manager",
    "SpawnedPool": ".tasks.pool",
    "Token": ".engine.completion",
    "TokenProbability": ".engine.context",
    "Turn": ".history.turn",
    "inspect_session": ".state.session_info",
    "kv_bytes_per_token": ".engine.kv",
    "predict_session_bytes": ".engine.kv",
}

__all__ = [
    "Chat",
    "Checkpoint",
    "CheckpointTree",
    "Completion",
    "Context",
    "ContextParams",
    "ControlVector",
    "LoRA",
    "Look",
    "Model",
    "MullamaError",
    "MullamaWarning",
    "SamplingParams",
    "SessionError",
    "SessionInfo",
    "SessionManager",
    "SpawnedPool",
    "Token",
    "TokenProbability",
    "Turn",
    "inspect_session",
    "kv_bytes_per_token",
    "predict_session_bytes",
]


_NAMED = ("Chat", "CheckpointTree", "Model", "SessionManager")  # what has names to complete


def __getattr__(name: str) -> Any:
    # Every run of pytest imports the package for its plugin, and most have no use for llama.cpp.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_PLACES[name], __name__), name)
    if name in _NAMED:
        _offer_names()
    return value


def _offer_names() -> None:
    """Let Tab complete names inside of strings, where IPython runs."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        from .completing import complete_names_in

        complete_names_in(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: object) -> None:
    """Register the magics with IPython: ``%load_ext mullama_nb``."""
    from .magics import load  # IPython takes a second, and is not needed elsewhere

    load(shell)
