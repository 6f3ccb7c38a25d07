"""Markdown of a model's answers as safe HTML: with tables, coloured code and mathematics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from .code_colours import CLASSES, colour_code
from .formulas import MATH_ATTRIBUTES, MATH_TAGS, add_formulas

__all__ = ["Draft", "render_markdown"]

_TAGS = (
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr"),
    *("li", "ol", "p", "pre", "s", "span", "strong"),
    *("table", "tbody", "td", "th", "thead", "tr", "ul"),
)
_ALIGNMENT = {"left", "center", "right"}
_SCHEMES = {"http", "https", "mailto"}
_NEWLINE = re.compile(r"\r\n|\r|\n")  # what Markdown takes for one
_LINK = re.compile(rf"(?:{'|'.join(sorted(_SCHEMES))}):", re.IGNORECASE)
_UNDONE = ("formula", "table_open")  # blocks whose later lines may show that they are none
_GO_ON = ("bullet_list_open", "ordered_list_open", "blockquote_open")  # where any text is theirs
_STYLE = re.compile(r'<(t[dh]) style="text-align:(\w+)">')


def _make_parser() -> MarkdownIt:
    # Images would be fetched from the network; without them "![text](address)" is a link.
    parser = MarkdownIt("commonmark", {"html": False, "highlight": colour_code})
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.validateLink = lambda url: _LINK.match(url) is not None  # type: ignore[method-assign]
    add_formulas(parser)
    return parser


_parser = _make_parser()


@lru_cache(maxsize=512)
def render_markdown(text: str) -> str:
    """Return the HTML of a Markdown text; HTML in it stays text, and links only lead out.

    Parameters
    ----------
    text : str
        A model's or a user's text; not trusted.
    """
    return _cleaned(_parser.render(text))


class Draft:
    """Streaming Markdown, as HTML that changes little with each piece.

    Only the last block is rendered again; earlier ones are final.

    Attributes
    ----------
    html : str
        The HTML of all text so far.
    """

    def __init__(self) -> None:
        self.html = ""
        self._n_settled = 0  # characters of the HTML of blocks that are whole
        self._last = ""  # the text behind them

    def add(self, text: str) -> tuple[int, str]:
        """Add text; return where the HTML changes, in UTF-16 units, and the HTML from there.

        Parameters
        ----------
        text : str
        """
        self._last += text
        blocks = _parser.parse(self._last)
        begins = [i for i, token in enumerate(blocks) if token.level == 0 and token.nesting >= 0]
        split = begins[-1] if begins else 0
        if split and self._may_join(blocks[begins[-2]], blocks[split]):
            split = begins[-2]
        settled = _rendered(blocks[:split])
        tail = settled + _rendered(blocks[split:])
        before = self.html[self._n_settled :]
        pairs = enumerate(zip(before, tail, strict=False))
        differs = next((i for i, (a, b) in pairs if a != b), min(len(before), len(tail)))
        same = self._n_settled + differs
        self.html = self.html[: self._n_settled] + tail
        self._n_settled += len(settled)
        if split:
            line, _ = blocks[split].map or (0, 0)
            self._last = _NEWLINE.split(self._last, maxsplit=line)[-1] if line else self._last
        return _utf16_length(self.html[:same]), self.html[same:]

    def _may_join(self, above: Token, block: Token) -> bool:
        """Whether more of its last line may make a block a part of the one right above."""
        lines, (first, stop) = _NEWLINE.split(self._last), block.map or (0, 0)
        is_undone = block.type in _UNDONE or above.type in _GO_ON
        is_open = first == len(lines) - 1 or (is_undone and stop >= len(lines) - 1)
        return first > 0 and is_open and bool(lines[first - 1].strip())


def _rendered(blocks: Sequence[Token]) -> str:
    return _cleaned(_parser.renderer.render(blocks, _parser.options, {}))


def _utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cleaned(html: str) -> str:
    html = html.encode("utf-8", "replace").decode()  # nh3 takes no unpaired surrogates
    return nh3.clean(
        _STYLE.sub(r'<\1 align="\2">', html),
        tags={*_TAGS, *MATH_TAGS},
        attributes={"a": {"href"}, "ol": {"start"}, **MATH_ATTRIBUTES},
        tag_attribute_values={name: {"align": _ALIGNMENT} for name in ("td", "th")},
        allowed_classes={"pre": {"highlight"}, "span": CLASSES},
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
