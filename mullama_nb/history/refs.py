"""Resolving refs to checkpoints."""

from __future__ import annotations

import re
from typing import TypeVar

from ..checks import close_names
from ..errors import ParameterError, RefError
from .graph import Graph
from .node import Node

__all__ = ["check_tag", "resolve"]

_STEPS_BACK = re.compile(r"(?P<name>.*?)~(?P<steps>[0-9]{0,9})", re.DOTALL)
_LIKE_AN_ID = re.compile(r"[0-9a-f]{7,20}")
_MOST_CANDIDATES = 6


N = TypeVar("N", bound=Node)


def resolve(graph: Graph[N], ref: N | str, head: N) -> N:
    """Return the checkpoint of a ref.

    Parameters
    ----------
    graph : Graph
    ref : Node or str
        ``HEAD``, ``ROOT``, a tag, an id or a prefix of one; the suffix ``~2`` goes back two.
    head : Node
        What ``HEAD`` is.

    Raises
    ------
    RefError
        When no checkpoint matches, or more than one.
    """
    if isinstance(ref, Node):
        if ref not in graph:
            raise RefError(f"{ref!r} was pruned, or belongs to another tree")
        return ref
    if not isinstance(ref, str) or not ref:
        raise RefError(f"a ref is a checkpoint, an id, a tag or HEAD~2, not {ref!r}")
    back = _STEPS_BACK.fullmatch(ref)
    if back is None or ref in graph.tags:
        return _named(graph, ref, head)
    at = _named(graph, back["name"] or "HEAD", head)
    for _ in range(int(back["steps"] or 1)):
        if at.parent is None:
            raise RefError(f"{ref!r} goes back further than the tree does")
        at = at.parent
    return at


def _named(graph: Graph[N], name: str, head: N) -> N:
    if name == "HEAD":
        return head
    if name == "ROOT":
        return graph.root
    if name in graph.tags:
        return graph.tags[name]
    found = graph.starting_with(name)
    if len(found) == 1:
        return found[0]
    if found:
        raise RefError(f"{name!r} is ambiguous: it begins {_list([c.short_id for c in found])}")
    names = [*graph.tags, *(checkpoint.short_id for checkpoint in graph)]
    close = close_names(name, names) or [*graph.tags, "HEAD", "ROOT"]
    raise RefError(f"no checkpoint is called {name!r}; there is {_list(close)}")


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_CANDIDATES])
    more = len(names) - _MOST_CANDIDATES
    return f"{shown} and {more} more" if more > 0 else shown


def check_tag(name: str) -> str:
    """Check that a name can be a tag, and is not another form of ref.

    Short words such as ``a`` or ``beef`` may be tags: tags take precedence over prefixes of ids.

    Raises
    ------
    ParameterError
        When it does.
    """
    if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
        raise ParameterError(f"a tag is a text that can be read and typed, not {name!r}")
    if name in ("HEAD", "ROOT") or _STEPS_BACK.fullmatch(name):
        raise ParameterError(f"{name!r} cannot be a tag: it reads as a place in the tree")
    if _LIKE_AN_ID.fullmatch(name):
        raise ParameterError(f"{name!r} cannot be a tag: it reads as a checkpoint's id")
    return name
