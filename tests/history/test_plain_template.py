"""Models that were not made for chat: refused when a chat is made, or talked to as plain text."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ModelMaker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from template_walk import walk_template

from mullama_nb import Chat, Context, ContextParams, Model
from mullama_nb.engine.templates.plain import BUILT_IN
from mullama_nb.errors import ChatTemplateError

SMALL = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1}


@pytest.fixture(scope="module")
def base(tiny: ModelMaker) -> Model:
    """A model whose file has no chat template."""
    return tiny("llama")


def test_it_fails_when_it_is_made_and_says_how(base: Model) -> None:
    context = Context(base, ContextParams(**SMALL))
    for source in (base, context):
        options = SMALL if source is base else {}
        with pytest.raises(ChatTemplateError, match='Give chat_template="plain"'):
            Chat(source, **options)
    Chat(context, chat_template="plain")  # the refused one did not keep it


def test_a_model_with_named_templates_alone_asks_for_one(tiny: ModelMaker) -> None:
    named = tiny(named_templates={"rag": BUILT_IN["plain"]})
    with pytest.raises(ChatTemplateError, match="choose one of 'rag'"):
        Chat(named, **SMALL)
    assert Chat(named, chat_template="rag", **SMALL).chat_template == "rag"


def test_an_answer_goes_on_where_the_text_ends(base: Model) -> None:
    chat = Chat(base, chat_template="plain", temperature=0, **SMALL)
    said = chat.ask("Once upon a", max_tokens=8)
    context = Context(base, ContextParams(**SMALL))
    context.evaluate("Once upon a")
    alone = context.generate(None, 8, temperature=0)
    assert said.tokens == tuple(token.id for token in alone.tokens)
    chat.ask("And then", max_tokens=4)
    turns = chat.turns
    text = base.detokenize(chat.context.tokens, special=True)
    assert text.removeprefix(base.detokenize([base.vocabulary.bos or 0], special=True)) == (
        f"Once upon a{turns[1].text}\nAnd then{turns[3].text}"
    )


@pytest.mark.slow
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3), st.booleans())
def test_what_is_said_is_what_is_kept(
    base: Model, tmp_path: Path, texts: list[str], has_system: bool
) -> None:
    chat = Chat(base, "Notes." if has_system else None, chat_template="plain", seed=1, **SMALL)
    kept = [text for text in texts if text.strip() and text.isprintable()] or ["So"]
    for text in kept:
        chat.ask(text, max_tokens=3)
    assert [turn.text for turn in chat.turns if turn.role == "user"] == kept
    chat.save("story", tmp_path, replace=True)
    chat.autosave(None)
    again = Chat.open("story", base, tmp_path)
    assert again.chat_template == "plain"
    assert (again.messages, again.context.tokens) == (chat.messages, chat.context.tokens)
    chat.undo()
    chat.redo()
    assert chat.context.tokens == again.context.tokens
    assert chat.ask("More", max_tokens=3).tokens == again.ask("More", max_tokens=3).tokens


def test_nothing_is_made_up_of_plain_text(base: Model, tmp_path: Path) -> None:
    """No one can tell where a text was asked and where answered."""
    chat = Chat(base, chat_template="plain", seed=1, **SMALL)
    chat.ask("Once upon a", max_tokens=4)
    chat.save_session(tmp_path / "text.session")
    other = Chat(base, chat_template="plain", seed=1, **SMALL)
    other.load_session(tmp_path / "text.session")
    assert other.messages == []
    assert other.context.tokens == chat.context.tokens


@pytest.mark.slow
def test_a_chat_with_it_takes_every_step(tmp_path: Path) -> None:
    outcome = walk_template("plain", BUILT_IN["plain"], tmp_path)
    assert not outcome.wrong, outcome.wrong


def test_a_file_of_that_name_has_to_be_a_path(
    base: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").write_text("{{ 'mine' }}{{ messages[0].content }}", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert Chat(base, chat_template="plain", **SMALL).chat_template == "plain"
    assert "mine" in (Chat(base, chat_template=Path("plain"), **SMALL).chat_template or "")
