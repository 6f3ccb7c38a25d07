"""How likely a text is behind a question: its tokens there, and their joint log-probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....engine.model import Model
from ....errors import ParameterError, shown
from .subject import Subject

__all__ = ["Likelihood", "likelihoods", "readings"]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a text is.

    Attributes
    ----------
    text : str
    logprob : float
        Natural logarithm of its probability, before any sampler.
    n_tokens : int
        Of its likeliest reading.
    """

    text: str
    logprob: float
    n_tokens: int


def likelihoods(subject: Subject, texts: Sequence[str]) -> list[Likelihood]:
    """Return how likely an answer is to begin with each of some texts.

    A text of one token is read from the logits behind the question; others are evaluated beside
    the path, all their tokens but the last. The chat stays where it is.

    Parameters
    ----------
    subject : Subject
    texts : sequence of str

    Raises
    ------
    ContextFullError
        When a text does not fit behind the question.
    ParameterError
        When the model's vocabulary cannot say a text.
    """
    model, before = subject.chat.model, _path(subject)
    ways = [readings(model, before, text) for text in texts]
    for text, each in zip(texts, ways, strict=True):
        if not each:
            raise ParameterError(f"the tokens of {model.name!r} cannot say {shown(repr(text))}")
    with subject.chat.tree.visit(subject.question):
        score = subject.chat.context.score
        logprobs = {way: score(way).total for each in ways for way in each}
    return [
        Likelihood(
            text,
            _log_sum([logprobs[way] for way in each]),
            len(max(each, key=logprobs.__getitem__)),
        )
        for text, each in zip(texts, ways, strict=True)
    ]


def readings(model: Model, before: Sequence[int], text: str) -> list[tuple[int, ...]]:
    """Return the ways in which a text may follow tokens, each as tokens.

    It is tokenized together with the text in front of it, back to the last control token, so that
    it gets the tokens that a model has learned there. Where that ends in white space, or there is
    none, an answer begins, as behind the generation prompts of chat templates: models differ in
    whether they put a space before its first word. So a text is read there both with and without a
    leading space.

    Parameters
    ----------
    model : Model
    before : sequence of int
    text : str
    """
    fragment = _fragment(model, before)
    texts = [text]
    if not fragment or fragment[-1].isspace():
        word = text.removeprefix(" ")
        texts = [f" {word}", word] if word else [text]
    ways = [_tokens(model, fragment, each) for each in texts]
    return [*dict.fromkeys(way for way in ways if way)]


def _fragment(model: Model, before: Sequence[int]) -> str:
    """The text behind the last control token."""
    first = len(before)
    while first and not model.vocabulary.is_control(before[first - 1]):
        first -= 1
    return model.detokenize(before[first:])


def _tokens(model: Model, fragment: str, text: str) -> tuple[int, ...]:
    """The tokens of a text behind a fragment; none where the vocabulary cannot say all of it."""
    wanted, piece = text.encode(), model.vocabulary.piece
    # Where what is in front would change, as by "n't" behind "do", it is said as behind a line.
    for front in (fragment, "\n", ""):
        head, whole = model.tokenize(front), model.tokenize(front + text)
        rest = whole[len(head) :]
        if whole[: len(head)] == head and b"".join(map(piece, rest)) == wanted:
            return tuple(rest)
    return ()


def _path(subject: Subject) -> tuple[int, ...]:
    way = [*subject.question.lineage()]
    return tuple(token for checkpoint in reversed(way) for token in checkpoint.tokens)


def _log_sum(values: Sequence[float]) -> float:
    most = max(values)
    if most == -math.inf:
        return most
    return most + math.log(math.fsum(math.exp(value - most) for value in values))
