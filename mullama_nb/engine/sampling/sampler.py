"""Choosing tokens: llama.cpp's sampler chain, with randomness addressed by position.

Where a sampler has randomness or a state inside, it is made anew for each draw: see ``adaptive``.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import struct
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import llama_cpp
import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ...cached import cached
from ...errors import GrammarError, shown
from ..decoder import Decoder, Logits
from ..grammars.json_schema import gbnf
from ..native import captured_log, captured_stderr
from ..vocabulary import Vocabulary
from .adaptive import CANDIDATE, SamplerState, adaptive_of
from .chain import SamplerChain
from .params import SamplingParams

__all__ = ["Sampler", "Watch", "draw_seed", "log_probabilities", "log_probability"]

_LEAST, _MOST = 1e-20, 1e30  # sums of exponentials that lost nothing at either end of float32
_SEEDS_AT_ONCE = 64
_RANDOM = 2**32 - 1  # llama.cpp takes this seed for a request to draw one


def draw_seed(seed: int, sibling: int, position: int, sampler: str = "") -> int:
    """Return the seed of a single draw at a position.

    Parameters
    ----------
    seed : int
        Of the sampling parameters.
    sibling : int
        The ordinal among answers to the same prompt.
    position : int
        Tokens in front of the one that is drawn.
    sampler : str
        The sampler that draws, if it is not the last one.

    Returns
    -------
    int
        32 bits for llama.cpp's generator, independent of earlier draws.
    """
    where = struct.pack("<QQQ", seed, sibling, position) + sampler.encode()
    return int(struct.unpack("<I", blake3(where).digest(length=4))[0]) % _RANDOM


def log_probabilities(logits: Logits) -> Logits:
    """Return natural logarithms of the model's own probabilities, before any sampler.

    Parameters
    ----------
    logits : ndarray of float32, shape (n_vocab,)

    Returns
    -------
    ndarray of float32, shape (n_vocab,)
    """
    exact = np.subtract(logits, _log_total(logits, np.empty_like(logits)), dtype=np.float64)
    return exact.astype(np.float32)


def log_probability(logits: Logits, token: int) -> float:
    """Return one token's entry of :func:`log_probabilities`, not rounded."""
    return logits.item(token) - _log_total(logits, np.empty_like(logits))


def _log_total(logits: Logits, scratch: Logits) -> float:
    """The logarithm of the sum of the exponentials."""
    with np.errstate(over="ignore"):
        total = float(np.add.reduce(np.exp(logits, scratch)))
    if _LEAST < total < _MOST:
        return math.log(total)
    largest = logits.max()
    np.exp(np.subtract(logits, largest, scratch), scratch)
    return float(largest) + math.log(np.add.reduce(scratch))


class Watch(Protocol):
    """Looks on while a token is chosen; candidates are views, of ``adaptive.CANDIDATE``."""

    def begin(self, candidates: npt.NDArray[np.void]) -> None:
        """See all tokens, before any step; a choice may begin again."""

    def step(self, name: str, candidates: npt.NDArray[np.void]) -> None:
        """See what a sampler leaves."""

    def draw(self, candidates: npt.NDArray[np.void], selected: int, seed: int) -> None:
        """See the index of what was drawn from candidates, and the seed of the number."""

    def refuse(self, token: int) -> None:
        """See a token that was drawn and that the grammar does not take."""


