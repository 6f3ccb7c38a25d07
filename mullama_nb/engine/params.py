"""Parameters of contexts: frozen values, checked on creation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import machine
from ..checks import check_bool, check_integer, check_names, check_number, did_you_mean
from ..errors import ParameterError, shown
from .options import ContextOptions, hinting, lists_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["KV_CACHE_TYPES", "RANGES", "ROPE_SCALING", "ContextParams", "KVCacheType"]


@dataclass(frozen=True)
class KVCacheType:
    """A ggml type for K or V.

    Attributes
    ----------
    name : str
    ggml_type : int
        Its number in ggml (``ggml.h``).
    block : int
        Values per block; the head size must be a multiple.
    block_bytes : int
        Bytes of one block.
    """

    name: str
    ggml_type: int
    block: int
    block_bytes: int

    def row_bytes(self, n_embd: int) -> int:
        """Return the bytes of one cell's row of ``n_embd`` values."""
        return n_embd // self.block * self.block_bytes


KV_CACHE_TYPES: Mapping[str, KVCacheType] = {
    kv.name: kv
    for kv in (
        KVCacheType("f32", 0, 1, 4),
        KVCacheType("f16", 1, 1, 2),
        KVCacheType("bf16", 30, 1, 2),
        KVCacheType("q8_0", 8, 32, 34),
        KVCacheType("q5_1", 7, 32, 24),
        KVCacheType("q5_0", 6, 32, 22),
        KVCacheType("q4_1", 3, 32, 20),
        KVCacheType("q4_0", 2, 32, 18),
        KVCacheType("iq4_nl", 20, 32, 18),
    )
}

ROPE_SCALING: Mapping[str, int] = {"none": 0, "linear": 1, "yarn": 2, "longrope": 3}
_INTEGERS = {
    "n_ctx": (1, 2**31 - 1),
    "n_threads": (1, 512),
    "n_threads_batch": (1, 512),
    "yarn_orig_ctx": (1, 2**31 - 1),
    "n_batch": (1, 2**20),
    "n_ubatch": (1, 2**20),
    "n_parallel": (1, 255),  # llama.cpp's LLAMA_MAX_SEQ is 256, and one is the active path
}
_NUMBERS = {"rope_freq_base": (1e-9, 1e12), "rope_freq_scale": (1e-9, 1e12)}
_OPTIONAL = ("n_ctx", "n_threads", "n_threads_batch", "yarn_orig_ctx", *_NUMBERS)
RANGES: Mapping[str, tuple[float, float]] = _INTEGERS | _NUMBERS
"""The least and the most of what is a number."""


def _integer(params: object, name: str, low: int, high: int) -> None:
    """Check a field that is an integer, and make it Python's own."""
    object.__setattr__(params, name, check_integer(name, getattr(params, name), low, high))


def _number(params: object, name: str, low: float, high: float) -> None:
    """Check a field that is a number, and make it Python's own."""
    object.__setattr__(params, name, check_number(name, getattr(params, name), low, high))


def _usable_threads() -> int:
    """The CPUs that this process may keep busy; at most half of those that there are, above 4.

    Two hyper-threads of one core slow each other down in matrix products.
    """
    cpus = machine.here.cpus
    n_cores = cpus.n_affinity if cpus.n_affinity <= 4 else cpus.n_affinity // 2
    return min(n_cores, cpus.usable)


