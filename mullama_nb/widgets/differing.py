"""Marks around the words of rendered HTML that another answer does not have."""

from __future__ import annotations

import re

from ..history.differing import mark_differing

__all__ = ["mark_html"]

# What is no text: tags, whose attributes may hold any sign, and formulas, which marks would break.
_NO_TEXT = re.compile(
    r"""(<math\b.*?</math>|<(?:[^<>"']|"[^"]*"|'[^']*')*>)""", re.DOTALL | re.IGNORECASE
)


def mark_html(html: str, first: str) -> str:
    """Return HTML with ``<mark>`` around the words that other HTML does not have.

    Parameters
    ----------
    html, first : str
        Rendered and cleaned.
    """
    parts = _NO_TEXT.split(html)  # text and tags in turn
    parts[::2] = mark_differing(_NO_TEXT.split(first)[::2], parts[::2], _mark)
    return "".join(parts)


def _mark(words: str) -> str:
    return f"<mark>{words}</mark>"
