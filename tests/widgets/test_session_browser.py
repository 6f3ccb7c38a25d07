"""The browser says what can be loaded here and why not, and does what it is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import CHATML, make_model

from mullama_nb import Chat, Context, ContextParams, Model, SessionManager
from mullama_nb.errors import ParameterError, SessionError, SessionNotFoundError
from mullama_nb.widgets.session_browser import SessionBrowser

PARAMS = ContextParams(n_ctx=128, n_threads=1)


@pytest.fixture(scope="module")
def model(tiny: Callable[..., Model]) -> Model:
    return tiny("llama", chat_template=CHATML, head_dim=32)


@pytest.fixture
def chat(model: Model) -> Chat:
    chat = Chat(Context(model, PARAMS))
    chat.ask("hello", max_tokens=3)
    return chat


@pytest.fixture
def manager(model: Model, tmp_path: Path) -> SessionManager:
    manager = SessionManager(model, tmp_path / "sessions", PARAMS)
    manager.create_session("prompt", "hello").close()
    return manager


def reasons(browser: SessionBrowser) -> dict[str, str]:
    return {row["name"]: row["why"] for row in browser.take_snapshot()["rows"]}


def test_it_shows_what_the_manager_knows(manager: SessionManager) -> None:
    snapshot = SessionBrowser(manager).take_snapshot()
    (row,) = snapshot["rows"]
    info = manager.info("prompt")
    assert (row["name"], row["tokens"], row["bytes"]) == ("prompt", info.n_tokens, info.n_bytes)
    assert (row["model"], row["why"]) == (info.model, "")
    assert info.created is not None
    assert row["created"] == info.created.isoformat()
    assert snapshot["can_save"] is False
    json.dumps(snapshot)


def test_it_says_why_not(manager: SessionManager, tiny: Callable[..., Model], chat: Chat) -> None:
    folder = manager.session_dir
    longer = SessionManager(manager.model, folder, ContextParams(n_ctx=512, n_threads=1))
    longer.create_session("long", "a b c d " * 60).close()
    coarse = ContextParams(n_ctx=128, n_threads=1, kv_cache_type="q8_0")
    SessionManager(manager.model, folder, coarse).create_session("coarse", "a").close()
    other = tiny("llama", chat_template=CHATML, head_dim=32, seed=1)
    SessionManager(other, folder, PARAMS).create_session("other", "a").close()
    Chat(Context(manager.model, coarse)).save("coarse chat", folder)
    (folder / "torn.session").write_bytes(b"ggsq")
    browser = SessionBrowser(manager, chat)
    why = reasons(browser)
    assert why.pop("prompt") == why.pop("coarse chat") == ""
    assert "q8_0 saved, f16 here" in why["coarse"]
    assert "the weights" in why["other"]
    assert "room for 128 here" in why["long"]
    assert "torn" in why["torn"]
    for name in why:  # what it says is what happens
        with pytest.raises(SessionError):
            browser.handle("load", {"name": name})
    browser.handle("load", {"name": "coarse chat"})


def test_a_session_loads_as_a_context(manager: SessionManager) -> None:
    browser = SessionBrowser(manager)
    browser.handle("load", {"name": "prompt"})
    assert isinstance(browser.loaded, Context)
    assert browser.loaded.token_count() == manager.info("prompt").n_tokens
    assert ".loaded" in browser.take_snapshot()["said"]


def test_a_chat_is_saved_and_loads_as_a_chat(manager: SessionManager, chat: Chat) -> None:
    browser = SessionBrowser(manager, chat)
    browser.handle("save", {"name": " lesson "})
    assert "lesson" in manager
    browser.handle("load", {"name": "lesson"})
    assert isinstance(browser.loaded, Chat)
    assert browser.loaded.messages == chat.messages


def test_replacing_wants_a_yes(manager: SessionManager, chat: Chat) -> None:
    browser = SessionBrowser(manager, chat)
    with pytest.raises(SessionError, match="saved already"):
        browser.handle("save", {"name": "prompt"})
    browser.handle("save", {"name": "prompt", "replace": True})
    (row,) = browser.take_snapshot()["rows"]
    assert row["kind"] == "chat"


def test_deleting(manager: SessionManager) -> None:
    browser = SessionBrowser(manager)
    browser.handle("delete", {"name": "prompt"})
    assert list(manager) == []
    assert browser.take_snapshot()["said"] == "Deleted prompt"
    with pytest.raises(SessionNotFoundError):
        browser.handle("delete", {"name": "prompt"})
    assert browser.take_snapshot()["said"] == ""


def test_a_folder_alone_can_be_looked_at(manager: SessionManager, chat: Chat) -> None:
    browser = SessionBrowser(manager.session_dir)
    assert "no model" in reasons(browser)["prompt"]
    with pytest.raises(ParameterError, match="no model"):
        browser.handle("load", {"name": "prompt"})
    with pytest.raises(ParameterError, match="no chat"):
        browser.handle("save", {"name": "new"})
    assert reasons(SessionBrowser(manager.session_dir, chat)) == {"prompt": ""}
    browser.handle("delete", {"name": "prompt"})
    assert list(manager) == []


def test_views_hear_of_changes_and_errors(manager: SessionManager) -> None:
    sent: list[Any] = []
    arrived = threading.Event()

    class Heard(SessionBrowser):
        def send(self, content: Any, buffers: Any = None) -> None:
            sent.append(content)
            arrived.set()
            super().send(content, buffers)

    browser = Heard(manager)
    failed = threading.Event()
    browser.observe(lambda _: failed.set(), "error")
    browser._handle_custom_msg({"kind": "do", "action": "delete", "name": "snow"}, [])
    failed.wait()
    assert "snow" in browser.error
    browser._handle_custom_msg({"kind": "do", "action": "delete", "name": "prompt"}, [])
    while not (sent and sent[-1]["snapshot"]["rows"] == []):
        arrived.clear()
        arrived.wait()
    assert {message["kind"] for message in sent} == {"snapshot"}


def test_the_table_is_the_same_later(manager: SessionManager, tmp_path: Path) -> None:
    browser = SessionBrowser(manager)
    bundle, _ = browser._repr_mimebundle_()
    assert bundle["text/html"] == browser.to_html()
    assert bundle["text/plain"] == "SessionBrowser(1 saved)"
    assert "<td>prompt</td>" in bundle["text/html"]
    assert "Nothing is saved" in SessionBrowser(tmp_path / "empty").to_html()


def test_what_a_file_says_is_text(tmp_path: Path) -> None:
    model = Model.load(make_model(tmp_path / "<b>.gguf", "llama"))
    manager = SessionManager(model, tmp_path / "sessions", PARAMS)
    manager.create_session("prompt", "a").close()
    assert "<td>&lt;b&gt;</td>" in SessionBrowser(manager).to_html()


def test_other_things_are_refused(manager: SessionManager) -> None:
    with pytest.raises(ParameterError, match="not a int"):
        SessionBrowser(3)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="chat must be"):
        SessionBrowser(manager, "chat")  # type: ignore[arg-type]


def test_alone_it_finds_folder_and_model_and_gives_a_name(
    model: Model, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    chat.save("my tides")
    variables: dict[str, Any] = {"my_tides": "mine"}
    monkeypatch.setattr("mullama_nb.widgets.variables._variables", lambda: variables)
    browser = SessionBrowser()
    assert reasons(browser) == {"my tides": ""}
    browser.handle("load", {"name": "my tides"})
    assert isinstance(browser.loaded, Chat)
    assert browser.loaded.messages == chat.messages
    assert browser.loaded.model.fingerprint == model.fingerprint
    assert variables == {"my_tides": "mine", "my_tides_2": browser.loaded}
    assert "it is the variable my_tides_2" in browser.take_snapshot()["said"]
