"""Answers that are others than the recorded ones: where each parts, and as a strip of tokens."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["MovedAnswer", "strips"]

_SHOWN = 40  # characters of a token
_RED, _FAINT = "var(--jp-error-color1, #d32f2f)", "var(--jp-ui-font-color2, #757575)"
_STRIP = "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left"


@dataclass(frozen=True)
class MovedAnswer:
    """An answer whose tokens are others than those of the recording.

    Attributes
    ----------
    name : str
        Of its checkpoint: short id, role, tags.
    token : int
        Index of the first token that differs.
    start : int
        Index of the first token in ``recorded`` and ``here``.
    recorded, here : tuple of str
        The texts of the tokens around it, on both sides.
    probability_recorded, probability_here : float or None
        Of the two tokens, each where it was drawn; None where an answer ended, or it is not known.
    """

    name: str
    token: int
    start: int
    recorded: tuple[str, ...]
    here: tuple[str, ...]
    probability_recorded: float | None = None
    probability_here: float | None = None

    def __str__(self) -> str:
        was = _token(self.recorded, self.token - self.start, self.probability_recorded)
        now = _token(self.here, self.token - self.start, self.probability_here)
        return f"answer {self.name} moved at token {self.token}: {was} recorded, {now} here"

    def to_html(self) -> str:
        """Return both as strips of tokens, red at the first that differs."""
        at = self.token - self.start
        rows = "".join(
            f'<div style="{_STRIP}"><span style="color:{_FAINT}">{side}</span>'
            f"{_strip(pieces, at, probability, has_more=self.start > 0)}</div>"
            for side, pieces, probability in (
                ("recorded: ", self.recorded, self.probability_recorded),
                ("here: ", self.here, self.probability_here),
            )
        )
        return f"<div>{html.escape(str(self))}</div>{rows}"


def strips(answers: Iterable[MovedAnswer]) -> str:
    """Return HTML of all of them, one below the other."""
    return f"<div>{''.join(answer.to_html() for answer in answers)}</div>"


def _token(pieces: Sequence[str], at: int, probability: float | None) -> str:
    if at >= len(pieces):
        return "the end"
    share = "" if probability is None else f" ({probability:.0%})"
    return f"{pieces[at][:_SHOWN]!r}{share}"


def _strip(pieces: Sequence[str], at: int, probability: float | None, *, has_more: bool) -> str:
    before, behind = (_escaped("".join(part)) for part in (pieces[:at], pieces[at + 1 :]))
    title = "" if probability is None else f' title="{probability:.1%}"'
    mark = _escaped(pieces[at]) if at < len(pieces) else "⏹"
    marked = f'<b style="color:{_RED}"{title}>{mark or "·"}</b>'
    after = f'<span style="color:{_FAINT}">{behind}</span>'
    return f"{'… ' * has_more}{before}{marked}{after}"


def _escaped(text: str) -> str:
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    return html.escape(text)
