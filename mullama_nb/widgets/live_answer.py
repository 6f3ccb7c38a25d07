"""An answer as it streams: its thought, its text and its calls, each of which grows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..history.events import TokenAdded
from ..history.shown import ShownMessage
from .markdown import Draft

__all__ = ["LiveAnswer"]


class LiveAnswer:
    """An answer as it streams.

    Parameters
    ----------
    said : ShownMessage, optional
        What there is of it already.
    n_thought : int
        Tokens of the thought in there.
    """

    def __init__(self, said: ShownMessage | None = None, n_thought: int = 0) -> None:
        self._thought, self._text, self._calls = Draft(), Draft(), ""
        self._n_thought = n_thought
        self._continues = said is not None
        self._called: list[list[str]] = []
        self._is_told = False
        if said is not None:
            self._thought.add(said.reasoning)
            self._text.add(said.text)
            self._called = [[call.name, call.arguments] for call in said.calls]

    def snapshot(self) -> dict[str, Any]:
        """Return all that there is of it: thought and text as HTML, calls as they are written."""
        return {
            "thought": self._thought.html,
            "n_thought": self._n_thought,
            "text": self._text.html,
            "calls": self._calls,
            "called": self._called,
            "continues": self._continues,
        }

    def add(self, tokens: Iterable[TokenAdded]) -> dict[str, Any]:
        """Add tokens; return what to tell views: ``whole`` at first, and then the additions.

        Parameters
        ----------
        tokens : iterable of TokenAdded
        """
        texts = {"reasoning": "", "text": "", "tool_call": ""}
        n_before = self._n_thought
        for token in tokens:
            texts[token.part] += token.text
            self._n_thought += token.part == "reasoning"
        change: dict[str, Any] = {}
        if texts["reasoning"]:
            change["thought"] = self._thought.add(texts["reasoning"])
        if texts["text"]:
            change["text"] = self._text.add(texts["text"])
        if texts["tool_call"]:
            self._calls += texts["tool_call"]
            change["calls"] = texts["tool_call"]
        if not self._is_told:
            self._is_told = True
            return {"whole": self.snapshot()}
        return change | ({"n_thought": self._n_thought} if self._n_thought != n_before else {})
