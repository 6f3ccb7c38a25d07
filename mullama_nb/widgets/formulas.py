"""Mathematics in a model's answers: TeX as MathML, which browsers draw by themselves."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal
from xml.etree.ElementTree import tostring

from latex2mathml.converter import convert_to_element
from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.amsmath import ENVIRONMENTS
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.utils import is_code_block

__all__ = ["MATH_ATTRIBUTES", "MATH_TAGS", "add_formulas"]

MATH_TAGS = {
    *("math", "menclose", "mfenced", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover"),
    *("mpadded", "mphantom", "mprescripts", "mroot", "mrow", "ms", "mspace", "msqrt", "mstyle"),
    *("msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover", "none"),
}
"""Elements of MathML that only draw."""

MATH_ATTRIBUTES = {
    "math": {"display", "alttext"},
    "menclose": {"notation"},
    "mfrac": {"linethickness"},
    "mi": {"mathvariant"},
    "mn": {"mathvariant"},
    "mo": {
        *("accent", "fence", "form", "largeop", "lspace", "mathvariant", "maxsize", "minsize"),
        *("movablelimits", "rspace", "separator", "stretchy", "symmetric"),
    },
    "mover": {"accent"},
    "mpadded": {"depth", "height", "lspace", "voffset", "width"},
    "mspace": {"depth", "height", "linebreak", "width"},
    "mstyle": {"displaystyle", "mathvariant", "scriptlevel"},
    "mtable": {"columnalign", "columnlines", "columnspacing", "rowlines", "rowspacing"},
    "mtd": {"columnalign"},
    "mtext": {"mathvariant"},
    "munder": {"accentunder"},
    "munderover": {"accent", "accentunder"},
}
"""What they may say about how to draw."""

_MOST_CHARACTERS = 2_000  # of a formula: longer ones stay text
_ENVIRONMENT = re.compile(r"\\begin\{((?:" + "|".join(ENVIRONMENTS) + r")\*?)\}")
_BRACKETS = {"\\(": ("\\)", "math_inline"), "\\[": ("\\]", "math_inline_double")}


def add_formulas(parser: MarkdownIt) -> None:
    r"""Have a parser know ``$x$``, ``$$x$$``, ``\(x\)``, ``\[x\]`` and amsmath's environments.

    Parameters
    ----------
    parser : MarkdownIt
    """
    # A price is none: "$5 and $6" has a blank inside or a digit behind.
    dollarmath_plugin(
        parser, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True
    )
    parser.disable("math_block")
    ends = RuleOptionsType(alt=["paragraph", "reference", "blockquote", "list"])
    parser.block.ruler.before("fence", "formula", _block, ends)
    parser.inline.ruler.before("escape", "brackets", _inline)
    parser.add_render_rule("math_inline", _render_inline)
    parser.add_render_rule("math_inline_double", _render_displayed)
    parser.add_render_rule("formula", _render_formula)


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Take the lines of a formula that stands by itself.

    It ends with its closing mark or before a blank line, whichever comes first, so that what it is
    does not depend on anything behind it: an answer that streams is read as the whole one is.
    """
    if is_code_block(state, start):
        return False
    first = _line(state, start)
    opening = next((mark for mark in ("$$", "\\[") if first.startswith(mark)), "")
    environment = _ENVIRONMENT.match(first)
    closing = {"$$": "$$", "\\[": "\\]"}.get(opening, "")
    if environment is not None:
        closing = f"\\end{{{environment[1]}}}"
    if not closing:
        return False
    content, rest, at = "", first[len(opening) :], start
    while closing not in rest:
        content += rest + "\n"
        at += 1
        if at >= end or state.isEmpty(at) or state.sCount[at] < state.blkIndent:
            rest = ""
            break
        rest = _line(state, at)
    before, mark, behind = rest.partition(closing)
    if behind.strip():
        return False  # it stands within a text
    if silent:
        return True
    state.line = at + 1 if mark else at
    token = state.push("formula", "math", 0)
    token.block, token.map = True, [start, state.line]
    token.content = content + before + (mark if environment else "")
    token.markup, token.info = opening, mark
    return True


def _line(state: StateBlock, n: int) -> str:
    return state.src[state.bMarks[n] + state.tShift[n] : state.eMarks[n]]


def _inline(state: StateInline, silent: bool) -> bool:
    r"""Take ``\(x\)`` or ``\[x\]`` in a text."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in _BRACKETS:
        return False
    closing, name = _BRACKETS[opening]
    end = state.src.find(closing, state.pos + 2, state.posMax)
    content = state.src[state.pos + 2 : end]
    if end < 0 or not content.strip():
        return False
    if not silent:
        token = state.push(name, "math", 0)
        token.content, token.markup = content, opening
    state.pos = end + 2
    return True


def _render_inline(_self: Any, tokens: Sequence[Token], at: int, *_: Any) -> str:
    return _mathml(tokens[at].content, "inline")


def _render_displayed(_self: Any, tokens: Sequence[Token], at: int, *_: Any) -> str:
    return _mathml(tokens[at].content, "block")


def _render_formula(_self: Any, tokens: Sequence[Token], at: int, *_: Any) -> str:
    token = tokens[at]
    if not token.info:  # its end has not come
        return f"<p>{html.escape(token.markup + token.content)}</p>\n"
    return f"<p>{_mathml(token.content, 'block')}</p>\n"


@lru_cache(maxsize=256)
def _mathml(tex: str, display: Literal["inline", "block"]) -> str:
    """TeX as MathML; what is not understood as code."""
    tex = tex.strip()
    try:
        if len(tex) > _MOST_CHARACTERS:
            raise ValueError("too long")
        formula = convert_to_element(tex, display=display)
        for element in formula.iter():  # whose texts have entities, beside what was typed
            element.text = html.unescape(element.text or "")
            element.tail = html.unescape(element.tail or "")
        formula.set("alttext", tex)
        return tostring(formula, encoding="unicode")
    except Exception:  # a model writes anything, and the library raises many kinds
        return f"<code>{html.escape(tex)}</code>"
