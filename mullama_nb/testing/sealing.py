"""Checksums in a recording: later edits are detected and located.

Each entry has its own checksum, so that a diff shows which of them changed, and the head has one of
itself and of theirs. Layout does not count, so that a file may be formatted; order does. Checksums
are not a signature: they can be made anew after a deliberate edit, which only a replay reveals.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from blake3 import blake3

__all__ = ["broken", "seal"]


def seal(body: dict[str, Any]) -> None:
    """Add checksums to the contents of a file, or renew them."""
    for entry in body["entries"]:
        entry["checksum"] = _checksum(entry)
    body["checksum"] = _checksum(_head(body))


def broken(body: Mapping[str, Any]) -> Iterator[str]:
    """Return the parts whose checksum does not match, in words."""
    for entry in body["entries"]:
        if entry["checksum"] != _checksum(entry):
            yield f"checkpoint {entry['id'][:7]}"
    if body["checksum"] != _checksum(_head(body)):
        yield "its head, or which checkpoints there are"


def _head(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, "entries": [entry["checksum"] for entry in body["entries"]]}


def _checksum(values: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in values.items() if key != "checksum"}
    return blake3(json.dumps(rest, allow_nan=False).encode()).hexdigest(length=8)
