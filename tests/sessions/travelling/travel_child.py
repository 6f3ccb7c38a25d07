"""A process that saves, pushes and pulls beside others, and writes what it has pushed."""

from __future__ import annotations

import contextlib
import random
import sys
import warnings
from pathlib import Path

from sessions.store_child import check, save

from mullama_nb.errors import MullamaWarning, SessionConflictError
from mullama_nb.sessions.store import SessionStore


def main() -> None:
    folder, url, number, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    warnings.simplefilter("ignore", MullamaWarning)  # of others that push at the same time
    store, rng = SessionStore(folder), random.Random(number)
    for turn in range(int(rounds)):
        name = rng.choice(["common", "common", f"own {number}"])
        say = number * 1000 + turn
        save(store, name, say)
        for _ in range(3):
            try:
                store.push(url, name)
                sys.stdout.write(f"{name}:{say}\n")
                sys.stdout.flush()
                break
            except SessionConflictError:
                store.pull(url, name, replace=True)
                check(store, name)
                if rng.random() < 0.5:
                    break
                save(store, name, say)  # it has seen the others
        if rng.random() < 0.3:
            with contextlib.suppress(SessionConflictError):
                store.pull(url)
            for each in store.names():
                check(store, each)
        if rng.random() < 0.2:
            store.gc()


if __name__ == "__main__":
    main()
