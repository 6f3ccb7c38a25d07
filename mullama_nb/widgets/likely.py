"""The likely continuations of a chat, as a tree to go on in."""

from __future__ import annotations

import html
from dataclasses import asdict
from typing import Any

from ..engine.continuations import Reach
from ..errors import HistoryError
from ..history.chat import Chat
from ..history.likely import Likely as Found
from ..history.message import token_place
from ..history.tree import Checkpoint
from ..history.turn import Turn
from ..signs import signs
from .actions import stops_first
from .esm import front_end
from .likely_tree import Layout, draw, in_words, lay_out
from .looking import LookingWidget
from .pictures import picture_or_words

__all__ = ["Likely"]

_MOST_TOKENS, _MOST_CHARACTERS = 40, 120  # of the text in front
_NOTHING = Layout((), (), 0)


class Likely(LookingWidget):
    """The tree of likely continuations, of which each can be gone on from.

    It follows the chat's head: once that has rested for a moment, and while the chat does not
    answer, the tree is worked out anew if a page shows it. Going on from a token commits the
    tokens up to it as an unfinished answer, which ``chat.resume`` continues.

    Parameters
    ----------
    chat : Chat
    depth : int
        Tokens of the longest branch, 1 to 64.
    min_p : float
        The least probability of a token after those before it.
    width : int
        The most continuations of one token.
    at : Checkpoint, str or Turn, optional
        Stay there, until one has gone on from it. None: the head.
    token : int, optional
        Index of a token in the message there: the tree has what could stand in its place.

    Attributes
    ----------
    found : mullama_nb.history.likely.Likely or None
        The tree that is shown.

    Raises
    ------
    ParameterError
        When a value is out of range.
    """

    _esm, _css = front_end("likely")

    def __init__(
        self,
        chat: Chat,
        *,
        depth: int = 4,
        min_p: float = 0.05,
        width: int = 6,
        at: Checkpoint | Turn | str | None = None,
        token: int | None = None,
    ) -> None:
        self.found: Found | None = None
        self._reach = Reach(depth, min_p, width)
        self._pinned = None if at is None and token is None else (at, token)
        self._layout, self._before, self._key = _NOTHING, "", 0
        super().__init__(chat)

    def here(self) -> str:
        """Return where the chat is, and with which adapters; or that it stays where it is."""
        if self._pinned is not None:
            return "there"
        head = self.tree.head
        return "" if head.is_root else f"{head.id} {self.n_switches}"

    def look(self) -> Found:
        """Work out the tree and show it; return its value."""
        self.look_again()
        assert self.found is not None
        return self.found

    def look_here(self) -> dict[str, Any]:
        """Work out the tree."""
        at, token = self._pinned or (None, None)
        depth, min_p, width = self._reach.depth, self._reach.min_p, self._reach.width
        found = self.chat.likely(depth, min_p=min_p, width=width, at=at, token=token)
        return self._show(found)

    def forget(self) -> dict[str, Any]:
        """Show no tree."""
        return self._show(None)

    def take_snapshot(self) -> dict[str, Any]:
        """Return the tree with its places, and what the chat does."""
        return {**self.place(), **self._tree()}

    def do_reach(self, depth: int, min_p: float | int, width: int) -> None:
        """Work the tree out as far as asked."""
        self._reach = Reach(depth, min_p, width)
        self.look_again()

    def do_live(self, on: bool) -> None:
        """Follow the chat, or stay until asked."""
        self.follows = on
        self.queue_change({"follows": on})
        if on:
            self.look_if_due()

    @stops_first
    def do_follow(self, key: int, token: int) -> None:
        """Go on from a token of the tree with that key."""
        found, grown = self.found, self._layout.grown
        if found is None or key != self._key or not 0 <= token < len(grown):
            raise HistoryError("That tree is shown no longer; look again.")
        with self.tree.turn():
            found.follow(grown[token].path)
            self._pinned = None
            self.queue_change({"here": self.here()})
            self.look_again()

    def draw_html(self) -> str:
        """Return the tree as SVG, and as a table, below the end of the text in front of it."""
        if self.found is None:
            said = self.failure or "Nothing has been said yet."
            return f"<p>{html.escape(said)}</p>"
        if not self._layout.grown:
            return f"<p>No token has a probability of {100 * self._reach.min_p:g} % or more.</p>"
        drawn = picture_or_words(draw(self._layout), in_words(self._layout))
        return f"<p><code>{html.escape(self._before)}</code></p>{drawn}"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**options)
        if self._layout.grown:
            bundle["image/svg+xml"] = draw(self._layout)
        return bundle, metadata

    def _show(self, found: Found | None) -> dict[str, Any]:
        self.found = found
        self._layout = _NOTHING if found is None else lay_out(found.roots)
        self._before = "" if found is None else _text_before(found)
        self._key += 1
        return self._tree()

    def _tree(self) -> dict[str, Any]:
        found, layout = self.found, self._layout
        return {
            "key": self._key,
            "is_there": found is not None,
            "before": self._before,
            **asdict(self._reach),
            "evaluated": 0 if found is None else found.n_evaluated,
            "omitted": layout.n_omitted,
            "columns": list(layout.columns),
            "tokens": [
                [
                    each.parent,
                    each.row,
                    each.text,
                    round(each.continuation.probability, 6),
                    round(each.continuation.joint, 9),
                    int(each.continuation.is_end),
                ]
                for each in layout.grown
            ],
        }

    def __repr__(self) -> str:
        n = len(self._layout.grown)
        return f"Likely({n} token{'s' * (n != 1)})"


def _text_before(found: Found) -> str:
    """The end of the text in front of a tree, with signs."""
    checkpoint, model = found.checkpoint, found.chat.model
    if found.token is None:
        stop = checkpoint.stop
    else:
        part, index = token_place(checkpoint, found.token)
        stop = part.start + index
    tokens = checkpoint.tree.tokens(checkpoint)[max(0, stop - _MOST_TOKENS) : stop]
    text = signs(model.detokenize(tokens, special=True), spaces=False)
    return f"…{text[-_MOST_CHARACTERS:]}"
