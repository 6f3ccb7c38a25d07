"""A manager keeps sessions under names: made, found, listed, loaded, replaced and deleted."""

from __future__ import annotations

import shutil
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from mullama_nb import Context, ContextParams, Model, SessionManager
from mullama_nb.errors import (
    ParameterError,
    SessionError,
    SessionFormatError,
    SessionMismatchError,
    SessionNotFoundError,
    SessionWriteError,
)

ModelMaker = Callable[..., Model]
PARAMS = ContextParams(n_ctx=256, n_batch=64, n_ubatch=64, n_threads=1, n_parallel=1)
BAD_NAMES = ["../a", "a/b", "..", "", "a\nb", "\x1b[31m", "a\0b", ".hidden", "C:a"]


@pytest.fixture
def manager(tiny: ModelMaker, tmp_path: Path) -> SessionManager:
    return SessionManager(tiny(), tmp_path / "sessions", PARAMS)


def made(manager: SessionManager, *names: str) -> None:
    for name in names:
        manager.create_session(name, f"You are {name}.").close()


# -- made and found ------------------------------------------------------------------------------


def test_its_folder_is_made_for_its_owner_alone(tiny: ModelMaker, tmp_path: Path) -> None:
    manager = SessionManager(tiny(), tmp_path / "a" / "b", PARAMS)
    assert stat.S_IMODE(manager.session_dir.stat().st_mode) == 0o700
    made(manager, "one")
    for path in (tmp_path / "a" / "b").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert [*SessionManager(tiny(), str(tmp_path / "a" / "b"))] == ["one"]


