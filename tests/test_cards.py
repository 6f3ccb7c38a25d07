"""Cards of values: stable, escaped, without a colour of their own for text."""

from __future__ import annotations

import re

import pytest
from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHATML

from mullama_nb import Chat, Context, ContextParams
from mullama_nb.tables import html_card


@given(st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=3), st.text())
def test_nothing_in_a_card_is_markup(title: str, facts: list[tuple[str, str]], text: str) -> None:
    card = html_card(title, facts, text)
    rest = re.sub(r'</?(?:div|strong)(?: style="[^"<>]*")?>', "", card)
    assert not re.search('[<>"]', rest)
    assert not re.search(r"(?<!-)color:|background", card)  # both themes bring their own


@pytest.fixture
def chat(tiny: ModelMaker) -> Chat:
    return Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1, seed=1)


def test_what_a_notebook_shows_has_a_card(chat: Chat, tiny: ModelMaker) -> None:
    turn = chat.ask("<script>alert(1)</script>", max_tokens=4)
    chat.tag("<b>")
    question = chat.turns[0]._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in question
    assert "<strong>You</strong>" in question
    answer = turn._repr_html_()
    assert "<strong>Model</strong>" in answer
    assert "4 tokens" in answer
    assert "length" in answer
    checkpoint = chat.head._repr_html_()
    assert f"<strong>Checkpoint {chat.head.short_id}</strong>" in checkpoint
    assert "tag &lt;b&gt;" in checkpoint
    assert "root" in chat.tree.root._repr_html_()
    context = chat.context._repr_html_()
    assert f"{len(chat.context.tokens)} of 256 tokens" in context
    assert "KV cache f16" in context
    assert "chat templates: default" in chat.model._repr_html_()
    assert "none: it was not made for chat" in tiny("llama")._repr_html_()
    for value in (turn, chat.head, chat.tree.root, chat.context, chat.model):
        assert value._repr_html_() == value._repr_html_()
        assert not re.search(r"0x[0-9a-f]{6}|/tmp/|\.gguf", value._repr_html_())


def test_an_answer_that_was_printed_is_not_said_twice(
    chat: Chat, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = chat.ask("Why?", max_tokens=4, echo=True)
    assert capsys.readouterr().out.split() == turn.text.split()
    assert len(turn._repr_html_()) < len(chat.turns[-1]._repr_html_())


def test_a_context_alone_has_one(tiny: ModelMaker) -> None:
    context = Context(
        tiny("llama"), ContextParams(n_ctx=64, n_threads=1, kv_cache_type=("f32", "f16"))
    )
    assert "0 of 64 tokens" in context._repr_html_()
    assert "f32/f16" in context._repr_html_()
