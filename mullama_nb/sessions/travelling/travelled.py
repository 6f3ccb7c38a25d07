"""What the catalog knows of entries elsewhere: which of them a name is the successor of."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable

__all__ = ["Travelled"]

_ID = re.compile("[0-9a-f]{32}")


class Travelled:
    """The entries that the names here came from, were pushed as, or have replaced.

    Ids are the same everywhere, so it does not matter in which place an entry was.

    Parameters
    ----------
    connection : sqlite3.Connection
        Of a transaction on the catalog.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def of(self, name: str) -> set[str]:
        """Return the ids of a name's entries."""
        try:
            rows = self._connection.execute(
                "SELECT entry FROM travelled WHERE name = ?", (name,)
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # nothing was saved since it was made
                return set()
            raise
        return {row[0] for row in rows if isinstance(row[0], str) and _ID.fullmatch(row[0])}

    def add(self, name: str, entries: Iterable[str]) -> None:
        """Add entries to a name's."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO travelled VALUES (?, ?)", ((name, entry) for entry in entries)
        )

    def forget(self, name: str) -> None:
        """Forget a name that is no more: what gets it next is something else."""
        self._connection.execute("DELETE FROM travelled WHERE name = ?", (name,))
