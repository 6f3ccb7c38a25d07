"""Generating: one token at a time on a path, and what comes of it."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from ..errors import ParameterError
from .memory import Logits, Memory
from .params import SamplingParams
from .path import ActivePath
from .sampler import Sampler
from .vocabulary import Vocabulary

__all__ = ["Answer", "Completion", "FinishReason", "Generation", "Limits", "Token"]

FinishReason: TypeAlias = Literal["stop", "length", "context_full", "stopped"]


class Token(NamedTuple):
    """One generated token.

    Attributes
    ----------
    id : int
    text : str
        What it adds to the text that may be shown: nothing while a character is incomplete or a
        stop string may be beginning.
    logprob : float
        Natural logarithm of the model's own probability, before any sampler.
    """

    id: int
    text: str
    logprob: float


class Completion(str):
    """Generated text, and how it came about.

    Attributes
    ----------
    finish_reason : {"stop", "length", "context_full", "stopped"}
        An end token or stop string; ``max_tokens``; no cell left; ``stop()`` was called.
    tokens : tuple of Token
        In the order of the text; all of them are in the context.
    reused, evaluated : int
        Tokens of the prompt that the context held already, and that had to be evaluated.
    seconds : float
        For the prompt and the generation.
    sampling : SamplingParams
        With the seed that was used.
    """

    finish_reason: FinishReason
    tokens: tuple[Token, ...]
    reused: int
    evaluated: int
    seconds: float
    sampling: SamplingParams

    def __new__(
        cls,
        text: str,
        *,
        finish_reason: FinishReason,
        tokens: Sequence[Token],
        reused: int,
        evaluated: int,
        seconds: float,
        sampling: SamplingParams,
    ) -> Completion:
        """Attach what is known of a generation to its text."""
        completion = super().__new__(cls, text)
        completion.finish_reason = finish_reason
        completion.tokens = tuple(tokens)
        completion.reused = reused
        completion.evaluated = evaluated
        completion.seconds = seconds
        completion.sampling = sampling
        return completion

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, object]]:
        """Let it be copied and pickled, as the messages are that it is put into."""
        return (str(self),), vars(self)


@dataclass(frozen=True)
class Limits:
    """When a generation ends.

    Parameters
    ----------
    max_tokens : int, optional
        None for no limit but the context's.
    stop : str or sequence of str
        Texts that end it and are not part of it.
    stop_tokens : sequence of int
        Tokens that end it, beside the model's own.
    """

    max_tokens: int | None = None
    stop: str | Sequence[str] = ()
    stop_tokens: Sequence[int] = ()
    stop_texts: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        n = self.max_tokens
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
            raise ParameterError(f"max_tokens={n!r} must be 0 or more, or None for no limit")
        texts = (self.stop,) if isinstance(self.stop, str) else _listed(self.stop)
        if texts is None or not all(isinstance(text, str) and text for text in texts):
            raise ParameterError(
                f"stop={self.stop!r} must be a text or several, none of them empty"
            )
        tokens = _listed(self.stop_tokens)
        if tokens is None or not all(isinstance(token, int) for token in tokens):
            raise ParameterError(f"stop_tokens={self.stop_tokens!r} must be a list of token ids")
        object.__setattr__(self, "stop_tokens", tokens)
        object.__setattr__(self, "stop_texts", texts)

    def changed(self) -> dict[str, Any]:
        """What limits there are, as JSON can hold them."""
        limits = {
            "max_tokens": self.max_tokens,
            "stop": list(self.stop_texts),
            "stop_tokens": list(self.stop_tokens),
        }
        return {name: value for name, value in limits.items() if value not in (None, [])}


def _listed(values: Iterable[object]) -> tuple[object, ...] | None:
    return tuple(values) if isinstance(values, Iterable) else None


@dataclass
class _Held:
    """A token whose text may still turn out to belong to a stop string."""

    id: int
    logprob: float
    text: str


class Answer:
    """The tokens of one answer: chosen, held back while a stop string may begin, handed out.

    Nothing is evaluated here. Whoever owns it evaluates ``unevaluated`` and brings the logits.

    Parameters
    ----------
    vocabulary : Vocabulary
    sampling : SamplingParams
        With a seed.
    sibling : int
    limits : Limits
    history : sequence of int
        The tokens in front.
    n_ctx : int
        Cells.

    Attributes
    ----------
    tokens : list of Token
        Those that were handed out.
    finish_reason : FinishReason, optional
        Known when no further token will be chosen.
    unevaluated : int, optional
        The token that was chosen last; its owner sets it to None.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        sampling: SamplingParams,
        sibling: int,
        limits: Limits,
        history: Sequence[int],
        n_ctx: int,
    ) -> None:
        self.tokens: list[Token] = []
        self.finish_reason: FinishReason | None = None
        self.unevaluated: int | None = None
        self._vocabulary = vocabulary
        self._limits = limits
        self._n_ctx = n_ctx
        self._stop_tokens = frozenset(limits.stop_tokens)
        self._sampler = Sampler(vocabulary, sampling, sibling, history, n_ctx)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_within_character = False
        self._held: deque[_Held] = deque()
        self._ready: deque[Token] = deque()
        self._n_chosen = 0

    @property
    def text(self) -> str:
        """The text of the tokens that were handed out."""
        return "".join(token.text for token in self.tokens)

    def hand_out(self) -> Token | None:
        """The next token whose text is certain, or None when one has to be chosen first."""
        if not self._ready:
            return None
        token = self._ready.popleft()
        self.tokens.append(token)
        return token

    def may_go_on(self, n_tokens: int) -> bool:
        """Whether another token may follow ``n_tokens`` evaluated ones; if not, it ends here."""
        if self._limits.max_tokens is not None and self._n_chosen >= self._limits.max_tokens:
            self._finish("length")
        elif n_tokens >= self._n_ctx:
            self._finish("context_full")
        return self.finish_reason is None

    def choose(self, logits: Logits, position: int, memory: Memory) -> None:
        """Choose one more token, and release those whose text is certain now."""
        token = self._sampler.choose(logits, position, memory)
        if self._vocabulary.is_end(token) or token in self._stop_tokens:
            return self._finish("stop")
        logprob = self._sampler.log_probability(logits, token)
        self._sampler.accept(token)
        self._n_chosen += 1
        self.unevaluated = token
        text = self._text_of(token)
        if not self._limits.stop_texts:  # nothing that it could be the beginning of
            return self._ready.append(Token(token, text, logprob))
        self._held.append(_Held(token, logprob, text))
        return self._release()

    def _text_of(self, token: int) -> str:
        """What a token adds to the text: whole characters."""
        if not self._is_within_character:
            text = self._vocabulary.whole_piece(token)
            if text is not None:
                return text
        text = self._decoder.decode(self._vocabulary.piece(token))
        self._is_within_character = bool(self._decoder.getstate()[0])
        return text

    def end(self, reason: FinishReason) -> None:
        """End here with what was handed out; the rest is dropped."""
        if self.finish_reason is None:
            self.finish_reason = reason
        if self._held or self._ready:  # the token chosen last is among them
            self.unevaluated = None
        self._held.clear()
        self._ready.clear()

    def take_back(self) -> None:
        """Forget the token that was chosen last: it could not be evaluated."""
        self.unevaluated = None
        for tokens in (self._held, self._ready, self.tokens):
            if tokens:
                tokens.pop()
                break

    def _release(self) -> None:
        stops = self._limits.stop_texts
        window = "".join([held.text for held in self._held])
        found = [at for stop in stops if (at := window.find(stop)) >= 0]
        if found:
            self._release_stopped(min(found))
            self.finish_reason = "stop"
            return None
        overlap = max(_overlap(window, stop) for stop in stops)
        return self._release_until(len(window) - overlap)

    def _release_until(self, n_characters: int) -> None:
        """Hand out tokens up to a character that may begin a stop string."""
        start = 0
        while self._held:
            held = self._held[0]
            # A token without text has a part of the next character, which may be a stop string's.
            if start == n_characters or start + len(held.text) > n_characters:
                break
            start += self._release_first(len(held.text))

    def _release_stopped(self, n_characters: int) -> None:
        """Hand out tokens up to a stop string; one across its beginning goes too."""
        start = 0
        while self._held and start < n_characters:
            start += self._release_first(n_characters - start)
        if self._held:  # the stop string alone: its last token need not be evaluated
            self._held.clear()
            self.unevaluated = None

    def _release_first(self, n_characters: int) -> int:
        held = self._held.popleft()
        self._ready.append(Token(held.id, held.text[:n_characters], held.logprob))
        return len(held.text)

    def _finish(self, reason: FinishReason) -> None:
        while self._held:
            self._release_first(len(self._held[0].text))
        self.finish_reason = reason


