"""Typing at a terminal: a history of lines, and Tab for commands and names of checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from platformdirs import user_state_path
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory

from ..state.atomic import make_private_folder

__all__ = ["line_editor"]


def line_editor(complete: Callable[[str], tuple[str, Iterable[str]]]) -> Callable[[], str]:
    """Return a function that reads one line from the terminal.

    Parameters
    ----------
    complete : callable
        Takes the text before the cursor; returns the part of it to complete, and the words that it
        may become.
    """
    folder = user_state_path("mullama_nb")
    make_private_folder(folder)
    os.close(os.open(folder / "history", os.O_CREAT | os.O_WRONLY, 0o600))
    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(folder / "history")), completer=_Completer(complete)
    )
    return lambda: session.prompt("> ")


class _Completer(Completer):
    def __init__(self, complete: Callable[[str], tuple[str, Iterable[str]]]) -> None:
        self._complete = complete

    def get_completions(self, document: Document, _complete_event: object) -> Iterable[Completion]:
        """Yield completions of the typed text."""
        typed, words = self._complete(document.text_before_cursor)
        for word in words:
            if word.startswith(typed):
                yield Completion(word, start_position=-len(typed))
