"""Choosing tokens: llama.cpp's sampler chain, with randomness addressed by position."""

from __future__ import annotations

import contextlib
import ctypes
import json
import struct
import weakref
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt
from blake3 import blake3
from llama_cpp.llama_grammar import SchemaConverter

from ..errors import GrammarError, ParameterError
from .memory import Logits
from .native import captured_log, captured_stderr
from .params import SamplingParams, check_grammar
from .vocabulary import Vocabulary

__all__ = ["Sampler", "draw_seed", "log_probabilities", "log_probability"]

_COLUMNS = 512  # maxima that a threshold for top-k is found among
_CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])


def draw_seed(seed: int, sibling: int, position: int) -> int:
    """The seed of the one draw at a position.

    Parameters
    ----------
    seed : int
        Of the sampling parameters.
    sibling : int
        The ordinal among answers to the same prompt.
    position : int
        Tokens in front of the one that is drawn.

    Returns
    -------
    int
        32 bits for llama.cpp's generator; nothing that was drawn before has a part in it.
    """
    digest = blake3(struct.pack("<QQQ", seed, sibling, position)).digest(length=4)
    return int(struct.unpack("<I", digest)[0])


def log_probabilities(logits: Logits) -> Logits:
    """Natural logarithms of the model's own probabilities, before any sampler.

    Parameters
    ----------
    logits : ndarray of float32, shape (n_vocab,)

    Returns
    -------
    ndarray of float32, shape (n_vocab,)
    """
    shifted = logits - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()), np.float32)


def log_probability(logits: Logits, token: int) -> float:
    """One token's entry of :func:`log_probabilities`, to the bit, without the others."""
    shifted = logits - logits.max()
    chosen = shifted[token]
    np.exp(shifted, out=shifted)
    return float(chosen - np.log(shifted.sum()))


class _SchemaConverter(SchemaConverter):  # type: ignore[misc, unused-ignore]
    """llama-cpp-python's, which loses the backslashes of constants and names, and some emoji."""

    def _format_literal(self, literal: str) -> str:
        with contextlib.suppress(ValueError):
            literal = json.dumps(json.loads(literal), ensure_ascii=False)
        escaped = literal.replace("\\", r"\\").replace('"', r"\"")
        return '"' + escaped.replace("\n", r"\n").replace("\r", r"\r") + '"'


