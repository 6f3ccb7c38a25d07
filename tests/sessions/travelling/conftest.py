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


@pytest.fixture(scope="module")
def s3_server() -> Iterator[dict[str, str]]:
    """An S3 server on this machine, reached as fsspec's configuration says."""
    from fsspec.config import conf
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "key": "somebody", "secret": "something"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(conf, "s3", options)
        yield options
        filesystem = S3FileSystem()
        S3FileSystem.close_session(filesystem.loop, filesystem.s3)
        S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def s3(s3_server: dict[str, str]) -> str:
    """A bucket."""
    from s3fs import S3FileSystem

    assert s3_server["endpoint_url"].startswith("http://127.0.0.1:")
    bucket = f"bucket-{secrets.token_hex(8)}"
    S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}"
