"""Widgets that look into a chat: when asked, or once it has rested for a moment."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from ..history.chat import Chat
from ..history.events import (
    AdaptersChanged,
    Committed,
    Event,
    Moved,
    Progress,
    Pruned,
    Split,
    TokenAdded,
)
from .base import ChatWidget
from .publishing import run_in_turn
from .quiet import Quiet

__all__ = ["LookingWidget"]

_SECONDS_OF_QUIET = 0.6
_MOST_SECONDS = 10.0  # of a look that is repeated unasked
_MOVES = (AdaptersChanged, Committed, Moved, Pruned, Split)
_STEPS = (TokenAdded, Progress)  # of an answer


class LookingWidget(ChatWidget):
    """A widget that evaluates something of its chat to show it, but never while the chat answers.

    Where the chat has moved on, it looks again once nothing has happened for a moment, and a page
    shows the widget; no more after a look that took long, for which a question had to wait.

    Parameters
    ----------
    chat : Chat

    Attributes
    ----------
    follows : bool
        Whether it looks again by itself.
    n_switches : int
        How often other adapters were put on.
    failure : str
        Why there is nothing to show, after a look that failed.
    """

    def __init__(self, chat: Chat, **traits: Any) -> None:
        self.follows = True
        self.n_switches = 0
        self.failure = ""
        self._looked_at = ""  # what ``here`` said then
        self._is_answering = False
        self._quiet = Quiet(self._settle, _SECONDS_OF_QUIET)
        super().__init__(chat, **traits)

    @abstractmethod
    def here(self) -> str:
        """Return what there is to look at now, equal for equal things; empty for nothing."""

    @abstractmethod
    def look_here(self) -> dict[str, Any]:
        """Look; return what to tell the views. Called while no other thread changes the tree."""

    @abstractmethod
    def forget(self) -> dict[str, Any]:
        """Show nothing, as a look has failed; return what to tell the views."""

    def look_again(self) -> None:
        """Look, whether or not that is due.

        Raises
        ------
        MullamaError
            When there is nothing to be seen.
        """
        with self.tree.turn(), self.answering():
            self._looked_at = self.here()  # even if it fails: once is enough
            self.failure = ""
            began = time.monotonic()
            try:
                change = self.look_here()
            except BaseException as error:
                self.failure = str(error) or type(error).__name__
                change = self.forget()
                raise
            finally:
                if time.monotonic() - began > _MOST_SECONDS:
                    self.follows = False
                place = {"at": self._looked_at, "follows": self.follows}
                self.queue_change({**place, **change})

    def look_if_due(self) -> None:
        """Look if the chat has moved on and does not answer; an error is shown in the views."""
        here = self.here()
        if self._looked_at == here or self.tree.is_held:
            return
        if here:
            self._do("look", {})
            return
        self._looked_at = self.failure = ""
        self.queue_change({"at": "", **self.forget()})

    def do_look(self) -> None:
        """Look, as a view asks for it."""
        self.look_again()

    def place(self) -> dict[str, Any]:
        """Return where the chat is, and what was looked at last."""
        return {
            "here": self.here(),
            "at": self._looked_at,
            "follows": self.follows,
            "is_answering": self._is_answering,
        }

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return whether the chat answers now, or is elsewhere."""
        self.n_switches += sum(isinstance(event, AdaptersChanged) for event in events)
        change: dict[str, Any] = {}
        if any(isinstance(event, _MOVES) for event in events):
            change["here"] = self.here()
        steps = [isinstance(e, _STEPS) for e in events if isinstance(e, (*_STEPS, *_MOVES))]
        if steps and steps[-1] != self._is_answering:
            self._is_answering = change["is_answering"] = steps[-1]
        self._quiet.disturb()
        if change:
            yield change

    def listen(self, does: bool = True) -> None:
        """Observe the chat; look once a page shows the widget."""
        super().listen(does)
        if does:
            self._quiet.disturb()

    def _settle(self) -> None:
        """Do what is due, as nothing has happened for a moment."""
        if self.tree.is_held:  # the chat answers, and has not said a token for a while
            self._quiet.disturb()
            return
        if self._is_answering:  # it ended with an error
            self._is_answering = False
            self.queue_change({"is_answering": False})
        if self.follows and self.showing.pages and self._looked_at != self.here():
            run_in_turn(self._acts_on, self._look_quietly)

    def _look_quietly(self) -> None:
        if self.tree.is_held:
            self._quiet.disturb()
        else:
            self.look_if_due()

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
        self.look_if_due()  # so that readers without a kernel see something
        return super()._repr_mimebundle_(**options)
