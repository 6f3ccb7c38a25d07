"""Messages that quote strangers: whatever a file says, an error is short and moves no cursor."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st
from state.forge import put_together, take_apart

from mullama_nb import Chat, Context, ContextParams, Model, errors
from mullama_nb.engine.files.gguf_file import read_gguf
from mullama_nb.engine.templates.template import ChatTemplate
from mullama_nb.errors import MullamaError, shown
from mullama_nb.sessions.store import SessionStore
from mullama_nb.state.segment_file import read_segment, write_segment
from mullama_nb.state.session_info import inspect_session
from mullama_nb.testing import make_tiny_model, read, record

HOSTILE = {
    "escapes": "\x1b[2J\x1b]0;title\x07\x9b31m",
    "the other direction": "\u202egpj.\u2066exe\u200f",
    "lines": "a\nb\r\n\x0b\x0c\x85\u2028\u2029c",
    "half a character": "\ud800x\udfff",
    "a megabyte": "x" * 2**20,
    "a megabyte of escapes": "\x1b[7m" * 2**18,
}
TEXTS = list(HOSTILE.values())
CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, (MullamaError, errors.MullamaWarning))
]


def check(error: BaseException) -> None:
    """One line that a terminal can show, and that a screen can hold."""
    assert str(error).isprintable()
    assert 0 < len(str(error)) < 1200


@given(st.one_of(st.text(), st.sampled_from(TEXTS)), st.integers(1, 200))
def test_what_is_shown_is_short_and_printable(text: str, most: int) -> None:
    assert len(shown(text, most)) <= most
    assert shown(text, most).isprintable()
    if text.isprintable() and len(text) <= most:
        assert shown(text, most) == text


def test_what_is_no_text_is_shown_as_code() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    assert shown(None) == "None"
    assert shown(["\x1b"]) == "['\\x1b']"
    assert shown(10**5000) == "a int"
    assert len(shown(nested)) <= 60
    while nested:  # level by level: freeing it at once would need as deep a stack
        nested = nested.pop()


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS, ids=HOSTILE)
@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_tidies_its_message(kind: type[Exception], text: str) -> None:
    more = {"needed": 1, "free": 0} if kind is errors.ContextFullError else {}
    error = kind(f"before {text} after", **more)
    message = str(error)
    assert message.replace("\n", "").isprintable()
    assert message.startswith("before ")
    assert message.endswith(" after")  # what to do stands at the end
    assert len(message) <= 4_000 or kind is errors.RegressionError
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == message
    assert vars(again) == vars(error)


# -- readers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a session file, a recording and a store."""
    folder = tmp_path_factory.mktemp("sound")
    chat = Chat(
        Model.load(make_tiny_model(folder / "m.gguf")), n_ctx=256, n_threads=1, temperature=0
    )
    chat.ask("hello", max_tokens=4)
    record(chat, folder / "r.mullama.json")
    chat.context.save_session(folder / "s.bin")
    chat.save("chat", folder / "store")
    return folder


def places(value: Any) -> Iterator[tuple[Any, Any, str]]:
    """Every text and every key of a JSON value: whose, where, and which of the two it is."""
    for key, each in [*(value.items() if isinstance(value, dict) else enumerate(value))]:
        if isinstance(value, dict):
            yield value, key, "key"
        if isinstance(each, (dict, list)):
            yield from places(each)
        else:
            yield value, key, "value"


def changed(data: str, n: int, hostile: str) -> str | None:
    """The JSON text with its ``n``-th text or key exchanged; None behind the last one."""
    body = json.loads(data)
    found = [*places(body)]
    if n >= len(found):
        return None
    owner, key, what = found[n]
    if what == "key":
        owner[hostile] = owner.pop(key)
    else:
        owner[key] = hostile
    return json.dumps(body)


def each_change(data: str, hostile: str) -> Iterator[str]:
    n, step = 0, 1 if len(hostile) < 1000 else 13  # a megabyte takes its time
    while (text := changed(data, n, hostile)) is not None:
        yield text
        n += step


def refusals(attempt: Callable[[], object]) -> list[Exception]:
    try:
        attempt()
    except (MullamaError, errors.MullamaWarning) as error:
        check(error)
        return [error]
    return []


