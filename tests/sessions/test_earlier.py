"""Catalogs of version 1 are read as they are, and brought over by the first save."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from tiny_models import CHATML

from mullama_nb import Chat, ContextParams, Model, SessionManager
from mullama_nb.errors import SessionFormatError, SessionMismatchError
from mullama_nb.sessions.store import SessionStore

ModelMaker = Callable[..., Model]
ASK: dict[str, Any] = {"max_tokens": 4, "echo": False}
PARAMS = ContextParams(n_ctx=512, n_threads=1)
TABLES = """
CREATE TABLE sessions (
    name TEXT PRIMARY KEY, record TEXT NOT NULL, body BLOB NOT NULL, checksum BLOB NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def put(connection: sqlite3.Connection, name: str, record: dict[str, Any], body: Any) -> None:
    data = json.dumps(body, separators=(",", ":")).encode()
    text = json.dumps(record | {"body": blake3(data).hexdigest()}, sort_keys=True)
    named = struct.pack("<Q", len(name.encode())) + name.encode() + text.encode()
    values = (name, text, data, blake3(named).digest())
    connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", values)


def older(chat: Chat, session: dict[str, Any], folder: Path) -> None:
    """Write what version 1 would have written, and nothing of this one."""
    tree = chat.tree
    described = {
        "checkpoints": [
            {
                "id": c.id,
                "parent": c.parent.id if c.parent is not None else None,
                "tokens": c.tokens,
                "ordinal": c.ordinal,
                "metadata": c.metadata,
                "address": c.address,
                "n_bytes": c.n_bytes,
                "logprobs": c.logprobs,
                "exact": c.rows_exact,
            }
            for c in tree
        ],
        "root": tree.root.metadata,
        "head": tree.head.id,
        "redo": [c.id for c in reversed(tree.redo_path)],
        "tags": {name: c.id for name, c in tree.tags.items()},
        "made": {
            key: n
            for c in (tree.root, *tree)
            for key, n in zip((c.id, f"{c.id} cut"), tree._workspace.graph.counts(c), strict=True)
            if n
        },
        "n_made": tree._workspace.graph.n_made,
    }
    body = chat._settings() | {"tokens": [], "text": "", "messages": [], "tree": described}
    record = {
        "kind": "chat",
        "metadata": chat.context.session_metadata,
        "n_tokens": tree.head.stop,
        "chain": [c.address for c in tree.path() if c.tokens],
        "others": [c.address for c in tree if c.address is not None],
        "process": "",
    }
    connection = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    for table in ("versions", "bodies", "entries", "uses", "owners"):
        connection.execute(f"DROP TABLE {table}")
    connection.executescript(TABLES)
    put(connection, "chat", record, body)
    put(connection, "ada", *session["ada"])
    put(connection, "bad", record, body)
    connection.execute("UPDATE sessions SET checksum = x'00' WHERE name = 'bad'")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def test_an_older_catalog_is_read_and_brought_over(tiny: ModelMaker, tmp_path: Path) -> None:
    model = tiny(chat_template=CHATML)
    chat = Chat(model, n_ctx=512, n_threads=1, temperature=0.9)
    first = chat.ask("One?", **ASK)
    chat.tag("first")
    chat.regenerate(**ASK)
    chat.fork(first, token=2, **ASK)
    chat.ask("Two?", **ASK)
    chat.undo()
    chat.save("chat", tmp_path)
    manager = SessionManager(model, tmp_path, PARAMS)
    with manager.create_session("ada", "You are kind.") as context:
        _, record, body = manager.store.open_session("ada")
        values = {"kind": "session", "metadata": dict(record.metadata), "others": [], "process": ""}
        values |= {"n_tokens": record.n_tokens, "chain": list(record.chain)}
        del body["chain"]
        logits = context.logits.tobytes()
    older(chat, {"ada": (values, body)}, tmp_path)

    def check() -> None:
        store = SessionStore(tmp_path)
        assert store.names() == ["ada", "bad", "chat"]
        assert [entry.name for entry in store.entries()] == ["ada", "chat"]
        with pytest.raises(SessionFormatError, match="'bad' is damaged"):
            store.info("bad")
        again = Chat.open("chat", model, tmp_path)
        assert [(c.id, c.tokens, c.metadata, c.address) for c in again.tree] == [
            (c.id, c.tokens, c.metadata, c.address) for c in chat.tree
        ]
        assert [again.tree._workspace.graph.counts(c) for c in again.tree] == [
            chat.tree._workspace.graph.counts(c) for c in chat.tree
        ]
        assert (again.head.id, again.messages) == (chat.head.id, chat.messages)
        assert {**again.tree.tags}.keys() == {"first"}
        assert again.redo() is not None
        with SessionManager(model, tmp_path, PARAMS).load("ada") as context:
            assert context.logits.tobytes() == logits

    before = (tmp_path / "catalog.sqlite").read_bytes()
    check()
    assert (tmp_path / "catalog.sqlite").read_bytes() == before
    other = SessionManager(tiny(seed=1), tmp_path, PARAMS)
    with pytest.raises(SessionMismatchError, match="earlier version, which did not note"):
        other.load("chat", on_mismatch="replay")
    manager.copy("ada", "ben")
    check_after = SessionStore(tmp_path)
    assert check_after.names() == ["ada", "bad", "ben", "chat"]
    manager.delete("ben")
    check()
    opened = Chat.open("chat", model, tmp_path)
    opened.save("chat", tmp_path)
    head = [entry.text for entry in SessionStore(tmp_path).open_chat("chat")[3].entries]
    assert None not in head
    manager.delete("bad")
    assert manager.gc() >= 0
    assert manager.verify() == []