@hinting
@dataclass(frozen=True, kw_only=True)
class ContextParams:
    """The parameters of a context.

    Parameters
    ----------
    n_ctx : int, optional
        Cells of the KV cache, the number of tokens that the context can hold. None: the model's
        training context.
    kv_cache_type : str or (str, str)
        The type of K and V, or one for each: f32 f16 bf16 q8_0 q5_1 q5_0 q4_1 q4_0 iq4_nl.
    n_batch, n_ubatch : int
        Tokens passed to llama.cpp at once, and computed at once. Other sizes change the last bits.
    n_threads, n_threads_batch : int, optional
        Threads for one token, and for many. None: the CPUs available to this process, by affinity,
        container and hub.
    flash_attention : bool
        Needed for quantised V.
    n_parallel : int
        Scratch sequences: the number of branches that can be decoded in one batch.
    rope_scaling : {"none", "linear", "yarn", "longrope"}, optional
        How positions are scaled. None: as the model says.
    rope_freq_base, rope_freq_scale : float, optional
        None: the model's own.
    yarn_orig_ctx : int, optional
        The context size before YaRN scaling. None: the model's own.

    Raises
    ------
    ParameterError
        When a value is out of range, or values do not fit together.
    """

    n_ctx: int | None = None
    kv_cache_type: str | tuple[str, str] = "f16"
    n_batch: int = 2048
    n_ubatch: int = 512
    n_threads: int | None = None
    n_threads_batch: int | None = None
    flash_attention: bool = True
    n_parallel: int = 8
    rope_scaling: str | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    yarn_orig_ctx: int | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _INTEGERS.items():
            if getattr(self, name) is not None or name not in _OPTIONAL:
                _integer(self, name, low, high)
        if self.n_ubatch > self.n_batch:
            raise ParameterError(
                f"n_ubatch={self.n_ubatch} is larger than n_batch={self.n_batch}: "
                "a batch is computed in pieces of n_ubatch tokens"
            )
        check_bool("flash_attention", self.flash_attention)
        for name, (least, most) in _NUMBERS.items():
            if getattr(self, name) is not None:
                _number(self, name, least, most)
        if self.rope_scaling is not None and self.rope_scaling not in list(ROPE_SCALING):
            raise ParameterError(
                f"rope_scaling={shown(repr(self.rope_scaling))} is unknown; "
                f"there is {', '.join(ROPE_SCALING)}"
            )
        pair = self.kv_cache_type
        if isinstance(pair, list):
            pair = tuple(pair)
            object.__setattr__(self, "kv_cache_type", pair)
        if not isinstance(pair, (str, tuple)) or (isinstance(pair, tuple) and len(pair) != 2):
            raise ParameterError(
                f"kv_cache_type={shown(repr(pair))} must be one name, or a pair for K and V"
            )
        for name in (pair,) if isinstance(pair, str) else pair:
            if not isinstance(name, str) or name not in KV_CACHE_TYPES:
                hint = did_you_mean(str(name).lower(), KV_CACHE_TYPES)
                raise ParameterError(
                    f"kv_cache_type {shown(repr(name))} is unknown; "
                    f"there is {', '.join(KV_CACHE_TYPES)}{hint and f' ({hint})'}"
                )
        if self.type_v.block > 1 and not self.flash_attention:
            raise ParameterError(
                f"a quantised V cache ({self.type_v.name}) needs flash attention: "
                "pass flash_attention=True, or f16 for V"
            )

    @property
    def type_k(self) -> KVCacheType:
        """The type of K."""
        pair = self.kv_cache_type
        return KV_CACHE_TYPES[pair if isinstance(pair, str) else pair[0]]

    @property
    def type_v(self) -> KVCacheType:
        """The type of V."""
        pair = self.kv_cache_type
        return KV_CACHE_TYPES[pair if isinstance(pair, str) else pair[1]]

    @property
    def threads(self) -> tuple[int, int]:
        """Threads for one token and for many, with the defaults filled in."""
        one = self.n_threads or _usable_threads()
        return one, self.n_threads_batch or one

    @property
    def rope_scaling_type(self) -> int:
        """llama.cpp's number for ``rope_scaling``, -1 for the model's own."""
        return -1 if self.rope_scaling is None else ROPE_SCALING[self.rope_scaling]

    @lists_options(ContextOptions, {})
    def with_changes(self, **changes: Unpack[ContextOptions]) -> ContextParams:
        """Return a copy with some values changed; unknown names raise ``TypeError``."""
        check_names("ContextParams", changes, [f.name for f in dataclasses.fields(self)])
        return dataclasses.replace(self, **changes)
