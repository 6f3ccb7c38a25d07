"""Whatever fails on the way, at any moment: both ends are whole, and the same call goes on."""

from __future__ import annotations

import itertools
import os
import secrets
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from sessions.store_child import check, save

from mullama_nb.errors import MullamaError, SessionRemoteError
from mullama_nb.sessions.store import SessionStore

SECRET = "hush/hush+very"


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """Memory that fails where it is told to."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    calls = 0
    fails_at = -1
    how = "before"
    error: BaseException = OSError("")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        path = path.removeprefix("faulty://").rpartition("@")[2]
        return str(super()._strip_protocol(path))

    def _fails(self, how: str) -> bool:
        kind = type(self)
        return kind.calls == kind.fails_at and kind.how == how

    def _run(self, name: str, *arguments: Any, **options: Any) -> Any:
        type(self).calls += 1
        if self._fails("before"):
            raise self.error
        if self._fails("torn") and name == "pipe_file":
            super().pipe_file(arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise self.error
        done = getattr(super(), name)(*arguments, **options)
        if self._fails("after") or self._fails("torn"):
            raise self.error
        return done

    def find(self, *arguments: Any, **options: Any) -> Any:
        return self._run("find", *arguments, **options)

    def cat_file(self, *arguments: Any, **options: Any) -> Any:
        return self._run("cat_file", *arguments, **options)

    def pipe_file(self, *arguments: Any, **options: Any) -> Any:
        return self._run("pipe_file", *arguments, **options)


fsspec.register_implementation("faulty", Faulty, clobber=True)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power failure is waited for."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def url() -> Iterator[str]:
    Faulty.fails_at, Faulty.error = -1, OSError(5, "the line is dead")
    yield f"faulty://{secrets.token_hex(4)}"
    Faulty.store.clear()
    Faulty.fails_at = -1


def states(store: SessionStore) -> dict[str, list[int]]:
    return {name: store.open_session(name)[2]["tokens"] for name in store.names()}


def fails(how: str, at: int, error: BaseException) -> None:
    Faulty.how, Faulty.fails_at, Faulty.error, Faulty.calls = how, at, error, 0


ERRORS = [
    OSError(5, "the line is dead"),
    PermissionError(13, "no"),
    TimeoutError(),
    RuntimeError("what nobody expects"),
    KeyboardInterrupt(),
]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["before", "after", "torn"])
def test_a_push_that_fails_anywhere(tmp_path: Path, url: str, how: str) -> None:
    for at in itertools.count(1):
        here = SessionStore(tmp_path / f"here {at}")
        place = f"{url}/{at}"
        save(here, "a", 1)
        here.push(place)
        old = states(here)
        save(here, "a", 2)
        save(here, "b", 3)
        fails(how, at, ERRORS[at % len(ERRORS)])
        try:
            here.push(place)
            failed = False
        except (SessionRemoteError, KeyboardInterrupt):
            failed = True
        Faulty.fails_at = -1
        reader = SessionStore(tmp_path / f"reader {at}")
        said = ""
        try:
            reader.pull(place)
        except MullamaError as error:
            said = str(error)
        assert not said or (how == "torn" and "sessions/" in said)  # not written as a whole
        for name, tokens in states(reader).items():
            assert tokens in (old.get(name), states(here)[name])
            check(reader, name)
        assert reader.verify() == here.verify() == []
        here.push(place)
        last = SessionStore(tmp_path / f"last {at}")
        last.pull(place)
        assert states(last) == states(here)
        reader.pull(place)
        assert states(reader) == states(here)
        if not failed:
            break
    assert at > 8


@pytest.mark.slow
@pytest.mark.parametrize("how", ["before", "after"])
def test_a_pull_that_fails_anywhere(tmp_path: Path, url: str, how: str) -> None:
    here = SessionStore(tmp_path / "here")
    for at in itertools.count(1):
        there = SessionStore(tmp_path / f"there {at}")
        place = f"{url}/{at}"
        save(here, "a", 1)
        here.push(place)
        there.pull(place)
        old = states(there)
        save(here, "a", 2)
        save(here, "b", 3)
        n_new = here.push(place).n_segments
        fails(how, at, ERRORS[at % len(ERRORS)])
        came = 0
        try:
            there.pull(place)
            failed = False
        except (SessionRemoteError, KeyboardInterrupt):
            failed = True
            came = len([*(there.folder / "arriving").glob("*.segment")])
            came += len([*(there.folder / "segments").glob("*.segment")]) - 2
        Faulty.fails_at = -1
        assert there.verify() == []
        for name, tokens in states(there).items():
            assert tokens in (old.get(name), states(here)[name])
            check(there, name)
        again = there.pull(place)
        assert states(there) == states(here)
        assert not failed or again.n_segments == n_new - came  # what had come is not fetched again
        there.gc()
        assert [path.name for path in (there.folder / "arriving").iterdir()] == ["lock"]
        here.delete("a")
        here.delete("b")
        if not failed:
            break
    assert at > 6


# -- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [*ERRORS[:-1], OSError(f"at faulty://me:{SECRET}@x/y"), ValueError(SECRET)]
)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_fails_is_said_without_credentials(
    here: SessionStore, url: str, error: Exception, at: int
) -> None:
    save(here, "a", 1)
    place = url.replace("://", f"://me:{SECRET}@")
    fails("before", at, error)
    with pytest.raises(SessionRemoteError) as raised:
        here.push(place)
    told = "".join(traceback.format_exception(raised.value))
    assert "faulty://***@" in str(raised.value)
    assert SECRET not in told
    assert "hush" not in told
    cause: BaseException | None = raised.value
    while cause is not None:
        assert "hush" not in f"{cause!r}"
        cause = cause.__cause__ or cause.__context__
    Faulty.fails_at = -1
    here.push(place)
    for path in [*here.folder.rglob("*"), *map(Path, Faulty.store)]:
        assert "hush" not in str(path)
        assert not path.is_file() or b"hush" not in path.read_bytes()
    assert not any(b"hush" in file.getvalue() for file in Faulty.store.values())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://KEY:SE/C+RET@bucket/class", "s3://***@bucket/class"),
        ("sftp://me:SE@CRET@host/class", "sftp://***@host/class"),
        ("https://SECRET@host/class", "https://***@host/class"),
        ("https://host/class?X-Signature=SECRET", "https://host/class"),
        ("ftp://me:SE%2FCRET@host/a@b", "ftp://***@b"),
        ("s3://bucket/class@2024", "s3://bucket/class@2024"),
    ],
)
def test_a_url_is_shown_without_credentials(url: str, shown: str) -> None:
    from mullama_nb.sessions.travelling.remote import Address

    address = Address(url)
    assert str(address) == repr(address) == shown
    login = url.partition("://")[2].rpartition("@")[0]
    told = str(address.failure("could not reach", ValueError(f"{url}, {unquote(login)} {login}")))
    assert "CRET" not in told


# -- killed --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="fork is POSIX")
@pytest.mark.parametrize("what", ["push", "pull"])
def test_a_kill_at_any_moment(tmp_path: Path, what: str) -> None:
    child = Path(__file__).with_name("killed_child.py")
    done = subprocess.run(
        [sys.executable, child, tmp_path, what],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20  # moments