def test_home_is_understood(
    tiny: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert SessionManager(tiny(), "~/s").session_dir == tmp_path / "s"


def test_contexts_are_as_large_as_the_model_was_trained_with(tiny: ModelMaker) -> None:
    assert SessionManager(tiny(n_ctx=300)).params.n_ctx == 300
    assert SessionManager(tiny(n_ctx=9000)).params.n_ctx == 4096


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default folder is ``./sessions``."""
    monkeypatch.chdir(tmp_path)


def test_a_folder_that_cannot_be_made(tiny: ModelMaker, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SessionWriteError, match="'file' cannot be made"):
        SessionManager(tiny(), tmp_path / "file")
    with pytest.raises(ParameterError, match="takes a Model, not str"):
        SessionManager("smollm2")  # type: ignore[arg-type]


def test_a_session_is_made_once_and_then_loaded(manager: SessionManager) -> None:
    assert "alice" not in manager
    with manager.load_or_create("alice", "You are kind.") as context:
        assert context.text() == "You are kind."
        assert "alice" in manager
        context.evaluate(" Hello.")
        info = manager.save("alice", context)
        assert info == manager.info("alice")
        assert info.name == "alice"
        expected = context.logits
    with manager.load_or_create("alice", "You are kind.") as context:
        assert context.text() == "You are kind. Hello."
        assert context.logits.tobytes() == expected.tobytes()
    with manager.load("alice") as context:
        assert context.text() == "You are kind. Hello."
        assert context.params == PARAMS
    with manager.create_session("alice", "Anew."):
        pass
    with manager.load("alice") as context:
        assert context.text() == "Anew."


def test_paths_are_those_of_the_documentation(manager: SessionManager) -> None:
    assert manager.session_path("user-1") == manager.session_dir / "user-1.session"
    made(manager, "user-1")
    assert manager.export("user-1", manager.session_path("user-1")).name == "user-1.session"
    assert [*manager] == ["user-1"]


# -- listed --------------------------------------------------------------------------------------


def test_what_there_is(manager: SessionManager) -> None:
    assert [*manager] == manager.list() == []
    assert len(manager) == 0
    made(manager, "bob", "alice", "Zoë")
    assert [*manager] == ["Zoë", "alice", "bob"]
    assert len(manager) == 3
    assert [info.name for info in manager.list()] == [*manager]
    assert manager.info("bob") == manager["bob"] == manager.list()[2]
    assert manager["bob"].model == manager.model.name
    assert manager._ipython_key_completions_() == ["Zoë", "alice", "bob"]
    assert repr(manager) == f"SessionManager({manager.model.name!r}, 3 sessions)"


def test_other_files_are_no_sessions(manager: SessionManager) -> None:
    made(manager, "a")
    folder = manager.session_dir
    manager.export("a", folder / "a.session")
    manager.delete("a")
    (folder / "notes.session").write_text("some notes, long enough to be read")
    (folder / "folder.session").mkdir()
    for name in (
        "readme.txt",
        ".b.session",
        ".session",
        "b.session.tmp",
        "c|d.session",
        "e .session",
    ):
        (folder / name).write_bytes((folder / "a.session").read_bytes())
    assert [*manager] == ["a", "notes"]  # one of them cannot be read, but it is there
    assert [info.name for info in manager.list()] == ["a"]
    assert "folder" not in manager
    with pytest.raises(SessionFormatError, match=r"notes\.session is not a session"):
        manager.info("notes")


def test_equal_looks_are_one_session(manager: SessionManager) -> None:
    composed, decomposed = "Zoë", unicodedata.normalize("NFD", "Zoë")
    assert composed != decomposed
    made(manager, decomposed)
    assert [*manager] == [composed]
    assert composed in manager
    assert decomposed in manager
    assert manager.info(composed) == manager.info(decomposed)
    assert manager.info(decomposed).name == composed
    made(manager, composed)
    assert len(manager) == 1
    manager.delete(decomposed)
    assert len(manager) == 0


@pytest.mark.parametrize("name", ["北京", "हिन्दी", "שלום עולם", "ελληνικά", "it's #1 (a+b=c)"])
def test_letters_of_any_language(manager: SessionManager, name: str) -> None:
    made(manager, name)
    assert [*manager] == [name]
    with manager.load(name) as context:
        assert context.token_count()
    manager.delete(name)
    assert name not in manager


# -- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_elsewhere(manager: SessionManager, name: str, tmp_path: Path) -> None:
    (tmp_path / "a.session").write_bytes(b"outside")
    with Context(manager.model, PARAMS) as context:
        context.evaluate("Hello")
        for use in (
            manager.session_path,
            manager.load,
            manager.info,
            manager.delete,
            lambda name: manager.save(name, context),
            lambda name: manager.create_session(name, "Hello"),
            lambda name: manager.load_or_create(name, "Hello"),
        ):
            with pytest.raises(ParameterError):
                use(name)
    assert name not in manager
    assert [*manager] == []
    assert (tmp_path / "a.session").read_bytes() == b"outside"


def test_what_is_no_text_is_not_in_it(manager: SessionManager) -> None:
    assert 3 not in manager
    assert None not in manager


def test_sessions_that_are_not_there(manager: SessionManager) -> None:
    for use in (manager.load, manager.info, manager.delete, manager.__getitem__):
        with pytest.raises(SessionNotFoundError, match="the folder holds none"):
            use("alice")
    made(manager, "alice", "bob")
    with pytest.raises(SessionNotFoundError, match="no session 'alicia'; there is alice"):
        manager.load("alicia")
    with pytest.raises(SessionNotFoundError, match="there is alice, bob"):
        manager.load("zzz")
    manager.delete("alice")
    assert [*manager] == ["bob"]
    with pytest.raises(SessionNotFoundError):
        manager.delete("alice")


def segment_files(manager: SessionManager) -> list[Path]:
    return sorted((manager.session_dir / "segments").iterdir())


def flip(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return bytes(data)


def test_a_damaged_session_is_not_replaced(manager: SessionManager) -> None:
    made(manager, "alice")
    (path,) = segment_files(manager)
    data = flip(path)
    for use in (manager.load, lambda name: manager.load_or_create(name, "Anew.")):
        with pytest.raises(SessionFormatError, match="damaged"):
            use("alice")
    assert path.read_bytes() == data
    (damage,) = manager.verify()
    assert damage.names == ("alice",)
    assert damage.what == path.stem


def test_a_session_of_another_model_is_not_replaced(
    manager: SessionManager, tiny: ModelMaker
) -> None:
    made(manager, "alice")
    other = SessionManager(tiny(seed=1), manager.session_dir, PARAMS)
    assert [*other] == ["alice"]
    with pytest.raises(SessionMismatchError, match="the weights"):
        other.load_or_create("alice", "Anew.")
    with manager.load("alice") as context:
        assert context.text() == "You are alice."


def test_contexts_are_closed_when_a_session_fails(
    manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Context] = []
    close = Context.close

    def noted(self: Context) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(Context, "close", noted)
    (manager.session_dir / "segments").write_bytes(b"in the way")
    with pytest.raises(SessionError, match="cannot be made"):
        manager.create_session("alice", "Hello")
    assert len(closed) == 1
    manager.session_path("bob").write_bytes(b"no session, but long enough")
    with pytest.raises(SessionFormatError):
        manager.load("bob")
    assert len(closed) == 2


def test_a_session_that_cannot_be_deleted(
    manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(manager, "bob")
    manager.export("bob", manager.session_path("alice"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(SessionWriteError, match="'alice' cannot be deleted: Permission"):
            manager.delete("alice")
    assert "alice" in manager


def test_a_folder_that_was_removed_holds_nothing(manager: SessionManager) -> None:
    made(manager, "alice")
    manager.delete("alice")
    shutil.rmtree(manager.session_dir)
    assert [*manager] == []
    assert "alice" not in manager
    made(manager, "bob")
    assert [*manager] == ["bob"]
    assert stat.S_IMODE(manager.session_dir.stat().st_mode) == 0o700
