"""Comparing a new conversation with the recording of an earlier one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

from ..engine.model import Model
from ..history.chat import Chat
from ..history.tree import CheckpointTree
from .adapters import adapters_beside
from .comparison import names_of
from .moved_answer import MovedAnswer
from .parting import first_difference
from .reading import read
from .recording import Recording, entry_of
from .replaying import replayed
from .report import Report
from .rule import MARGIN, TOLERANCE, Rule
from .walk import Entry

__all__ = ["regress"]

_IN_FRONT, _BEHIND = 12, 24  # tokens that are shown where two answers part


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
        moved = tuple(_moved(there, tree))
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


def _moved(there: Recording, tree: CheckpointTree) -> Iterator[MovedAnswer]:
    """The answers at the same places of a recording and a tree that differ."""
    names, model = names_of(there), tree.context.model
    for entry in there.entries:
        if not entry.is_generated or entry.id not in tree:
            continue
        now = tree[entry.id]
        first = first_difference(entry.tokens, now.tokens)
        if first is None:
            continue
        logprob = entry.steps[first].logprob if first < len(entry.steps) else None
        start = max(0, first - _IN_FRONT)
        yield MovedAnswer(
            names[entry.id],
            first,
            start,
            _pieces(model, entry.tokens, start, first + _BEHIND),
            _pieces(model, now.tokens, start, first + _BEHIND),
            None if logprob is None or first >= len(entry.tokens) else exp(logprob),
            exp(now.logprobs[first]) if first < len(now.logprobs) else None,
        )


def _pieces(model: Model, tokens: Sequence[int], start: int, stop: int) -> tuple[str, ...]:
    """The texts of single tokens; bytes that are no character of their own as such."""
    pieces = (model.vocabulary.piece(token) for token in tokens[start:stop])
    return tuple(piece.decode("utf-8", "backslashreplace") for piece in pieces)
