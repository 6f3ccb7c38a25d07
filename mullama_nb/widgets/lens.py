"""Where a token looked, and what each layer would have said after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..cached import cached
from ..engine.inside.guess_table import Guesses, settles_at
from ..engine.inside.look import Look
from ..errors import ContextError, MullamaError, ParameterError
from ..history.chat import Chat
from ..history.events import Event
from ..history.tree import CheckpointTree
from ..plots.weights import Weights, attention_weights
from ..signs import signs
from .base import TreeWidget
from .esm import front_end
from .lens_html import draw_lens
from .path_tokens import PathTokens

__all__ = ["Lens"]

_GUESSES = 5


class _Turns:
    """What jobs wait for each other on."""


@dataclass(frozen=True)
class _Seen:
    """A look, what each layer would have said or why that is not known, and where it was taken."""

    look: Look
    guesses: Guesses
    fault: str
    at: tuple[str, int]  # the head, and the token that was asked

    @classmethod
    def take(cls, tree: CheckpointTree, head: str, token: int) -> _Seen:
        """Look; the tree has to be at that head."""
        look = tree.context.look(token)
        try:
            return cls(look, look.guesses(_GUESSES), "", (head, token))
        except ContextError as error:
            return cls(look, (), str(error), (head, token))


class Lens(TreeWidget):
    """A conversation's tokens, shaded by where one of them looked, and the guesses of each layer.

    It shows the last token, and follows the chat. A click or the arrow keys choose another token.
    The model looks only for a page that shows the widget, and not while the chat answers.

    Parameters
    ----------
    source : Chat or CheckpointTree

    Attributes
    ----------
    look : Look or None
        What is shown, for its numbers. None before the first look.
    """

    _esm, _css = front_end("lens")

    def __init__(self, source: Chat | CheckpointTree) -> None:
        self._last: _Seen | None = None
        self._asked: int | None = None  # None: the last token
        self._wish = 1  # counts what there was to look at
        self._layer: int | None = None  # None: the mean of all
        self._head: int | None = None
        self._leaves_out_sinks = True
        super().__init__(source)
        # Apart from the actions on the tree, as an answer is one, and looks apart from the others.
        self._acts_on, self._looks_on = _Turns(), _Turns()

    @property
    def look(self) -> Look | None:
        """What was seen last."""
        return None if self._last is None else self._last.look

    @cached
    def _shown(self) -> PathTokens:
        return PathTokens(self.tree)

    def queue_of(self, action: str) -> object:
        """Have looks wait for the chat, and other actions for no look."""
        return self._looks_on if action == "look" else self._acts_on

    def begin_anew(self) -> None:
        """Show the head, and a streaming answer from here on."""
        self._shown.begin_anew()
        self._want(None)

    def take_snapshot(self) -> dict[str, Any]:
        """Return the tokens, what is chosen, and what was seen."""
        return {
            "pieces": self._shown.pieces,
            "sections": self._shown.sections,
            "live": self._shown.n_live,
            **self._news(),
        }

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return new tokens, and whether there is something else to look at."""
        head, seen = self._shown.head, self._seen_on(self._shown.tokens)
        change = self._shown.follow(events)
        if self._shown.head != head:
            self._want(None)
            change |= self._wanted()
            if self._seen_on(self._shown.tokens) is not seen:
                change |= self._news()
        if change:
            yield change

    # -- actions ---------------------------------------------------------------------------

    def do_look(self) -> None:
        """Look from the chosen token, once the chat has answered."""
        with self.tree.turn():
            head = self.tree.head
            at = self._position(head.stop)
            if at is not None and not self._was_at(head.id, at):
                self._last = _Seen.take(self.tree, head.id, at)
        self.queue_change(Lens._news)

    def do_choose(self, token: int | None = None) -> None:
        """Choose a token by its position, or the last one."""
        if token is not None and not 0 <= token < self._n_said:
            raise ParameterError(f"there is no token {token} in this conversation")
        self._want(token)
        self.queue_change(Lens._wanted)

    def do_pick(self, layer: int | None = None, head: int | None = None) -> None:
        """Show one layer or head, or the mean of all."""
        if self.look is None:
            raise ParameterError("nothing was looked at yet, so there is no layer to pick")
        attention_weights(self.look, layer, head)  # as a check
        self._layer, self._head = layer, head
        self.queue_change(Lens._weights)

    def do_sinks(self, leave_out: bool) -> None:
        """Leave sinks out, or show them."""
        self._leaves_out_sinks = leave_out
        self.queue_change(Lens._weights)

    # -- state -----------------------------------------------------------------------------

    def _want(self, token: int | None) -> None:
        self._asked = token
        self._wish += 1

    def _position(self, n_tokens: int) -> int | None:
        """The chosen token of a path; None where there is none."""
        last = n_tokens - 1
        return None if last < 0 else last if self._asked is None else min(self._asked, last)

    @property
    def _n_said(self) -> int:
        return len(self._shown.tokens) - self._shown.n_live

    def _seen_on(self, tokens: tuple[int, ...]) -> _Seen | None:
        """What was seen, if it is of this path."""
        last = self._last
        return last if last and tokens[: last.look.position + 1] == last.look.tokens else None

    def _was_at(self, head: str, token: int) -> bool:
        return self._last is not None and self._last.at == (head, token)

    def _wanted(self) -> dict[str, Any]:
        """The chosen token, and a number for what there is to look at; 0 if it was seen."""
        at = self._position(self._n_said)
        is_seen = at is None or self._was_at(self._shown.head, at)
        return {"chosen": at, "stale": 0 if is_seen else self._wish}

    def _news(self) -> dict[str, Any]:
        """What is chosen, and what was seen."""
        return {**self._wanted(), **self._looked(), **self._weights()}

    def _looked(self) -> dict[str, Any]:
        """What was seen, as far as that is the same for all layers and heads."""
        seen = self._seen_on(self._shown.tokens)
        if seen is None:
            return {"look": None}
        look, guesses = seen.look, seen.guesses
        return {
            "look": {
                "position": look.position,
                "layers": list(look.attention_layers),
                "n_heads": look.attention.shape[1],
                "guesses": [[[g.id, signs(g.text), g.probability] for g in row] for row in guesses],
                "settles": settles_at(guesses) if guesses else 0,
                "fault": seen.fault,
            }
        }

    def _weights(self) -> dict[str, Any]:
        """What is picked, and the attention that it gives."""
        picked = {
            "layer": self._layer,
            "head": self._head,
            "without_sinks": self._leaves_out_sinks,
        }
        weights = self._mean(self._seen_on(self._shown.tokens))
        if weights is None:
            return {"picked": picked, "weights": None}
        return {
            "picked": picked,
            "weights": {
                "shares": weights.shares.astype("<f4").tobytes(),
                "left_out": list(weights.left_out),
                "left_out_share": weights.left_out_share,
            },
        }

    def _mean(self, seen: _Seen | None) -> Weights | None:
        if seen is None or not (look := seen.look).attention_layers:
            return None
        return attention_weights(
            look, self._layer, self._head, leave_out_sinks=self._leaves_out_sinks
        )

    # -- without a page --------------------------------------------------------------------

    def draw_html(self) -> str:
        """Return the shaded tokens and a table of guesses; looks first, unless the chat answers."""
        fault = ""
        if not self.tree.is_held:
            try:
                self.do_look()
            except MullamaError as error:
                fault = str(error)
        now = PathTokens(self.tree)  # events may be on their way
        seen = self._seen_on(now.tokens)
        if seen is None:
            return draw_lens(now.pieces, None, None, (), fault)
        return draw_lens(now.pieces, seen.look, self._mean(seen), seen.guesses, fault or seen.fault)
