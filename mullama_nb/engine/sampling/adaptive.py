"""Samplers that adapt from token to token: Mirostat 1 and 2, and adaptive-p.

llama.cpp keeps their state inside, together with a random generator, where it can neither be read
nor set. But each begins in a state that its own parameters give. So one is made anew for each draw,
with the parameters that begin in the state held here and with the seed of that draw: the token is
llama.cpp's own choice. The update that follows is computed here from the probability of the token.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import llama_cpp
import numpy as np
import numpy.typing as npt

from ...checks import is_number
from ...errors import ParameterError, shown
from .params import SamplingParams

__all__ = ["CANDIDATE", "Adaptive", "SamplerState", "adaptive_of", "check_state"]

SamplerState: TypeAlias = tuple[float, ...]
"""What a sampler carries from token to token: float32 numbers, in as few digits as they need."""

CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
"""llama.cpp's ``llama_token_data``."""

_SIZES = {"mirostat": 1, "adaptive_p": 2, None: 0}
_MOST = 1e30
_M = 100  # the likeliest tokens by which Mirostat 1 estimates Zipf's exponent; as llama.cpp has it


def check_state(params: SamplingParams, state: Sequence[float] | None) -> SamplerState | None:
    """Return a state as a tuple.

    Raises
    ------
    ParameterError
        When the samplers of the parameters carry none like it.
    """
    if state is None:
        return None
    values = tuple(state) if isinstance(state, Sequence) else ()
    n = _SIZES[params.carries]
    are_numbers = all(is_number(value) and abs(value) < _MOST for value in values)
    if not n or len(values) != n or not are_numbers or (n == 2 and not values[1] >= 1):
        raise ParameterError(
            f"sampler_state={shown(repr(state))} is none of "
            f"{params.carries or 'these parameters, whose samplers carry none'}; "
            "give one of Completion.sampler_states"
        )
    return tuple(map(float, values))


class Adaptive(Protocol):
    """A sampler that draws, and adapts to what it has drawn."""

    @property
    def state(self) -> SamplerState:
        """What it carries to the next token."""

    def draw(self, array: Any, candidates: npt.NDArray[np.void], seed: int) -> None:
        """Draw a token.

        Parameters
        ----------
        array : llama_token_data_array
            Its ``selected`` and the candidates change.
        candidates : ndarray of CANDIDATE
            What the array holds.
        seed : int
        """

    def accept(self, token: int) -> None:
        """Adapt to a token that was taken; one that could not be drawn changes nothing."""


def adaptive_of(
    params: SamplingParams, n_vocab: int, state: SamplerState | None
) -> Adaptive | None:
    """Return the sampler of some parameters, in a state or at its beginning; None without one."""
    if params.carries == "mirostat":
        return _Mirostat(params, n_vocab, state)
    return None if params.carries is None else _AdaptiveP(params, state)


class _Mirostat:
    """Mirostat 1 and 2 (Basu et al. 2021, arXiv:2007.14966): the state is mu, 2 tau at first."""

    def __init__(self, params: SamplingParams, n_vocab: int, state: SamplerState | None) -> None:
        self._params = params
        self._n_vocab = n_vocab
        self._tau, self._eta = np.float32(params.mirostat_tau), np.float32(params.mirostat_eta)
        self._mu = np.float32(2 * params.mirostat_tau if state is None else state[0])
        self._kept = np.empty(0, CANDIDATE)

    @property
    def state(self) -> SamplerState:
        return (_short(self._mu),)

    def draw(self, array: Any, candidates: npt.NDArray[np.void], seed: int) -> None:
        tau = float(self._mu) / 2  # a new sampler begins with mu = 2 tau
        if self._params.mirostat == 1:
            last = llama_cpp.llama_sampler_init_mirostat(self._n_vocab, seed, tau, 0.0, _M)
        else:
            last = llama_cpp.llama_sampler_init_mirostat_v2(seed, tau, 0.0)
        _apply(last, array)
        self._kept = candidates[: array.size].copy()

    def accept(self, token: int) -> None:
        probability = self._kept["p"][self._kept["id"] == token]
        if probability.size and probability[0] > 0:
            surprise = np.float32(-math.log2(probability[0]))
            self._mu = np.float32(self._mu - self._eta * (surprise - self._tau))
        self._kept = self._kept[:0]


class _AdaptiveP:
    """Adaptive-p (llama.cpp, pull request 17927): the state is a weighted sum and its weight."""

    def __init__(self, params: SamplingParams, state: SamplerState | None) -> None:
        assert params.adaptive_p_target is not None
        self._target = np.float32(params.adaptive_p_target)
        self._decay = np.float32(params.adaptive_p_decay)
        weight = np.float32(1) / (np.float32(1) - self._decay)
        begin = (self._target / (np.float32(1) - self._decay), weight)
        self._sum, self._weight = begin if state is None else map(np.float32, state)
        self._kept = np.empty(0, CANDIDATE)

    @property
    def state(self) -> SamplerState:
        return _short(self._sum), _short(self._weight)

    def draw(self, array: Any, candidates: npt.NDArray[np.void], seed: int) -> None:
        self._kept = candidates.copy()
        target = np.clip(2 * self._target - self._sum / self._weight, 0, 1)
        # Without decay the sum is the target and the weight is 1, so that this is not adapted.
        _apply(llama_cpp.llama_sampler_init_adaptive_p(float(target), 0.0, seed), array)

    def accept(self, token: int) -> None:
        """Adapt by the probability that the token had before the draw favoured the target."""
        ids, logits = self._kept["id"], self._kept["logit"].astype(np.float64)
        self._kept = self._kept[:0]
        if not (ids == token).any():
            return
        weights = np.exp(logits - logits.max())
        probability = np.float32(weights[ids == token][0] / weights.sum())
        self._sum = np.float32(probability + self._decay * self._sum)
        self._weight = np.float32(1 + self._decay * self._weight)


def _apply(last: Any, array: Any) -> None:
    llama_cpp.llama_sampler_apply(last, ctypes.byref(array))
    llama_cpp.llama_sampler_free(last)


def _short(value: np.float32) -> float:
    return float(str(value))
