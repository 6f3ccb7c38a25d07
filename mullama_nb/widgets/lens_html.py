"""A lens for readers without a kernel: shaded tokens and a table, as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from ..engine.inside.guess_table import Guesses, guesses_html
from ..engine.inside.look import Look
from ..plots.weights import Weights

__all__ = ["draw_lens"]

_MOST_TOKENS = 2048
_MOST_ROWS = 10
_NAMED = 5
_WHAT = "What would come next after so many layers"
_STRONGEST = 0.6
_BRAND = "25, 118, 210"  # on light and dark


def draw_lens(
    pieces: Sequence[str],
    look: Look | None,
    weights: Weights | None,
    guesses: Guesses,
    fault: str = "",
) -> str:
    """Return the tokens, shaded by what they got, and the guesses of each layer.

    Parameters
    ----------
    pieces : sequence of str
        The texts of the conversation's tokens, a line break as ``↵``.
    look : Look or None
        None where nothing was looked at.
    weights : Weights or None
        None for a model without attention.
    guesses : sequence
        As of ``look.guesses``; empty where there are none.
    fault : str
        What went wrong.
    """
    parts = [_paragraph(fault)] if fault else []
    if look is not None:
        parts.append(_paragraph(_in_words(look, weights)))
    parts.append(f'<p style="white-space:pre-wrap">{"".join(_tokens(pieces, look, weights))}</p>')
    if guesses:
        parts.append(guesses_html(guesses, _WHAT, most=_MOST_ROWS))
    return "".join(parts)


def _in_words(look: Look, weights: Weights | None) -> str:
    named = f"Token {look.position} {look.pieces[-1]!r}"
    if weights is None:
        return f"{named}. This model has no attention: its layers carry a state."
    best = ", ".join(f"{look.pieces[at]!r} {weights.shares[at]:.0%}" for at in weights.most(_NAMED))
    left = f" ({weights.remark})" if weights.remark else ""
    return f"{named} looked most at {best or 'nothing'}{left}."


def _tokens(pieces: Sequence[str], look: Look | None, weights: Weights | None) -> Iterator[str]:
    last = len(pieces) - 1 if look is None else look.position
    first = max(0, last + 1 - _MOST_TOKENS)
    if first:
        yield "… "
    top = float(weights.shares.max()) if weights is not None else 0
    for at in range(first, min(len(pieces), first + _MOST_TOKENS)):
        text = html.escape(pieces[at]).replace("↵", "↵\n")
        share = float(weights.shares[at]) if weights is not None and at <= last else 0
        if look is not None and at == last:
            yield f'<b style="outline:2px solid rgb({_BRAND})">{text}</b>'
        elif at > last:
            yield f'<span style="opacity:0.75">{text}</span>'
        elif top and round(share / top, 1):
            strength = _STRONGEST * round(share / top, 1)
            yield f'<span style="background-color:rgba({_BRAND}, {strength:.2f})">{text}</span>'
        else:
            yield text


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
