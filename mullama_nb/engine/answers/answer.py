"""One answer: tokens are chosen, held back while a stop string may begin, and released."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..completion import FinishReason, Limits, Part, Token
from ..decoder import Decoder, Logits
from ..sampling.adaptive import SamplerState
from ..vocabulary import Vocabulary
from .chooser import Chooser

__all__ = ["Answer"]


@dataclass
class _Held:
    """A token whose text may still turn out to belong to a stop string, or to a mark."""

    id: int
    logprob: float
    text: str
    n_characters: int  # of the answer, up to its end
    part: Part | None = None  # where it has no text


class Answer:
    """The tokens of one answer: chosen, held back while a stop string may begin, released.

    Nothing is evaluated here: the owner evaluates ``unevaluated`` and supplies the logits.

    Parameters
    ----------
    vocabulary : Vocabulary
    chooser : Chooser
        Of its tokens. Its marks tell in which part a token is; one that may begin a mark is held
        back, too.
    limits : Limits
    n_ctx : int
        Cells.

    Attributes
    ----------
    tokens : list of Token
        The tokens handed out.
    finish_reason : FinishReason, optional
        Set once no further token will be chosen.
    unevaluated : int, optional
        The token chosen last; its owner sets it to None.
    """

    def __init__(
        self, vocabulary: Vocabulary, chooser: Chooser, limits: Limits, n_ctx: int
    ) -> None:
        self.tokens: list[Token] = []
        self.finish_reason: FinishReason | None = None
        self.unevaluated: int | None = None
        self._vocabulary = vocabulary
        self._limits = limits
        self._n_ctx = n_ctx
        self._stop_tokens = frozenset(limits.stop_tokens)
        self._chooser = chooser
        self._sampler_states: list[SamplerState] = []  # after each token that was chosen
        self._held: deque[_Held] = deque()
        self._ready: deque[Token] = deque()
        self._n_chosen = 0

    @property
    def text(self) -> str:
        """The text of the tokens handed out."""
        return "".join(token.text for token in self.tokens)

    @property
    def sampler_states(self) -> tuple[SamplerState, ...]:
        """What a sampler carried on from each token handed out; empty without one that does."""
        return tuple(self._sampler_states[: len(self.tokens)])

    def hand_out(self) -> Token | None:
        """Return the next token whose text is certain; None if one has to be chosen first."""
        if not self._ready:
            return None
        token = self._ready.popleft()
        self.tokens.append(token)
        return token

    def may_go_on(self, n_tokens: int) -> bool:
        """Return whether a token may follow ``n_tokens`` evaluated ones; if not, end here."""
        if self._limits.max_tokens is not None and self._n_chosen >= self._limits.max_tokens:
            self._finish("length")
        elif n_tokens >= self._n_ctx:
            self._finish("context_full")
        return self.finish_reason is None

    def choose(self, logits: Logits, position: int, decoder: Decoder) -> None:
        """Choose one more token, and release those whose text is certain now."""
        chooser = self._chooser
        token = chooser.choose(logits, position, decoder)
        if self._vocabulary.is_end(token) or token in self._stop_tokens:
            return self._finish("stop")
        logprob = chooser.log_probability(logits, token)
        text = chooser.accept(token)
        if (state := chooser.sampler_state) is not None:
            self._sampler_states.append(state)
        self._n_chosen += 1
        self.unevaluated = token
        said = chooser.text
        if said.reader is None and not self._limits.stop_texts:  # nothing that it could begin
            return self._ready.append(Token(token, text, logprob))
        part = None if text else said.part_at(said.n_characters)
        self._held.append(_Held(token, logprob, text, said.n_characters, part))
        return self._release()

    def end(self, reason: FinishReason) -> None:
        """End here with the tokens handed out; drop the rest."""
        if self.finish_reason is None:
            self.finish_reason = reason
        if self._held or self._ready:  # the token chosen last is among them
            self.unevaluated = None
        self._held.clear()
        self._ready.clear()

    def take_back(self) -> None:
        """Drop the token chosen last, which could not be evaluated."""
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
        overlap = max((_overlap(window, stop) for stop in stops), default=0)
        return self._release_until(len(window) - max(overlap, self._chooser.text.n_pending))

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
        part = held.part or self._chooser.text.part_at(held.n_characters)
        self._ready.append(Token(held.id, held.text[:n_characters], held.logprob, part))
        return len(held.text)

    def _finish(self, reason: FinishReason) -> None:
        self._chooser.text.finish()
        while self._held:
            self._release_first(len(self._held[0].text))
        self.finish_reason = reason


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``stop``."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