class Generation:
    """The steps of one generation.

    A token is evaluated when the next one is asked for. Whoever stops in between leaves exactly
    those tokens in the context that were handed out.

    Parameters
    ----------
    path : ActivePath
        With at least one token.
    vocabulary : Vocabulary
    sampling : SamplingParams
        With a seed.
    sibling : int
    limits : Limits
    """

    def __init__(
        self,
        path: ActivePath,
        vocabulary: Vocabulary,
        sampling: SamplingParams,
        sibling: int,
        limits: Limits,
    ) -> None:
        self.sampling = sampling
        self._path = path
        self._start = path.n_tokens
        self._again: deque[int] = deque()  # taken back by `synchronise`
        self._answer = Answer(vocabulary, sampling, sibling, limits, path.tokens, path.n_ctx)

    @property
    def tokens(self) -> list[Token]:
        """The tokens that were handed out."""
        return self._answer.tokens

    @property
    def text(self) -> str:
        """The text of the tokens that were handed out."""
        return self._answer.text

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it ended, None while it goes on."""
        return self._answer.finish_reason

    def step(self) -> Token | None:
        """The next token, or None at the end."""
        answer = self._answer
        while (token := answer.hand_out()) is None:
            if answer.finish_reason is not None:
                self.close()
                return None
            self.evaluate_last()
            n_tokens = self._path.n_tokens
            if answer.may_go_on(n_tokens):
                answer.choose(self._path.logits, n_tokens, self._path.memory)
        return token

    def close(self, reason: FinishReason = "stopped") -> None:
        """End here: the context keeps what was handed out, no token more and none less."""
        self._answer.end(reason)
        self.synchronise()
        self._again.clear()

    @property
    def n_handed_out(self) -> int:
        """How many tokens there are for whoever looks: those in front and those handed out."""
        return self._start + len(self.tokens)

    @property
    def handed_out(self) -> tuple[int, ...]:
        """The tokens that there are for whoever looks."""
        return (*self._path.tokens[: self._start], *(token.id for token in self.tokens))

    def synchronise(self) -> None:
        """Make the path hold exactly what was handed out; the rest is evaluated when it is due."""
        n_tokens = self.n_handed_out
        if self._path.n_tokens > n_tokens:
            self._again.extendleft(reversed(self._path.tokens[n_tokens:]))
            self._path.rewind(n_tokens)
        while self._path.n_tokens < n_tokens:
            self._evaluate_next()

    def evaluate_last(self) -> None:
        """Evaluate what was chosen, if that has not been done."""
        while self._again or self._answer.unevaluated is not None:
            self._evaluate_next()

    def _evaluate_next(self) -> None:
        if self._again:
            self._path.append(self._again[0])
            self._again.popleft()
        else:
            assert self._answer.unevaluated is not None
            self._path.append(self._answer.unevaluated)
            self._answer.unevaluated = None


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``stop``."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
