"""``mullama-nb session`` on what was replaced, and on what strangers made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sessions.store_child import check, save
from tiny_models import CHATML

from mullama_nb import Chat, Context, ContextParams, Model
from mullama_nb.cli.session import session
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.versions import Versions, checksum

ModelMaker = Callable[..., Model]


def run(folder: Path, *words: str) -> Result:
    result = CliRunner().invoke(session, ["--folder", str(folder), *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_what_was_replaced_is_listed_and_comes_back(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        save(SessionStore(tmp_path), "a", number)
    assert [e["version"] for e in json.loads(run(tmp_path, "list", "--json").stdout)] == [3]
    entries = json.loads(run(tmp_path, "list", "--all", "--json").stdout)
    assert [(e["version"], e["current"]) for e in entries] == [(1, False), (2, False), (3, True)]
    assert run(tmp_path, "list", "--all").stdout.count("earlier") == 2
    assert "a is version 2 again" in run(tmp_path, "restore", "a").stderr
    assert "a is version 1 again" in run(tmp_path, "restore", "a", "--version", "1").stderr
    check(SessionStore(tmp_path), "a")
    missing = run(tmp_path, "restore", "a", "--version", "9")
    assert (missing.exit_code, "no version 9; there is 1, 2, 3" in missing.stderr) == (1, True)
    assert run(tmp_path, "gc").exit_code == 0
    assert [e["version"] for e in json.loads(run(tmp_path, "list", "--all", "--json").stdout)] == [
        1
    ]


def test_a_live_chat_is_deleted_only_if_that_is_said(tiny: ModelMaker, tmp_path: Path) -> None:
    chat = Chat(tiny(chat_template=CHATML), n_ctx=256, n_threads=1)
    chat.autosave("a", tmp_path)
    for words in (("delete", "a"), ("rename", "a", "b")):
        refused = run(tmp_path, *words)
        assert (refused.exit_code, "saves its chat there" in refused.stderr) == (1, True)
    assert run(tmp_path, "delete", "a", "--take-over").exit_code == 0
    assert SessionStore(tmp_path).names() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("metadata"),
        lambda record: record["metadata"].update(created="yesterday"),
        lambda record: record["metadata"].update(n_ctx="many"),
        lambda record: record["metadata"].pop("settings"),
        lambda record: record.update(chain=[["../../x"]]),
    ],
    ids=["nothing", "time", "number", "settings", "addresses"],
)
def test_a_strangers_record_is_said_in_a_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    for name, number in (("bad", 1), ("good", 2)):
        save(SessionStore(tmp_path), name, number)
    with SessionStore(tmp_path).catalog.writing() as connection:
        version = Versions(connection, tmp_path).current("bad")
        assert version is not None
        record = json.loads(version.text)
        change(record)
        text = json.dumps(record)
        check = checksum(version.place.version, "bad", text)
        connection.execute(
            "UPDATE versions SET record = ?, checksum = ? WHERE name = 'bad'", (text, check)
        )
    listed = run(tmp_path, "list")
    assert "good" in listed.stdout
    assert "damaged, as session verify says: bad" in listed.stderr
    for words in (("show", "bad"), ("verify",), ("load", "bad"), ("copy", "bad")):
        done = run(tmp_path, *words)
        assert done.exit_code in (1, 2)
        assert "Traceback" not in done.output
    assert run(tmp_path, "delete", "bad").exit_code == 0
    assert "1 sessions are sound" in run(tmp_path, "verify").stderr


@pytest.mark.parametrize(
    "settings",
    [
        {"rope": None},
        {"rope": {"scaling": []}},
        {"type_k": {}},
        {"type_k": "q8_0\x1b[31m" * 50},
        {"flash_attention": "yes"},
    ],
    ids=["rope", "scaling", "type", "escape", "flag"],
)
def test_a_strangers_file_is_refused_in_a_line(
    tiny: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    model, path = tiny(), tmp_path / "strange.session"
    with Context(model, ContextParams(n_ctx=256, n_threads=1)) as context:
        context.evaluate("Hello")
        own = context.session_metadata
        from mullama_nb.engine import session as packing

        values = {**own, "settings": {**own["settings"], **settings}}
        with monkeypatch.context() as patch:
            patch.setattr(packing, "session_metadata", lambda *_: values)
            context.save_session(path)
    done = run(tmp_path / "store", "add", str(path), "--model", str(model.path))
    assert (done.exit_code, "Traceback" in done.output) == (1, False)
    assert done.stderr.startswith("Error: ")
    assert "\x1b" not in done.stderr
    assert SessionStore(tmp_path / "store").names() == []
