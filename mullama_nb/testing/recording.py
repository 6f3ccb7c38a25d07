"""The recording file: a tree's texts and tokens with their probabilities; no KV rows."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.context import Context
from ..engine.model import Model
from ..engine.params import ContextParams
from ..engine.stored import params_from_file
from ..engine.templates.options import TemplateOptions
from ..history.chat import Chat
from ..history.tree import Checkpoint, CheckpointTree
from ..state.atomic import write_atomically
from .adapters import with_adapters
from .said import system_said
from .sealing import seal
from .walk import Entry, fitting_params, vocabulary_digest, walk
from .wording import rendered

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine.options import ContextOptions

__all__ = ["VERSION", "Recording", "record", "write"]

VERSION = 2
"""Version 1 had no checksums."""


@dataclass(frozen=True)
class Recording:
    """The contents of a recording file.

    Attributes
    ----------
    model : str
        Its name; the settings identify the weights.
    vocabulary : str
        A digest: models with the same digest have the same tokens.
    params : mapping
        Fields of ``ContextParams``.
    settings, environment : mapping
        What rows depend on, and what only their last bits depend on.
    system : str or None
        The one that was said; where a branch says none, the chat's, which it is told.
    tools : list of mapping or None
        Of the chat, if it was one.
    tags : mapping
        Checkpoint ids by tag.
    entries : tuple of Entry
        Parents first.
    template : mapping
        Of the chat: the chat template, its variables and the date, as far as they were given.
    """

    model: str
    vocabulary: str
    params: Mapping[str, Any]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    system: str | None
    tools: Sequence[Mapping[str, Any]] | None
    tags: Mapping[str, str]
    entries: tuple[Entry, ...]
    template: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def template_options(self) -> TemplateOptions:
        """How messages were rendered."""
        return TemplateOptions.from_saved({"tools": self.tools, **self.template})

    @property
    def n_measured(self) -> int:
        """The number of tokens with probabilities."""
        return sum(len(entry.steps) for entry in self.entries)

    def __repr__(self) -> str:
        return (
            f"Recording({self.model!r}, {len(self.entries)} checkpoints, "
            f"{self.n_measured} generated tokens)"
        )


def record(source: Chat | CheckpointTree, path: str | os.PathLike[str]) -> Recording:
    """Record a conversation tree, for :func:`replay` on any model.

    Every segment is evaluated once more, in a second context, as a replay does.

    Parameters
    ----------
    source : Chat or CheckpointTree
    path : str or path
        By convention ``NAME.mullama.json``; an existing file is replaced as a whole.

    Returns
    -------
    Recording
        The recording that was written.

    Raises
    ------
    SessionWriteError
        When the file cannot be written; an existing one is intact.
    """
    recording = measured(source)
    write(recording, path)
    return recording


def measured(source: Chat | CheckpointTree) -> Recording:
    """Return what :func:`record` writes."""
    tree = source.tree if isinstance(source, Chat) else source
    model, params = tree.context.model, tree.context.params
    with tree.turn():
        if tree.uncommitted:
            tree.commit(source="context")
        entries = [entry_of(checkpoint, model) for checkpoint in tree]
        tags = {name: c.id for name, c in tree.tags.items() if not c.is_root}
    system, template = None, TemplateOptions()
    if isinstance(source, Chat):
        system, template = source.system, source._conversation.template
    if (told := system_said(entries)) is not None:
        system, _ = told  # what the chat was made with has been pruned, or is the same
    fitting = fitting_params(entries, model, params)
    with Context(model, fitting) as beside:
        beside.known_adapters.offer(tree.context.known_adapters.at_hand)
        found = walk(entries, beside, template, finds_ends=True)
        metadata = beside.session_metadata
    said = rendered(entries, model, system, template)
    return Recording(
        model.name,
        vocabulary_digest(model),
        dataclasses.asdict(params),
        with_adapters(metadata["settings"], entries),
        metadata["environment"],
        system,
        None if template.tools is None else [dict(tool) for tool in template.tools],
        tags,
        tuple(
            dataclasses.replace(found.filled_in(entry), is_rendered=said.get(entry.id))
            for entry in entries
        ),
        template.saved(),
    )


def entry_of(checkpoint: Checkpoint, model: Model) -> Entry:
    """Return the entry of a checkpoint, not yet measured."""
    parent = checkpoint.parent
    return Entry(
        checkpoint.id,
        None if parent is None or parent.is_root else parent.id,
        checkpoint.tokens,
        model.detokenize(checkpoint.tokens, special=True),
        dict(checkpoint.metadata),
        is_generated=bool(checkpoint.logprobs) or checkpoint.metadata.is_generated,
    )


def context_params(recording: Recording, **changes: Unpack[ContextOptions]) -> ContextParams:
    """Return a recording's parameters, as far as they fit here, with some changes."""
    return params_from_file(recording.params, **changes)


def write(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Write a recording, with one line for each value that a diff should show separately.

    Raises
    ------
    SessionWriteError
        When the file cannot be written; an existing one is intact.
    """
    body: dict[str, Any] = {
        "mullama_recording": VERSION,
        "checksum": "",
        "checkpoints": len(recording.entries),
        **{
            field.name: getattr(recording, field.name)
            for field in dataclasses.fields(recording)
            if field.name not in ("entries", "template")
        },
        **({"template": dict(recording.template)} if recording.template else {}),
        "entries": [*map(_values, recording.entries)],
    }
    seal(body)
    entries = ",\n".join(map(_entry_text, body.pop("entries")))
    text = f'{_json(body, indent=1)[:-2]},\n "entries": [\n{entries}\n ]\n}}\n'
    write_atomically(Path(path), [text.encode("utf-8", "surrogatepass")])


def _values(entry: Entry) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": entry.id,
        "checksum": "",
        "parent": entry.parent,
        "notes": entry.notes,
        "text": entry.text,
        "tokens": entry.tokens,
        "generated": entry.is_generated,
    }
    if entry.is_rendered is not None:
        values["rendered"] = entry.is_rendered
    if entry.end is not None:
        values["end"] = entry.end
    if entry.drawn:
        values["drawn"] = entry.drawn
    if entry.after:
        values["after"] = _pairs(entry.after)
    values["steps"] = [[_short(step.logprob), *_pairs(step.top)] for step in entry.steps]
    return values


def _pairs(top: Sequence[tuple[int, float]]) -> list[list[float]]:
    return [[token, _short(value)] for token, value in top]


def _entry_text(values: dict[str, Any]) -> str:
    rows = ",\n    ".join(map(_json, values.pop("steps")))
    lines = [f'"{key}": {_json(value)}' for key, value in values.items()]
    lines.append(f'"steps": [{rows}]')
    return "  {" + ",\n   ".join(lines) + "}"


def _short(value: float) -> float:
    """A float32 in as few digits as tell it from its neighbours."""
    return float(str(np.float32(value)))


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
