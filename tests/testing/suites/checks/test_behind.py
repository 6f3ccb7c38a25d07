"""A text behind a question has the tokens that a model says it with, and their probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import ModelMaker
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from testing.suites.checks.sentencepiece import FIRST_WORD, make_sentencepiece_model
from testing.suites.checks.subjects import asked, plain

from mullama_nb import Context, ContextParams, Model
from mullama_nb.errors import ContextFullError, ParameterError
from mullama_nb.testing.suites.checks.behind import likelihoods, readings

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.sampled_from(
    [" Paris", "Paris", " the", "n't", "日本", " ünï", "\n", " ", "  a", "\u202eab"]
)
FRONTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["The capital of France is", "assistant\n", "I do", "ends ", "日"]
)


def spoken(model: Model, tokens: tuple[int, ...] | list[int]) -> bytes:
    return b"".join(model.vocabulary.piece(token) for token in tokens)


@pytest.fixture(scope="module")
def spm(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("spm")
    return Model.load(make_sentencepiece_model(folder / "spm.gguf"))


@given(front=FRONTS, text=TEXTS)
def test_tokens_say_the_text_as_it_goes_on(smollm2: Model, front: str, text: str) -> None:
    for each in (front, text):  # its vocabulary lacks some control characters
        assume(spoken(smollm2, smollm2.tokenize(each)) == each.encode())
    before = [smollm2.vocabulary.bos or 0, *smollm2.tokenize(front)]
    ways = readings(smollm2, before, text)
    begins = not front or front[-1].isspace()
    word = text.removeprefix(" ")
    expected = {f" {word}", word} if begins and word else {text}
    assert {spoken(smollm2, way) for way in ways} == {each.encode() for each in expected}
    if not begins:
        # Said with the text in front of it where that stays as it is.
        whole, held = smollm2.tokenize(front + text), smollm2.tokenize(front)
        assert whole[: len(held)] != held or ways == [tuple(whole[len(held) :])]


def test_a_space_is_written_once_by_a_vocabulary_that_writes_one_itself(spm: Model) -> None:
    word, space_word = FIRST_WORD + 1, FIRST_WORD + 2
    assert spm.tokenize("a") == [space_word]
    assert spm.tokenize(" a") != [space_word]
    behind_a_word = [1, *spm.tokenize("n")]
    assert readings(spm, behind_a_word, " a") == [(space_word,)]
    assert readings(spm, behind_a_word, "a") == [(word,)]
    for text in ("a", " a"):  # where an answer begins
        assert readings(spm, [1], text) == [(space_word,), (word,)]


@pytest.mark.slow
@settings(max_examples=25)
@given(front=FRONTS, texts=st.lists(TEXTS, min_size=1, max_size=3), seed=st.sampled_from([0, 1]))
def test_log_probabilities_are_those_of_all_logits(
    tiny: ModelMaker, front: str, texts: list[str], seed: int
) -> None:
    model = tiny("llama", seed=seed)
    for each in texts:
        assume(spoken(model, model.tokenize(each)) == each.encode())
    before = [1, *model.tokenize(front)]
    subject = plain(model, before)
    head, tokens = subject.chat.head, subject.chat.context.tokens
    found = likelihoods(subject, texts)
    assert subject.chat.head is head
    assert subject.chat.context.tokens == tokens
    with Context(model, ContextParams(n_ctx=256, n_threads=1)) as context:
        for text, likelihood in zip(texts, found, strict=True):
            joint = []
            for way in readings(model, before, text):
                context.clear()
                context.evaluate(before)
                joint.append(0.0)
                for token in way:
                    logits = context.logits.astype(np.float64)
                    joint[-1] += logits[token] - np.logaddexp.reduce(logits)
                    context.evaluate([token])
            expected = np.logaddexp.reduce(joint)
            assert likelihood.logprob == pytest.approx(expected, abs=0.02)
            assert likelihood.logprob <= 1e-9


def test_texts_of_one_token_take_no_decode(smollm2: Model) -> None:
    subject = asked(smollm2, "The capital of France is")
    tally = subject.chat.context.tally
    n_tokens = tally.n_tokens
    paris, rome = likelihoods(subject, [" Paris", " Rome"])
    assert tally.n_tokens == n_tokens
    assert (paris.n_tokens, rome.n_tokens) == (1, 1)
    # As the tokens that may begin the answer say it.
    top = {each.text: each.probability for each in subject.chat.context.top_tokens(49_152)}
    for text, likelihood in (("Paris", paris), ("Rome", rome)):
        assert math.exp(likelihood.logprob) == pytest.approx(top[text] + top[f" {text}"], rel=1e-4)


def test_longer_texts_take_their_tokens_but_the_last(smollm2: Model) -> None:
    subject = asked(smollm2, "The capital of France is")
    before = subject.chat.context.tokens
    n_tokens = [len(way) for way in readings(smollm2, before, " Constantinople, of old")]
    tally = subject.chat.context.tally
    begin = tally.n_tokens
    likelihoods(subject, [" Constantinople, of old"])
    assert tally.n_tokens - begin == sum(n - 1 for n in n_tokens)


def test_behind_an_answer_one_token_is_decoded_at_most(smollm2: Model) -> None:
    subject = asked(smollm2, "The capital of France is")
    (expected,) = likelihoods(subject, [" Paris"])
    turn = subject.chat.resume(echo=False, max_tokens=4)
    assert subject.chat.head is turn.checkpoint
    tally = subject.chat.context.tally
    begin = tally.n_tokens
    (found,) = likelihoods(subject, [" Paris"])
    assert found == expected  # to the bit
    assert tally.n_tokens - begin <= 1
    assert subject.chat.head is turn.checkpoint


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mamba", "lfm2"])
@pytest.mark.filterwarnings("ignore::mullama_nb.errors.InexactWarning")
def test_any_memory_can_be_asked_behind_an_answer(tiny: ModelMaker, architecture: str) -> None:
    model = tiny(architecture)
    subject = plain(model, [1, *range(300, 350)])
    texts = [" a", "the end of it"]
    expected = likelihoods(subject, texts)
    subject.chat.context.generate(None, 6, temperature=0)
    head = subject.chat.tree.commit()
    tokens, logits = subject.chat.context.tokens, subject.chat.context.logits
    found = likelihoods(subject, texts)
    for before, after in zip(expected, found, strict=True):
        assert after.logprob == pytest.approx(before.logprob, abs=0.02)
    assert subject.chat.head is head
    assert subject.chat.context.tokens == tokens
    assert np.array_equal(subject.chat.context.logits, logits)


def test_a_text_that_does_not_fit_is_refused(tiny: ModelMaker) -> None:
    subject = plain(tiny(), [1, *[300] * 250], n_ctx=256)
    with pytest.raises(ContextFullError):
        likelihoods(subject, ["a b c d e f g h"])


def test_what_a_vocabulary_cannot_say_is_refused(tiny: ModelMaker) -> None:
    model = tiny()
    assert model.tokenize("\x16") == []
    with pytest.raises(ParameterError, match="cannot say"):
        likelihoods(plain(model, [1, 300]), ["a", "a\x16b"])