def _gbnf(schema: str) -> str:
    converter: Any = _SchemaConverter(  # type: ignore[no-untyped-call]
        prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False
    )
    converter.visit(converter.resolve_refs(json.loads(schema), "schema"), "")
    return str(converter.format_grammar())


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
        The tokens so far, which penalties look back on. A grammar starts after them.
    n_ctx : int
        What a penalty window of -1 means.

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
    ) -> None:
        assert params.seed is not None
        self._vocabulary = vocabulary
        self._seed = params.seed
        self._sibling = sibling
        self._greedy = params.temperature == 0
        self._candidates = np.zeros(vocabulary.n_tokens, _CANDIDATE)
        self._ids = np.arange(vocabulary.n_tokens, dtype=np.int32)
        self._scratch = np.empty(vocabulary.n_tokens, np.float32)
        self._likely = np.empty(vocabulary.n_tokens, np.bool_)
        self._array = llama_cpp.llama_token_data_array(
            ctypes.cast(self._candidates.ctypes.data, llama_cpp.llama_token_data_p)
        )
        self._chain = llama_cpp.llama_sampler_chain_init(
            llama_cpp.llama_sampler_chain_default_params()
        )
        weakref.finalize(self, llama_cpp.llama_sampler_free, self._chain)
        self._has_penalties = self._fill_chain(params, n_ctx)
        # Nothing changes the order of the logits: the likeliest needs no chain.
        self._argmax = self._greedy and not llama_cpp.llama_sampler_chain_n(self._chain)
        begins_with_top_k = not (self._greedy or self._has_penalties or params.logit_bias)
        self._top_k = params.top_k if begins_with_top_k else 0
        self._grammar = self._make_grammar(params)
        if self._has_penalties:
            window = n_ctx if params.penalty_window < 0 else params.penalty_window
            for token in history[-window:]:
                llama_cpp.llama_sampler_accept(self._chain, token)

    def _fill_chain(self, params: SamplingParams, n_ctx: int) -> bool:
        add = llama_cpp.llama_sampler_chain_add
        n_vocab = self._vocabulary.n_tokens
        if params.logit_bias:
            beyond = [token for token in params.logit_bias if token >= n_vocab]
            if beyond:
                raise ParameterError(
                    f"logit_bias names token {beyond[0]}; the vocabulary has {n_vocab} tokens"
                )
            biases = (llama_cpp.llama_logit_bias * len(params.logit_bias))(
                *(llama_cpp.llama_logit_bias(*item) for item in params.logit_bias.items())
            )
            add(self._chain, llama_cpp.llama_sampler_init_logit_bias(n_vocab, len(biases), biases))
        penalties = (
            params.repetition_penalty,
            params.frequency_penalty,
            params.presence_penalty,
        )
        window = n_ctx if params.penalty_window < 0 else params.penalty_window
        has_penalties = penalties != (1.0, 0.0, 0.0) and window > 0
        if has_penalties:
            add(self._chain, llama_cpp.llama_sampler_init_penalties(n_vocab, window, *penalties))
        if not self._greedy:
            if params.top_k:
                add(self._chain, llama_cpp.llama_sampler_init_top_k(params.top_k))
            if params.typical_p < 1:
                add(self._chain, llama_cpp.llama_sampler_init_typical(params.typical_p, 1))
            if params.top_p < 1:
                add(self._chain, llama_cpp.llama_sampler_init_top_p(params.top_p, 1))
            if params.min_p > 0:
                add(self._chain, llama_cpp.llama_sampler_init_min_p(params.min_p, 1))
            add(self._chain, llama_cpp.llama_sampler_init_temp(params.temperature))
        return has_penalties

    def _make_grammar(self, params: SamplingParams) -> Any:
        text = params.grammar
        if params.json_schema is not None:
            schema = params.json_schema
            try:
                text = _gbnf(schema if isinstance(schema, str) else json.dumps(schema))
            except Exception as error:  # the converter raises whatever it stumbles over
                raise GrammarError(
                    f"json_schema cannot be turned into a grammar: {error!r}"
                ) from None
            check_grammar(text)
        if text is None:
            return None
        data = text.encode("utf-8", "replace")
        with captured_log(verbose=False) as complaints, captured_stderr() as printed:
            grammar = llama_cpp.llama_sampler_init_grammar(self._vocabulary.handle, data, b"root")
        if not grammar:
            reasons = [line.partition("error parsing grammar: ")[2] for line in printed]
            reason = next(filter(None, reasons), "") or "; ".join(complaints)
            raise GrammarError(f"the grammar cannot be read: {reason or 'no rule named root'}")
        weakref.finalize(self, llama_cpp.llama_sampler_free, grammar)
        return grammar

    def choose(self, logits: Logits, position: int) -> int:
        """The next token.

        Parameters
        ----------
        logits : ndarray of float32, shape (n_vocab,)
        position : int
            Tokens in front of it.

        Raises
        ------
        GrammarError
            When no token of the vocabulary continues the grammar.
        """
        token = self._draw(logits, position, by_grammar=False)
        if self._grammar is not None and not self._fits(token):
            token = self._draw(logits, position, by_grammar=True)
        return token

    def accept(self, token: int) -> None:
        """Note that a token, which ``choose`` has given, was taken."""
        if self._has_penalties:
            llama_cpp.llama_sampler_accept(self._chain, token)
        if self._grammar is not None:
            llama_cpp.llama_sampler_accept(self._grammar, token)

    def log_probability(self, logits: Logits, token: int) -> float:
        """:func:`log_probability` in memory that is there already: new memory costs more."""
        shifted = np.subtract(logits, logits.max(), out=self._scratch)
        chosen = shifted[token]
        np.exp(shifted, out=shifted)
        return float(chosen - np.log(shifted.sum()))

    def _draw(self, logits: Logits, position: int, *, by_grammar: bool) -> int:
        if self._argmax and not by_grammar:
            return int(logits.argmax())
        array = self._fill(logits, 0 if by_grammar else self._top_k)
        if by_grammar:
            llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(array))
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(array))
        last = (
            llama_cpp.llama_sampler_init_greedy()
            if self._greedy
            else llama_cpp.llama_sampler_init_dist(draw_seed(self._seed, self._sibling, position))
        )
        llama_cpp.llama_sampler_apply(last, ctypes.byref(array))
        llama_cpp.llama_sampler_free(last)
        chosen = array.data[array.selected]
        if by_grammar and not np.isfinite(chosen.logit):
            raise GrammarError(
                "no token of the vocabulary continues the grammar at this point; "
                "what was generated so far is kept"
            )
        return int(chosen.id)

    def _fill(self, logits: Logits, top_k: int) -> Any:
        """The candidates; where top-k comes first, only those that it may take."""
        ids: npt.NDArray[np.signedinteger] = self._ids
        candidates, array = self._candidates, self._array
        if 0 < top_k < _COLUMNS <= logits.size // 8:
            # The k likeliest of some columns' maxima are k tokens: none of the k likeliest of all
            # is less likely than the last of them.
            height = logits.size // _COLUMNS
            table = logits[: height * _COLUMNS].reshape(height, _COLUMNS)
            maxima = np.maximum.reduce(table, axis=0)
            maxima.partition(_COLUMNS - top_k)
            np.greater_equal(logits, maxima[_COLUMNS - top_k], out=self._likely)
            likely = self._likely.nonzero()[0]
            if likely.size >= top_k:  # fewer where logits are not numbers
                ids, logits, candidates = likely, logits[likely], candidates[: likely.size]
        candidates["id"] = ids
        candidates["logit"] = logits
        array.size, array.selected, array.sorted = ids.size, -1, False
        return array

    def _fits(self, token: int) -> bool:
        """Ask before ``accept``, which ends the process at a token that does not match."""
        one = (llama_cpp.llama_token_data * 1)(llama_cpp.llama_token_data(token, 1.0, 0.0))
        array = llama_cpp.llama_token_data_array(
            ctypes.cast(one, llama_cpp.llama_token_data_p), 1, -1, False
        )
        llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(array))
        return bool(np.isfinite(one[0].logit))
