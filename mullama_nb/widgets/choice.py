"""How a token was chosen, step by step through the sampler chain."""

from __future__ import annotations

import html
from typing import Any

from ..checks import check_integer
from ..engine.sampling.choice import Choice as Found
from ..errors import HistoryError, ParameterError
from ..history.chat import Chat
from ..history.message import token_place
from ..history.turn import Turn
from ..signs import signs
from .esm import front_end
from .funnel import draw_funnel, funnel_message, told
from .looking import LookingWidget
from .pictures import picture_or_words
from .token_list import token_list

__all__ = ["Choice"]


class Choice(LookingWidget):
    """The steps of the sampler chain for one token of an answer, as a funnel.

    Parameters
    ----------
    source : Turn or Chat
        An answer; or a chat, whose last answer it shows, also of later questions.
    token : int
        Index of a token in the answer; -1 is the last.

    Attributes
    ----------
    found : mullama_nb.engine.sampling.choice.Choice or None
        The choice that is shown.

    Raises
    ------
    ParameterError
        When the source is neither, or an answer has no such token.
    """

    _esm, _css = front_end("choice", "funnel")

    def __init__(self, source: Turn | Chat, token: int = 0) -> None:
        if not isinstance(source, (Turn, Chat)):
            raise ParameterError(
                f"Choice shows a Turn or a Chat, not a {type(source).__name__}. Pass the answer "
                "that ask() returned, or the chat."
            )
        self.found: Found | None = None
        self._shown: tuple[Turn, int] | None = None  # the answer that it is of, and its token
        self._only = source if isinstance(source, Turn) else None
        self._token = check_integer("token", token)
        if self._only is not None:
            if not self._only.tokens:
                raise ParameterError(f"{self._only!r} has no tokens of its own to look into")
            token_place(self._only.checkpoint, self._token)
        super().__init__(source.chat if isinstance(source, Turn) else source)

    def here(self) -> str:
        """Return the answer and the token of it; empty while there is none."""
        turn = self._turn()
        return "" if turn is None else f"{turn.id} {self._index(turn)}"

    def look(self, token: int | None = None) -> Found:
        """Show a token, and return how it was chosen.

        Parameters
        ----------
        token : int, optional
            As in the constructor. None: the one that is shown.

        Raises
        ------
        HistoryError
            When there is no answer, or it was pruned.
        ParameterError
            When it has no such token.
        """
        if token is not None:
            turn = self._turn()
            if turn is not None:
                token_place(turn.checkpoint, token)
            self._token = token
        self.look_again()
        assert self.found is not None
        return self.found

    def look_here(self) -> dict[str, Any]:
        """Choose the token once more."""
        turn = self._turn()
        if turn is None:
            raise HistoryError("There is no answer to look into yet.")
        if turn.checkpoint not in self.tree:
            raise HistoryError("That answer was pruned.")
        before, self._shown = self._shown, (turn, self._index(turn))
        self.found = turn.choice(self._shown[1])
        message = self._message()
        if before is not None and before[0].id == turn.id:
            del message["tokens"]  # which views have
        return message

    def forget(self) -> dict[str, Any]:
        """Show no token."""
        self.found = self._shown = None
        return self._message()

    def take_snapshot(self) -> dict[str, Any]:
        """Return the answer's tokens, and the steps for one of them."""
        return {**self.place(), **self._message()}

    def do_show(self, token: int) -> None:
        """Show another token."""
        self.look(token)

    def draw_html(self) -> str:
        """Return the funnel as SVG, and as a table, below what it comes to."""
        if self.found is None:
            return f"<p>{html.escape(self.failure or 'There is no answer to look into yet.')}</p>"
        text, words = told(self.found)
        said = f"<p><strong><code>{html.escape(text)}</code></strong> {html.escape(words)}</p>"
        drawn = picture_or_words(draw_funnel(self.found), self.found._repr_html_())
        return f"{said}{drawn}{_next_in_words(self.found)}"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**options)
        if self.found is not None:
            bundle["image/svg+xml"] = draw_funnel(self.found)
        return bundle, metadata

    def _turn(self) -> Turn | None:
        """The answer to look into."""
        if self._only is not None:
            return self._only
        answers = (turn for turn in reversed(self.chat.turns) if turn.role == "assistant")
        return next((turn for turn in answers if turn.tokens), None)

    def _index(self, turn: Turn) -> int:
        """The token of an answer, or the nearest that it has."""
        n = len(turn.tokens)
        return max(0, min(self._token + n * (self._token < 0), n - 1))

    def _message(self) -> dict[str, Any]:
        if self.found is None or self._shown is None:
            return {"found": None, "tokens": [], "token": 0}
        turn, token = self._shown
        return {
            "found": funnel_message(self.found),
            "tokens": token_list(turn),
            "token": token,
        }

    def __repr__(self) -> str:
        turn = self._turn()
        if turn is None:
            return "Choice(no answer)"
        return f"Choice(token {self._index(turn)} of {len(turn.tokens)})"


def _next_in_words(found: Found) -> str:
    draw = found.draw
    if draw is None:
        return ""
    number = f"{draw.next_number:.4f}"
    if draw.next_text is None:
        nothing = "XTC leaves nothing then that continues the grammar"
        return f"<p>The next answer would draw {number} here, and {nothing}.</p>"
    text = html.escape(signs(draw.next_text) or "∅")
    return f"<p>The next answer would draw {number} here: <code>{text}</code>.</p>"
