"""A chat's session files: saved where the head is, and read back with who said what."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import ModelMaker
from hang_guard import PATIENCE
from history.conftest import ChatMaker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_sockets import AsyncKernelManager
from nbclient import NotebookClient
from tiny_models import CHATML, make_model

from mullama_nb import Chat, Context, ContextParams, Model, SessionManager, inspect_session
from mullama_nb.errors import (
    HistoryError,
    InexactWarning,
    SessionFormatError,
    SessionMismatchError,
    SessionNotFoundError,
)

SMALL = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
BRIEF = {"role": "system", "content": "Be brief."}


def same_state(a: Chat, b: Chat) -> bool:
    return (
        a.context.tokens == b.context.tokens
        and a.context.logits.tobytes() == b.context.logits.tobytes()
    )


def test_a_conversation_goes_on_where_it_was(smollm2: Model, tmp_path: Path) -> None:
    chat = Chat(smollm2, "Be brief.", **SMALL, seed=3)
    chat.ask("Name a colour.", max_tokens=6)
    info = chat.save_session(tmp_path / "s.session")
    assert info.n_tokens == chat.context.token_count()

    other = Chat(smollm2, **SMALL, seed=3)
    loaded = other.load_session(str(tmp_path / "s.session"))
    assert loaded.n_tokens == info.n_tokens
    assert other.messages == chat.messages
    assert [turn.role for turn in other.turns] == ["system", "user", "assistant"]
    assert {turn.checkpoint for turn in other.turns} == {other.head}
    assert same_state(chat, other)

    ours, theirs = (each.ask("Another?", max_tokens=6) for each in (chat, other))
    assert theirs.reused >= info.n_tokens
    assert (theirs.text, theirs.checkpoint.logprobs) == (ours.text, ours.checkpoint.logprobs)
    assert same_state(chat, other)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(TEXTS, max_size=4),
    system=st.none() | TEXTS,
    undone=st.integers(0, 2),
    is_told=st.booleans(),
)
def test_any_conversation_comes_back(
    *,
    new_chat: ChatMaker,
    tmp_path: Path,
    said: list[str],
    system: str | None,
    undone: int,
    is_told: bool,
) -> None:
    roles, model = ["user", "assistant"] * 2, new_chat().model
    said = [model.detokenize(model.tokenize(text)) for text in said]  # it lacks some bytes
    chat = new_chat(None if system is None else model.detokenize(model.tokenize(system)))
    chat.replay([{"role": r, "content": c} for r, c in zip(roles, said, strict=False)])
    if undone:
        chat.undo(undone)
    try:
        chat.save_session(tmp_path / "s.session")
    except HistoryError:
        assert system is None
        assert not chat.messages
        return
    other = new_chat(chat.system) if is_told else new_chat()
    other.load_session(tmp_path / "s.session")
    assert other.messages == chat.messages
    assert same_state(chat, other)


def test_a_system_message_is_saved_before_anything_is_said(
    chat_model: Model, tmp_path: Path
) -> None:
    chat = Chat(chat_model, "Be brief.", **SMALL)
    info = chat.save_session(tmp_path / "s.session")
    assert chat.messages == [BRIEF]
    assert [c.metadata["role"] for c in chat.tree] == ["system"]
    other = Chat(chat_model, **SMALL)
    other.load_session(tmp_path / "s.session")
    assert other.messages == [BRIEF]
    answer = other.ask("Why?", max_tokens=2)
    assert answer.reused == info.n_tokens
    assert answer.text == chat.ask("Why?", max_tokens=2).text


def test_nothing_is_saved_where_there_is_nothing(chat: Chat, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"nothing to save: ask\(\) something, or give"):
        chat.save_session(tmp_path / "s.session")
    assert not list(tmp_path.iterdir())
    assert len(chat.tree) == 0


def test_a_template_may_let_no_system_message_stand_alone(tiny: ModelMaker, tmp_path: Path) -> None:
    """Some put it into the first question."""
    into_question = (
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n"
        "{% if loop.first and messages[0].role == 'system' %}{{ messages[0].content }} {% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    chat = Chat(tiny("llama", chat_template=into_question), "Be brief.", **SMALL)
    with pytest.raises(HistoryError, match="lets no system message stand alone"):
        chat.save_session(tmp_path / "s.session")
    assert chat.head.is_root
    chat.ask("Why?", max_tokens=2)
    chat.save_session(tmp_path / "s.session")


def test_what_was_there_stays_as_other_branches(new_chat: ChatMaker, tmp_path: Path) -> None:
    chat = new_chat(seed=1)
    chat.ask("Why?", max_tokens=3)
    chat.save_session(tmp_path / "s.session")
    chat.ask("How?", max_tokens=3)
    here, messages = chat.head, chat.messages
    chat.context.evaluate(" And")  # not committed yet
    chat.load_session(tmp_path / "s.session")
    assert chat.head.parent is chat.tree.root
    assert chat.messages == messages[:2]
    assert [c.metadata.get("source") for c in here.children] == ["context"]
    chat.checkout(here)
    assert chat.messages == messages


def test_plain_text_is_a_checkpoint_without_messages(
    chat: Chat, chat_model: Model, tmp_path: Path
) -> None:
    with Context(chat_model, ContextParams(**SMALL)) as context:
        context.evaluate("The capital of France is")
        context.save_session(tmp_path / "plain.session")
    chat.load_session(tmp_path / "plain.session")
    assert (chat.turns, chat.messages) == ([], [])
    assert chat.head.metadata["source"] == "session"
    assert chat.context.text() == "The capital of France is"


@pytest.mark.parametrize("with_answer", [True, False])
def test_a_file_that_is_refused_leaves_the_chat_as_it_was(
    new_chat: ChatMaker, tmp_path: Path, with_answer: bool
) -> None:
    theirs = new_chat("Be long.")
    theirs.ask("Why?", max_tokens=2)
    theirs.save_session(tmp_path / "long.session")
    (tmp_path / "bad.session").write_bytes(b"no session at all")

    chat = new_chat("Be brief.")
    if with_answer:
        chat.ask("How?", max_tokens=2)
    head, tokens, messages = chat.head, chat.context.tokens, chat.messages
    with pytest.raises(SessionNotFoundError):
        chat.load_session(tmp_path / "none.session")
    with pytest.raises(SessionFormatError, match=r"bad\.session"):
        chat.load_session(tmp_path / "bad.session")
    with pytest.raises(
        SessionMismatchError, match=r"message 'Be long\.', and the chat the system message 'Be bri"
    ):
        chat.load_session(tmp_path / "long.session")
    assert (chat.head, chat.context.tokens, chat.messages) == (head, tokens, messages)
    assert chat.ask("And?", max_tokens=2).text


def test_a_warning_that_is_an_error_leaves_the_chat_as_it_was(
    tiny: ModelMaker, tmp_path: Path
) -> None:
    model = tiny("gemma3", chat_template=CHATML)
    theirs = Chat(model, n_ctx=1024, n_ubatch=32, n_threads=1)
    theirs.ask("tide " * 200, max_tokens=2)
    theirs.save_session(tmp_path / "window.session", window_only=True)
    for question in (None, "How?"):
        chat = Chat(model, n_ctx=1024, n_ubatch=32, n_threads=1)
        if question is not None:
            chat.ask(question, max_tokens=2)
        head, tokens = chat.head, chat.context.tokens
        with pytest.raises(InexactWarning, match="holds only the last rows"):
            chat.load_session(tmp_path / "window.session")
        assert (chat.head, chat.context.tokens) == (head, tokens)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InexactWarning)
            chat.load_session(tmp_path / "window.session")
        assert chat.messages == theirs.messages


def test_the_window_alone_makes_a_smaller_file(tiny: ModelMaker, tmp_path: Path) -> None:
    model = tiny("gemma3", chat_template=CHATML)
    chat = Chat(model, n_ctx=1024, n_ubatch=32, n_threads=1)
    chat.ask("tide " * 200, max_tokens=2)
    whole = chat.save_session(tmp_path / "whole.session")
    plain = chat.save_session(tmp_path / "plain.session", include_logits=False)
    window = chat.save_session(tmp_path / "window.session", window_only=True)
    assert window.n_tokens == whole.n_tokens
    assert window.n_bytes < whole.n_bytes - 100 * 64
    assert plain.n_bytes <= whole.n_bytes - 4 * model.n_vocab


def test_a_context_that_holds_a_conversation_becomes_a_chat(
    chat_model: Model, tmp_path: Path
) -> None:
    manager = SessionManager(chat_model, tmp_path, ContextParams(**SMALL))
    prompt = chat_model.apply_chat_template([BRIEF], add_generation_prompt=False)
    manager.create_session("brief", prompt).close()
    context = manager.load("brief")
    n_tokens = context.token_count()
    chat = Chat(context)
    assert chat.messages == [BRIEF]
    assert chat.ask("Why?", max_tokens=2).reused == n_tokens


@pytest.mark.slow
def test_cells_save_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook, whose kernel prints answers as they come and shows a chat at a cell's end."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    make_model(tmp_path / "tiny.gguf", "llama", chat_template=CHATML)
    kernel = tmp_path / "kernels" / "here" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "here", "language": "python"}))
    cells = [
        "from mullama_nb import Chat\n"
        "chat = Chat('tiny.gguf', 'Be brief.', n_ctx=256, n_threads=1, seed=1)\n"
        "chat.ask('Why?', max_tokens=3)",
        "chat.save_session('s.session').n_tokens == chat.context.token_count()",
        "again = Chat('tiny.gguf', n_ctx=256, n_threads=1, seed=1)\n"
        "again.load_session('s.session')\n"
        "again",
        "again.messages == chat.messages",
        "a, b = (each.ask('How?', max_tokens=3, echo=False) for each in (chat, again))\n"
        "a.text == b.text, b.reused > 0",
        "again.load_session('missing.session')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(
        notebook,
        kernel_name="here",
        kernel_manager_class=AsyncKernelManager,
        allow_errors=True,
        startup_timeout=PATIENCE,
        iopub_timeout=PATIENCE,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    last: list[Any] = [cell["outputs"][-1] for cell in notebook.cells]
    assert last[0]["data"]["text/plain"] == "Turn(assistant, 3 tokens, length)"
    assert last[1]["data"]["text/plain"] == "True"
    assert "assistant" in last[2]["data"]["text/html"]
    assert last[3]["data"]["text/plain"] == "True"
    assert last[4]["data"]["text/plain"] == "(True, True)"
    assert last[5]["ename"] == "SessionNotFoundError"
    assert inspect_session(tmp_path / "s.session").n_tokens > 0
