"""Sessions as a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from ..size import size

if TYPE_CHECKING:
    from ..sessions.listing import StoredSession

__all__ = ["age", "as_dict", "print_sessions"]

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def age(since: timedelta | None) -> str:
    """Return a time span in the largest unit that fits."""
    if since is None:
        return ""
    seconds = max(0.0, since.total_seconds())
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def as_dict(entry: StoredSession) -> dict[str, Any]:
    """Return a session's values as JSON can hold them."""
    return {
        "name": entry.name,
        "kind": entry.kind,
        "model": entry.model,
        "kv_cache_type": entry.kv_cache_type,
        "tokens": entry.n_tokens,
        "own_bytes": entry.own_bytes,
        "shared_bytes": entry.shared_bytes,
        "created": None if entry.created is None else entry.created.isoformat(),
        "live": entry.is_live,
        "version": entry.version,
        "current": entry.is_current,
        "saved": None if entry.saved is None else entry.saved.isoformat(),
    }


def print_sessions(
    entries: Sequence[StoredSession], *, as_json: bool = False, versions: bool = False
) -> None:
    """Print sessions, one per line, with their versions where these are listed."""
    if as_json:
        click.echo(json.dumps([as_dict(entry) for entry in entries], ensure_ascii=False))
        return
    if not entries:
        click.echo("no sessions are saved", err=True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True, overflow="fold")
    if versions:
        table.add_column("version", justify="right", no_wrap=True)
    for heading in ("kind", "model"):
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    for heading in ("tokens", "own", "shared", "age"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for entry in entries:
        table.add_row(
            entry.name,
            *([str(entry.version)] if versions else []),
            entry.kind,
            entry.model or "",
            f"{entry.n_tokens:,}",
            size(entry.own_bytes),
            size(entry.shared_bytes),
            age(entry.age),
            "live" if entry.is_live else "" if entry.is_current else "earlier",
        )
    # In a pipe nothing is shortened.
    Console(markup=False, width=None if sys.stdout.isatty() else 10_000).print(table)
