"""A chat's checkpoints as rows of the catalog: one each, rewritten only when it changes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from blake3 import blake3

from ..checks import is_number
from ..errors import ParameterError
from .records import (
    ADDRESS,
    MalformedError,
    Record,
    as_json,
    damaged_name,
    from_json,
    read_list,
    read_mapping,
    read_number,
    read_text,
    read_tokens,
)

__all__ = [
    "SUM_BITS",
    "Entry",
    "EntryRow",
    "SavedChat",
    "check_notes_kept",
    "parse_chat",
    "sum_text",
]

SUM_BITS = 128
_MOST_CARRIED = 2
_ID = re.compile("[0-9a-f]{20}")


class EntryRow(NamedTuple):
    """A row of the catalog."""

    number: int
    data: str
    digest: int
    address: str | None


@dataclass(frozen=True)
class Entry:
    """One checkpoint as it is saved.

    Attributes
    ----------
    number : int
        Number of the row, which a checkpoint keeps. The root has 0.
    id : str
    parent : int, optional
        The parent's number; None for the root.
    tokens : sequence of int
    ordinal : int
    metadata : mapping
    address : str, optional
        Of the KV rows; None if they are lost, or there are no tokens.
    n_bytes : int
    logprobs : sequence of float
    exact : bool
    made, cuts : int
        Numbers of children and of splits ever made.
    text : str
        The tokens' text, including control tokens; an incomplete character as surrogate escapes.
    said : str, optional
        The text of a message that ends here, if its notes do not have it.
    """

    number: int
    id: str
    parent: int | None
    tokens: Sequence[int]
    ordinal: int
    metadata: Mapping[str, Any]
    address: str | None
    n_bytes: int
    logprobs: Sequence[float]
    exact: bool
    made: int
    cuts: int
    text: str
    said: str | None

    def row(self, name: str) -> EntryRow:
        """The row of the catalog.

        Raises
        ------
        ParameterError
            When its notes could not be read back.
        """
        check_notes_kept(self.metadata)
        values = dict(vars(self)) | {
            "metadata": dict(self.metadata),
            "tokens": list(self.tokens),
            "logprobs": [p if math.isfinite(p) else None for p in self.logprobs],
        }
        del values["number"]
        data = as_json(values, name)
        return EntryRow(self.number, data, row_digest(self.number, data), self.address)


def row_digest(number: int, data: str) -> int:
    """Return a row's share in the sum over all rows of a chat."""
    hashed = blake3(number.to_bytes(8, "little") + data.encode()).digest(length=SUM_BITS // 8)
    return int.from_bytes(hashed, "little")


def check_notes_kept(notes: Mapping[str, Any]) -> None:
    """Check the types of notes that a chat relies on.

    Raises
    ------
    ParameterError
        When they are not.
    """
    try:
        _check_notes(notes)
    except MalformedError as error:
        raise ParameterError(f"these notes could not be saved: {error}") from None


def _check_notes(notes: Mapping[str, Any]) -> None:
    for key in ("role", "came_from", "taken_from", "finish_reason"):
        if key in notes:
            read_text(notes, key, optional=key != "role")
    if "hidden" in notes:
        read_number(notes, "hidden")
    if "message" in notes and notes["message"] is not None:
        read_mapping(notes, "message")
    for key in ("chat_template_kwargs", "evaluated_again", "decoded_elsewhere"):
        if key in notes:
            read_mapping(notes, key)
    if "sampler_states" in notes:
        _check_states(read_list(notes, "sampler_states"))
    adapters = notes.get("adapters", [])
    if not isinstance(adapters, list) or not all(isinstance(each, dict) for each in adapters):
        raise MalformedError(f"adapters are {adapters!r:.60}, no mappings")
    history = notes.get("history")
    if history is not None and not (
        isinstance(history, list) and all(isinstance(m, dict) and "role" in m for m in history)
    ):
        raise MalformedError(f"history is {history!r:.60}, not messages")


def _check_states(states: list[Any]) -> None:
    for state in states:
        is_state = isinstance(state, list) and 0 < len(state) <= _MOST_CARRIED
        if not is_state or not all(is_number(value) for value in state):
            raise MalformedError(f"sampler_states hold {state!r:.60}, nothing that is carried")


class SavedChat:
    """The checkpoints of a saved chat, checked, and its head.

    Parameters
    ----------
    entries : iterable of Entry
        In any order.
    places : mapping
        The record's places.
    digests : mapping
        Digests of the rows, by number.

    Attributes
    ----------
    entries : list of Entry
        Parents first, and siblings in order.
    by_number : mapping
    head : Entry
    """

    def __init__(
        self, entries: Iterable[Entry], places: Mapping[str, Any], digests: Mapping[int, int]
    ) -> None:
        self.by_number = {entry.number: entry for entry in entries}
        children: dict[int | None, list[Entry]] = {}
        for entry in self.by_number.values():
            children.setdefault(entry.parent, []).append(entry)
        roots = children.get(None, [])
        if [root.number for root in roots] != [0] or roots[0].tokens:
            raise MalformedError("it has no root, or more than one")
        for siblings in children.values():
            siblings.sort(key=lambda entry: entry.ordinal, reverse=True)
        self.entries: list[Entry] = []
        stack = roots
        while stack:
            entry = stack.pop()
            self.entries.append(entry)
            stack += children.get(entry.number, ())
        if len(self.entries) != len(self.by_number):
            raise MalformedError("some of its checkpoints are not connected to the root")
        self._by_id = {entry.id: entry for entry in self.entries}
        if len(self._by_id) != len(self.entries):
            raise MalformedError("two of its checkpoints have the same id")
        self._check_order()
        wanted = {places["head"], *places["redo"], *places["tags"].values()}
        if wanted - {*self.by_number}:
            raise MalformedError("its head, tags or redo path name a checkpoint that is missing")
        self.places, self.digests = places, digests
        self.head = self.by_number[places["head"]]

    def path(self) -> list[Entry]:
        """Return the entries from the root, exclusive, to the head."""
        path, at = [], self.head
        while at.parent is not None:
            path.append(at)
            at = self.by_number[at.parent]
        return path[::-1]

    def previous(self, entry: Entry) -> Entry | None:
        """Return the entry before one in the conversation, mostly its parent."""
        if entry.parent is None:
            return None
        before = self._by_id.get(entry.metadata.get("came_from") or "")
        return self.by_number[entry.parent] if before is None else before

    @property
    def n_messages(self) -> int:
        """The number of questions and answers up to the head."""
        n, goes_on = 0, False
        at: Entry | None = self.head
        while at is not None:
            role = at.metadata.get("role", "system")
            is_piece = at.metadata.get("cut") and role != "assistant"
            n += role != "system" and not goes_on and not is_piece
            history = at.metadata.get("history")
            if history is not None:  # all that was said up to here
                return n + len([m for m in history[:-1] if m["role"] != "system"])
            goes_on = bool(at.metadata.get("continues"))
            at = self.previous(at)
        return n

    def _check_order(self) -> None:
        """Check that whoever goes back in the conversation comes to the root."""
        arrives = {0}
        for entry in self.entries:
            way, at = [], entry
            while at.number not in arrives:
                way.append(at.number)
                before = self.previous(at)
                if before is None or len(way) > len(self.entries):
                    raise MalformedError("its conversation goes round in circles")
                at = before
            arrives.update(way)

    def tokens(self) -> list[int]:
        """Return all tokens up to the head."""
        return [token for entry in self.path() for token in entry.tokens]

    def text(self) -> str:
        """Return the text up to the head."""
        text = "".join(entry.text for entry in self.path())
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def chain(self) -> list[str] | None:
        """Return the segments from the first token to the head; None if rows are lost."""
        addresses = [entry.address for entry in self.path() if entry.tokens]
        found = [address for address in addresses if address is not None]
        return found if len(found) == len(addresses) else None


def parse_chat(name: str, record: Record, rows: Iterable[tuple[Any, Any, Any]]) -> SavedChat:
    """Return a chat from its rows: number, data and the address in the catalog.

    Raises
    ------
    SessionFormatError
        When one is missing, was exchanged, or holds an invalid value.
    """
    entries, digests = [], dict[int, int]()
    try:
        for number, data, address in rows:
            if type(number) is not int or number < 0 or not isinstance(data, str):
                raise MalformedError("one of its rows is not a checkpoint's")
            digests[number] = row_digest(number, data)
            entry = _parse_entry(number, data)
            if entry.address != address:
                raise MalformedError(
                    f"the segment of checkpoint {entry.id} is not counted as needed"
                )
            entries.append(entry)
        if len(entries) != record.n_entries or sum_text(sum(digests.values())) != record.entries:
            raise MalformedError("its checkpoints do not match their checksum")
        return SavedChat(entries, record.places, digests)
    except (MalformedError, UnicodeEncodeError) as error:
        raise damaged_name(name, str(error)) from None


def sum_text(total: int) -> str:
    """Return a sum of row digests in a record's form."""
    return f"{total % (1 << SUM_BITS):0{SUM_BITS // 4}x}"


def _parse_entry(number: int, data: str) -> Entry:
    values = from_json(data, but="text")
    text = read_text(values, "text")
    parent, address = values.get("parent"), read_text(values, "address", optional=True)
    identifier = read_text(values, "id")
    tokens, logprobs = read_tokens(values), values.get("logprobs")
    if (number == 0) != (parent is None) or not (parent is None or type(parent) is int):
        raise MalformedError(f"a checkpoint's parent is {parent!r:.60}")
    if not _ID.fullmatch(identifier) or not (address is None or ADDRESS.fullmatch(address)):
        raise MalformedError(f"{identifier!r:.60} or {address!r:.60} is not a checkpoint's")
    metadata = read_mapping(values, "metadata")
    _check_notes(metadata)
    if not isinstance(values.get("exact"), bool):
        raise MalformedError("exact is neither true nor false")
    return Entry(
        number,
        identifier,
        parent,
        tokens,
        read_number(values, "ordinal"),
        metadata,
        address,
        read_number(values, "n_bytes"),
        _logprobs(logprobs, len(tokens)),
        values["exact"],
        read_number(values, "made"),
        read_number(values, "cuts"),
        text,
        read_text(values, "said", optional=True),
    )


def _logprobs(values: object, n_tokens: int) -> list[float]:
    if not isinstance(values, list) or len(values) not in (0, n_tokens):
        raise MalformedError(f"logprobs are {values!r:.60}, none of its tokens")
    found = []
    for value in values:
        if value is not None and not is_number(value):
            raise MalformedError(f"{value!r:.60} is not a logprob")
        try:
            found.append(-math.inf if value is None else float(value))
        except OverflowError:
            raise MalformedError("a logprob is larger than any number") from None
    return found
