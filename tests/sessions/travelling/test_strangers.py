"""What strangers put elsewhere is refused by its name, and nothing here changes."""

from __future__ import annotations

import copy
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessions.store_child import check, save, segment
from sessions.test_strangers import JSON, changed, places
from tiny_models import CHATML

from mullama_nb import Chat, ControlVector, Model
from mullama_nb.errors import MullamaError, SessionFormatError, SessionWriteError
from mullama_nb.sessions.entries import row_digest, sum_text
from mullama_nb.sessions.records import digest
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.travelling.lineage import EntryName, content_digest
from mullama_nb.state.segment_file import write_segment

ModelMaker = Callable[..., Model]
Files = Mapping[str, bytes]
SETTINGS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def model(tiny: ModelMaker) -> Model:
    return tiny(chat_template=CHATML)


@pytest.fixture(scope="module")
def shared(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A chat and a session as they lie elsewhere."""
    folder = tmp_path_factory.mktemp("strangers")
    chat = Chat(model, n_ctx=256, n_threads=1)
    chat.ask("One?", max_tokens=3, echo=False)
    chat.tag("first")
    rows = np.eye(model.n_layers, model.n_embd, -1)
    ControlVector.from_array(rows).save(folder / "calm.gguf")
    chat.adapters = [ControlVector(folder / "calm.gguf")]
    chat.ask("Two?", max_tokens=3, echo=False)
    chat.regenerate(max_tokens=3, echo=False)
    chat.undo()
    chat.save("chat", folder / "store")
    chat.context.close()
    store = SessionStore(folder / "store")
    save(store, "session", 1)
    store.push(folder / "shared")
    paths = [path for path in (folder / "shared").rglob("*") if path.is_file()]
    return {str(path.relative_to(folder / "shared")): path.read_bytes() for path in paths}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power failure is waited for."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def place() -> Iterator[Callable[[Files], str]]:
    """Put files into memory, and return their URL."""
    from fsspec.implementations.memory import MemoryFileSystem

    filesystem, root = MemoryFileSystem(), f"/{secrets.token_hex(8)}"
    made: list[str] = []

    def put(files: Files) -> str:
        made.append(f"{root}/{len(made)}")
        for path, data in files.items():
            filesystem.pipe_file(f"{made[-1]}/{path}", data)
        return f"memory:/{made[-1]}"

    yield put
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)


@pytest.fixture
def victim(here: SessionStore) -> SessionStore:
    """A store with a session of its own, and an older one of a name that is pulled."""
    save(here, "sound", 2)
    save(here, "session", 1)
    return here


def pulled(store: SessionStore, url: str, model: Model) -> str:
    """Pull, and use what came; return what was said where something was refused."""
    said = ""
    try:
        store.pull(url, replace=True)
    except MullamaError as error:
        said = str(error)
    assert store.verify() == []
    check(store, "sound")
    for name in store.names():
        try:
            if store.record(name).kind == "chat":
                Chat.open(name, model, store.folder).context.close()
            else:
                store.open_whole(name)
        except MullamaError as error:  # it is sound, and does not fit this model
            said += str(error)
    assert said.replace("\n", "").isprintable()
    assert len(said) < 9000
    return said


@pytest.mark.slow
@given(data=st.data())
@SETTINGS
def test_damage_is_named_and_nothing_of_it_is_taken(
    victim: SessionStore,
    model: Model,
    shared: Files,
    place: Callable[[Files], str],
    data: st.DataObject,
) -> None:
    files = dict(shared)
    path = data.draw(st.sampled_from(sorted(files)))
    other = data.draw(st.sampled_from(sorted(set(files) - {path})))
    old, at = files[path], data.draw(st.integers(0, len(files[path]) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "longer", "remove", "exchange", "rename"]))
    if how == "flip":
        files[path] = old[:at] + bytes([old[at] ^ data.draw(st.integers(1, 255))]) + old[at + 1 :]
    elif how == "cut":
        files[path] = old[:at]
    elif how == "longer":
        files[path] = old + data.draw(st.binary(min_size=1, max_size=9))
    elif how == "exchange":
        files[path], files[other] = files[other], old
    else:
        del files[path]
    if how == "rename":
        letter = data.draw(st.integers(0, len(path) - 1))
        files[path[:letter] + data.draw(st.sampled_from("0af/.~b")) + path[letter + 1 :]] = old
    store = SessionStore(victim.folder.with_name(secrets.token_hex(4)))
    shutil.copytree(victim.folder, store.folder)
    said = pulled(store, place(files), model)
    if how in ("flip", "cut", "longer", "exchange"):  # the victim has the session already
        changed_ones = {path, other} if how == "exchange" else {path}
        needed = {each.rpartition("/")[2] for each in changed_ones if _is_of_chat(shared, each)}
        assert not needed or any(name.partition(".")[0] in said for name in needed)
        assert ("chat" in store) == (not needed)
    assert not list(store.folder.glob("arriving/.*"))


def _is_of_chat(files: Files, path: str) -> bool:
    (entry,) = (each for each in files if each.startswith("sessions/chat/"))
    return path == entry or path.removeprefix("segments/")[:32].encode() in files[entry]


class Entry:
    """The entry of a chat or session, changed and signed again."""

    def __init__(self, files: Files, name: str) -> None:
        self.files = dict(files)
        (self.path,) = (path for path in files if path.startswith(f"sessions/{name}/"))
        self.values = json.loads(files[self.path])
        self.parts: dict[str, Any] = {
            "all": self.values,
            "record": json.loads(self.values["record"]),
            "body": json.loads(self.values["body"]),
            "rows": {number: json.loads(text) for number, text in self.values["rows"]},
        }

    def signed(self, *, alone: bool) -> Files:
        """All files, with checksums that are right; or only what was changed, as it is."""
        parts, values = self.parts, self.parts["all"]
        if not alone:
            rows = [[number, _json(row)] for number, row in parts["rows"].items()]
            record, body = parts["record"], _json(parts["body"])
            if isinstance(record, dict):
                if record.get("body") is not None:
                    record["body"] = digest(body.encode())
                if rows and record.get("entries") is not None:
                    record["entries"] = sum_text(sum(row_digest(*row) for row in rows))
            values = values | {"record": _json(record), "body": body, "rows": rows}
        data = _json(values).encode()
        del self.files[self.path]
        folder = self.path.rpartition("/")[0]
        self.files[f"{folder}/{EntryName(content_digest(data)).file}"] = data
        return self.files


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


@pytest.mark.slow
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::mullama_nb.errors.MullamaWarning")
@SETTINGS
def test_whatever_an_entry_says_is_taken_or_refused_in_words(
    victim: SessionStore,
    model: Model,
    shared: Files,
    place: Callable[[Files], str],
    data: st.DataObject,
) -> None:
    entry = Entry(shared, data.draw(st.sampled_from(["chat", "chat", "session"])))
    part = data.draw(st.sampled_from(sorted(entry.parts)))
    value = entry.parts[part]
    ways = places(value)
    if part == "rows":
        ways = [way for way in ways if way] or [()]
    at = data.draw(st.sampled_from(ways))
    remove = bool(at) and (part != "rows" or len(at) > 1) and data.draw(st.booleans())
    entry.parts[part] = changed(value, at, data.draw(JSON), remove=remove)
    alone = part == "all"
    store = SessionStore(victim.folder.with_name(secrets.token_hex(4)))
    shutil.copytree(victim.folder, store.folder)
    try:
        files = entry.signed(alone=alone)
    except (TypeError, ValueError, AttributeError):  # not JSON
        return
    pulled(store, place(files), model)


def forged(files: Files, change: Callable[[Entry], object]) -> Files:
    entry = Entry(copy.deepcopy(dict(files)), "session")
    change(entry)
    return entry.signed(alone=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: e.parts["all"].update(name="sound"), "it is of 'sound', not of 'session'"),
        (lambda e: e.parts["all"].update(name="../x"), "not of 'session'"),
        (lambda e: e.parts["all"].update(format=2), "of version 2"),
        (lambda e: e.parts["all"].update(more=1), "not as this mullama_nb"),
        (lambda e: e.parts["record"].update(chain=["../../x"]), "no segments' addresses"),
        (lambda e: e.parts["record"].update(chain=["a" * 32]), "aaa.* is missing"),
        (lambda e: e.parts["rows"].update({1 << 62: {}}), "number is"),
        (lambda e: e.parts["rows"].update({1: {}}), "only the other kind has"),
    ],
)
def test_an_entry_that_is_forged_is_refused(
    victim: SessionStore,
    shared: Files,
    place: Callable[[Files], str],
    change: Callable[[Entry], object],
    said: str,
) -> None:
    save(victim, "session", 5)
    before = victim.record("session")
    with pytest.raises(SessionFormatError, match=said):
        victim.pull(place(forged(shared, change)), "session", replace=True)
    assert victim.record("session") == before
    assert victim.verify() == []


def test_a_checkpoint_that_comes_twice_is_refused(
    victim: SessionStore, shared: Files, place: Callable[[Files], str]
) -> None:
    """The catalog would hold one of them, and the name would be damaged from then on."""
    entry = Entry(shared, "chat")
    record, values = entry.parts["record"], entry.values
    record["n_entries"] += 1
    values.update(record=_json(record), rows=[*values["rows"], values["rows"][1]])
    with pytest.raises(SessionFormatError, match="the same number"):
        victim.pull(place(entry.signed(alone=True)), "chat")
    assert victim.verify() == []


def test_a_folder_of_another_machine_in_an_entry_is_refused(
    victim: SessionStore, shared: Files, place: Callable[[Files], str]
) -> None:
    entry = Entry(shared, "chat")
    entry.parts["body"]["model"] = "/elsewhere/model.gguf"
    with pytest.raises(SessionFormatError, match="not as this mullama_nb"):
        victim.pull(place(entry.signed(alone=False)), "chat")
    assert "chat" not in victim


def test_rows_that_are_not_what_a_segment_is(
    victim: SessionStore, shared: Files, place: Callable[[Files], str], tmp_path: Path
) -> None:
    """Sound segment files that no store sends: logits that nothing covers, and no tokens."""
    honest = segment(77)
    logits = np.zeros(4, np.float32)
    for strange in (replace(honest, logits=logits), replace(honest, tokens=())):
        address = strange.address
        write_segment(tmp_path / "x", strange)
        files = forged(shared, lambda e, a=address: e.parts["record"].update(chain=[a]))
        files = {**files, f"segments/{address}.segment": (tmp_path / "x").read_bytes()}
        with pytest.raises(SessionFormatError, match=f"{address}.* no tokens, or what"):
            victim.pull(place(files), "session", replace=True)
        assert victim.verify() == []


def test_a_claim_of_more_than_there_is_room_for(
    victim: SessionStore,
    shared: Files,
    place: Callable[[Files], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = place(shared)
    usage = shutil.disk_usage(victim.folder)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SessionWriteError, match="are free here"):
        victim.pull(url, "chat")
    assert "chat" not in victim


def test_one_that_is_damaged_keeps_nobody_from_the_others(
    here: SessionStore, there: SessionStore, tmp_path: Path
) -> None:
    for number, name in enumerate("abcd"):
        save(here, name, number)
    here.push(tmp_path / "shared")
    for name in "bd":
        (entry,) = (tmp_path / "shared" / "sessions" / name).iterdir()
        entry.write_bytes(b"{}")
    with pytest.raises(SessionFormatError, match=r"sessions/b/(.|\n)*sessions/d/"):
        there.pull(tmp_path / "shared")
    assert there.names() == ["a", "c"]


@pytest.mark.parametrize("what", ["fifo", "link", "folder"])
def test_what_is_no_file_is_not_waited_for(
    here: SessionStore, there: SessionStore, tmp_path: Path, what: str
) -> None:
    save(here, "a", 1)
    here.push(tmp_path / "shared")
    secret = tmp_path / "secret"
    for path in [*(tmp_path / "shared").rglob("*.segment")][:1]:
        path.rename(secret)
        if what == "fifo":
            os.mkfifo(path)
        elif what == "link":
            path.symlink_to(secret)
        else:
            path.mkdir()
    with pytest.raises(SessionFormatError, match="missing in the folder 'shared'"):
        there.pull(tmp_path / "shared")
    assert there.names() == []
