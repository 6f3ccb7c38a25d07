"""Comparing a new conversation with the recording of an earlier one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..history.chat import Chat
from ..history.tree import CheckpointTree
from .adapters import adapters_beside
from .comparison import MARGIN, TOLERANCE, Rule, names_of
from .moved_answers import moved_answers
from .reading import read
from .recording import Recording, entry_of
from .replaying import replayed
from .report import Report
from .walk import Entry

__all__ = ["regress"]


def regress(
    source: Chat | CheckpointTree,
    path: str | os.PathLike[str],
    level: str = "probabilities",
    *,
    margin: float = MARGIN,
    tolerance: float = TOLERANCE,
) -> Report:
    """Compare a conversation with its recording: the questions, and the model's answers.

    The questions have to be the same: messages, order, sampling. Answers may differ on another CPU,
    so the recorded ones are forced on the chat's model, with its settings, as :func:`replay` does.

    Parameters
    ----------
    source : Chat or CheckpointTree
    path : str or path
    level, margin, tolerance
        As for :func:`replay`.

    Raises
    ------
    RecordingError
        When the file is damaged.
    ParameterError
        When the model has another vocabulary.
    """
    rule = Rule(level, margin, tolerance)
    there = read(path)
    tree = source.tree if isinstance(source, Chat) else source
    model = tree.context.model
    with tree.turn():
        if tree.uncommitted:
            tree.commit(source="context")
        entries = [entry_of(checkpoint, model) for checkpoint in tree]
        moved = tuple(moved_answers(there, tree))
    changes = [*_changes(there, {entry.id: entry for entry in entries})]
    if isinstance(source, Chat):
        changes = [*_changed_options(there, source), *changes]
    params, adapters = dict(vars(tree.context.params)), tree.context.known_adapters.at_hand
    at_hand = [*adapters_beside(Path(path), there.entries), *adapters]
    report = replayed(there, model, rule, params, changes, at_hand)
    return replace(report, moved=moved)


def _changes(there: Recording, here: Mapping[str, Entry]) -> Iterator[str]:
    """What was asked otherwise, in words."""
    names = names_of(there)
    same: set[str | None] = {None}  # so far the same tokens, which holds for prompts only then
    for entry in there.entries:
        name, now = f"checkpoint {names[entry.id]}", here.get(entry.id)
        if now is None:
            yield f"{name} is not there any more"
            continue
        if now.tokens == entry.tokens and entry.parent in same:
            same.add(entry.id)
        for what, was, is_now in _aspects(entry, now):
            if was != is_now:
                yield f"{name}: {what} {was!r} recorded, {is_now!r} here"
                break
        else:
            if entry.parent in same and not entry.is_generated and now.tokens != entry.tokens:
                yield f"{name}: {entry.text!r} recorded, {now.text!r} here"
    known = {entry.id for entry in there.entries}
    for entry in here.values():
        if entry.id not in known:
            yield f"checkpoint {entry.id[:7]} is new: {entry.text!r}"


def _changed_options(there: Recording, chat: Chat) -> Iterator[str]:
    """What of the chat template's options was given otherwise, in words."""
    here = chat._conversation.template.saved()
    for key in ("chat_template", "chat_template_kwargs"):
        was, now = there.template.get(key), here.get(key)
        if was != now:
            yield f"the chat: {key} {was!r:.200} recorded, {now!r:.200} here"


def _aspects(entry: Entry, now: Entry) -> Iterator[tuple[str, Any, Any]]:
    yield "spoken by", entry.notes.get("role"), now.notes.get("role")
    yield "message", _said(entry), _said(now)
    key = "chat_template_kwargs"
    yield key, entry.notes.get(key), now.notes.get(key)
    yield "adapters", [*entry.noted.adapters], [*now.noted.adapters]
    yield "sampling", entry.notes.get("sampling"), now.notes.get("sampling")


def _said(entry: Entry) -> Any:
    message = entry.notes.get("message")
    return message.get("content", message) if isinstance(message, Mapping) else message
