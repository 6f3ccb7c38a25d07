"""Records of the catalog, one per version of a name, and reading them from an untrusted file.

A checksum detects damage, but not forgery: it can be made for any record. So every value is checked
before anything relies on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blake3 import blake3

from ..checks import is_number
from ..errors import ParameterError, SessionFormatError, shown

__all__ = [
    "ADDRESS",
    "TIME",
    "MalformedError",
    "Record",
    "as_json",
    "check_plain",
    "damaged_name",
    "digest",
    "family",
    "from_json",
    "parse_body",
    "parse_record",
    "read_list",
    "read_mapping",
    "read_number",
    "read_text",
    "read_tokens",
]

ADDRESS = re.compile("[0-9a-f]{32}")
TIME = "%Y-%m-%dT%H:%M:%SZ"
_DIGEST = re.compile("[0-9a-f]{64}")
_SUM = re.compile("[0-9a-f]{32}")
_MOST_NESTED = 64
_MOST_TOKENS = 1 << 31


class MalformedError(ValueError):
    """A record holds a value that is never written."""


@dataclass(frozen=True)
class Record:
    """The catalog's record of one version of a name.

    Attributes
    ----------
    kind : str
        ``"session"`` or ``"chat"``.
    metadata : mapping
        As in a session file: model, settings, environment, n_ctx, created.
    n_tokens : int
        Number of tokens up to the head.
    chain : sequence of str
        A session's segments from the first token to the last. A chat's are with its entries.
    body : str
        Digest of the body, which is read only on opening.
    n_entries : int
        Number of a chat's checkpoints, including the root.
    entries : str
        Sum of the digests of a chat's entries, so that a missing or exchanged one is detected
        without reading the others at each save.
    places : mapping
        A chat's places: ``head``, ``redo``, ``tags`` as numbers of entries; ``n_made``.
    """

    kind: str
    metadata: Mapping[str, Any]
    n_tokens: int
    chain: Sequence[str] = ()
    body: str = ""
    n_entries: int = 0
    entries: str = ""
    places: Mapping[str, Any] = field(default_factory=dict)


def family(metadata: Mapping[str, Any]) -> str:
    """Return a digest of weights, settings and environment: equal digests can share rows."""
    values = [metadata["settings"], metadata["environment"]]
    return str(blake3(json.dumps(values, sort_keys=True).encode()).hexdigest(length=16))


def digest(data: bytes) -> str:
    """Return the digest of some bytes."""
    return str(blake3(data).hexdigest())


def as_json(values: object, name: str) -> str:
    """Return values as JSON.

    Raises
    ------
    ParameterError
        When JSON cannot hold them.
    """
    try:
        return json.dumps(values, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError(
            f"{name!r} cannot be saved, as its metadata is not JSON: {error}. "
            "Give metadata of texts, numbers, lists and dicts"
        ) from None


def from_json(data: object, *, but: str = "") -> dict[str, Any]:
    """Return a JSON object, with valid texts and limited nesting.

    Parameters
    ----------
    data : str or bytes
    but : str
        The only key whose text may hold surrogate escapes.

    Raises
    ------
    MalformedError
        When it is something else.
    """
    try:
        if not isinstance(data, (str, bytes)):
            raise MalformedError("it is not a text")
        values = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"it is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise MalformedError("it is not a JSON object")
    check_plain({key: value for key, value in values.items() if key != but})
    return values


def _refuse(constant: str) -> None:
    raise MalformedError(f"{constant} is not a number")


def check_plain(value: object, depth: int = 0) -> None:
    """Check that a value's texts can be encoded, and limit its nesting.

    Raises
    ------
    MalformedError
        When a text has an unpaired surrogate, or the value nests too deeply.
    """
    if depth > _MOST_NESTED:
        raise MalformedError(f"it nests more than {_MOST_NESTED} levels")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise MalformedError(f"{value!r:.60} has an unpaired surrogate") from None
    elif isinstance(value, dict):
        for key, item in value.items():
            check_plain(key, depth + 1)
            check_plain(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check_plain(item, depth + 1)


# -- single values -------------------------------------------------------------------------------


def read_text(values: Mapping[str, Any], key: str, *, optional: bool = False) -> Any:
    """Return a text, or None where that is allowed."""
    value = values.get(key)
    if not isinstance(value, str) and not (optional and value is None):
        raise MalformedError(f"{key} is {value!r:.60}, not a text")
    return value


def read_number(values: Mapping[str, Any], key: str, least: int = 0) -> int:
    """Return an integer within SQLite's range."""
    value = values.get(key)
    if type(value) is not int or not least <= value < 1 << 62:
        raise MalformedError(f"{key} is {value!r:.60}, not a number from {least}")
    return value


