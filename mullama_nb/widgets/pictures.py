"""Pictures for readers without a kernel, with what they say in words where a page drops them."""

from __future__ import annotations

import re
from html import escape, unescape

__all__ = ["formulas_or_tex", "picture_or_words"]

_PICTURE, _FORMULA, _WORDS = "mullama-picture", "mullama-formula", "mullama-in-words"
_STYLE = (
    f"<style>.{_PICTURE}{{display:block!important}}.{_FORMULA}{{display:inline!important}}"
    f".{_WORDS}{{display:none}}</style>"
)
_MATH = re.compile(r'<math\b[^>]*\balttext="([^"]*)"[^>]*>.*?</math>', re.DOTALL)


def picture_or_words(picture: str, words: str) -> str:
    """Return HTML that shows a picture, or words where pages drop pictures.

    JupyterLab drops SVG and style sheets from a notebook that it does not trust, and would show the
    texts of the picture, run on. What is hidden stays hidden there, so without the style sheet the
    words are seen.

    Parameters
    ----------
    picture : str
        SVG.
    words : str
        The same as HTML: a table, or preformatted text.
    """
    return (
        f'{_STYLE}<div class="{_PICTURE}" hidden="hidden" style="overflow-x:auto">{picture}</div>'
        f'<div class="{_WORDS}">{words}</div>'
    )


def formulas_or_tex(html: str) -> str:
    """Return HTML whose formulas are shown as TeX where pages drop MathML, as they do SVG.

    Parameters
    ----------
    html : str
        As ``render_markdown`` gives it, of any messages.
    """

    def both(found: re.Match[str]) -> str:
        tex = escape(unescape(found[1]))  # an attribute holds < and > as they are
        drawn = f'<span class="{_FORMULA}" hidden="hidden">{found[0]}</span>'
        return f'{drawn}<code class="{_WORDS}">{tex}</code>'

    shown, n = _MATH.subn(both, html)
    return _STYLE + shown if n else html
