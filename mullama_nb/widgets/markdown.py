"""Markdown of a model's answers as HTML that can do no harm."""

from __future__ import annotations

import re

import nh3
from markdown_it import MarkdownIt

__all__ = ["render_markdown"]

_TAGS = (
    *("a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr"),
    *("li", "ol", "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
)
_SCHEMES = {"http", "https", "mailto"}
_LINK = re.compile(rf"(?:{'|'.join(sorted(_SCHEMES))}):", re.IGNORECASE)


def _make_parser() -> MarkdownIt:
    # Images would be fetched from the network; without them "![text](address)" is a link.
    parser = MarkdownIt("commonmark", {"html": False})
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.validateLink = lambda url: _LINK.match(url) is not None  # type: ignore[method-assign]
    return parser


_parser = _make_parser()


def render_markdown(text: str) -> str:
    """HTML of a Markdown text; markup in it stays text, and links lead out only.

    Parameters
    ----------
    text : str
        What a model or a user wrote; nothing in it is trusted.
    """
    return nh3.clean(
        _parser.render(text),
        tags=set(_TAGS),
        attributes={"a": {"href"}, "ol": {"start"}},
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