def shows(value: object) -> None:
    assert repr(value).isprintable()
    assert len(repr(value)) < 600


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS, ids=HOSTILE)
def test_recordings(sound: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "hostile.mullama.json"
    refused = []
    for body in each_change((sound / "r.mullama.json").read_text("utf-8"), text):
        path.write_text(body, "utf-8")
        refused += refusals(lambda: read(path))
    assert len(refused) > 5


@pytest.mark.parametrize("text", TEXTS, ids=HOSTILE)
def test_session_files(sound: Path, tmp_path: Path, text: str) -> None:
    parts = take_apart((sound / "s.bin").read_bytes())
    path = tmp_path / "hostile.bin"
    refused = []
    model = Model.load(sound / "m.gguf")
    with Context(model, ContextParams(n_ctx=256, n_threads=1)) as context:
        for metadata in each_change(parts.metadata.decode(), text):
            path.write_bytes(put_together(replace(parts, metadata=metadata.encode())))
            refused += refusals(lambda: shows(inspect_session(path)))
            refused += refusals(lambda: context.load_session(path))
    assert refused


@pytest.mark.parametrize("text", TEXTS, ids=HOSTILE)
def test_segment_files(sound: Path, tmp_path: Path, text: str) -> None:
    """Whole ones that say something hostile of themselves, and those that are damaged."""
    folder = shutil.copytree(sound / "store", tmp_path / "store")
    path, *_ = sorted(folder.rglob("*.segment"))
    data = path.read_bytes()
    segment = read_segment(path)
    hostile = text.encode("utf-8", "replace").decode()
    refused = []
    for settings, parent in ((hostile, segment.parent), (segment.settings, hostile)):
        write_segment(path, replace(segment, settings=settings, parent=parent))
        refused += use_store(folder, sound / "m.gguf")
    noise = hostile.encode()[:4000]
    for at in range(0, min(len(data), 120), 3 if len(noise) < 1000 else 29):
        path.write_bytes(data[:at] + noise + data[at + len(noise) :])
        refused += refusals(lambda: read_segment(path))
    assert len(refused) > 5


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS, ids=HOSTILE)
def test_catalogs(sound: Path, tmp_path: Path, text: str) -> None:
    """Every column of every table that holds a text or bytes, with another one in it."""
    hostile = text.encode("utf-8", "replace").decode()
    refused: list[object] = []
    catalog = sound / "store" / "catalog.sqlite"
    with contextlib.closing(sqlite3.connect(catalog)) as connection:
        columns = [
            (table, column)
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({table})")
            if kind in ("TEXT", "BLOB")
        ]
    assert ("versions", "record") in columns
    for table, column in columns:
        folder = shutil.copytree(sound / "store", tmp_path / f"{table}-{column}")
        connection = sqlite3.connect(folder / "catalog.sqlite")
        with contextlib.closing(connection), contextlib.suppress(sqlite3.IntegrityError):
            connection.execute(f"UPDATE {table} SET {column} = ?", (hostile,))
            connection.commit()
        refused += use_store(folder, sound / "m.gguf")
        shutil.rmtree(folder)
    assert len(refused) > 5


def use_store(folder: Path, model: Path) -> list[object]:
    """Whatever a store says of itself, and all that it refuses."""
    store, refused = SessionStore(folder), list[object]()

    def look() -> None:
        for entry in store.entries(earlier=True):
            shows(entry)
        for damage in store.verify():
            assert damage.why.replace("\n", "").isprintable()
            assert len(damage.why) < 1200
            refused.append(damage)

    def open_chat() -> None:
        chat = Chat.open("chat", Model.load(model), folder)
        try:
            chat.checkout("ROOT")
            for checkpoint in chat.tree:
                chat.checkout(checkpoint)
        finally:
            chat.context.close()

    for attempt in (look, open_chat, lambda: shows(store.info("chat")), store.gc):
        refused += refusals(attempt)
    return refused


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS, ids=HOSTILE)
def test_model_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hostile.gguf"
    name = text.encode("utf-8", "replace").decode()

    def put(writer: gguf.GGUFWriter) -> None:
        writer.add_array(name, [1, 2])
        writer.add_uint32("general.alignment", 0)

    refused = []
    for write in (put, lambda w: w.add_tensor_info(name[:4000], (1, 2, 3), *_TENSOR)):
        writer = gguf.GGUFWriter(path, "llama")
        write(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        data = path.read_bytes()
        for at in range(24, min(len(data), 400), 1 if len(data) < 5000 else 29):
            path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
            refused += refusals(lambda: read_gguf(path))
    assert len(refused) > 5


_TENSOR = (np.dtype("float32"), 24)


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS, ids=HOSTILE)
def test_chat_templates(tiny: ModelMaker, text: str) -> None:
    literal = json.dumps(text)
    vocabulary = tiny().vocabulary
    for source in (f"{{{{ raise_exception({literal}) }}}}", f"{{{{ x[{literal}]() }}}}"):
        template = ChatTemplate(source, vocabulary)
        with pytest.raises(errors.ChatTemplateError) as caught:
            template.render([{"role": "user", "content": "x"}])
        check(caught.value)
    with pytest.raises(errors.ChatTemplateError) as caught:
        ChatTemplate(f"{{% {text} %}}", vocabulary)
    check(caught.value)
