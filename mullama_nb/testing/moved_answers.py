"""Answers that are others than the recorded ones: where each parts, and as a strip of tokens."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import exp

from ..engine.model import Model
from ..history.tree import CheckpointTree
from .comparison import first_difference, names_of
from .recording import Recording

__all__ = ["MovedAnswer", "moved_answers", "strips"]

_IN_FRONT, _BEHIND = 12, 24  # tokens that are shown where two answers part
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
            f'<tr><td style="color:{_FAINT}">{side}</td><td style="{_STRIP}">'
            f"{_strip(pieces, at, probability, has_more=self.start > 0)}</td></tr>"
            for side, pieces, probability in (
                ("recorded", self.recorded, self.probability_recorded),
                ("here", self.here, self.probability_here),
            )
        )
        return f"<div>{html.escape(str(self))}</div><table>{rows}</table>"


def moved_answers(there: Recording, tree: CheckpointTree) -> Iterator[MovedAnswer]:
    """Yield the answers at the same places of a recording and a tree that differ.

    Parameters
    ----------
    there : Recording
    tree : CheckpointTree
    """
    names, model = names_of(there), tree.context.model
    for entry in there.entries:
        if not entry.is_generated or entry.id not in tree:
            continue
        now = tree[entry.id]
        first = first_difference(entry.tokens, now.tokens)
        if first is None:
            continue
        logprob = entry.steps[first].logprob if first < len(entry.steps) else None
        start = max(0, first - _IN_FRONT)
        yield MovedAnswer(
            names[entry.id],
            first,
            start,
            _pieces(model, entry.tokens, start, first + _BEHIND),
            _pieces(model, now.tokens, start, first + _BEHIND),
            None if logprob is None or first >= len(entry.tokens) else exp(logprob),
            exp(now.logprobs[first]) if first < len(now.logprobs) else None,
        )


def strips(answers: Iterable[MovedAnswer]) -> str:
    """Return HTML of all of them, one below the other."""
    return f"<div>{''.join(answer.to_html() for answer in answers)}</div>"


def _pieces(model: Model, tokens: Sequence[int], start: int, stop: int) -> tuple[str, ...]:
    """The texts of single tokens; bytes that are no character of their own as such."""
    pieces = (model.vocabulary.piece(token) for token in tokens[start:stop])
    return tuple(piece.decode("utf-8", "backslashreplace") for piece in pieces)


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
    return f"{'… ' * has_more}{before}{marked}<span style='color:{_FAINT}'>{behind}</span>"


def _escaped(text: str) -> str:
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    return html.escape(text)