def read_mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a JSON object."""
    value = values.get(key)
    if not isinstance(value, dict):
        raise MalformedError(f"{key} is {value!r:.60}, not a mapping")
    return value


def read_list(values: Mapping[str, Any], key: str) -> list[Any]:
    """Return a JSON list."""
    value = values.get(key)
    if not isinstance(value, list):
        raise MalformedError(f"{key} is {value!r:.60}, not a list")
    return value


def read_tokens(values: Mapping[str, Any], key: str = "tokens") -> list[int]:
    """Return a list of tokens."""
    tokens = read_list(values, key)
    if not all(type(token) is int and 0 <= token < _MOST_TOKENS for token in tokens):
        raise MalformedError(f"{key} are {tokens!r:.60}, not tokens")
    return tokens


# -- a record ------------------------------------------------------------------------------------


def parse_record(name: str, text: object) -> Record:
    """Return a record from its JSON.

    Raises
    ------
    SessionFormatError
        When it is damaged; only this name is affected.
    """
    try:
        values = from_json(text)
        kind = values.get("kind")
        if kind not in ("session", "chat"):
            raise MalformedError(f"kind is {kind!r:.60}, neither session nor chat")
        chain = read_list(values, "chain")
        if not all(isinstance(a, str) and ADDRESS.fullmatch(a) for a in chain):
            raise MalformedError(f"{chain!r:.60} are no segments' addresses")
        is_chat = kind == "chat"
        body, entries = read_text(values, "body"), read_text(values, "entries")
        if not _DIGEST.fullmatch(body) or (is_chat and not _SUM.fullmatch(entries)):
            raise MalformedError("its digests are not digests")
        return Record(
            kind,
            _metadata(read_mapping(values, "metadata")),
            read_number(values, "n_tokens"),
            chain,
            body,
            read_number(values, "n_entries", int(is_chat)),
            entries,
            _places(read_mapping(values, "places")) if is_chat else {},
        )
    except MalformedError as error:
        raise damaged_name(name, f"its record holds what none does: {error}") from None


def damaged_name(name: str, what: str) -> SessionFormatError:
    """Return the error for one damaged name."""
    return SessionFormatError(
        f"the session {shown(repr(name))} is damaged: {what}. Other names are not concerned; "
        'delete it, or go back to an earlier version if "session list --all" has one'
    )


def _metadata(values: dict[str, Any]) -> dict[str, Any]:
    read_text(values, "model")
    read_text(read_mapping(values, "settings"), "fingerprint")
    read_mapping(values, "environment")
    read_number(values, "n_ctx", 1)
    try:
        datetime.strptime(read_text(values, "created"), TIME)
    except ValueError:
        raise MalformedError(f"created is {values.get('created')!r:.60}, not a time") from None
    return values


def _places(values: dict[str, Any]) -> dict[str, Any]:
    tags = read_mapping(values, "tags")
    numbers = [values.get("head"), *read_list(values, "redo"), *tags.values()]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise MalformedError("head, redo and tags are no numbers of entries")
    read_number(values, "n_made")
    return values


def parse_body(name: str, record: Record, data: object) -> dict[str, Any]:
    """Return a record's body, which is read only on opening.

    Raises
    ------
    SessionFormatError
        When it does not match the record, or holds an invalid value.
    """
    if not isinstance(data, bytes) or digest(data) != record.body:
        raise damaged_name(name, "its body does not match its checksum")
    try:
        values = from_json(data)
        if record.kind == "session":
            read_tokens(values)
            read_text(values, "text")
        else:
            if missing := {"system", "tools"} - {*values}:
                raise MalformedError(f"it lacks {' and '.join(sorted(missing))}")
            read_text(values, "system", optional=True)
            read_text(values, "model")
            read_mapping(values, "params")
            _sampling(read_mapping(values, "sampling"))
            if "limits" in values:
                read_mapping(values, "limits")
            adapters = read_mapping(values, "adapters") if "adapters" in values else {}
            _adapters(adapters)
            tools = values.get("tools")
            if tools is not None and not all(
                isinstance(tool, dict) for tool in read_list(values, "tools")
            ):
                raise MalformedError(f"tools are {tools!r:.60}, not mappings")
            read_text(values, "chat_template", optional=True)
            read_text(values, "date", optional=True)
            if "chat_template_kwargs" in values:
                read_mapping(values, "chat_template_kwargs")
    except MalformedError as error:
        raise damaged_name(name, f"its body holds what none does: {error}") from None
    return values


def _adapters(values: dict[str, Any]) -> None:
    if not values:
        return
    if not all(isinstance(path, str) for path in read_mapping(values, "files").values()):
        raise MalformedError("the places of its adapters are no texts")
    if not all(isinstance(each, dict) for each in read_list(values, "on")):
        raise MalformedError("the adapters that are on are no mappings")


def _sampling(values: dict[str, Any]) -> None:
    for pair in read_list(values, "logit_bias"):
        is_pair = isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int
        if not is_pair or not (is_number(pair[1]) or pair[1] == "-inf"):
            raise MalformedError(f"logit_bias holds {pair!r:.60}, not a token with a number")
