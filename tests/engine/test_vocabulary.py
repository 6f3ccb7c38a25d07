"""Text to tokens and back, whatever the text."""

from __future__ import annotations

import ctypes

import llama_cpp
import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import PARAMS, context_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CHATML, FIRST_OWN, IM_END, IM_START

from mullama_nb import Context, Model
from mullama_nb.engine import vocabulary as vocabulary_module
from mullama_nb.engine.vocabulary import Vocabulary
from mullama_nb.errors import ContextFullError, ParameterError

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "\n\n\t  x",
    "Grüße aus Köln, 北京 and ελληνικά 🙂👩‍👩‍👧",
    "a\0b",
    "\N{REPLACEMENT CHARACTER}",
    "<|im_start|>user\nHi<|im_end|>\n",
    "x" * 10_000,
]


def native(model: Model, text: str, *, special: bool) -> list[int]:
    """What llama_tokenize makes of a text."""
    data = text.encode()
    tokens = (llama_cpp.llama_token * (len(data) + 8))()
    n = llama_cpp.llama_tokenize(
        model.vocabulary.handle, data, len(data), tokens, len(tokens), False, special
    )
    return tokens[:n]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_text_comes_back(tiny: ModelMaker, smollm2: Model, text: str) -> None:
    for model in (tiny(), smollm2):
        tokens = model.tokenize(text)
        assert tokens == native(model, text, special=False)
        assert model.detokenize(tokens) == text
        assert b"".join(map(model.vocabulary.piece, tokens)) == text.encode()
        special = model.tokenize(text, special=True)
        assert special == native(model, text, special=True)
        assert model.detokenize(special, special=True) == text


def test_control_tokens_are_text_unless_they_are_asked_for(tiny: ModelMaker) -> None:
    model = tiny()
    assert model.tokenize("<|im_end|>", special=True) == [IM_END]
    tokens = model.tokenize("<|im_end|>")
    assert IM_END not in tokens
    assert model.detokenize(tokens) == "<|im_end|>"
    assert model.detokenize([IM_END]) == ""
    assert model.detokenize([IM_END], special=True) == "<|im_end|>"
    assert model.vocabulary.text(IM_START) == "<|im_start|>"
    assert model.vocabulary.text(None) == ""


def test_surrogates_become_what_they_may(tiny: ModelMaker) -> None:
    model = tiny()
    assert model.detokenize(model.tokenize("a\ud83d\ude42b")) == "a🙂b"
    lone = model.detokenize(model.tokenize("a\udc80b\ud800"))
    assert lone == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    context = context_of(model)
    assert context.evaluate("\ud800 and text") > 0
    assert context.generate("\udfff", 3).finish_reason == "length"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["a", " ", "\n", "7", "🙂", "ab ", "<|im_end|>", "'s"])
def test_a_million_characters(tiny: ModelMaker, text: str) -> None:
    long = (text * 1_000_000)[:1_000_000]
    context = context_of(tiny())
    with pytest.raises(ContextFullError, match="do not fit: 0 of 512 cells are taken") as caught:
        context.evaluate(long, special=False)
    assert caught.value.needed >= 100_000
    assert context.token_count() == 0


def test_nul_and_control_tokens_in_a_prompt(tiny: ModelMaker) -> None:
    context = context_of(tiny())
    context.evaluate("a\0<|im_end|>b")
    assert context.text() == "a\0<|im_end|>b"
    assert IM_END in context.tokens
    other = context_of(tiny())
    other.evaluate("a\0<|im_end|>b", special=False)
    assert other.text() == "a\0<|im_end|>b"
    assert IM_END not in other.tokens


def test_tokens_that_cannot_be(tiny: ModelMaker) -> None:
    model = tiny()
    context = context_of(model)
    for tokens in ([512], [-1], [3, 10**6]):
        with pytest.raises(ParameterError, match="is not in the vocabulary of 512 tokens"):
            context.evaluate(tokens)
        with pytest.raises(ParameterError, match="is not in the vocabulary of 512 tokens"):
            model.detokenize(tokens)
    for prompt in (b"Hello", 5, 1.5, {3: 4}):
        with pytest.raises(ParameterError, match="a prompt is a text or a list of tokens, not"):
            context.evaluate(prompt)  # type: ignore[arg-type]
    for prompt in ([1.5], ["a"], [None]):
        with pytest.raises(ParameterError, match="must hold whole numbers only"):
            context.evaluate(prompt)  # type: ignore[arg-type]
    assert context.evaluate(np.array([20, 21], np.int64)) == 2  # type: ignore[arg-type]
    assert context.tokens == (20, 21)


