"""The size of a graph's rows, and where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..tables import LEFT, RIGHT, html_table
from .graph import Graph
from .node import Node

__all__ = ["KVBytes", "MemoryReport", "count_bytes", "report_memory"]


@dataclass(frozen=True)
class KVBytes:
    """Bytes of the KV rows of a tree.

    Attributes
    ----------
    own : int
        Rows on one branch only.
    shared : int
        Rows common to several branches, counted once.
    total : int
        All rows, as kept.
    snapshots : int
        What a full snapshot at every checkpoint would take.
    """

    own: int
    shared: int
    total: int
    snapshots: int

    def _repr_html_(self) -> str:
        counts = {
            "on one branch": self.own,
            "shared by branches": self.shared,
            "total": self.total,
            "as full snapshots": self.snapshots,
        }
        rows = [(name, f"{n:,} bytes") for name, n in counts.items()]
        return html_table(rows, styles=(LEFT, RIGHT), named_rows=True)


def count_bytes(graph: Graph[Any], *, keeps_snapshots: bool) -> KVBytes:
    """Add up the rows of all checkpoints.

    Parameters
    ----------
    graph : Graph
    keeps_snapshots : bool
        Whether each checkpoint also keeps the rows of all tokens before it.
    """
    leaves: dict[str, int] = {}
    # Bytes and leaves by address, which equal siblings share.
    rows: dict[str | None, tuple[int, int]] = {}
    for checkpoint in reversed(list(graph)):  # children before their parents
        n = sum(leaves[child.id] for child in checkpoint.children) or 1
        leaves[checkpoint.id] = n
        rows[checkpoint.address] = (checkpoint.n_bytes, n + rows.get(checkpoint.address, (0, 0))[1])
    shared = sum(n_bytes for n_bytes, n in rows.values() if n > 1)
    own = sum(n_bytes for n_bytes, n in rows.values() if n == 1)
    snapshots, so_far = 0, {graph.root.id: 0}
    for checkpoint in graph:
        assert checkpoint.parent is not None
        before = 0 if keeps_snapshots else so_far[checkpoint.parent.id]
        so_far[checkpoint.id] = before + checkpoint.n_bytes
        snapshots += so_far[checkpoint.id]
    return KVBytes(own, shared, own + shared, snapshots)


@dataclass(frozen=True, repr=False)
class MemoryReport:
    """Where the rows of each checkpoint are.

    Attributes
    ----------
    places : tuple of (Checkpoint, str, int)
        Each checkpoint with ``"memory"``, ``"disk"`` or ``"lost"``, and its bytes.
    max_bytes : int
        Limit of the rows in memory.
    """

    places: tuple[tuple[Node, str, int], ...]
    max_bytes: int

    def total(self, place: str) -> int:
        """Return the bytes in one place; rows shared by equal siblings count once."""
        return sum({c.address: n for c, where, n in self.places if where == place}.values())

    def __repr__(self) -> str:
        n = len(self.places)
        return (
            f"MemoryReport({self.total('memory'):,} bytes in memory, "
            f"{self.total('disk'):,} on disk, {n} checkpoint{'s' * (n != 1)})"
        )

    def _repr_html_(self) -> str:
        rows = [(c.short_id, place, f"{n:,} bytes") for c, place, n in self.places]
        return html_table(rows, styles=("", "", RIGHT))


def report_memory(graph: Graph[Any], max_bytes: int) -> MemoryReport:
    """Report where the rows of each checkpoint are."""
    return MemoryReport(tuple((c, c.place, c.n_bytes) for c in graph), max_bytes)
