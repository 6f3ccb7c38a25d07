"""The file: what a tree of checkpoints said, and how likely each token was; no KV rows."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.compatibility import environment, settings
from ..engine.context import Context
from ..engine.model import Model
from ..engine.params import ContextParams
from ..errors import MullamaError
from ..history.chat import Chat
from ..history.tree import CheckpointTree
from .walk import Step, walk

__all__ = ["Entry", "Recording", "RecordingError", "read", "record", "record_again"]

_VERSION = 1
_MOST_BYTES = 64 * 2**20
_MOST_ENTRIES = 100_000


class RecordingError(MullamaError, ValueError):
    """The file is damaged, or is no recording."""


@dataclass(frozen=True)
class Entry:
    """One checkpoint of a recording.

    Attributes
    ----------
    id : str
    parent : str or None
        None: the tree's root.
    tokens : tuple of int
    text : str
        What the tokens say, for whoever reads the file.
    notes : dict
        The checkpoint's metadata: role, sampling, ordinal of the draws.
    steps : tuple of Step
        One for each token, where they were generated; else empty.
    """

    id: str
    parent: str | None
    tokens: tuple[int, ...]
    text: str
    notes: Mapping[str, Any]
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Recording:
    """What a file holds.

    Attributes
    ----------
    model : str
    params : dict
        Fields of ``ContextParams``.
    settings, environment : dict
        What rows depend on; what only their last bits depend on.
    tags : dict
        Ids by name.
    entries : tuple of Entry
        Parents first.
    """

    model: str
    params: Mapping[str, Any]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    tags: Mapping[str, str]
    entries: tuple[Entry, ...]


def record(source: Chat | CheckpointTree, path: str | os.PathLike[str]) -> Recording:
    """Write down a conversation tree, for :func:`replay` to hold any model against.

    Every segment is evaluated once more, in a context beside the tree's.

    Parameters
    ----------
    source : Chat or CheckpointTree
    path : str or path
        By convention ``NAME.mullama.json``.
    """
    tree = source.tree if isinstance(source, Chat) else source
    context, root = tree.context, tree.root
    model = context.model
    with tree.operation():
        tree.settle()
        entries = [
            Entry(
                c.id,
                None if c.parent in (None, root) else c.parent.id,
                c.tokens,
                model.detokenize(c.tokens, special=True),
                dict(c.metadata),
                (Step.blank(),) * len(c.logprobs),
            )
            for c in tree
        ]
        tags = {name: c.id for name, c in tree.tags.items() if c is not root}
    with Context(model, context.params) as beside:
        steps = walk(entries, beside).steps
    recording = Recording(
        model.name,
        dataclasses.asdict(context.params),
        settings(model, context.params, context.n_ctx),
        environment(context.params),
        tags,
        tuple(dataclasses.replace(e, steps=steps[e.id]) for e in entries),
    )
    write(recording, path)
    return recording


def record_again(path: str | os.PathLike[str], model: Model, **options: Any) -> Recording:
    """Measure a recording's tokens anew, with another model or other settings.

    The tokens stay: a conversation that shall be said otherwise is recorded from its chat.

    Parameters
    ----------
    path : str or path
        Is replaced.
    model : Model
    **options
        Fields of ``ContextParams`` that shall differ.
    """
    old = read(path)
    params = ContextParams(**{**old.params, **options})
    with Context(model, params) as context:
        steps = walk(old.entries, context).steps
        n_ctx = context.n_ctx
    new = Recording(
        model.name,
        dataclasses.asdict(params),
        settings(model, params, n_ctx),
        environment(params),
        old.tags,
        tuple(dataclasses.replace(e, steps=steps[e.id]) for e in old.entries),
    )
    write(new, path)
    return new


def write(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Write a recording, one line for each value that a diff should show alone."""
    body = {"mullama_recording": _VERSION, **dataclasses.asdict(recording)}
    entries = body.pop("entries")
    head = json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False)[:-2]
    lines = ",\n".join(_entry_text(entry) for entry in entries)
    target = Path(path)
    beside = target.with_name(target.name + ".part")
    beside.write_text(f'{head},\n "entries": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    beside.replace(target)


def _entry_text(entry: dict[str, Any]) -> str:
    steps = entry.pop("steps")
    text = json.dumps(entry, ensure_ascii=False, allow_nan=False)[:-1]
    shown = [json.dumps([s["logprob"], *s["top"]], allow_nan=False) for s in steps]
    rows = ",\n   ".join(shown)
    return f'  {text}, "steps": [{rows}]}}'


def read(path: str | os.PathLike[str]) -> Recording:
    """Read and check a recording.

    Raises
    ------
    RecordingError
        When the file is missing, too large, damaged, or no recording.
    """
    name = Path(path).name
    try:
        if Path(path).stat().st_size > _MOST_BYTES:
            raise RecordingError(f"{name} is larger than {_MOST_BYTES:,} bytes")
        body = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordingError(f"{name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{name} is no JSON, or cut short: {error}; record it anew") from None
    try:
        return _checked(body)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordingError(
            f"{name} is no sound recording: {type(error).__name__} {error}; record it anew"
        ) from None


def _checked(body: Any) -> Recording:
    _need(isinstance(body, dict) and body.get("mullama_recording") == _VERSION, "version")
    _need(isinstance(body["model"], str), "model")
    for key in ("params", "settings", "environment", "tags"):
        _need(isinstance(body[key], dict), key)
    rows = body["entries"]
    _need(isinstance(rows, list) and len(rows) <= _MOST_ENTRIES, "entries")
    stops: dict[str | None, int] = {None: 0}
    entries = []
    for row in rows:
        entry = _checked_entry(row)
        _need(entry.id not in stops and entry.parent in stops, f"place of {entry.id!r}")
        _need(not entry.steps or stops[entry.parent] > 0, f"beginning of {entry.id!r}")
        stops[entry.id] = stops[entry.parent] + len(entry.tokens)
        entries.append(entry)
    _need(all(i in stops for i in body["tags"].values()), "tags")
    params = {k: tuple(v) if isinstance(v, list) else v for k, v in body["params"].items()}
    return Recording(
        body["model"], params, body["settings"], body["environment"], body["tags"], tuple(entries)
    )


def _checked_entry(row: Any) -> Entry:
    tokens, steps = row["tokens"], row["steps"]
    _need(isinstance(row["id"], str) and isinstance(row["text"], str), "id and text")
    _need(row["parent"] is None or isinstance(row["parent"], str), "parent")
    _need(isinstance(row["notes"], dict), "notes")
    _need(isinstance(tokens, list) and all(type(t) is int and t >= 0 for t in tokens), "tokens")
    _need(isinstance(steps, list) and len(steps) in (0, len(tokens)), "steps")
    made = []
    for logprob, *top in steps:
        _need(_is_log(logprob), "logprob")
        for token, value in top:
            _need(type(token) is int and token >= 0 and _is_log(value), "top")
        made.append(Step(logprob, tuple((token, value) for token, value in top)))
    return Entry(row["id"], row["parent"], tuple(tokens), row["text"], row["notes"], tuple(made))


def _is_log(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value <= 1e-3


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"its {what} cannot be right")
