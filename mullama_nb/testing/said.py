"""The conversation in a recording: which entry goes on from which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..history.message import content_text
from ..history.node import ROOT_ID
from .walk import Entry

__all__ = ["cut_off", "in_order_said", "previous_in", "system_said", "with_system"]

_ROOT = Entry("", None, (), "", {})


def previous_in(entries: Sequence[Entry]) -> Callable[[Entry], Entry | None]:
    """Return a function that gives the entry before one in the conversation, mostly its parent.

    The entries without a parent go on from one that stands for the root, which goes on from None.
    """
    by_id = {entry.id: entry for entry in entries}

    def previous(entry: Entry) -> Entry | None:
        if entry is _ROOT:
            return None
        origin = entry.noted.came_from
        if origin == ROOT_ID:
            return _ROOT
        return by_id.get(origin or "") or by_id.get(entry.parent or "", _ROOT)

    return previous


def in_order_said(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield entries, given parents first, so that each also follows the one that it goes on from.

    Where they go on from each other in a circle, they are left out.
    """
    previous, done, waiting = previous_in(entries), {_ROOT.id}, dict[str, list[Entry]]()
    for first in entries:
        ready = [first]
        while ready:
            entry = ready.pop()
            needed = next(
                (i for i in (_id(previous(entry)), entry.parent or "") if i not in done), None
            )
            if needed is not None:
                waiting.setdefault(needed, []).append(entry)
                continue
            done.add(entry.id)
            yield entry
            ready += reversed(waiting.pop(entry.id, []))


def cut_off(entries: Sequence[Entry]) -> set[str]:
    """Return the ids of pieces that were cut off a question, and that no other tokens follow."""
    following: dict[str | None, list[Entry]] = {}
    for entry in entries:
        following.setdefault(entry.parent, []).append(entry)
    return {
        entry.id
        for entry in entries
        if entry.noted.cut
        and not entry.noted.is_answer
        and all(c.noted.continues or c.noted.came_from for c in following.get(entry.id, ()))
    }


def system_said(entries: Sequence[Entry]) -> tuple[str, Entry] | None:
    """Return the system message that the first branch says, and the entry that does.

    None unless all branches say one: the others are told that in the recording's head.
    """
    previous, begins = previous_in(entries), dict[str, Mapping[str, Any] | None]()
    first: tuple[str, Entry] | None = None
    for entry in in_order_said(entries):
        before, history = begins.get(_id(previous(entry))), _history(entry)
        begins[entry.id] = said = _mapping(history[0]) if history else before or _own(entry)
        if said is None:
            continue
        if said.get("role") != "system":
            return None
        first = first or (content_text(said), entry)
    return first


def with_system(entries: Sequence[Entry], old: str, new: str) -> tuple[Entry, ...]:
    """Return the entries with another system message wherever they say a certain one."""

    def renewed(message: Any) -> Any:
        is_it = isinstance(message, Mapping) and message.get("role") == "system"
        return {**message, "content": new} if is_it and content_text(message) == old else message

    changed = []
    for entry in entries:
        notes, history = dict(entry.notes), _history(entry)
        if "message" in notes:
            notes["message"] = renewed(notes["message"])
        if history:
            notes["history"] = [renewed(history[0]), *history[1:]]
        changed.append(replace(entry, notes=notes))
    return tuple(changed)


def _own(entry: Entry) -> Mapping[str, Any] | None:
    noted = entry.noted
    return _mapping(noted.message) or ({"role": "assistant"} if noted.is_answer else None)


def _history(entry: Entry) -> Sequence[Any]:
    history = entry.noted.history
    return history if isinstance(history, list | tuple) else ()


def _mapping(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None  # a file may hold anything


def _id(entry: Entry | None) -> str:
    return _ROOT.id if entry is None else entry.id
