"""The metadata of a session file, read without a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ..tables import LEFT, html_table
from .file import SessionOutline, read_outline

__all__ = ["SessionInfo", "inspect_session", "session_info"]

_MOST_CHARACTERS = 100


@dataclass(frozen=True, repr=False)
class SessionInfo:
    """The metadata of a session file.

    Attributes
    ----------
    name : str
        The file's name.
    n_tokens : int
    n_bytes : int
        The file's size.
    model : str, optional
        The model's name; None for a file of llama.cpp, which does not contain it.
    settings : mapping
        What must match in a loading context; empty if the file has no settings.
    environment : mapping
        What only the last bits depend on.
    n_ctx : int, optional
        Cells of the saving context.
    created : datetime, optional
        UTC.
    has_logits : bool
        Whether the next token's logits are in the file.
    """

    name: str
    n_tokens: int
    n_bytes: int
    model: str | None
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    n_ctx: int | None
    created: datetime | None
    has_logits: bool

    @property
    def is_verified(self) -> bool:
        """Whether the file names its model, as all files of this package do."""
        return bool(self.settings)

    @property
    def kv_cache_type(self) -> str | None:
        """The type of K and V, or ``"K/V"`` if they differ."""
        k, v = _plain(self.settings.get("type_k")), _plain(self.settings.get("type_v"))
        return k if k == v else f"{k}/{v}"

    @property
    def age(self) -> timedelta | None:
        """The time since the file was created."""
        return None if self.created is None else datetime.now(timezone.utc) - self.created

    def __repr__(self) -> str:
        return (
            f"SessionInfo({self.name!r}, {self.model or 'model unknown'}, "
            f"{self.n_tokens:,} tokens, {self.kv_cache_type or 'KV type unknown'}, "
            f"{self.n_bytes:,} bytes)"
        )

    def _repr_html_(self) -> str:
        rows = {
            "model": self.model or "unknown: written by llama.cpp",
            "tokens": f"{self.n_tokens:,}",
            "KV cache": self.kv_cache_type or "unknown",
            "size": f"{self.n_bytes:,} bytes",
        }
        adapters = self.settings.get("adapters")
        if isinstance(adapters, list):
            names = [_plain(each.get("name")) for each in adapters if isinstance(each, dict)]
            rows["adapters"] = ", ".join(name for name in names if name)
        return html_table(rows.items(), styles=(LEFT, LEFT), named_rows=True, caption=self.name)


def inspect_session(path: str | os.PathLike[str]) -> SessionInfo:
    """Return the metadata of a session file, without reading rows or verifying the checksum.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    SessionNotFoundError
        When there is no such file.
    SessionFormatError
        When it is not a session, or its trailer is damaged.
    """
    path = Path(path).expanduser()
    return session_info(path.name, read_outline(path))


def session_info(name: str, outline: SessionOutline) -> SessionInfo:
    """Return the valid parts of an outline.

    Parameters
    ----------
    name : str
        The file's.
    outline : SessionOutline
    """
    values = outline.metadata
    settings, environment = values.get("settings"), values.get("environment")
    n_ctx = values.get("n_ctx")
    return SessionInfo(
        name=name,
        n_tokens=outline.n_tokens,
        n_bytes=outline.n_bytes,
        model=_plain(values.get("model")),
        settings=_sorted(settings),
        environment=_sorted(environment),
        n_ctx=n_ctx if type(n_ctx) is int and n_ctx > 0 else None,
        created=_parse_time(values.get("created")),
        has_logits=outline.has_logits,
    )


def _sorted(values: object) -> dict[str, Any]:
    """By name, as they stand in a file; nothing where a file has something else in their place."""
    return dict(sorted(values.items())) if isinstance(values, dict) else {}


def _plain(text: object) -> str | None:
    """Return a file's text in displayable form, as it is not trusted."""
    if not isinstance(text, str):
        return None
    short = text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "..."
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in short)


def _parse_time(text: object) -> datetime | None:
    try:
        time = datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return None
    return time.replace(tzinfo=timezone.utc)
