"""Records that a stranger made, with checksums that are right, are refused one by one in words."""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessions.store_child import save
from tiny_models import CHATML

from mullama_nb import Chat, ControlVector, Model
from mullama_nb.errors import MullamaError, SessionFormatError
from mullama_nb.sessions.entries import row_digest, sum_text
from mullama_nb.sessions.records import digest
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.versions import checksum

ModelMaker = Callable[..., Model]
Json = Any
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**400, -1, "\ud800", "\x1b[31m", "../../x", "a" * 100_000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def model(tiny: ModelMaker) -> Model:
    return tiny(chat_template=CHATML)


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat, a session and an honest session in one store."""
    folder = tmp_path_factory.mktemp("strangers")
    chat = Chat(model, n_ctx=256, n_threads=1)
    rows = np.eye(model.n_layers, model.n_embd, -1)
    ControlVector.from_array(rows).save(folder / "calm.gguf")
    chat.ask("One?", max_tokens=3, echo=False)
    chat.tag("first")
    chat.adapters = [ControlVector(folder / "calm.gguf")]
    chat.ask("Two?", max_tokens=3, echo=False)
    chat.regenerate(max_tokens=3, echo=False)
    chat.undo()
    chat.save("chat", folder)
    for name, number in (("session", 1), ("sound", 2)):
        save(SessionStore(folder), name, number)
    return folder


class Catalog:
    """A catalog's rows, changed and signed again."""

    def __init__(self, folder: Path, name: str) -> None:
        self._connection = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
        self.name = name
        ((self.version, text),) = self._all("SELECT id, record FROM versions WHERE name = ?", name)
        self.record: Json = json.loads(text)
        ((data,),) = self._all("SELECT data FROM bodies WHERE version = ?", self.version)
        self.body: Json = json.loads(data)
        rows = self._all("SELECT number, data FROM entries WHERE version = ?", self.version)
        self.entries: Json = {number: json.loads(data) for number, data in rows}

    def _all(self, sql: str, *values: object) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()

    def write(self) -> None:
        """Put all of it back, with checksums that are right."""
        self._connection.execute("BEGIN")
        total = 0
        for number, values in self.entries.items():
            data = json.dumps(values)
            total += row_digest(number, data)
            self._all("UPDATE entries SET data = ? WHERE version = ? AND number = ?",
                      data, self.version, number)  # fmt: skip
            address = values.get("address") if isinstance(values, dict) else None
            if isinstance(address, str):
                address = address.encode("utf-8", "replace").decode()
                self._all("UPDATE uses SET address = ? WHERE version = ? AND number = ?",
                          address, self.version, number)  # fmt: skip
        body = json.dumps(self.body).encode()
        record = self.record
        if isinstance(record, dict):
            if record.get("body") is not None:
                record["body"] = digest(body)
            if self.entries and record.get("entries") is not None:
                record["entries"] = sum_text(total)
        text = json.dumps(record)
        self._all("UPDATE bodies SET data = ? WHERE version = ?", body, self.version)
        self._all("UPDATE versions SET record = ?, checksum = ? WHERE id = ?",
                  text, checksum(self.version, self.name, text), self.version)  # fmt: skip
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


def places(value: Json, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        found += places(item, (*at, key))
    return found


def changed(value: Json, at: tuple[Any, ...], new: Json, *, remove: bool) -> Json:
    if not at:
        return new
    value = copy.deepcopy(value)
    parent = value
    for key in at[:-1]:
        parent = parent[key]
    if remove:
        del parent[at[-1]]
    else:
        parent[at[-1]] = new
    return value


@pytest.mark.slow
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::mullama_nb.errors.MullamaWarning")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_a_record_says_is_taken_or_refused_in_words(
    folder: Path, model: Model, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["chat", "chat", "session"]))
    catalog = Catalog(folder, name)
    was = copy.deepcopy((catalog.record, catalog.body, catalog.entries))
    part = data.draw(
        st.sampled_from(["record", "body", "entries"] if name == "chat" else ["record", "body"])
    )
    value = getattr(catalog, part)
    ways = places(value)
    at = data.draw(st.sampled_from(ways if part != "entries" else [w for w in ways if w]))
    remove = bool(at) and (part != "entries" or len(at) > 1) and data.draw(st.booleans())
    setattr(catalog, part, changed(value, at, data.draw(JSON), remove=remove))
    try:
        catalog.write()
        store = SessionStore(folder)
        assert "sound" in [entry.name for entry in store.entries()]
        for entry in store.entries():
            assert len(repr(entry)) < 1000
        for use in (store.info, store.open_session, lambda name: Chat.open(name, model, folder)):
            try:
                opened = use(name)
            except MullamaError as error:
                said = str(error)
            else:
                said = ""
                if isinstance(opened, Chat):
                    assert opened.messages is not None
                    opened.context.close()
            assert len(said) < 5000
            assert said.replace("\n", "").isprintable()
        assert store.info("sound").name == "sound"
        assert {"sound"}.isdisjoint(n for damage in store.verify() for n in damage.names)
    finally:
        catalog.record, catalog.body, catalog.entries = was
        catalog.write()
        catalog.close()


def test_one_such_record_hides_nobody(folder: Path) -> None:
    catalog = Catalog(folder, "session")
    was = copy.deepcopy(catalog.record)
    try:
        del catalog.record["metadata"]["created"]
        catalog.write()
        store = SessionStore(folder)
        assert [entry.name for entry in store.entries()] == ["chat", "sound"]
        assert store.names() == ["chat", "session", "sound"]
        with pytest.raises(SessionFormatError, match=r"'session' is damaged.*created is None"):
            store.info("session")
    finally:
        catalog.record = was
        catalog.write()
        catalog.close()


def test_a_conversation_in_circles_is_refused(folder: Path, model: Model) -> None:
    catalog = Catalog(folder, "chat")
    was = copy.deepcopy(catalog.entries)
    try:
        first, last = (catalog.entries[number] for number in (min(was) + 1, max(was)))
        first["metadata"]["came_from"] = last["id"]
        catalog.write()
        with pytest.raises(SessionFormatError, match="in circles"):
            Chat.open("chat", model, folder)
    finally:
        catalog.entries = was
        catalog.write()
        catalog.close()
