"""A process that reads a store which it cannot write."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sessions.store_child import save
from sessions.test_reading import read_everything

from mullama_nb.errors import SessionWriteError
from mullama_nb.sessions.store import SessionStore


def main() -> None:
    folder = Path(sys.argv[1])
    assert not os.access(folder, os.W_OK)
    read_everything(folder)
    sys.stdout.write("read\n")
    for change in (
        lambda store: save(store, "c", 3),
        lambda store: store.delete("a"),
        lambda store: store.copy("a", "c"),
    ):
        try:
            change(SessionStore(folder))
        except SessionWriteError:
            continue
        raise AssertionError("it was written")
    sys.stdout.write("refused\n")


if __name__ == "__main__":
    main()
