"""A chat goes on elsewhere with the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sessions.store_child import chain
from tiny_models import CHATML

from mullama_nb import Chat, ContextParams, ControlVector, Model, SessionManager
from mullama_nb.errors import (
    SessionConflictError,
    SessionError,
)
from mullama_nb.sessions.reading import StoreReader
from mullama_nb.sessions.store import SessionStore
from mullama_nb.sessions.travelling.remote_store import RemoteStore

ModelMaker = Callable[..., Model]
OPTIONS = {"n_ctx": 512, "n_threads": 1}


def ask(chat: Chat, text: str) -> str:
    return str(chat.ask(text, max_tokens=5, seed=4, echo=False))


def talked(model: Model) -> Chat:
    """A chat with a branch, a tag, and steps that were undone."""
    chat = Chat(model, system="Be brief.", **OPTIONS)
    ask(chat, "One?")
    chat.tag("first")
    chat.regenerate(max_tokens=5, echo=False)
    ask(chat, "Two?")
    chat.undo()
    return chat


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba"])
def test_a_chat_goes_on_elsewhere_with_the_same_bits(
    tiny: ModelMaker, here: SessionStore, there: SessionStore, memory: str, architecture: str
) -> None:
    model = tiny(architecture, chat_template=CHATML)
    chat = talked(model)
    chat.save("desk", here.folder)
    here.push(memory)
    there.pull(memory)
    opened = Chat.open("desk", model, there.folder)
    assert opened.messages == chat.messages
    assert opened.context.tokens == chat.context.tokens
    assert opened.context.logits.tobytes() == chat.context.logits.tobytes()
    assert opened.context.capture().data.tobytes() == chat.context.capture().data.tobytes()
    assert [node.id for node in opened.tree] == [node.id for node in chat.tree]
    assert {n: at.id for n, at in opened.tree.tags.items()} == {"first": chat.tree.tags["first"].id}
    assert ask(opened, "Three?") == ask(chat, "Three?")
    assert opened.head.logprobs == chat.head.logprobs
    for each in (opened, chat):
        each.checkout("first")
    assert opened.context.logits.tobytes() == chat.context.logits.tobytes()


@pytest.mark.slow
def test_a_chat_grows_at_both_ends_by_turns(
    tiny: ModelMaker, here: SessionStore, there: SessionStore, memory: str
) -> None:
    model = tiny(chat_template=CHATML)
    chat = talked(model)
    chat.save("desk", here.folder)
    n_before = here.push(memory).n_segments
    for store, other in [(there, here), (here, there)] * 2:
        store.pull(memory)
        mine = Chat.open("desk", model, store.folder)
        ask(mine, "And?")
        mine.save("desk", store.folder)
        sent = store.push(memory)
        assert 0 < sent.n_segments < n_before  # the turn that was added
        assert mine.messages == Chat.open("desk", model, store.folder).messages
        mine.context.close()
        assert other.pull(memory).n_segments == sent.n_segments


def test_a_live_chat_is_pushed_as_of_its_last_turn_and_not_pulled(
    tiny: ModelMaker, here: SessionStore, there: SessionStore, memory: str
) -> None:
    model = tiny(chat_template=CHATML)
    chat = Chat.open_or_create("desk", model, here.folder, **OPTIONS)
    for turn in range(1, 4):
        ask(chat, "More?")
        assert here.push(memory).names == ("desk",)
        there.pull(memory)
        assert len(Chat.open("desk", model, there.folder).messages) == 2 * turn
    assert here.pull(memory).unchanged == ("desk",)
    other = Chat.open("desk", model, there.folder)
    ask(other, "Elsewhere?")
    other.save("desk", there.folder)
    there.push(memory)
    with pytest.raises(SessionConflictError, match=r"'desk' is live.*autosave\(None\)"):
        here.pull(memory)
    with pytest.raises(SessionConflictError, match="is live"):
        here.pull(memory, replace=True)
    chat.autosave(None)
    assert here.pull(memory).names == ("desk",)


def test_what_both_ends_said_becomes_branches(
    tiny: ModelMaker, here: SessionStore, there: SessionStore, memory: str
) -> None:
    model = tiny(chat_template=CHATML)
    chat = talked(model)
    chat.save("desk", here.folder)
    here.push(memory)
    there.pull(memory)
    other = Chat.open("desk", model, there.folder)
    for each, store, text in ((chat, here, "Mine?"), (other, there, "Yours?")):
        ask(each, text)
        each.save("desk", store.folder)
    there.push(memory)
    with pytest.raises(SessionConflictError, match="merge=True"):
        here.push(memory)
    with pytest.raises(SessionConflictError, match="merge=True"):
        here.pull(memory)
    here.pull(memory, replace=True)
    chat.save("desk", here.folder, merge=True)
    here.push(memory)
    there.pull(memory)
    both = Chat.open("desk", model, there.folder)
    said = {leaf.text for leaf in both.tree.leaves()}
    assert {chat.head.text, other.head.text} <= said


def test_sessions_of_a_context_travel(
    tiny: ModelMaker, here: SessionStore, there: SessionStore, memory: str
) -> None:
    model, params = tiny(), ContextParams(n_ctx=256, n_threads=1)
    manager = SessionManager(model, here.folder, params)
    with manager.create_session("desk", "You are a careful clerk by the sea.") as context:
        tokens, logits = context.tokens, context.logits.tobytes()
        context.save_session(manager.session_path("single"))
    manager.push(memory)
    with pytest.raises(SessionError, match="'single' is a session file"):
        manager.push(memory, "single")
    other = SessionManager(model, there.folder, params)
    other.pull(memory)
    with other.load("desk") as context:
        assert context.tokens == tokens
        assert context.logits.tobytes() == logits
        context.save_session(other.session_path("new"))
    here.copy("desk", "new")
    here.push(memory)
    with pytest.raises(SessionConflictError, match="'new' is a session file"):
        other.pull(memory)


def test_rows_that_were_not_evaluated_here_begin_nothing_else(
    tiny: ModelMaker, here: SessionStore, there: SessionStore, memory: str
) -> None:
    """Who opens a stranger's session relies on its rows; whoever has the same prompt does not."""
    model, params = tiny(), ContextParams(n_ctx=256, n_threads=1)
    prompt = "You are a careful clerk at a desk by the sea, who writes down what ships bring."
    SessionManager(model, here.folder, params).create_session("desk", prompt).close()
    here.push(memory)
    other = SessionManager(model, there.folder, params)
    other.pull(memory)
    with other.load("desk") as context:
        tokens = context.tokens
        from mullama_nb.sessions.records import family

        group = family(context.session_metadata)
    assert here.prefix(group, tokens)
    assert there.prefix(group, tokens) == []


