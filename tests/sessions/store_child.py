"""A process that does all that can be done on a store that others use, until killed.

It writes a dot for each thing done.

Some of it to one chat, which others save, rename and take over, too.

The rows are made up: what a store holds it does not understand.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mullama_nb.errors import SessionConflictError, SessionNotFoundError
from mullama_nb.sessions.entries import Entry, sum_text
from mullama_nb.sessions.owners import Owner
from mullama_nb.sessions.records import Record
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.versions import Place, Written
from mullama_nb.state.segment import Segment

METADATA: dict[str, Any] = {
    "model": "none",
    "settings": {"fingerprint": "none"},
    "environment": {},
    "n_ctx": 64,
    "created": "2024-01-01T00:00:00Z",
}


BODY: dict[str, Any] = {
    "system": None,
    "tools": None,
    "model": "none",
    "params": {},
    "sampling": {"logit_bias": []},
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


# -- one chat for all ----------------------------------------------------------------------------

NAMES = ("sky", "sea")  # of that chat, by turns


def entry(number: int, identifier: str, parent: int | None, turn: Segment | None) -> Entry:
    """A checkpoint, the root or a turn."""
    tokens, address = ((), None) if turn is None else (turn.tokens, turn.address)
    return Entry(
        number, identifier, parent, tokens, number, {}, address, 0, (), True, 0, 0, "", None
    )  # fmt: skip


def talk(store: SessionStore, rng: random.Random, owner: Owner, said: TextIO) -> None:
    """Open the one chat, say something and save it; note what was saved."""
    name = rng.choice([name for name in NAMES if name in store] or [NAMES[0]])
    turn = segment(rng.randrange(10**9))
    origins, entries = dict[int, Place](), [entry(0, "0" * 20, None, None)]
    with contextlib.suppress(SessionNotFoundError):
        place, _, _, saved = store.open_chat(name)
        origins, entries = {place.version: place}, [*saved.entries]
    last = entries[-1].number
    entries.append(entry(max(e.number for e in entries) + 1, turn.address[:20], last, turn))

    def write(version: int | None) -> Written:
        rows = [e.row(name) for e in entries]
        total = sum_text(sum(row.digest for row in rows))
        places = {"head": entries[-1].number, "redo": [], "tags": {}, "n_made": len(rows)}
        record = Record("chat", METADATA, 2, (), "", len(rows), total, places)
        return Written(record, BODY, rows[-1:] if version else rows)

    def rows_of(address: str) -> Segment:
        return turn if address == turn.address else store.segment(address)

    take_over = rng.random() < 0.5
    store.save(name, "chat", write, rows_of, origins=origins, owner=owner, take_over=take_over)
    said.write(f"{turn.address[:20]}\n")
    said.flush()


def turns(store: SessionStore) -> set[str]:
    """All that is there of the one chat."""
    return {e.id for name in NAMES if name in store for e in store.open_chat(name)[3].entries}


def rename(store: SessionStore, rng: random.Random) -> None:
    """Give the one chat its other name."""
    name, new_name = rng.sample(NAMES, 2)
    store.rename(name, new_name, take_over=rng.random() < 0.5)


def main() -> None:
    store, rng = SessionStore(sys.argv[1]), random.Random(int(sys.argv[2]))
    until = time.monotonic() + float(sys.argv[3])
    owner = Owner(store.folder)
    with Path(sys.argv[4]).open("a") as said:
        while time.monotonic() < until:
            name, what = f"name {rng.randrange(20)}", rng.random()
            try:
                if what < 0.3:
                    save(store, name, rng.randrange(200))
                elif what < 0.5:
                    check(store, name)
                elif what < 0.6:
                    store.delete(name)
                elif what < 0.65:
                    store.rename(name, f"name {rng.randrange(20)}")
                elif what < 0.7:
                    store.restore(name)
                elif what < 0.93:
                    talk(store, rng, owner, said)
                elif what < 0.97:
                    rename(store, rng)
                else:
                    store.gc()
            except (SessionNotFoundError, SessionConflictError):
                continue
            finally:
                sys.stdout.write(".")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
