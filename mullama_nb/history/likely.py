"""What a model could have said: a tree of likely continuations, and going on with one of them."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..checks import check_list, is_integer
from ..engine.continuations import Continuation
from ..engine.live import Live
from ..errors import ParameterError, shown
from ..signs import signs
from ..tables import RIGHT, html_table
from .tree import Checkpoint

if TYPE_CHECKING:
    from .chat import Chat
    from .turn import Turn

__all__ = ["Continuation", "Likely"]

_SMALL = 0.001  # smaller probabilities are not told apart
_IN_LINES = "text-align:left;white-space:pre;font-family:monospace"


@dataclass(frozen=True, repr=False, eq=False)  # no slots: what has them keeps cells from resting
class Likely(Live):
    """The likely continuations at one place of a chat; ``Chat.likely`` returns it.

    Nothing of it is in the tree of checkpoints until :meth:`follow` goes on with some of it.

    Attributes
    ----------
    chat : Chat
    checkpoint : Checkpoint
        Where they begin, or where the message ends inside which they do.
    token : int or None
        Index of the token of that message in whose place they begin; None: behind all of it.
    roots : tuple of Continuation
        The likeliest next tokens, best first, each with what may follow it.
    n_evaluated : int
        Tokens that were evaluated to find them.
    """

    _instead_of_a_copy = "its continuations are values: likely.roots"

    chat: Chat
    checkpoint: Checkpoint
    token: int | None
    roots: tuple[Continuation, ...]
    n_evaluated: int

    @property
    def branches(self) -> list[tuple[Continuation, ...]]:
        """The ways from a root to where the tree ends, the likeliest first."""
        ways = [way for way in self._ways() if not way[-1].children]
        return sorted(ways, key=lambda way: -way[-1].joint)

    def text(self, way: Sequence[Continuation]) -> str:
        """Return the text of continuations that follow each other, with control tokens."""
        tokens = [continuation.token for continuation in way]
        return self.chat.model.detokenize(tokens, special=True)

    def way(
        self, to: Continuation | Sequence[int] | Sequence[Continuation]
    ) -> tuple[Continuation, ...]:
        """Return the continuations from a root to one of them.

        Parameters
        ----------
        to : Continuation or sequence
            One of this tree; or the way itself, as tokens or continuations from a root on.

        Raises
        ------
        ParameterError
            When it is not in this tree.
        """
        if isinstance(to, Continuation):
            found = next((way for way in self._ways() if way[-1] is to), None)
            if found is None:
                raise ParameterError(f"{to!r} is not in {self!r}; it may be of an earlier one")
            return found
        steps = check_list("to", to, "tokens or continuations")
        tokens = [each.token if isinstance(each, Continuation) else each for each in steps]
        if not tokens or not all(map(is_integer, tokens)):
            raise ParameterError(
                f"{shown(repr(to))} must be a continuation, or tokens from a root of the tree on"
            )
        way: list[Continuation] = []
        beside = self.roots
        for token in tokens:
            here = next((each for each in beside if each.token == token), None)
            if here is None:
                texts = ", ".join(repr(each.text) for each in beside) or "nothing"
                raise ParameterError(
                    f"token {token} is not in the tree after {self.text(way)!r}; there are {texts}"
                )
            way.append(here)
            beside = here.children
        return tuple(way)

    def follow(self, to: Continuation | Sequence[int] | Sequence[Continuation]) -> Turn:
        """Go on from here with a continuation: its tokens become an unfinished answer, the head.

        ``Chat.resume`` goes on with it. The tokens are evaluated one at a time, as if they had been
        generated. One that ends an answer completes it. What was said behind this place stays, as a
        sibling.

        Parameters
        ----------
        to : Continuation or sequence
            As for :meth:`way`.

        Returns
        -------
        Turn
            The answer. After an interrupt it has the tokens that were evaluated by then.

        Raises
        ------
        HistoryError
            When no answer can be here, or the checkpoint was pruned.
        ContextFullError
            When the tokens do not fit; nothing was changed.
        """
        way = self.way(to)
        return self.chat._follow(self.checkpoint, self.token, [each.token for each in way])

    def _ways(self) -> Iterator[tuple[Continuation, ...]]:
        """Yield the way to each continuation, depth first."""
        stack: list[tuple[Continuation, ...]] = [(root,) for root in self.roots[::-1]]
        while stack:
            way = stack.pop()
            yield way
            stack += [(*way, child) for child in way[-1].children[::-1]]

    def _lines(self) -> Iterator[tuple[str, Continuation]]:
        """Yield what stands in front of each continuation in a drawing, and the continuation."""

        def below(beside: Sequence[Continuation], front: str) -> Iterator[tuple[str, Continuation]]:
            for each in beside:
                is_last = each is beside[-1]
                yield front + ("└ " if is_last else "├ "), each
                yield from below(each.children, front + ("  " if is_last else "│ "))

        for root in self.roots:
            yield "", root
            yield from below(root.children, "")

    def __str__(self) -> str:
        lines = [(front + signs(each.text), each) for front, each in self._lines()]
        width = max((len(text) for text, _ in lines), default=0)
        return "\n".join(
            f"{text:<{width}} {_percent(each.probability):>7} {_percent(each.joint):>7}"
            for text, each in lines
        )

    def __repr__(self) -> str:
        n = sum(1 for _ in self._ways())
        place = repr(self.checkpoint)
        where = f"after {place}" if self.token is None else f"at token {self.token} of {place}"
        return f"Likely({n} continuation{'s' * (n != 1)} {where})"

    def _repr_html_(self) -> str:
        if not self.roots:
            return f"<p>{html.escape(repr(self))}: none is so likely.</p>"
        rows = [
            (front + signs(each.text), _percent(each.probability), _percent(each.joint))
            for front, each in self._lines()
        ]
        heads = ["token", "probability", "joint"]
        return html_table(rows, heads, styles=(_IN_LINES, RIGHT, RIGHT))


def _percent(probability: float) -> str:
    return f"{probability:.1%}" if probability >= _SMALL else f"< {_SMALL:.1%}"
