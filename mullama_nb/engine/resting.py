"""Freeing the cells of contexts that only a notebook's history refers to, until used again.

IPython keeps the value of every cell in ``Out``, ``_`` and similar variables, so a displayed chat
stays alive forever, even when its variable is rebound. It must not be removed there, as ``Out[3]``
may be used; but its cells need not stay allocated. After each cell, contexts reachable only from
the history rest.

Whether that is so is found as Python's collector finds garbage: of the references to an object,
those that come from the history and from our own objects are subtracted; what is left comes from a
variable, a list, a closure, a running call. A wrong guess only costs making the cells again.
"""

from __future__ import annotations

import gc
import logging
import re
import sys
import types
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, Protocol

__all__ = ["Restable", "count_as_history", "follow", "rest_unused"]

_log = logging.getLogger("mullama_nb")

_HISTORY_NAME = re.compile(r"_{1,3}|_\d+")
_OURS = tuple(f"mullama_nb.{folder}" for folder in ("history", "sessions", "widgets"))
# Widgets that are shown in another's box are held by that, and it by its comm.
_HOLDERS = ("ipywidgets.widgets.widget_", "ipykernel.comm", "comm.")
_OF_TRAITS = {"_trait_notifiers", "_trait_validators", "_static_immutable_initial_values"}
_CONTAINERS = (dict, list, tuple, set, frozenset, types.MethodType, types.CellType)
_MOST_ITEMS = 1_000  # in a container
_MOST_NODES = 20_000


class Restable(Protocol):
    """A context, as far as it concerns this module."""

    @property
    def is_resting(self) -> bool:
        """Whether its cells are free until it is used again."""

    @property
    def owner(self) -> object | None:
        """Whom it belongs to."""

    def rest(self) -> bool:
        """Free the cells until it is used again, where that can be."""


_contexts: weakref.WeakSet[Restable] = weakref.WeakSet()
_shells: weakref.WeakSet[Any] = weakref.WeakSet()
_histories: list[Callable[[], Iterable[object]]] = []


def count_as_history(references: Callable[[], Iterable[object]]) -> None:
    """Have references count as those of a history, which keeps objects without using them.

    Parameters
    ----------
    references : callable
        Gives each object as often as it is held so.
    """
    _histories.append(references)


def follow(context: Restable) -> None:
    """Let a context rest after cells that leave it to the history; outside IPython do nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return
    _contexts.add(context)
    if shell not in _shells:
        _shells.add(shell)
        shell.events.register("post_run_cell", _after_cell)


def _after_cell(_result: object = None) -> None:
    try:
        rest_unused()
    except Exception:  # a cell that went well is not to end with our traceback
        _log.exception("contexts could not rest")


def rest_unused() -> int:
    """Let the contexts rest that the history alone holds.

    Returns
    -------
    int
        How many rest now that did not before.
    """
    bound = {id(context) for context in _bound()}
    if all(context.is_resting or id(context) in bound for context in _contexts):
        return 0
    return sum(context.rest() for context in _unused() if not context.is_resting)


def _bound() -> Iterator[object]:
    """The contexts that variables name, which is seen at once."""
    for shell in list(_shells):
        for name, value in list(shell.user_ns.items()):
            if type(value).__module__.startswith("mullama_nb.") and not _is_of_history(name):
                yield vars(value).get("context", value) if hasattr(value, "__dict__") else value


def _history() -> Iterator[object]:
    """Every reference that the history holds, one by one."""
    for shell in list(_shells):
        hook = shell.displayhook
        for name in ("_", "__", "___"):
            yield getattr(hook, name, None)
        yield from list(shell.user_ns.get("_oh", {}).values())
        for names in (shell.user_ns, shell.user_ns_hidden):
            yield from [value for name, value in list(names.items()) if _is_of_history(name)]
    for references in _histories:
        yield from references()


def _is_of_history(name: object) -> bool:
    return _HISTORY_NAME.fullmatch(str(name)) is not None


def _unused() -> list[Restable]:
    """The contexts that are awake and reached from the history alone."""
    nodes, inner = _graph()
    if len(nodes) > _MOST_NODES:  # not all was seen
        return []
    held = [i for i in nodes if _references(nodes, i) > inner[i]]
    reached = set(held)
    while held:
        for child in _referents(nodes[held.pop()]):
            if id(child) in nodes and id(child) not in reached:
                reached.add(id(child))
                held.append(id(child))
    contexts = {id(context): context for context in _contexts}
    return [c for i, c in contexts.items() if i in nodes and i not in reached]


def _graph() -> tuple[dict[int, object], Counter[int]]:
    """Our objects and the containers around them, and the references that are known to each."""
    nodes: dict[int, object] = {}
    inner: Counter[int] = Counter()
    waiting: list[int] = []

    def see(found: Iterable[object], *, counts: bool) -> None:
        for one in found:
            i = id(one)
            inner[i] += counts
            if i not in nodes and _is_looked_into(one) and len(nodes) <= _MOST_NODES:
                nodes[i] = one
                waiting.append(i)

    see(_history(), counts=True)
    for context in list(_contexts):
        nodes[id(context)] = context
        see([context.owner], counts=False)
    while waiting:
        see(_referents(nodes[waiting.pop()]), counts=True)
    return nodes, inner


def _referents(node: object) -> list[Any]:
    """What a node refers to; of a widget without the many containers that hold no chat."""
    if not hasattr(node, "_trait_values"):
        return gc.get_referents(node)
    left_out = _OF_TRAITS if hasattr(type(node), "children") else _OF_TRAITS | {"_trait_values"}
    return [value for name, value in vars(node).items() if name not in left_out]


def _is_looked_into(one: object) -> bool:
    if isinstance(one, _CONTAINERS):
        return not isinstance(one, Sized) or len(one) <= _MOST_ITEMS
    # Checkpoints have slots: there are many of them, and they hold no context.
    return type(one).__module__.startswith((*_OURS, *_HOLDERS)) and hasattr(one, "__dict__")


def _references(nodes: Mapping[int, object], i: int) -> int:
    """How many references there are to a node beside those of this module."""
    return sys.getrefcount(nodes[i]) - _OWN_REFERENCES


_OWN_REFERENCES = 0
_OWN_REFERENCES = _references({0: object()}, 0)
