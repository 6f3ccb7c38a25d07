"""What a chat's tree is in the catalog, and what of it has changed since it was there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..sessions.entries import Entry, EntryRow, SavedChat, sum_text
from ..sessions.records import Record
from ..sessions.versions import Place, Written
from .checkpoint import Checkpoint
from .turn import message_text

if TYPE_CHECKING:
    from .chat_moves import ChatMoves

__all__ = ["Draft", "Image", "settings_of"]


def settings_of(chat: ChatMoves) -> dict[str, Any]:
    """What a chat is made of besides its tree."""
    schema = chat.sampling.json_schema
    return {
        "system": chat.system,
        "tools": chat.tools,
        "model": str(chat.model.path),
        "params": dict(vars(chat.context.params)),
        "sampling": dict(vars(chat.sampling))
        | {
            "logit_bias": [*chat.sampling.logit_bias.items()],
            "json_schema": dict(schema) if isinstance(schema, Mapping) else schema,
        },
    }


@dataclass(frozen=True)
class Image:
    """What a version of a name holds of a tree, so that only the difference is written.

    Attributes
    ----------
    place : Place
        The version, as it was read or saved last.
    count : int
        Of the tree's changes then.
    rows : dict
        Number and digest of each checkpoint's row, by its id. It passes on to the next image.
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
        """The image of a chat that was read."""
        rows = {entry.id: (entry.number, saved.digests[entry.number]) for entry in saved.entries}
        return cls(place, count, rows, sum(saved.digests.values()), 1 + max(saved.digests))


class Draft:
    """What has to be written of a tree, and the image of it afterwards.

    Parameters
    ----------
    chat : Chat
        Nobody changes it until that is written.
    name : str
    image : Image, optional
        What there is already; None for a version that is new.
    thorough : bool
        Whether every checkpoint is compared, and not only those that are known to have changed: a
        note within a note changes unnoticed.
    """

    def __init__(self, chat: ChatMoves, name: str, image: Image | None, *, thorough: bool) -> None:
        self._chat, self._tree, self._name = chat, chat.tree, name
        self._count = self._tree.changes.count
        self._rows = {} if image is None else image.rows
        self._total = 0 if image is None else image.total
        self._next_number = 0 if image is None else image.next_number
        self._put: dict[str, EntryRow] = {}
        self._removed: dict[str, int] = {}
        self._numbers: dict[str, int] = {}  # of those that are new
        if image is not None and not thorough:
            changed = self._tree.changes.since(image.count)
        else:
            changed = [self._tree.root.id, *(checkpoint.id for checkpoint in self._tree)]
            changed += {*self._rows}.difference(changed)
        for identifier in changed:
            if identifier in self._tree and identifier not in self._rows:
                self._numbers[identifier] = self._next_number
                self._next_number += 1
        for identifier in changed:
            self._take(identifier)

    def _take(self, identifier: str) -> None:
        known = self._rows.get(identifier)
        if identifier in self._tree:
            row = _entry(self._tree.checkpoint(identifier), self._number).row(self._name)
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
        """What has to be written."""
        tree = self._tree
        n_entries = len(self._rows) + len(self._numbers) - len(self._removed)
        places = {
            "head": self._number(tree.head.id),
            "redo": [self._number(c.id) for c in reversed(tree.redo_path)],
            "tags": {name: self._number(c.id) for name, c in tree.tags.items()},
            "n_made": tree.n_made,
        }
        record = Record(
            "chat",
            self._chat.context.session_metadata,
            tree.head.stop,
            n_entries=n_entries,
            entries=sum_text(self._total),
            places=places,
        )
        rows, removed = [*self._put.values()], [*self._removed.values()]
        return Written(record, settings_of(self._chat), rows, removed)

    def image(self, place: Place) -> Image:
        """What the version holds once that was written."""
        for identifier in self._removed:
            del self._rows[identifier]
        for identifier, row in self._put.items():
            self._rows[identifier] = row.number, row.digest
        return Image(place, self._count, self._rows, self._total, self._next_number)


def _entry(c: Checkpoint, number: Callable[[str], int]) -> Entry:
    made, cuts = c.tree.counts_of(c)
    notes = c.metadata
    is_said_by_tokens = "role" in notes and notes.get("message") is None
    return Entry(
        number(c.id),
        c.id,
        None if c.parent is None else number(c.parent.id),
        c.tokens,
        c.ordinal,
        notes,
        None if c.place == "lost" else c.address,
        c.n_bytes,
        c.logprobs,
        c.rows_exact,
        made,
        cuts,
        _text(c),
        message_text(c) if is_said_by_tokens else None,
    )


def _text(checkpoint: Checkpoint) -> str:
    """What the tokens say, so that those of a path joined are what they say together."""
    vocabulary = checkpoint.tree.context.model.vocabulary
    data = b"".join(vocabulary.piece(token, special=True) for token in checkpoint.tokens)
    text = data.decode("utf-8", "surrogateescape")
    if not checkpoint.start and vocabulary.detokenize(checkpoint.tokens, special=True) == text[1:]:
        return text[1:]  # the space that some vocabularies put in front of the first word
    return text
