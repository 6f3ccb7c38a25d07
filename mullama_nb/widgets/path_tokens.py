"""The tokens of a conversation as views know them: their texts, and who said them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..history.events import Committed, Event, Moved, Pruned, Split, TokenAdded
from ..history.tree import CheckpointTree
from ..signs import signs
from .live_answer import head_after

__all__ = ["PathTokens"]

_MOVES = (Committed, Moved, Split, Pruned)


class PathTokens:
    """The tokens from the root to the head, and those of an answer that streams behind it.

    Parameters
    ----------
    tree : CheckpointTree

    Attributes
    ----------
    head : str
        The id of the head, as far as events have told.
    tokens : tuple of int
    n_live : int
        How many of them stream.
    pieces : list of str
        The text of each token, with signs for what would not be seen; a line break is ``↵``.
    sections : list of (int, str)
        Where each message begins, and its role.
    """

    def __init__(self, tree: CheckpointTree) -> None:
        self._tree = tree
        self.head = tree.head.id
        self.tokens: tuple[int, ...] = ()
        self.n_live = 0
        self.pieces: list[str] = []
        self.sections: list[tuple[int, str]] = []
        self._become(())

    def begin_anew(self) -> None:
        """Go to the head, and discard what was gathered of a streaming answer."""
        self.head = self._tree.head.id
        self._become(())

    def follow(self, events: Sequence[Event]) -> dict[str, Any]:
        """Follow events; return what changes for views.

        Returns
        -------
        dict
            ``keep`` says how many tokens stay, and ``pieces`` has the texts of those behind;
            ``sections`` are all, and ``live`` is how many stream. What stays is not there.
        """
        moves = [i for i, event in enumerate(events) if isinstance(event, _MOVES)]
        for event in events:
            self.head = head_after(event) or self.head
        if self.head not in self._tree:  # it was pruned, and where the head went comes later
            self.head = self._tree.head.id
        since = events[moves[-1] + 1 :] if moves else events
        added = (e.token for e in since if isinstance(e, TokenAdded) and e.branch is None)
        kept = () if moves or not self.n_live else self.tokens[-self.n_live :]
        return self._become((*kept, *added))

    def _become(self, live: tuple[int, ...]) -> dict[str, Any]:
        before, sections_before, n_before = self.tokens, self.sections, self.n_live
        path = self._tree.path(self.head)
        self.tokens = (*self._tree.tokens(self.head), *live)
        self.n_live = len(live)
        starts = [(each.start, each.metadata.role or "") for each in path if each.tokens]
        if live:
            starts.append((len(self.tokens) - len(live), "assistant"))
        self.sections = [
            start for n, start in enumerate(starts) if n == 0 or start[1] != starts[n - 1][1]
        ]
        change: dict[str, Any] = {}
        if self.tokens != before:
            keep, model = _common(before, self.tokens), self._tree.context.model
            texts = (model.detokenize([token], special=True) for token in self.tokens[keep:])
            new = [signs(text, spaces=False) or "∅" for text in texts]
            self.pieces = self.pieces[:keep] + new  # a new list: another thread may send this one
            change = {"keep": keep, "pieces": new}
        if self.sections != sections_before:
            change["sections"] = self.sections
        if self.n_live != n_before:
            change["live"] = self.n_live
        return change


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many tokens two paths begin with that are the same."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    return next(i for i, (one, other) in enumerate(zip(a, b, strict=False)) if one != other)
