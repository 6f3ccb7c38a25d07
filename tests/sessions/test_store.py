"""A store keeps what was saved, for many processes, through kills and damage."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sessions.store_child import NAMES, check, save, turns
from tiny_models import CHATML

from mullama_nb import Chat, ContextParams, Model, SessionManager
from mullama_nb.engine.decoder import Decoder
from mullama_nb.errors import (
    InexactWarning,
    MullamaError,
    ParameterError,
    SessionError,
    SessionFormatError,
    SessionMismatchError,
    SessionNotFoundError,
)
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.versions import Versions

ModelMaker = Callable[..., Model]
PARAMS = ContextParams(n_ctx=256, n_batch=64, n_ubatch=64, n_threads=1, n_parallel=1)
PROMPT = "You are a careful clerk at a desk by the sea, and you write down what ships bring. " * 2


@pytest.fixture
def manager(tiny: ModelMaker, tmp_path: Path) -> SessionManager:
    return SessionManager(tiny(), tmp_path / "sessions", PARAMS)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "segments").iterdir())


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


# -- sharing -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_any_number_of_names_on_one_prefix_costs_one_prefix(tmp_path: Path) -> None:
    store = SessionStore(tmp_path)
    for number in range(200):
        save(store, f"user {number}", 5)
    assert len(files(tmp_path)) == 2
    assert len(store.entries()) == 200
    assert {entry.own_bytes for entry in store.entries()} == {0}
    assert {entry.shared_bytes for entry in store.entries()} == {size(tmp_path)}


def test_only_what_no_stored_beginning_has_is_evaluated(
    manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with manager.create_session("desk", PROMPT) as desk:
        n_prompt = desk.token_count()
    evaluated: list[int] = []
    decode = Decoder.decode_rows

    def counted(decoder: Decoder, tokens: Sequence[int], *arguments: Any, **options: Any) -> Any:
        evaluated.extend(tokens)
        return decode(decoder, tokens, *arguments, **options)

    monkeypatch.setattr(Decoder, "decode_rows", counted)
    with manager.create_session("ada", f"{PROMPT}Ada asks.") as context:
        rest = context.tokens[n_prompt:]
    assert len(rest) > 1
    assert tuple(evaluated[-len(rest) :]) == rest
    # One more to learn the memory's layout, one for the logits behind the stored beginning.
    assert len(evaluated) <= len(rest) + 2


def test_an_address_from_a_strangers_catalog_leads_nowhere(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "store")
    save(store, "a", 1)
    secret = tmp_path / "x.segment"
    secret.write_bytes(files(tmp_path / "store")[0].read_bytes())
    for address in ("../../x", "x", "", "A" * 32, str(tmp_path / "x")):
        with pytest.raises(SessionFormatError, match="not a segment's address"):
            store.segment(address)


def test_metadata_that_is_no_json_is_refused(tiny: ModelMaker, tmp_path: Path) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1)
    chat.save("a", tmp_path)
    chat.context.evaluate("more")
    chat.tree.commit().metadata["note"] = {1, 2}
    with pytest.raises(ParameterError, match="not JSON"):
        chat.save("a", tmp_path)
    assert len(Chat.open("a", chat.model, tmp_path).tree) == 0  # as it was


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba"])
def test_a_stored_beginning_is_not_evaluated_again(
    tiny: ModelMaker, tmp_path: Path, architecture: str
) -> None:
    manager = SessionManager(tiny(architecture), tmp_path, PARAMS)
    with manager.create_session("desk", PROMPT) as desk:
        rows = desk.capture().data.tobytes()
        n_prompt = desk.token_count()
    for name in ("ada", "ben"):
        with manager.create_session(name, f"{PROMPT}{name} asks.") as context:
            logits, tokens = context.logits.tobytes(), context.tokens
            if not context.capture().whole:
                structure, _ = context.layout
                first, _ = context.capture().split(n_prompt - 1, structure)
                with manager.load("desk") as desk:
                    whole, _ = desk.capture().split(n_prompt - 1, structure)
                assert first.data.tobytes() == whole.data.tobytes()
        with manager.load(name) as context:
            assert context.tokens == tokens
            assert context.logits.tobytes() == logits
    with manager.load("desk") as desk:
        assert desk.capture().data.tobytes() == rows
    assert manager.verify() == []


def test_own_and_shared_bytes(manager: SessionManager) -> None:
    with manager.create_session("ada", PROMPT) as context:
        context.evaluate(" Ada asks for the way to the harbour.")
        manager.save("ada-2", context)
        context.evaluate(" And back.")
        manager.save("ada-3", context)
    one, two, three = manager.list()
    assert one.n_bytes < two.n_bytes < three.n_bytes
    entries = {entry.name: entry for entry in manager.store.entries()}
    assert entries["ada"].own_bytes == 0
    assert entries["ada-3"].own_bytes > 0
    assert entries["ada-3"].shared_bytes >= entries["ada"].shared_bytes
    before = size(manager.session_dir)
    manager.delete("ada-3")
    assert size(manager.session_dir) == before - entries["ada-3"].own_bytes
    written = manager.store.bytes_written()
    manager.copy("ada", "copy")
    assert manager.store.bytes_written() == written


# -- names ---------------------------------------------------------------------------------------


def test_rename_copy_export_and_add(manager: SessionManager, tmp_path: Path) -> None:
    with manager.create_session("ada", PROMPT) as context:
        tokens, logits = context.tokens, context.logits.tobytes()
    manager.copy("ada", "ben")
    manager.rename("ada", "Adä")
    assert [*manager] == ["Adä", "ben"]
    for use in (manager.copy, manager.rename):
        with pytest.raises(SessionError, match="already"):
            use("ben", "Adä")
        with pytest.raises(SessionNotFoundError):
            use("nobody", "x")
        with pytest.raises(ParameterError):
            use("ben", "../x")
    info = manager.export("ben", tmp_path / "ben.bin")
    assert info.n_tokens == len(tokens)
    manager.add(tmp_path / "ben.bin")
    manager.add(tmp_path / "ben.bin", "cleo")
    for name in manager:
        with manager.load(name) as context:
            assert context.tokens == tokens
            assert context.logits.tobytes() == logits


def test_a_file_of_earlier_versions_is_a_session(manager: SessionManager) -> None:
    with manager.create_session("ada", PROMPT) as context:
        context.save_session(manager.session_path("old"))
        tokens = context.tokens
        assert [*manager] == ["ada", "old"]
        assert [info.name for info in manager.list()] == ["ada", "old"]
        manager.copy("old", "new")
        context.evaluate(" More.")
        manager.save("old", context)
    assert not manager.session_path("old").exists()
    with manager.load("new") as context:
        assert context.tokens == tokens


async def _forms(manager: SessionManager) -> None:
    with await manager.acreate_session("ada", PROMPT) as context:
        await manager.asave("ben", context)
        tokens = context.tokens
    with await manager.aload("ben") as context:
        assert context.tokens == tokens
    with await manager.aload_or_create("ada", PROMPT) as context:
        assert context.tokens == tokens


def test_async_forms(manager: SessionManager) -> None:
    import asyncio

    asyncio.run(_forms(manager))


# -- what does not fit ---------------------------------------------------------------------------


def test_another_kv_type_is_refused_or_evaluated_again(manager: SessionManager) -> None:
    with manager.create_session("ada", PROMPT) as context:
        tokens = context.tokens
    params = ContextParams(n_ctx=256, n_threads=1, n_parallel=1, kv_cache_type="f32")
    other = SessionManager(manager.model, manager.session_dir, params)
    with pytest.raises(SessionMismatchError, match="KV cache type: f16 saved, f32 here"):
        other.load("ada")
    with (
        pytest.warns(InexactWarning, match="evaluated again"),
        other.load("ada", on_mismatch="replay") as context,
    ):
        assert context.tokens == tokens
    with pytest.raises(ParameterError, match="on_mismatch"):
        other.load("ada", on_mismatch="perhaps")  # type: ignore[arg-type]


def test_another_model_evaluates_the_text(manager: SessionManager, tiny: ModelMaker) -> None:
    manager.create_session("ada", PROMPT).close()
    other = SessionManager(tiny(seed=2), manager.session_dir, PARAMS)
    with (
        pytest.warns(InexactWarning, match="the weights"),
        other.load("ada", on_mismatch="replay") as context,
    ):
        assert context.text() == PROMPT
    manager.create_session("short", "Hi").close()
    with manager.load("ada") as context:  # nothing was replaced
        assert context.text() == PROMPT


# -- damage --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_damage_gives_errors_and_never_another_session(
    manager: SessionManager, tmp_path: Path
) -> None:
    for name in ("ada", "ben"):
        manager.create_session(name, f"{PROMPT}{name}").close()
    expected = {}
    for name in manager:
        with manager.load(name) as context:
            expected[name] = context.tokens, context.logits.tobytes()
    sound = tmp_path / "sound"
    shutil.copytree(manager.session_dir, sound)
    rng = random.Random(4)
    for _ in range(60):
        folder = tmp_path / "fuzzed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        path = rng.choice([folder / "catalog.sqlite", *files(folder)])
        data = bytearray(path.read_bytes())
        for _ in range(rng.choice([1, 8, 200])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        fuzzed = SessionManager(manager.model, folder, PARAMS)
        for name, (tokens, logits) in expected.items():
            try:
                with fuzzed.load(name) as context:
                    assert context.tokens == tokens
                    assert context.logits.tobytes() == logits
            except MullamaError:
                continue
        for use in (fuzzed.list, fuzzed.verify, fuzzed.gc, fuzzed.__len__):
            try:
                use()
            except MullamaError:
                continue


def test_records_cannot_be_exchanged(manager: SessionManager) -> None:
    for name in ("ada", "ben"):
        manager.create_session(name, f"{PROMPT}{name}").close()
    connection = sqlite3.connect(manager.session_dir / "catalog.sqlite")
    connection.execute(
        "UPDATE versions SET (record, checksum) = "
        "(SELECT record, checksum FROM versions WHERE name = 'ben') WHERE name = 'ada'"
    )
    connection.commit()
    connection.close()
    with pytest.raises(SessionFormatError, match="'ada' is damaged: its record does not match"):
        manager.load("ada")
    assert [info.name for info in manager.list()] == ["ben"]
    with pytest.raises(SessionFormatError, match="nothing was removed"):
        manager.gc()
    assert [damage.names for damage in manager.verify()] == [("ada",)]
    manager.delete("ada")
    manager.gc()
    with manager.load("ben") as context:
        assert context.text() == f"{PROMPT}ben"


# -- many processes ------------------------------------------------------------------------------


def test_a_store_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself refuses at once where two make the same catalog."""
    other = sqlite3.connect(
        tmp_path / "catalog.sqlite", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    release.start()
    try:
        assert SessionStore(tmp_path).names() == []
    finally:
        release.join()
        other.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_processes_that_are_killed_leave_a_sound_store(tmp_path: Path) -> None:
    rng, child = random.Random(1), Path(__file__).with_name("store_child.py")
    folder = tmp_path / "store"

    def start() -> subprocess.Popen[bytes]:
        seed = str(rng.randrange(10**6))
        arguments = [sys.executable, child, folder, seed, "600", tmp_path / f"said-{seed}"]
        return subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    running = [start() for _ in range(4)]
    failures = []
    try:
        for _ in range(8):
            victim = running.pop(rng.randrange(len(running)))
            assert victim.stdout is not None
            for _ in range(rng.randrange(10, 60)):  # anywhere between two of them, or in one
                victim.stdout.read(1)
            victim.kill()
            failures.append(victim.communicate()[1])
            running.append(start())
    finally:
        for process in running:
            process.kill()
            failures.append(process.communicate()[1])
    assert {*failures} == {b""}
    store = SessionStore(folder)
    assert store.names()
    assert store.verify() == []
    for name in {*store.names()}.difference(NAMES):
        check(store, name)
    said = {turn for path in tmp_path.glob("said-*") for turn in path.read_text().split()}
    assert said
    assert said <= turns(store)
    store.gc()
    with store.catalog.reading() as connection:
        versions = Versions(connection, folder)
        needed = {a for v in versions.all() for a in versions.checked_addresses(v)}
    assert {path.name for path in files(folder)} == {f"{a}.segment" for a in needed}
    assert store.gc() == 0


_KILLED = """
import os, sys
from mullama_nb.sessions.versions import Versions
from mullama_nb.sessions.store import SessionStore
{owner}.{method} = lambda *_, **__: os._exit(9)
SessionStore(sys.argv[1]).delete("b")
"""


def killed_while_deleting(folder: Path, owner: str, method: str) -> None:
    code = _KILLED.format(owner=owner, method=method)
    assert subprocess.run([sys.executable, "-c", code, str(folder)]).returncode == 9


def test_a_kill_before_a_name_is_forgotten_leaves_it_whole(tmp_path: Path) -> None:
    store = SessionStore(tmp_path)
    for name, number in (("a", 1), ("b", 11)):
        save(store, name, number)
    killed_while_deleting(tmp_path, "Versions", "remove")
    check(store, "b")
    assert store.verify() == []


def test_a_kill_after_a_name_was_forgotten_leaves_work_for_a_collection(tmp_path: Path) -> None:
    store = SessionStore(tmp_path)
    for name, number in (("a", 1), ("b", 11)):  # one prefix
        save(store, name, number)
    killed_while_deleting(tmp_path, "SessionStore", "_tidy")
    assert store.names() == ["a"]
    assert len(files(tmp_path)) == 3
    assert store.gc() > 0
    assert len(files(tmp_path)) == 2
    check(store, "a")
    assert store.verify() == []
