"""What a generation hands out, what it leaves in the context, and how it ends."""

from __future__ import annotations

import copy
import pickle
import random

import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, PARAMS, assert_twins, context_of, words
from tiny_models import CHATML, IM_END

from mullama_nb import Completion, Context, Model, SamplingParams, Token
from mullama_nb.errors import ContextError, ContextFullError, ParameterError


def literal(text: str) -> str:
    """A grammar that allows one text."""
    return f'root ::= "{text}"'


def say(context: Context, text: str, **options: object) -> Completion:
    """Make a model of random weights say something."""
    return context.generate(None, grammar=literal(text), **options)  # type: ignore[arg-type]


def check_agreement(context: Context, start: int, completion: Completion) -> None:
    """Check that text, tokens and context speak of the same."""
    ids = tuple(token.id for token in completion.tokens)
    assert completion == "".join(token.text for token in completion.tokens)
    assert context.tokens[start:] == ids
    assert context.token_count() == start + len(ids)
    assert context.model.detokenize(ids).startswith(completion)


# -- limits ------------------------------------------------------------------------------------


def test_max_tokens(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    for n_tokens in (0, 1, 7):
        start = context.token_count()
        completion = context.generate(None, n_tokens)
        assert len(completion.tokens) == n_tokens
        assert completion.finish_reason == "length"
        check_agreement(context, start, completion)


def test_evaluating_alone_reports_what_was_evaluated(tiny: ModelMaker) -> None:
    context = context_of(tiny())
    completion = context.generate(words(30), max_tokens=0)
    assert (completion, completion.tokens, completion.finish_reason) == ("", (), "length")
    assert (completion.reused, completion.evaluated) == (0, 30)
    assert context.evaluate(words(4)) == 4
    assert context.tokens == tuple(words(30) + words(4))


@pytest.mark.parametrize("architecture", EVERY[:-1])
def test_the_end_of_the_context_ends_a_generation(tiny: ModelMaker, architecture: str) -> None:
    context = context_of(tiny(architecture), words(290), n_ctx=300)
    completion = context.generate(None)
    assert completion.finish_reason == "context_full"
    assert len(completion.tokens) == 10
    check_agreement(context, 290, completion)
    again = context.generate(None)
    assert (again.tokens, again.finish_reason) == ((), "context_full")
    assert context.logits.shape == (512,)
    context.rewind(290)
    assert context.generate(None) == completion


def test_too_long_a_prompt_is_refused_before_anything_is_evaluated(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(490))
    tokens, logits = context.tokens, context.logits
    seen: list[tuple[int, int]] = []
    message = r"23 tokens do not fit: 490 of 512 cells are taken, 1 too many"
    for generate in (context.generate, context.evaluate):
        with pytest.raises(ContextFullError, match=message) as caught:
            generate(words(23), progress=lambda *pair: seen.append(pair))
        assert (caught.value.needed, caught.value.free) == (23, 22)
    assert not seen
    assert context.tokens == tokens
    np.testing.assert_array_equal(context.logits, logits)
    assert context.evaluate(words(22)) == 22


def test_an_empty_context_has_no_next_token(tiny: ModelMaker) -> None:
    context = context_of(tiny())
    for look in (lambda: context.logits, lambda: context.generate(None, 5), context.top_tokens):
        with pytest.raises(ContextError, match="the context is empty"):
            look()
    assert context.generate("", 0) == ""
    assert context.kv_bytes() == 0
    assert context.text() == ""


# -- how it ends -------------------------------------------------------------------------------


def test_the_models_own_end_is_not_part_of_the_answer(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    completion = context.generate(None, 50, logit_bias={IM_END: 100.0})
    assert (completion, completion.finish_reason) == ("", "stop")
    assert context.token_count() == 20


def test_stop_tokens(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    free = context.generate(None, 30, temperature=0)
    stop = free.tokens[11].id
    first = [token.id for token in free.tokens].index(stop)
    context.rewind(20)
    completion = context.generate(None, 30, temperature=0, stop_tokens=iter([stop, 400]))
    assert completion.finish_reason == "stop"
    assert completion.tokens == free.tokens[:first]
    check_agreement(context, 20, completion)


@pytest.mark.slow
def test_a_stop_string_ends_it_wherever_tokens_begin(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    text = "The quick brown fox jumps over the lazy dog, says the mayor."
    whole = say(context, text)
    assert (whole, whole.finish_reason) == (text, "stop")
    check_agreement(context, 20, whole)
    rng = random.Random(0)
    for _ in range(40):
        begin = rng.randrange(len(text))
        stop = text[begin : begin + rng.randint(1, 12)]
        context.rewind(20)
        completion = say(context, text, stop=stop)
        assert completion == text[: text.find(stop)]
        assert completion.finish_reason == "stop"
        check_agreement(context, 20, completion)
        assert len(context.text()) - len(context.model.detokenize(words(20))) <= (
            text.find(stop) + max(len(token.text) for token in whole.tokens)
        )


def test_the_first_of_several_stop_strings_counts(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    completion = say(context, "one two three four", stop=["four", "three", "e four"])
    assert completion == "one two "


def test_what_a_stop_string_held_back_is_released_in_the_end(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    text = "Answer: 12 ### 34 ##"
    for max_tokens in (None, 4, 5, 6, 7, 8, 9, 10):
        context.rewind(20)
        free = say(context, text, max_tokens=max_tokens)
        context.rewind(20)
        held = say(context, text, max_tokens=max_tokens, stop=["####", "##\n"])
        assert held == free
        assert held.tokens[-1].id == free.tokens[-1].id
        check_agreement(context, 20, held)


def test_streamed_text_is_the_generated_text(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    text = "Say STO, say ST, say STOP and go."
    for stop in ((), "STOP", ["STOP", "go"], "xyz", "S"):
        context.rewind(20)
        generated = say(context, text, stop=stop)
        ids = context.tokens
        context.rewind(20)
        stream = context.stream(None, grammar=literal(text), stop=stop)
        streamed = "".join(token.text for token in stream)
        assert streamed == generated == stream.completion
        assert stream.completion.tokens == generated.tokens
        assert stream.completion.finish_reason == generated.finish_reason
        assert context.tokens == ids


def test_a_stop_string_that_begins_inside_a_character_leaves_no_half_of_it(
    tiny: ModelMaker,
) -> None:
    context = context_of(tiny(), words(20))
    before = context.text()
    for stop in ("é", "🙂", "🙂🙂", " 🙂"):
        context.rewind(20)
        completion = say(context, "so: é 🙂🙂 é", stop=stop)
        assert completion == "so: é 🙂🙂 é".partition(stop)[0]
        assert "\N{REPLACEMENT CHARACTER}" not in context.text()[len(before) :]


# -- characters --------------------------------------------------------------------------------


def test_no_half_character_is_ever_shown(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    text = "é🙂👩‍👩‍👧ü 北京"
    parts = [token.text for token in context.stream(None, grammar=literal(text))]
    assert "".join(parts) == text
    assert "" in parts, "some tokens are parts of characters"
    whole = context.tokens
    for n_tokens in range(1, len(parts)):
        context.rewind(20)
        completion = say(context, text, max_tokens=n_tokens)
        assert completion == "".join(parts[:n_tokens])
        assert text.startswith(completion)
        assert context.tokens == whole[: 20 + n_tokens]


def test_bytes_that_are_no_text_become_replacement_characters(tiny: ModelMaker) -> None:
    model = tiny()
    lone = model.tokenize("é")[0]
    context = context_of(model, words(20))
    bias = {lone: 1000.0}
    completion = context.generate(None, 5, temperature=0, logit_bias=bias)
    assert [token.id for token in completion.tokens] == [lone] * 5
    assert completion == "\N{REPLACEMENT CHARACTER}" * 4, "the fifth may still become a character"
    assert context.model.detokenize([lone]) == "\N{REPLACEMENT CHARACTER}"


# -- results -----------------------------------------------------------------------------------


def test_a_completion_is_a_text_that_knows_its_past(tiny: ModelMaker) -> None:
    context = context_of(tiny(chat_template=CHATML))
    messages = [{"role": "user", "content": "Hi"}]
    completion = context.generate(messages=messages, max_tokens=6, seed=4)
    for other in (
        pickle.loads(pickle.dumps(completion)),
        copy.copy(completion),
        copy.deepcopy({"content": completion})["content"],
    ):
        assert other == completion
        assert isinstance(other, Completion)
        assert vars(other) == vars(completion)
    assert completion.sampling == SamplingParams(seed=4)
    assert completion.seconds > 0
    assert type(completion + "!") is str
    prompt = context.model.apply_chat_template(messages)
    again = pickle.loads(pickle.dumps(prompt))
    assert (again, again.messages, again.tokens) == (prompt, prompt.messages, prompt.tokens)


def test_log_probabilities_are_the_models_own(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    completion = context.generate(None, 20, temperature=1.7, top_k=3, repetition_penalty=1.5)
    context.rewind(20)
    for token in completion.tokens:
        logits = context.logits.astype(np.float64)
        exact = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        assert token.logprob == pytest.approx(exact[token.id], abs=1e-5)
        best = context.top_tokens(3)
        assert [t.id for t in best] == np.argsort(-logits, kind="stable")[:3].tolist()
        assert best[0].probability == pytest.approx(np.exp(exact[best[0].id]), rel=1e-5)
        context.evaluate([token.id])


def test_callbacks_hear_of_everything(tiny: ModelMaker) -> None:
    context = Context(tiny(), PARAMS.with_changes(n_batch=32, n_ubatch=32))
    heard: list[Token] = []
    progress: list[tuple[int, int]] = []
    completion = context.generate(
        words(70), 9, on_token=heard.append, progress=lambda *pair: progress.append(pair)
    )
    assert tuple(heard) == completion.tokens
    assert progress == [(32, 70), (64, 70), (69, 70), (70, 70)]


@pytest.mark.parametrize("architecture", EVERY)
def test_a_callback_that_raises_leaves_an_exact_context(
    tiny: ModelMaker, architecture: str
) -> None:
    model = tiny(architecture)
    context, twin = context_of(model, words(40)), context_of(model, words(40))

    def fail(done: int, _total: int) -> None:
        if done > 20:
            raise KeyError("progress")

    with pytest.raises(KeyError, match="progress"):
        context.evaluate(words(50, 1), progress=fail)
    np.testing.assert_array_equal(context.logits, twin.logits)

    heard: list[Token] = []

    def fail_later(token: Token) -> None:
        heard.append(token)
        if len(heard) == 5:
            raise ZeroDivisionError("on_token")

    with pytest.raises(ZeroDivisionError, match="on_token"):
        context.generate(None, 20, on_token=fail_later, seed=1)
    twin.generate(None, 5, seed=1)
    assert_twins(context, twin)


# -- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": -1}, r"max_tokens=-1 must be 0 or more, or None for no limit"),
        ({"max_tokens": 1.5}, r"max_tokens=1.5 must be"),
        ({"max_tokens": True}, r"max_tokens=True must be"),
        ({"stop": ""}, r"stop='' must be a text or several, none of them empty"),
        ({"stop": ["a", ""]}, r"none of them empty"),
        ({"stop": 5}, r"stop=5 must be a list of texts, or one text"),
        ({"stop": [5]}, r"must be a text or several"),
        ({"stop_tokens": 5}, r"stop_tokens=5 must be a list of token ids"),
        ({"stop_tokens": ["a"]}, r"must be a list of token ids"),
        ({"stop_tokens": [True]}, r"must be a list of token ids"),
        ({"sibling": -1}, r"sibling=-1 must be 0 or more"),
        ({"sibling": "a"}, r"sibling must be an integer, not 'a'"),
        ({"temperature": -1}, r"temperature=-1 is out of range"),
        ({"logit_bias": {512: 1.0}}, r"token 512; the vocabulary has 512 tokens"),
    ],
)
def test_wrong_arguments_fail_when_they_are_given(
    tiny: ModelMaker, options: dict[str, object], message: str
) -> None:
    context = context_of(tiny(), words(20))
    with pytest.raises(ParameterError, match=message):
        context.generate(None, **options)  # type: ignore[arg-type]
    assert context.token_count() == 20
    if "logit_bias" not in options:
        with pytest.raises(ParameterError, match=message):
            context.stream(None, **options)  # type: ignore[arg-type]


def test_an_unknown_sampling_parameter_gets_a_hint(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(20))
    with pytest.raises(TypeError, match=r"'temprature' \(did you mean 'temperature'\?\)"):
        context.generate("Hi", temprature=1)


def test_a_real_model_answers(smollm2: Model) -> None:
    context = Context(smollm2, PARAMS)
    completion = context.generate("The capital of France is", 20, temperature=0, stop=".")
    assert " Paris" in completion
    assert completion.finish_reason == "stop"


def test_a_stream_may_be_told_its_ordinal_when_it_starts(tiny: ModelMaker) -> None:
    context, twin = context_of(tiny(), words(40)), context_of(tiny(), words(40))
    stream = context.stream(None, 20, seed=1, temperature=2)
    with pytest.raises(ParameterError, match="sibling=-1"):
        stream.start(sibling=-1)
    stream.start(sibling=3)
    assert context.token_count() == 40
    said = twin.generate(None, 20, seed=1, temperature=2, sibling=3)
    assert [token.id for token in stream] == [token.id for token in said.tokens]
    assert stream.completion == said
    assert_twins(context, twin)


def test_a_stream_starts_once(tiny: ModelMaker) -> None:
    context = context_of(tiny(), words(40))
    streams = [context.stream(None, 3) for _ in range(3)]
    streams[0].start()
    next(streams[1])
    streams[2].close()
    for stream in streams:
        with pytest.raises(ContextError, match="begins once"):
            stream.start()


def test_a_stream_that_was_stopped_before_its_first_token_says_nothing(tiny: ModelMaker) -> None:
    context, twin = context_of(tiny(), words(40)), context_of(tiny(), words(40))
    stream = context.stream(None, 20, seed=1)
    stream.start()
    context.stop()
    assert list(stream) == []
    assert stream.completion.finish_reason == "stopped"
    assert_twins(context, twin)
