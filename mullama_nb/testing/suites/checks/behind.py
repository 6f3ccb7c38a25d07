"""How likely a text is behind a question: its tokens there, and their joint log-probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....engine.model import Model
from .subject import Subject

__all__ = ["Likelihood", "likelihoods", "readings"]

_REPLACEMENT = "\ufffd"  # of bytes that are no character


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a text is.

    Attributes
    ----------
    text : str
    logprob : float
        Natural logarithm of its probability, before any sampler.
    n_tokens : int
        Of its longest reading.
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
    """
    model, before = subject.chat.model, _path(subject)
    ways = [readings(model, before, text) for text in texts]
    with subject.chat.tree.visit(subject.question):
        score = subject.chat.context.score
        logprobs = {way: score(way).total for each in ways for way in each}
    return [
        Likelihood(text, _log_sum([logprobs[way] for way in each]), max(map(len, each)))
        for text, each in zip(texts, ways, strict=True)
    ]


def readings(model: Model, before: Sequence[int], text: str) -> list[tuple[int, ...]]:
    """Return the ways in which a text may follow tokens, each as tokens.

    It is tokenized together with the text in front of it, back to the last control token, so that
    it gets the tokens that a model has learned there. A leading space is how a word begins within
    a text; an answer begins without one. So where the tokens end in white space or in a control
    token, as the generation prompts of chat templates do, a text with a leading space is read in
    both ways.

    Parameters
    ----------
    model : Model
    before : sequence of int
    text : str
    """
    fragment = _fragment(model, before)
    texts = [text]
    if len(text) > 1 and text[0] == " " and (not fragment or fragment[-1].isspace()):
        texts.append(text[1:])
    ways = [_tokens(model, fragment, each) for each in texts]
    return [*dict.fromkeys(way for way in ways if way)]


def _fragment(model: Model, before: Sequence[int]) -> str:
    """The text behind the last control token."""
    first = len(before)
    while first and not model.vocabulary.is_control(before[first - 1]):
        first -= 1
    return model.detokenize(before[first:])


def _tokens(model: Model, fragment: str, text: str) -> tuple[int, ...]:
    for front in (fragment, "\n"):
        if front and _REPLACEMENT not in front:
            head, whole = model.tokenize(front), model.tokenize(front + text)
            if whole[: len(head)] == head:
                return tuple(whole[len(head) :])
    return tuple(model.tokenize(text))  # what is in front would change: "n't" behind "do"


def _path(subject: Subject) -> tuple[int, ...]:
    way = [*subject.question.lineage()]
    return tuple(token for checkpoint in reversed(way) for token in checkpoint.tokens)


def _log_sum(values: Sequence[float]) -> float:
    most = max(values)
    if most == -math.inf:
        return most
    return most + math.log(math.fsum(math.exp(value - most) for value in values))
