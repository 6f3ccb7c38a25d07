"""Answers as strips of tokens, shaded where they were unlikely, and marked where they part."""

from __future__ import annotations

import html
from math import exp

from ..cell import SuiteAnswer
from ..comparing import MovedAnswer

__all__ = ["around", "escaped", "legend", "strip"]

_MOST_TOKENS = 512
_IN_FRONT, _BEHIND = 8, 16  # shown where two answers part
_UNLIKELY = ((0.05, "u3"), (0.25, "u2"), (0.6, "u1"))


def escaped(text: str) -> str:
    """Return a text for HTML, in which nothing is invisible or turns the reading direction."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    return html.escape(text)


def strip(answer: SuiteAnswer, move: MovedAnswer | None = None) -> str:
    """Return a whole answer, with its first token marked that differs."""
    n = len(answer.tokens)
    if not n:
        return f'<div class="strip">{escaped(answer.text) or "(no token)"}</div>'
    rest = f" … and {n - _MOST_TOKENS:,} more tokens" if n > _MOST_TOKENS else ""
    written = _tokens(answer, 0, min(n, _MOST_TOKENS), move)
    return f'<div class="strip">{written}{rest}{_end(answer, move)}</div>'


def around(answer: SuiteAnswer, move: MovedAnswer) -> str:
    """Return an answer where it parts from another one."""
    start, stop = max(0, move.token - _IN_FRONT), move.token + _BEHIND
    written = _tokens(answer, start, min(stop, len(answer.tokens)), move)
    before = "… " if start else ""
    after = " …" if stop < len(answer.tokens) else ""
    return f'<div class="strip">{before}{written}{_end(answer, move)}{after}</div>'


def legend() -> str:
    """Return what the shades mean."""
    shades = ", ".join(
        f'<span class="{name}">below {most:.0%}</span>' for most, name in reversed(_UNLIKELY)
    )
    return f"Tokens are shaded where they were unlikely: {shades}. A token's title says more."


def _tokens(answer: SuiteAnswer, start: int, stop: int, move: MovedAnswer | None) -> str:
    return "".join(_token(answer, index, move) for index in range(start, stop))


def _token(answer: SuiteAnswer, index: int, move: MovedAnswer | None) -> str:
    text, title, shade = escaped(answer.pieces[index]), f"token {answer.tokens[index]}", ""
    if answer.logprobs:
        p = exp(answer.logprobs[index])
        title = f"{p:.1%}, {title}"
        shade = next((f' class="{name}"' for most, name in _UNLIKELY if p < most), "")
    if move is not None and move.token == index:
        near = ' class="near"' if move.is_near_tie else ""
        return f'<b{near} title="{title}">{text or "·"}</b>'
    return f'<span{shade} title="{title}">{text}</span>'


def _end(answer: SuiteAnswer, move: MovedAnswer | None) -> str:
    """The mark of an end where the other answer went on."""
    if move is None or move.token != len(answer.tokens):
        return ""
    near = ' class="near"' if move.is_near_tie else ""
    return f'<b{near} title="the answer ends here">⏹</b>'
