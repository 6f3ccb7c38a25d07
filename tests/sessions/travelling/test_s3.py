"""A bucket, by the S3 protocol."""

from __future__ import annotations

import pytest
from sessions.store_child import check, save

from mullama_nb.errors import (
    SessionConflictError,
    SessionFormatError,
    SessionNotFoundError,
    SessionRemoteError,
)
from mullama_nb.sessions.store import SessionStore


@pytest.mark.slow
def test_a_class_shares_a_bucket(here: SessionStore, there: SessionStore, s3: str) -> None:
    for number, name in enumerate(("a", "Ärger [1] #2 'c' =+@,", "Desk", "desk")):
        save(here, name, number)
    sent = here.push(f"{s3}/class")
    assert sent.names == tuple(here.names())
    assert there.pull(f"{s3}/class") == sent
    for name in here.names():
        check(there, name)
    save(there, "a", 10)
    assert there.push(f"{s3}/class").n_segments == 1
    assert here.pull(f"{s3}/class").names == ("a",)
    for store in (here, there):
        assert store.push(f"{s3}/class").n_bytes == store.pull(f"{s3}/class").n_bytes == 0
    save(here, "a", 3)
    save(there, "a", 4)
    here.push(f"{s3}/class")
    with pytest.raises(SessionConflictError):
        there.push(f"{s3}/class")
    there.pull(f"{s3}/class", replace=True)
    check(there, "a")
    with pytest.raises(SessionNotFoundError, match="holds no sessions"):
        here.pull(f"{s3}/another")
    assert here.push(s3).names == tuple(here.names())  # the bucket itself
    assert there.pull(s3).unchanged == tuple(here.names())


@pytest.mark.slow
def test_large_segments_travel_in_parts(
    here: SessionStore, there: SessionStore, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mullama_nb.sessions.travelling import file_system

    monkeypatch.setattr(file_system, "CHUNK", 1000)
    save(here, "a", 1)
    here.push(s3)
    there.pull(s3)
    check(there, "a")


@pytest.mark.usefixtures("s3")
def test_no_bucket_is_made_or_taken_for_an_empty_place(here: SessionStore) -> None:
    from s3fs import S3FileSystem

    save(here, "a", 1)
    buckets = S3FileSystem().ls("")
    for url in ("s3://no-such-bucket-4711", "s3://no-such-bucket-4711/class"):
        with pytest.raises(SessionRemoteError, match="there is no such place"):
            here.push(url)
        with pytest.raises((SessionRemoteError, SessionNotFoundError)):
            here.pull(url)
    S3FileSystem().invalidate_cache()
    assert S3FileSystem().ls("") == buckets


@pytest.mark.slow
def test_an_object_of_another_size_is_named(
    here: SessionStore, there: SessionStore, s3: str
) -> None:
    from s3fs import S3FileSystem

    save(here, "a", 1)
    here.push(s3)
    filesystem, bucket = S3FileSystem(), s3.removeprefix("s3://")
    filesystem.invalidate_cache()
    damaged = filesystem.find(f"{bucket}/segments")[0]
    for size in (0, 1, 5000, 6000):
        filesystem.pipe_file(damaged, bytes(size))
        with pytest.raises(SessionFormatError, match=damaged.rpartition("/")[2]):
            there.pull(s3)
        assert there.names() == []
    assert here.push(s3).n_segments == 1  # it is mended
    there.pull(s3)
    check(there, "a")


@pytest.mark.slow
def test_a_server_that_goes_away_is_told_of_in_words(
    here: SessionStore, there: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.config import conf
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    retries = {"retries": {"max_attempts": 0}}
    options = {"endpoint_url": f"http://{host}:{port}", "key": "a", "secret": "hush-hush"}
    monkeypatch.setitem(conf, "s3", options | {"config_kwargs": retries})
    filesystem = S3FileSystem()
    filesystem.retries = 1
    filesystem.mkdir("bucket")
    save(here, "a", 1)
    here.push("s3://bucket")
    save(here, "b", 2)
    server.stop()
    for travel in (here.push, there.pull):
        with pytest.raises(SessionRemoteError, match=r"could not list .* s3://bucket") as raised:
            travel("s3://bucket")
        assert "hush" not in str(raised.value)
    assert there.names() == []
    assert here.verify() == []
    S3FileSystem.close_session(filesystem.loop, filesystem.s3)
    S3FileSystem.clear_instance_cache()
