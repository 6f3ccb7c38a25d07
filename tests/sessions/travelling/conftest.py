"""Stores and the places between which they travel."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from mullama_nb.sessions.store import SessionStore


@pytest.fixture
def here(tmp_path: Path) -> SessionStore:
    return SessionStore(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> SessionStore:
    """A store on another machine."""
    return SessionStore(tmp_path / "there")


@pytest.fixture(params=["memory", "folder"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place elsewhere where nothing is yet."""
    if request.param == "memory":
        from fsspec.implementations.memory import MemoryFileSystem

        place = f"/{secrets.token_hex(8)}"
        yield f"memory:/{place}/class"
        if MemoryFileSystem().exists(place):
            MemoryFileSystem().rm(place, recursive=True)
    else:
        yield str(tmp_path / "a shared folder")


@pytest.fixture
def memory() -> Iterator[str]:
    from fsspec.implementations.memory import MemoryFileSystem

    place = f"/{secrets.token_hex(8)}"
    yield f"memory:/{place}"
    if MemoryFileSystem().exists(place):
        MemoryFileSystem().rm(place, recursive=True)
