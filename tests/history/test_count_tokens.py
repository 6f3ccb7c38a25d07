"""How many tokens a message would make, said before it is said."""

from __future__ import annotations

import pytest
from conftest import ModelMaker
from history.conftest import ChatMaker
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.errors import ChatTemplateError

ALTERNATES = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}[{{ m.role }}]{{ m.content }}"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
TEXTS = st.lists(st.text(min_size=1, max_size=20).filter(str.strip), min_size=1, max_size=3)


@pytest.mark.slow
@settings(max_examples=25)
@given(texts=TEXTS, system=st.sampled_from([None, "Be brief."]), keeps=st.booleans())
def test_it_is_what_asking_makes(
    new_chat: ChatMaker, texts: list[str], system: str | None, keeps: bool
) -> None:
    chat = new_chat(system, keep_reasoning=keeps, n_ctx=1024)
    for text in texts:
        before = chat.context.tokens, chat.head
        counted = chat.count_tokens(text)
        assert (chat.context.tokens, chat.head) == before
        chat.ask(text, max_tokens=0)
        assert chat.context.token_count() == counted
        chat.resume(max_tokens=3)
    chat.context.close()


def test_variables_of_the_template_count(tiny: ModelMaker) -> None:
    template = CHATML + "{% if mood %}{{ mood }}{% endif %}"
    chat = Chat(tiny("llama"), chat_template=template, n_ctx=256, n_threads=1)
    options = {"chat_template_kwargs": {"mood": "very calm indeed"}}
    counted = chat.count_tokens("Hi", **options)
    assert counted > chat.count_tokens("Hi")
    chat.ask("Hi", max_tokens=0, **options)
    assert chat.context.token_count() == counted


def test_what_cannot_stand_there_is_refused(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama"), chat_template=ALTERNATES, n_ctx=256, n_threads=1)
    chat.replay([{"role": "user", "content": "Hi"}])
    with pytest.raises(ChatTemplateError, match="alternate"):
        chat.count_tokens("And?")
