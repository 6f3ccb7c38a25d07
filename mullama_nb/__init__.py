"""Git for a language model's memory, in a notebook."""

from .engine.context import Context, TokenProbability
from .engine.generation import Completion, Token
from .engine.model import Model
from .engine.params import ContextParams, SamplingParams
from .errors import MullamaError, MullamaWarning, SessionError
from .history.chat import Chat
from .history.checkpoint import Checkpoint
from .history.tree import CheckpointTree
from .history.turn import Turn
from .sessions.manager import SessionManager
from .state.session_info import SessionInfo, inspect_session

__all__ = [
    "Chat",
    "Checkpoint",
    "CheckpointTree",
    "Completion",
    "Context",
    "ContextParams",
    "Model",
    "MullamaError",
    "MullamaWarning",
    "SamplingParams",
    "SessionError",
    "SessionInfo",
    "SessionManager",
    "Token",
    "TokenProbability",
    "Turn",
    "inspect_session",
]


def load_ipython_extension(shell: object) -> None:
    """Give IPython the magics: ``%load_ext mullama_nb``."""
    from .magics import load  # IPython takes a second, and is not needed elsewhere

    load(shell)
