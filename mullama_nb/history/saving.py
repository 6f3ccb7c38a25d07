"""A chat's tree as rows of the catalog, and the changes since it was last saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engine.compatibility import ADAPTER_RUNS, ADAPTERS
from ..engine.completion import Limits
from ..engine.context import Context
from ..engine.sampling.params import SamplingParams
from ..engine.templates.options import TemplateOptions
from ..engine.vocabulary import Vocabulary
from ..sessions.entries import Entry, EntryRow, SavedChat, sum_text
from ..sessions.records import Record
from ..sessions.versions import Place, Written
from .message import message_text
from .node import Node
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["Draft", "Image", "settings_of"]


def settings_of(
    context: Context,
    sampling: SamplingParams,
    limits: Limits,
    system: str | None,
    template: TemplateOptions,
) -> dict[str, Any]:
    """Return the saved form of everything in a chat besides its tree."""
    schema = sampling.json_schema
    adapters = _adapters_of(context)
    return {
        "system": system,
        "tools": None if template.tools is None else [dict(tool) for tool in template.tools],
        **template.saved(),
        "model": str(context.model.path),
        "params": dict(vars(context.params)),
        "sampling": dict(vars(sampling))
        | {
            "logit_bias": sampling.plain_biases,
            "json_schema": dict(schema) if isinstance(schema, Mapping) else schema,
        },
        **({"limits": limits.changed()} if limits.changed() else {}),
        **({"adapters": adapters} if adapters else {}),
    }


def _adapters_of(context: Context) -> dict[str, Any]:
    """What is on, and where the files of all are; nothing where there never were any."""
    if not context.known_adapters.at_hand:
        return {}
    return {
        "on": [adapter.note() for adapter in context.adapters],
        "files": {
            adapter.fingerprint: str(adapter.path)
            for adapter in context.known_adapters.at_hand
            if adapter.path is not None
        },
    }


@dataclass(frozen=True)
class Image:
    """The saved state of a tree in a version of a name, so that only differences are written.

    Attributes
    ----------
    place : Place
        The version, as last read or saved.
    count : int
        The tree's count of changes at that time.
    rows : dict
        Number and digest of each checkpoint's row, by id. It is passed on to the next image.
    total : int
        Sum of the digests.
    next_number : int
    """

    place: Place
    count: int
    rows: dict[str, tuple[int, int]]
    total: int
    next_number: int

    @classmethod
    def of(cls, place: Place, saved: SavedChat, count: int) -> Image:
        """Return the image of a loaded chat."""
        rows = {entry.id: (entry.number, saved.digests[entry.number]) for entry in saved.entries}
        return cls(place, count, rows, sum(saved.digests.values()), 1 + max(saved.digests))


class Draft:
    """The part of a tree that has to be written, and the image afterwards.

    Parameters
    ----------
    workspace : Workspace
        Must not change until the draft is written.
    settings : mapping
        The result of ``settings_of``.
    name : str
    image : Image, optional
        The stored image; None for a new version.
    thorough : bool
        Whether to compare every checkpoint, and not only those known to have changed: changes
        inside a note are not tracked.
    """

    def __init__(
        self,
        workspace: Workspace[Checkpoint],
        settings: dict[str, Any],
        name: str,
        image: Image | None,
        *,
        thorough: bool,
    ) -> None:
        self._context, self._graph = workspace.context, workspace.graph
        self._settings, self._name = settings, name
        self._adapters = [*workspace.adapters.used.values()]
        self._count = self._graph.changes.count
        self._rows = {} if image is None else image.rows
        self._total = 0 if image is None else image.total
        self._next_number = 0 if image is None else image.next_number
        self._put: dict[str, EntryRow] = {}
        self._removed: dict[str, int] = {}
        self._numbers: dict[str, int] = {}  # of those that are new
        if image is not None and not thorough:
            changed = self._graph.changes.since(image.count)
        else:
            changed = [self._graph.root.id, *(node.id for node in self._graph)]
            changed += {*self._rows}.difference(changed)
        for identifier in changed:
            if identifier in self._graph and identifier not in self._rows:
                self._numbers[identifier] = self._next_number
                self._next_number += 1
        for identifier in changed:
            self._take(identifier)

    def _take(self, identifier: str) -> None:
        known = self._rows.get(identifier)
        if identifier in self._graph:
            row = self._entry(self._graph.node(identifier)).row(self._name)
            if known is None or known[1] != row.digest:
                self._put[identifier] = row
                self._total += row.digest - (0 if known is None else known[1])
        elif known is not None:
            self._removed[identifier] = known[0]
            self._total -= known[1]

    def _number(self, identifier: str) -> int:
        found = self._numbers.get(identifier)
        return self._rows[identifier][0] if found is None else found

    @property
    def written(self) -> Written:
        """The data to write."""
        graph = self._graph
        n_entries = len(self._rows) + len(self._numbers) - len(self._removed)
        places = {
            "head": self._number(graph.head.id),
            "redo": [self._number(node.id) for node in graph.redo or ()][::-1],
            "tags": {name: self._number(node.id) for name, node in graph.tags.items()},
            "n_made": graph.n_made,
        }
        record = Record(
            "chat",
            self._metadata,
            graph.head.stop,
            n_entries=n_entries,
            entries=sum_text(self._total),
            places=places,
        )
        rows, removed = [*self._put.values()], [*self._removed.values()]
        return Written(record, self._settings, rows, removed)

    @property
    def _metadata(self) -> dict[str, Any]:
        """The context's, with all adapters that any checkpoint was made with."""
        metadata = self._context.session_metadata
        # Which tokens were evaluated with which is in the notes of the checkpoints.
        metadata.pop(ADAPTER_RUNS, None)
        metadata["settings"].pop(ADAPTERS, None)
        if self._adapters:
            metadata["settings"][ADAPTERS] = self._adapters
        return metadata

    def image(self, place: Place) -> Image:
        """Return the image of the version after writing."""
        for identifier in self._removed:
            del self._rows[identifier]
        for identifier, row in self._put.items():
            self._rows[identifier] = row.number, row.digest
        return Image(place, self._count, self._rows, self._total, self._next_number)

    def _entry(self, node: Checkpoint) -> Entry:
        made, cuts = self._graph.counts(node)
        return Entry(
            self._number(node.id),
            node.id,
            None if node.parent is None else self._number(node.parent.id),
            node.tokens,
            node.ordinal,
            node.metadata,
            None if node.place == "lost" else node.address,
            node.n_bytes,
            node.logprobs,
            node.rows_exact,
            made,
            cuts,
            _text(node, self._context.model.vocabulary),
            message_text(node) if node.metadata.is_said_by_tokens else None,
        )


def _text(node: Node, vocabulary: Vocabulary) -> str:
    """What the tokens say, so that those of a path joined are what they say together."""
    data = b"".join(vocabulary.piece(token, special=True) for token in node.tokens)
    text = data.decode("utf-8", "surrogateescape")
    if not node.start and vocabulary.detokenize(node.tokens, special=True) == text[1:]:
        return text[1:]  # the space that some vocabularies put in front of the first word
    return text
