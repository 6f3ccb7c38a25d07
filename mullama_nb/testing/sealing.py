"""Checksums in a recording: whatever is edited since it was written is noticed, and where.

Each entry has its own, so that a diff shows which of them changed, and the head has one of itself
and of theirs. Layout does not count, so that a file may be formatted; order does. They are no
signature: who edits on purpose can make them anew, and what is told then is what replaying finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from blake3 import blake3

__all__ = ["broken", "seal"]


def seal(body: dict[str, Any]) -> None:
    """Put checksums into what a file is to hold, or make them anew."""
    for entry in body["entries"]:
        entry["checksum"] = _checksum(entry)
    body["checksum"] = _checksum(_head(body))


def broken(body: Mapping[str, Any]) -> Iterator[str]:
    """What does not have its checksum, in words."""
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
