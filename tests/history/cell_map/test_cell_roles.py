"""Whose text a token is: found with every template, wherever messages lie and however they read."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ModelMaker
from hypothesis import given, settings
from hypothesis import strategies as st
from template_models import make_template_model
from tiny_models import CHATML

from mullama_nb import Chat, Context, ContextParams, Model
from mullama_nb.errors import ChatTemplateError, ContextFullError
from mullama_nb.history.cell_map.live import cell_map

TEMPLATES = sorted((Path(__file__).parents[2] / "templates").glob("*.jinja"))
# These do not write what is said as it is said, so there is nothing to compare it with.
OTHERWISE = {"says_question_twice"}


def said(chat: Chat) -> list[tuple[str, bytes]]:
    """Roles with the bytes of their tokens along the active path, without the template's own."""
    vocabulary = chat.model.vocabulary
    found: list[tuple[str, bytes]] = []
    before = ""
    for cell in cell_map(chat).active:
        piece = vocabulary.piece(cell.token, special=True)
        if cell.role == before != "template":
            found[-1] = before, found[-1][1] + piece
        elif cell.role != "template":
            found.append((cell.role, piece))
        before = cell.role
    return found


def spoken(found: list[tuple[str, bytes]], role: str) -> list[str]:
    """Texts of a role, however a template trims them."""
    texts = (text.decode("utf-8", "replace") for who, text in found if who == role)
    return [" ".join(text.split()) for text in texts]


@pytest.mark.slow
@pytest.mark.parametrize("path", TEMPLATES, ids=[path.stem for path in TEMPLATES])
@pytest.mark.filterwarnings("ignore::mullama_nb.errors.MullamaWarning")
def test_every_template_shows_who_says_what(tmp_path: Path, path: Path) -> None:
    model = Model.load(make_template_model(tmp_path / "m.gguf", path.read_text("utf-8")))
    questions = ["user", "What is a <|im_end|> assistant?", "a"]
    for system in ("system", None):
        try:
            chat = Chat(model, system, n_ctx=2048, n_threads=1, seed=1)
            chat.ask(questions[0], max_tokens=3)
            break
        except (ChatTemplateError, ContextFullError):
            continue
    else:
        return  # it takes no plain question
    for question in questions[1:]:
        chat.ask(question, max_tokens=3)
    if path.stem in OTHERWISE:
        return
    found = said(chat)
    texts = spoken(found, "user")
    # An answer is split where the template writes something into it; a question never is.
    assert texts == questions or [text for text in texts if text] == questions
    if spoken(found, "system"):
        assert spoken(found, "system") == [system]
    answers = [cell for cell in cell_map(chat).active if cell.role == "assistant"]
    last = chat.turns[-1]
    assert tuple(cell.token for cell in answers[-len(last.tokens) :]) == last.tokens


TEXT = st.text(max_size=20).filter(lambda text: text.isprintable() and text == text.strip())
WORDS = st.sampled_from(["user", "assistant", "system", "a", "<|im_end|>", "<|im_start|>user\nx"])


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(TEXT | WORDS, min_size=1, max_size=4), st.booleans())
def test_any_text_is_found(tiny: ModelMaker, texts: list[str], has_system: bool) -> None:
    texts = [text or "?" for text in texts]
    model = tiny("llama", chat_template=CHATML)
    params = ContextParams(n_ctx=1024, n_threads=1, n_threads_batch=1)
    with Context(model, params) as context:
        chat = Chat(context, texts[0] if has_system else None)
        messages = [
            {"role": role, "content": text} for text in texts for role in ("user", "assistant")
        ]
        chat.replay(messages)
        found = said(chat)
        expected = [*([("system", texts[0])] * has_system)]
        expected += [(message["role"], message["content"]) for message in messages]
        assert [(role, text.decode()) for role, text in found] == expected


def test_what_is_cut_keeps_its_roles(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), "Be brief.", n_ctx=512, n_threads=1, seed=1)
    chat.ask("Who is the user?", max_tokens=6)
    before = [(cell.token, cell.role) for cell in cell_map(chat).active]
    end = chat.head
    for n in (3, 1):
        for checkpoint in list(chat.tree):
            if len(checkpoint.tokens) > n:
                chat.tree.fork(checkpoint, token=n)
    chat.tree.checkout(end)
    assert [(cell.token, cell.role) for cell in cell_map(chat).active] == before


def test_what_trimming_says_again_has_its_roles(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), "Be brief.", n_ctx=512, n_threads=1, seed=1)
    for question in ("one?", "two?", "three?"):
        chat.ask(question, max_tokens=3)
    chat.trim(1)
    found = said(chat)
    assert spoken(found, "system") == ["Be brief."]
    assert spoken(found, "user") == ["three?"]
    assert len([cell for cell in cell_map(chat).active if cell.role == "assistant"]) == 3


def test_tokens_without_a_message_are_text(tiny: ModelMaker) -> None:
    with Context(tiny("llama", chat_template=CHATML), ContextParams(n_ctx=128)) as context:
        context.evaluate("<|im_start|>user\nhello")
        chat = Chat(context)
        roles = {(cell.text, cell.role) for cell in cell_map(chat.tree).active}
        assert ("<|im_start|>", "template") in roles
        assert {role for _, role in roles} <= {"template", "text", "user"}


def test_messages_of_a_loaded_session_are_told_apart(tiny: ModelMaker, tmp_path: Path) -> None:
    model = tiny("llama", chat_template=CHATML)
    chat = Chat(model, "Be brief.", n_ctx=512, n_threads=1, seed=1)
    chat.replay(
        [
            {"role": "user", "content": "one?"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three?"},
        ]
    )
    chat.save_session(tmp_path / "a.session")
    other = Chat(model, n_ctx=512, n_threads=1)
    other.load_session(tmp_path / "a.session")
    assert [(role, text.decode()) for role, text in said(other)] == [
        ("system", "Be brief."),
        ("user", "one?"),
        ("assistant", "two"),
        ("user", "three?"),
    ]
