"""Widgets for chats, their trees and sessions in notebooks."""

from .cell_map import CellMap
from .chat_panel import ChatPanel
from .chat_view import ChatView
from .choice import Choice
from .explorer import Explorer
from .kv_plot import KVPlot
from .lens import Lens
from .likely import Likely
from .session_browser import SessionBrowser
from .timeline import Timeline
from .undo_redo import UndoRedo

__all__ = [
    "CellMap",
    "ChatPanel",
    "ChatView",
    "Choice",
    "Explorer",
    "KVPlot",
    "Lens",
    "Likely",
    "SessionBrowser",
    "Timeline",
    "UndoRedo",
]
