"""The text of an answer: its control tokens, and characters that it goes on within."""

from __future__ import annotations

import pytest
from conftest import ModelMaker
from engine.helpers import context_of
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHATML, CONTROL_TOKENS, FIRST_OWN, IM_END

from mullama_nb import Model

MARKS = ("[THINK]", "[/THINK]", "[TOOL_CALLS]", "<|channel|>")
THINK, CHANNEL = FIRST_OWN, FIRST_OWN + 3


@pytest.fixture(scope="module")
def model(tiny: ModelMaker) -> Model:
    return tiny(chat_template=CHATML, control_tokens=MARKS)


def only(*tokens: int) -> dict[int, float]:
    """A bias that leaves no choice but these tokens."""
    return dict.fromkeys(tokens, 1e4)


def test_control_tokens_are_part_of_the_text(model: Model) -> None:
    context = context_of(model, model.tokenize("Why?"))
    streamed = []
    completion = context.generate(
        None, 3, logit_bias=only(THINK), on_token=lambda token: streamed.append(token.text)
    )
    assert completion == "[THINK][THINK][THINK]"
    assert [token.text for token in completion.tokens] == ["[THINK]"] * 3 == streamed
    assert [token.id for token in completion.tokens] == [THINK] * 3
    text = model.vocabulary.generated_text([token.id for token in completion.tokens])
    assert text == completion
    assert text.runs == (("[THINK]", True),) * 3


def test_a_stop_string_may_be_a_control_token(model: Model) -> None:
    context = context_of(model, model.tokenize("Why?"))
    completion = context.generate(None, 9, stop="channel", logit_bias=only(CHANNEL))
    assert (completion, completion.finish_reason) == ("<|", "stop")


def test_end_tokens_say_nothing(model: Model) -> None:
    context = context_of(model, model.tokenize("Why?"))
    completion = context.generate(None, 9, logit_bias=only(IM_END))
    assert (completion, completion.tokens, completion.finish_reason) == ("", (), "stop")
    assert model.vocabulary.generated_text([THINK, IM_END]) == "[THINK]"


def test_branches_have_them_too(model: Model) -> None:
    context = context_of(model, model.tokenize("Why?"), n_parallel=2)
    for branch in context.explore(2, max_tokens=2, logit_bias=only(THINK)):
        assert branch.completion == "[THINK][THINK]"


tokens_of_texts = st.lists(
    st.integers(CONTROL_TOKENS.stop, 511) | st.sampled_from([THINK, CHANNEL])
)


@given(tokens=tokens_of_texts, at=st.integers(0, 40))
def test_a_text_may_be_read_in_two_parts(model: Model, tokens: list[int], at: int) -> None:
    vocabulary = model.vocabulary
    first, rest = tokens[:at], tokens[at:]
    held = vocabulary.incomplete_at_end(first)
    parts = vocabulary.generated_text(first) + vocabulary.generated_text(rest, held)
    whole = vocabulary.generated_text(tokens)
    assert parts == whole
    told = b"".join(map(vocabulary.spoken_piece, first)).decode(errors="surrogateescape")
    assert held.decode(errors="surrogateescape") in told


@pytest.mark.parametrize("character", ["é", "北", "🙂"])
def test_an_answer_goes_on_within_a_character(model: Model, character: str) -> None:
    by_piece = {model.vocabulary.piece(token): token for token in range(512)}
    tokens = [by_piece[bytes([byte])] for byte in character.encode()]
    for cut in range(1, len(tokens)):
        context = context_of(model, [*model.tokenize("Why?"), *tokens[:cut]])
        said = []
        for token in tokens[cut:]:
            completion = context.generate(None, 1, logit_bias=only(token))
            said.append(completion.tokens[0].text)
        assert said == [""] * (len(said) - 1) + [character]
        context = context_of(model, [*model.tokenize("Why?"), *tokens[:-1]])
        assert context.generate(None, 1, logit_bias=only(tokens[-1])) == character
    after_mark = context_of(model, [tokens[0], THINK])
    assert after_mark.generate(None, 1, logit_bias=only(by_piece[b"a"])) == "a"