def test_no_folder_of_this_machine_travels(
    tiny: ModelMaker, here: SessionStore, there: SessionStore, tmp_path: Path
) -> None:
    import numpy as np

    model = tiny(chat_template=CHATML)
    chat = Chat(model, **OPTIONS)
    vector = tmp_path / "calm.gguf"
    ControlVector.from_array(np.eye(model.n_layers, model.n_embd, -1)).save(vector)
    chat.adapters = [ControlVector(vector)]
    ask(chat, "One?")
    chat.save("desk", here.folder)
    here.push(tmp_path / "shared")
    (entry,) = (tmp_path / "shared" / "sessions" / "desk").iterdir()
    text = entry.read_text()
    assert "calm.gguf" in text
    for folder in {str(model.path.parent), str(tmp_path), str(Path.home())}:
        assert folder not in text
    there.pull(tmp_path / "shared")
    opened = Chat.open("desk", model, there.folder, adapters=[ControlVector(vector)])
    assert ask(opened, "Two?") == ask(chat, "Two?")
    opened.save("desk", there.folder)
    there.push(tmp_path / "shared")


def test_a_collection_while_pushing_is_waited_out(
    here: SessionStore, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessions.store_child import check, save

    save(here, "a", 1)
    segment = StoreReader.segment

    def collected(store: StoreReader, address: str) -> object:
        monkeypatch.setattr(StoreReader, "segment", segment)
        save(here, "a", 2)
        here.gc()
        return segment(store, address)

    monkeypatch.setattr(StoreReader, "segment", collected)
    assert here.push(memory).names == ("a",)
    other = SessionStore(here.folder.with_name("other"))
    other.pull(memory)
    check(other, "a")
    assert other.record("a") == here.record("a")


def test_damage_here_is_not_passed_on(here: SessionStore, memory: str) -> None:
    from sessions.store_child import save

    save(here, "a", 1)
    save(here, "b", 2)
    here.segment_path(chain(1)[1].address).unlink()
    with pytest.raises(SessionError, match="'a' is damaged"):
        here.push(memory)
    assert [*RemoteStore(memory).lineages(None)] == ["b"]