def test_bos_comes_once(tiny: ModelMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    assert model.tokenize("Hi", add_bos=True) == model.tokenize("Hi"), "this model uses none"
    monkeypatch.setattr(model.vocabulary, "adds_bos", True)
    assert model.vocabulary.bos == IM_START
    assert model.tokenize("Hi", add_bos=True) == [IM_START, *model.tokenize("Hi")]
    begun = model.tokenize("<|im_start|>Hi", add_bos=True, special=True)
    assert begun.count(IM_START) == 1

    context = context_of(model)
    context.evaluate("Hi")
    context.evaluate(" there")
    context.generate(" you", 3)
    context.evaluate("<|im_start|>")
    assert context.tokens[0] == IM_START
    assert context.tokens.count(IM_START) == 2

    template = tiny(chat_template=CHATML)
    monkeypatch.setattr(template.vocabulary, "adds_bos", True)
    prompt = template.apply_chat_template([{"role": "user", "content": "Hi"}])
    assert prompt.tokens[:2] != (IM_START, IM_START)
    assert prompt.tokens[0] == IM_START
    plain = tiny(chat_template="{{ messages[0].content }}")
    monkeypatch.setattr(plain.vocabulary, "adds_bos", True)
    prompt = plain.apply_chat_template([{"role": "user", "content": "Hi"}])
    assert prompt.tokens == (IM_START, *plain.tokenize("Hi"))


def test_pieces_that_are_longer_than_expected(tiny: ModelMaker) -> None:
    vocabulary = tiny().vocabulary
    pieces = [vocabulary.piece(token, special=True) for token in range(vocabulary.n_tokens)]
    buffer = ctypes.create_string_buffer(4096)
    for token, piece in enumerate(pieces):
        n = llama_cpp.llama_token_to_piece(vocabulary.handle, token, buffer, 4096, 0, True)
        assert piece == buffer.raw[:n]


def test_texts_that_spell_the_same_share_a_prefix(tiny: ModelMaker) -> None:
    model = tiny()
    common = model.vocabulary.common_prefix
    text = model.tokenize("hello")
    letters = [model.tokenize(letter)[0] for letter in "hello"]
    assert text != letters
    assert common(letters, text) == (5, len(text))
    assert common([IM_START, *letters], [IM_START, *text]) == (6, 1 + len(text))
    assert common([*letters, IM_END], [*text, IM_START]) == (5, len(text))
    assert common(letters, model.tokenize("help"))[0] == 3
    assert common([], text) == (0, 0)
    assert common(text, []) == (0, 0)
    assert common(text, text) == (len(text), len(text))
    # What is spelt like a control token is not one.
    assert common([IM_END], model.tokenize("<|im_end|>")) == (0, 0)


def test_a_context_of_the_real_vocabulary(smollm2: Model) -> None:
    context = Context(smollm2, PARAMS)
    context.evaluate("Grüße 🙂\0<|im_end|>")
    assert context.text() == "Grüße 🙂\0<|im_end|>"
    assert context.tokens[-1] == IM_END
    assert context.text(special=False) == "Grüße 🙂\0"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*TEXTS[:8], "a", " b ", "<|im_start|>"]), max_size=9))
def test_what_is_remembered_is_what_is_tokenized(tiny: ModelMaker, texts: list[str]) -> None:
    vocabulary = Vocabulary(tiny().vocabulary.handle)  # other tests remember in the model's own
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary_module, "_REMEMBERED", 20)
        for n in range(len(texts)):
            said = "".join(texts[:n]) + "<|im_end|>" + "".join(texts[n:])
            fresh = Vocabulary(vocabulary.handle)
            assert vocabulary.tokenize_escaped(said, "\ufdd0") == fresh.tokenize_escaped(
                said, "\ufdd0"
            )
            assert len(vocabulary._fragments) <= 20


def test_only_what_is_new_in_a_conversation_is_tokenized(tiny: ModelMaker) -> None:
    model = tiny(chat_template=CHATML)
    vocabulary = model.vocabulary
    messages = []
    for i in range(200):
        messages.append({"role": "user", "content": f"Q{i}"})
        messages.append({"role": "assistant", "content": f"A{i}"})
    before = model.apply_chat_template(messages, add_generation_prompt=False)
    new: list[str] = []
    tokenize = vocabulary.tokenize

    def counted(text: str, *, special: bool = False) -> list[int]:
        new.append(text)
        return tokenize(text, special=special)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "tokenize", counted)
        again = model.apply_chat_template([*messages, {"role": "user", "content": "new"}])
    assert new in (["user\nnew", "assistant\n"], ["user\nnew"])  # another may have said the rest
    assert again.tokens[: len(before.tokens)] == before.tokens


def test_marks_that_llama_cpp_finds_everywhere_are_text_where_they_are_typed(
    tiny: ModelMaker,
) -> None:
    marks = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")
    model = tiny(control_tokens=marks)
    text = f"a\0{''.join(marks)}<{marks[0]}|channel|>"
    tokens = model.tokenize(text)
    assert not any(map(model.vocabulary.is_control, tokens))
    assert model.detokenize(tokens) == text
    assert model.tokenize(marks[0], special=True) == [FIRST_OWN]
    assert model.vocabulary.is_control(FIRST_OWN)
