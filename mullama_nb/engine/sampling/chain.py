"""llama.cpp's samplers in front of the draw, in the order of the parameters."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import llama_cpp

from ...errors import ParameterError
from ..vocabulary import Vocabulary
from .params import SamplingParams

__all__ = ["SamplerChain"]

Watch: TypeAlias = Callable[[str, Any], object]  # takes a sampler's name, and what it leaves

_WITH_GREEDY = ("penalties", "dry")  # the others leave the likeliest token where it is
_WITH_MIROSTAT = ("penalties", "dry", "temperature")  # the others would hide the surprise
_PENALTIES_OFF = (1.0, 0.0, 0.0)


class _Owned:
    """A native sampler that is freed with its owner."""

    def __init__(self, pointer: Any) -> None:
        self.pointer = pointer
        weakref.finalize(self, llama_cpp.llama_sampler_free, pointer)


# DRY searches the whole vocabulary for its sequence breakers, so each model's last one is kept.
_dry_samplers: weakref.WeakKeyDictionary[Vocabulary, tuple[Any, _Owned]]
_dry_samplers = weakref.WeakKeyDictionary()


class SamplerChain:
    """The samplers in front of the draw.

    XTC has a draw of its own: it stands between two chains, and is made anew for each token.

    Parameters
    ----------
    vocabulary : Vocabulary
    params : SamplingParams
    history : sequence of int
        The tokens so far, which penalties and DRY look back on.
    n_ctx : int
        What a window of -1 means.

    Attributes
    ----------
    pointer : llama_sampler pointer
        A chain of all samplers, unless there is XTC; else of those in front of it.
    n_samplers : int
        In that chain.
    draws : bool
        Whether XTC is among them.
    looks_back : bool
        Whether some consider earlier tokens.

    Raises
    ------
    ParameterError
        When a biased token is not in the vocabulary.
    """

    def __init__(
        self, vocabulary: Vocabulary, params: SamplingParams, history: Sequence[int], n_ctx: int
    ) -> None:
        self._vocabulary = vocabulary
        self._params = params
        self._n_ctx = n_ctx
        self._window = 0  # the longest
        self._steps: list[tuple[str, Any]] = []  # XTC has no sampler that is kept
        self.draws = params.xtc_probability > 0
        self.pointer = self._behind_xtc = self._last = self._new_chain()
        if params.logit_bias:
            self._add_biases()
        applied: Sequence[str] = params.samplers
        if params.temperature == 0:
            applied = [name for name in applied if name in _WITH_GREEDY]
        elif params.mirostat:
            applied = [name for name in applied if name in _WITH_MIROSTAT]
        for name in applied:
            self._adding[name](self)
        self.n_samplers = llama_cpp.llama_sampler_chain_n(self.pointer)
        self.looks_back = self._window > 0
        if self.looks_back:
            for token in history[-self._window :]:
                self.accept(token)

    def accept(self, token: int) -> None:
        """Note that a token was taken."""
        llama_cpp.llama_sampler_accept(self.pointer, token)
        if self.draws:
            llama_cpp.llama_sampler_accept(self._behind_xtc, token)

    def apply(self, array: Any, seed: int, watch: Watch | None = None) -> None:
        """Apply the samplers to candidates.

        Parameters
        ----------
        array : llama_token_data_array
        seed : int
            Of XTC's draw.
        watch : callable, optional
            Shown what each of them leaves.
        """
        if watch is not None:  # one by one, as a chain does it
            for name, sampler in self._steps:
                if sampler is None:
                    self._apply_xtc(array, seed)
                else:
                    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
                watch(name, array)
            return
        llama_cpp.llama_sampler_apply(self.pointer, ctypes.byref(array))
        if self.draws:
            self._apply_xtc(array, seed)
            llama_cpp.llama_sampler_apply(self._behind_xtc, ctypes.byref(array))

    def _apply_xtc(self, array: Any, seed: int) -> None:
        params = self._params
        xtc = llama_cpp.llama_sampler_init_xtc(
            params.xtc_probability, params.xtc_threshold, 1, seed
        )
        llama_cpp.llama_sampler_apply(xtc, ctypes.byref(array))
        llama_cpp.llama_sampler_free(xtc)

    # -- each of them ------------------------------------------------------------------------

    def _new_chain(self) -> Any:
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        weakref.finalize(self, llama_cpp.llama_sampler_free, chain)
        return chain

    def _add(self, name: str, sampler: Any) -> None:
        llama_cpp.llama_sampler_chain_add(self._last, sampler)
        self._steps.append((name, sampler))

    def _add_biases(self) -> None:
        n_vocab, bias = self._vocabulary.n_tokens, self._params.logit_bias
        beyond = [token for token in bias if token >= n_vocab]
        if beyond:
            raise ParameterError(
                f"logit_bias names token {beyond[0]}; the vocabulary has {n_vocab} tokens"
            )
        biases = (llama_cpp.llama_logit_bias * len(bias))(
            *(llama_cpp.llama_logit_bias(*item) for item in bias.items())
        )
        self._add(
            "logit_bias", llama_cpp.llama_sampler_init_logit_bias(n_vocab, len(biases), biases)
        )

    def _look_back(self, window: int) -> int:
        """Return how many tokens a window takes."""
        window = self._n_ctx if window < 0 else min(window, self._n_ctx)
        self._window = max(self._window, window)
        return window

    def _add_penalties(self) -> None:
        params = self._params
        penalties = (
            params.repetition_penalty,
            params.frequency_penalty,
            params.presence_penalty,
        )
        if penalties != _PENALTIES_OFF and params.penalty_window:
            window = self._look_back(params.penalty_window)
            n_vocab = self._vocabulary.n_tokens
            self._add(
                "penalties",
                llama_cpp.llama_sampler_init_penalties(n_vocab, window, *penalties),
            )

    def _add_dry(self) -> None:
        params = self._params
        if not (params.dry_multiplier and params.dry_window):
            return
        window = self._look_back(params.dry_window)
        key = (
            params.dry_multiplier,
            params.dry_base,
            params.dry_allowed_length,
            window,
            params.dry_sequence_breakers,
        )
        known, made = _dry_samplers.get(self._vocabulary, (None, None))
        if made is None or known != key:
            texts = [text.encode() for text in params.dry_sequence_breakers]
            breakers = (ctypes.c_char_p * len(texts))(*texts)
            made = _Owned(
                llama_cpp.llama_sampler_init_dry(
                    self._vocabulary.handle, *key[:4], breakers, len(texts)
                )
            )
            _dry_samplers[self._vocabulary] = key, made
        self._add("dry", llama_cpp.llama_sampler_clone(made.pointer))

    def _add_top_n_sigma(self) -> None:
        if self._params.top_n_sigma > 0:
            sampler = llama_cpp.llama_sampler_init_top_n_sigma(self._params.top_n_sigma)
            self._add("top_n_sigma", sampler)

    def _add_top_k(self) -> None:
        if self._params.top_k:
            self._add("top_k", llama_cpp.llama_sampler_init_top_k(self._params.top_k))

    def _add_typical_p(self) -> None:
        if self._params.typical_p < 1:
            self._add("typical_p", llama_cpp.llama_sampler_init_typical(self._params.typical_p, 1))

    def _add_top_p(self) -> None:
        if self._params.top_p < 1:
            self._add("top_p", llama_cpp.llama_sampler_init_top_p(self._params.top_p, 1))

    def _add_min_p(self) -> None:
        if self._params.min_p > 0:
            self._add("min_p", llama_cpp.llama_sampler_init_min_p(self._params.min_p, 1))

    def _add_xtc(self) -> None:
        if self.draws:
            self._behind_xtc = self._last = self._new_chain()
            self._steps.append(("xtc", None))

    def _add_temperature(self) -> None:
        params = self._params
        if params.dynamic_temperature_range:
            self._add(
                "temperature",
                llama_cpp.llama_sampler_init_temp_ext(
                    params.temperature,
                    params.dynamic_temperature_range,
                    params.dynamic_temperature_exponent,
                ),
            )
        else:
            self._add("temperature", llama_cpp.llama_sampler_init_temp(params.temperature))

    _adding: ClassVar[dict[str, Callable[[SamplerChain], None]]] = {
        "penalties": _add_penalties,
        "dry": _add_dry,
        "top_n_sigma": _add_top_n_sigma,
        "top_k": _add_top_k,
        "typical_p": _add_typical_p,
        "top_p": _add_top_p,
        "min_p": _add_min_p,
        "xtc": _add_xtc,
        "temperature": _add_temperature,
    }
