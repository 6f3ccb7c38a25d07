"""A process that saves, opens, deletes and collects on a store that others use, until killed.

The rows are made up: what a store holds it does not understand.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import numpy as np

from mullama_nb.errors import SessionNotFoundError
from mullama_nb.sessions.records import Record
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.versions import Written
from mullama_nb.state.segment import Segment

METADATA: dict[str, Any] = {
    "model": "none",
    "settings": {"fingerprint": "none"},
    "environment": {},
    "n_ctx": 64,
    "created": "2024-01-01T00:00:00Z",
}


def segment(number: int, parent: Segment | None = None) -> Segment:
    """Rows that only this number makes."""
    rows = np.random.default_rng(number).integers(0, 256, 5000, np.uint8)
    start, address = (0, None) if parent is None else (parent.stop, parent.address)
    return Segment(start, (number % 7, number), rows, "settings", address)


def chain(number: int) -> list[Segment]:
    """A prefix that a tenth of all names share, and rows of its own."""
    prefix = segment(number % 10)
    return [prefix, segment(1000 + number, prefix)]


def save(store: SessionStore, name: str, number: int) -> None:
    """Save a session of that number."""
    segments = {s.address: s for s in chain(number)}
    body = {"tokens": [number], "text": ""}
    written = Written(Record("session", METADATA, 4, [*segments]), body)
    store.save(name, "session", lambda _: written, segments.get)


def check(store: SessionStore, name: str) -> None:
    """Open a session, and compare all of it with what its number makes."""
    _, _, body, segments = store.open_whole(name)
    assert [s.address for s in segments] == [s.address for s in chain(*body["tokens"])]


def main() -> None:
    store, rng = SessionStore(sys.argv[1]), random.Random(int(sys.argv[2]))
    until = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < until:
        name, what = f"name {rng.randrange(20)}", rng.random()
        try:
            if what < 0.45:
                save(store, name, rng.randrange(200))
            elif what < 0.8:
                check(store, name)
            elif what < 0.95:
                store.delete(name)
            else:
                store.gc()
        except SessionNotFoundError:
            continue


if __name__ == "__main__":
    main()