class Sampler:
    """Chooses the tokens of one generation.

    Parameters
    ----------
    vocabulary : Vocabulary
    params : SamplingParams
        With a seed.
    sibling : int
        The ordinal among answers to the same prompt.
    history : sequence of int
        The tokens so far, which penalties look back on. A grammar starts after them, unless it is
        told to follow some.
    n_ctx : int
        What a window of -1 means.
    state : SamplerState, optional
        What a sampler carries over from an answer that is continued.

    Attributes
    ----------
    bars_controls : bool
        Whether the grammar takes no control tokens at this point: their names are text to it.
    watch : Watch or None
        Looks on, step by step.

    Raises
    ------
    GrammarError
        When the grammar cannot be read.
    ParameterError
        When a biased token is not in the vocabulary.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        params: SamplingParams,
        sibling: int,
        history: Sequence[int],
        n_ctx: int,
        state: SamplerState | None = None,
    ) -> None:
        assert params.seed is not None
        self._vocabulary = vocabulary
        self._seed = params.seed
        self._sibling = sibling
        self._seeds: dict[int, int] = {}
        self._greedy = params.temperature == 0
        self._carries = params.carries
        self._scratch = np.empty(vocabulary.n_tokens, np.float32)
        self._chain = SamplerChain(vocabulary, params, history, n_ctx)
        self._adaptive = adaptive_of(params, vocabulary.n_tokens, state)
        self._is_plain = self._adaptive is None and not self._chain.draws
        # Nothing changes the order of the logits: the likeliest needs no chain.
        self._argmax = self._greedy and not self._chain.n_samplers
        text = params.grammar if params.json_schema is None else gbnf(params.json_schema)
        self._grammar = self._make_grammar(text)
        self.bars_controls = False
        self.watch: Watch | None = None
        self._held_grammar: Any = None

    @property
    def state(self) -> SamplerState | None:
        """What a sampler carries to the next token; None without one that does."""
        return None if self._adaptive is None else self._adaptive.state

    def _make_grammar(self, text: str | None) -> Any:
        if text is None:
            return None
        data = text.encode("utf-8", "replace")
        with captured_log(verbose=False) as complaints, captured_stderr() as printed:
            grammar = llama_cpp.llama_sampler_init_grammar(self._vocabulary.handle, data, b"root")
        if not grammar:
            reasons = [line.partition("error parsing grammar: ")[2] for line in printed]
            reason = next(filter(None, reasons), "") or "; ".join(complaints)
            raise GrammarError(
                f"the grammar cannot be read: {shown(reason, 200) or 'no rule named root'}"
            )
        weakref.finalize(self, llama_cpp.llama_sampler_free, grammar)
        return grammar

    def choose(self, logits: Logits, position: int, decoder: Decoder | None = None) -> int:
        """Choose the next token.

        Parameters
        ----------
        logits : ndarray of float32, shape (n_vocab,)
        position : int
            Tokens in front of it.
        decoder : Decoder, optional
            The decoder that may still hold the logits, so that they need not be copied.

        Raises
        ------
        GrammarError
            When no token of the vocabulary continues the grammar.
        """
        is_quick = self._argmax and self.watch is None
        token = int(logits.argmax()) if is_quick else self._draw(logits, position, decoder)
        if not self.fits(token):
            if self.watch is not None:
                self.watch.refuse(token)
            token = self._draw(logits, position, None, by_grammar=True)
        return token

    def accept(self, token: int) -> None:
        """Note that a token, which ``choose`` has given, was taken."""
        if self._chain.looks_back:
            self._chain.accept(token)
        if self._adaptive is not None:
            self._adaptive.accept(token)
        if self._grammar is not None:
            llama_cpp.llama_sampler_accept(self._grammar, token)

    def force(self, token: int) -> bool:
        """Take a token that was perhaps not chosen; False where the grammar does not allow it."""
        if not self.fits(token):
            return False
        self.accept(token)
        return True

    # -- a grammar that begins later ---------------------------------------------------------

    @property
    def has_grammar(self) -> bool:
        """Whether there is a grammar."""
        return self._grammar is not None or self._held_grammar is not None

    def hold_grammar(self) -> None:
        """Let the grammar begin behind tokens that are yet to come."""
        self._held_grammar, self._grammar = self._grammar, None

    def begin_grammar(self) -> None:
        """Let the grammar that was held begin with the next token."""
        self._grammar, self._held_grammar = self._held_grammar, None

    def follow(self, token: int) -> bool:
        """Let the grammar, if it has begun, follow a token that was said before; False if not."""
        if not self.fits(token):
            return False
        if self._grammar is not None:
            llama_cpp.llama_sampler_accept(self._grammar, token)
        return True

    def restart_grammar(self) -> None:
        """Let the grammar begin with the next token, whatever it has followed."""
        self._grammar, self._held_grammar = self._grammar or self._held_grammar, None
        llama_cpp.llama_sampler_reset(self._grammar)

    def fits(self, token: int) -> bool:
        """Return whether the grammar allows a token, if it has begun."""
        if self._grammar is None:
            return True
        is_barred = self.bars_controls and self._vocabulary.is_control(token)
        return not is_barred and _allows(self._grammar, token)

    def would_fit(self, token: int) -> bool:
        """Return whether the grammar that is held allows a token as its first."""
        return self._held_grammar is not None and _allows(self._held_grammar, token)

    # -- a grammar for a part of the answer --------------------------------------------------

    def set_grammar(self, grammar: str | None) -> None:
        """Let a grammar begin with the next token, or let the one that there is end."""
        self._grammar, self.bars_controls = None, False
        with contextlib.suppress(GrammarError):  # it was checked, and nobody asked for it
            self._grammar = self._make_grammar(grammar)

    def would_read(self, grammar: str, token: int) -> bool:
        """Return whether a grammar allows a token as its first."""
        with contextlib.suppress(GrammarError):
            return _allows(self._make_grammar(grammar), token)
        return True

    def read(self, token: int) -> None:
        """Let the grammar read a token that was taken; one that does not fit ends it."""
        if not self.follow(token):
            self.set_grammar(None)

    # -- how likely --------------------------------------------------------------------------

    def log_probability(self, logits: Logits, token: int) -> float:
        """:func:`log_probability` in memory that is there already: new memory costs more."""
        return logits.item(token) - _log_total(logits, self._scratch)

    def _draw(
        self, logits: Logits, position: int, decoder: Decoder | None, *, by_grammar: bool = False
    ) -> int:
        if not self._is_plain or self.watch is not None:
            return self._apply(logits, position, by_grammar=by_grammar)
        last, chain = self._new_last(position), self._chain.pointer
        llama_cpp.llama_sampler_chain_add(chain, last)
        try:
            # Those that look back would count this token, which a grammar may not take.
            if decoder is not None and not self._chain.looks_back:
                token = decoder.sample(chain, logits)
                if token is not None:
                    return token
            return self._apply(logits, position, by_grammar=by_grammar)
        finally:
            last = llama_cpp.llama_sampler_chain_remove(chain, self._chain.n_samplers)
            llama_cpp.llama_sampler_free(last)

    def _apply(self, logits: Logits, position: int, *, by_grammar: bool) -> int:
        """What llama.cpp does in ``llama_sampler_sample``, for logits that it does not have."""
        ids, candidates, pointer = self._candidates
        candidates["id"], candidates["logit"] = ids, logits
        array = llama_cpp.llama_token_data_array(pointer, logits.size, -1, False)
        if self.watch is not None:
            self.watch.begin(candidates)
        if by_grammar:
            if self.bars_controls:
                candidates["logit"][self._vocabulary.control_tokens] = -np.inf
            llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(array))
            self._show("grammar", array)
        draws = self._chain.draws
        seed = draw_seed(self._seed, self._sibling, position, "xtc") if draws else 0
        self._chain.apply(array, seed, None if self.watch is None else self._show)
        if not self._is_plain or self.watch is not None:
            self._draw_last(array, position)
        chosen = array.data[array.selected]
        if by_grammar and not np.isfinite(chosen.logit):
            raise GrammarError(
                "no token of the vocabulary continues the grammar at this point; "
                "what was generated so far is kept"
            )
        return int(chosen.id)

    def _draw_last(self, array: Any, position: int) -> None:
        """Draw from candidates with a sampler that is not in the chain."""
        candidates = self._held(array)
        if self._adaptive is None:
            last = self._new_last(position)
            llama_cpp.llama_sampler_apply(last, ctypes.byref(array))
            llama_cpp.llama_sampler_free(last)
        elif np.isfinite(candidates["logit"].max()):
            self._adaptive.draw(array, candidates, self._seed_of(position))
            self._show(str(self._carries), array)
        else:  # with nothing to draw from, llama.cpp's read beyond the end
            array.selected = 0
        if self.watch is not None and not self._greedy:
            self.watch.draw(self._held(array), int(array.selected), self._seed_of(position))

    def _new_last(self, position: int) -> Any:
        """What takes one of the candidates that the chain leaves."""
        if self._greedy:
            return llama_cpp.llama_sampler_init_greedy()
        return llama_cpp.llama_sampler_init_dist(self._seed_of(position))

    def _held(self, array: Any) -> npt.NDArray[np.void]:
        """A view of the candidates in an array."""
        _, memory, pointer = self._candidates
        offset = ctypes.addressof(array.data.contents) - ctypes.addressof(pointer.contents)
        first = offset // CANDIDATE.itemsize  # XTC drops those in front
        return memory[first : first + array.size]

    def _show(self, name: str, array: Any) -> None:
        if self.watch is not None:
            self.watch.step(name, self._held(array))

    @cached
    def _candidates(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.void], Any]:
        """All ids, memory for the candidates, and where it lies."""
        n = self._vocabulary.n_tokens
        memory = np.empty(n, CANDIDATE)
        pointer = ctypes.cast(memory.ctypes.data, llama_cpp.llama_token_data_p)
        return np.arange(n, dtype=np.int32), memory, pointer

    def _seed_of(self, position: int) -> int:
        """The seed of a draw; several at once, since between two decodes all code is cold."""
        seed = self._seeds.get(position)
        if seed is None:
            ahead = range(position, position + _SEEDS_AT_ONCE)
            self._seeds = {at: draw_seed(self._seed, self._sibling, at) for at in ahead}
            seed = self._seeds[position]
        return seed


def _allows(grammar: Any, token: int) -> bool:
    """Ask before ``accept``, which ends the process at a token that does not match."""
    one = (llama_cpp.llama_token_data * 1)(llama_cpp.llama_token_data(token, 1.0, 0.0))
    array = llama_cpp.llama_token_data_array(
        ctypes.cast(one, llama_cpp.llama_token_data_p), 1, -1, False
    )
    llama_cpp.llama_sampler_apply(grammar, ctypes.byref(array))
    return bool(np.isfinite(one[0].logit))
