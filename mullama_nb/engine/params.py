"""Parameters of contexts and of sampling: frozen values, checked on creation."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from .. import machine
from ..checks import (
    check_bool,
    check_integer,
    check_names,
    check_number,
    did_you_mean,
    is_integer,
    is_number,
)
from ..errors import ParameterError, shown
from .grammar import check_grammar
from .json_schema import check_schema
from .options import ContextOptions, SamplingOptions, lists_options

if TYPE_CHECKING:
    from typing_extensions import Unpack


__all__ = ["KV_CACHE_TYPES", "ContextParams", "KVCacheType", "SamplingParams"]

T = TypeVar("T")


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

_NUMBERS = {
    "temperature": (0.0, 1e4),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.0, 1.0),
    "repetition_penalty": (1e-3, 1e3),
    "frequency_penalty": (-1e3, 1e3),
    "presence_penalty": (-1e3, 1e3),
}
_ROPE_SCALING = {"none": 0, "linear": 1, "yarn": 2, "longrope": 3}
_OPTIONAL_INTEGERS = {
    "n_ctx": 2**31 - 1,
    "n_threads": 512,
    "n_threads_batch": 512,
    "yarn_orig_ctx": 2**31 - 1,
}
_MAX_PARALLEL = 255  # llama.cpp's LLAMA_MAX_SEQ is 256, and one is the active path


def _hinting(cls: type[T]) -> type[T]:
    """Let the class say which names there are when it is given one that it does not know."""
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    make = cls.__init__

    @functools.wraps(make)
    def init(self: T, *values: Any, **named: Any) -> None:
        check_names(cls.__name__, named, known)
        make(self, *values, **named)

    cls.__init__ = init  # type: ignore[method-assign, assignment]
    return cls


def _integer(params: object, name: str, low: int, high: int) -> None:
    """Check a field that is an integer, and make it Python's own."""
    object.__setattr__(params, name, check_integer(name, getattr(params, name), low, high))


def _number(params: object, name: str, low: float, high: float) -> None:
    """Check a field that is a number, and make it Python's own."""
    object.__setattr__(params, name, check_number(name, getattr(params, name), low, high))


def _bias(token: object, bias: object) -> tuple[int, float]:
    """Return an item of ``logit_bias`` as Python's own numbers."""
    if not is_integer(token) or token < 0:
        raise ParameterError(f"logit_bias has the key {shown(repr(token))}; keys are token ids")
    if bias == "-inf":  # as JSON has it, which knows no infinity
        return int(token), -math.inf
    if not is_number(bias) or math.isnan(bias) or bias == math.inf:
        raise ParameterError(f"logit_bias of token {token} is {shown(repr(bias))}; give a number")
    return int(token), int(bias) if is_integer(bias) else float(bias)


def _usable_threads() -> int:
    """The CPUs that this process may keep busy; at most half of those that there are, above 4.

    Two hyper-threads of one core slow each other down in matrix products.
    """
    cpus = machine.here.cpus
    n_cores = cpus.n_affinity if cpus.n_affinity <= 4 else cpus.n_affinity // 2
    return min(n_cores, cpus.usable)


@_hinting
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
        for name, high in _OPTIONAL_INTEGERS.items():
            if getattr(self, name) is not None:
                _integer(self, name, 1, high)
        _integer(self, "n_batch", 1, 2**20)
        _integer(self, "n_ubatch", 1, 2**20)
        _integer(self, "n_parallel", 1, _MAX_PARALLEL)
        if self.n_ubatch > self.n_batch:
            raise ParameterError(
                f"n_ubatch={self.n_ubatch} is larger than n_batch={self.n_batch}: "
                "a batch is computed in pieces of n_ubatch tokens"
            )
        check_bool("flash_attention", self.flash_attention)
        for name in ("rope_freq_base", "rope_freq_scale"):
            if getattr(self, name) is not None:
                _number(self, name, 1e-9, 1e12)
        if self.rope_scaling is not None and self.rope_scaling not in _ROPE_SCALING:
            raise ParameterError(
                f"rope_scaling={shown(repr(self.rope_scaling))} is unknown; "
                f"there is {', '.join(_ROPE_SCALING)}"
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
        return -1 if self.rope_scaling is None else _ROPE_SCALING[self.rope_scaling]

    @lists_options(ContextOptions, {})
    def with_changes(self, **changes: Unpack[ContextOptions]) -> ContextParams:
        """Return a copy with some values changed; unknown names raise ``TypeError``."""
        check_names("ContextParams", changes, [f.name for f in dataclasses.fields(self)])
        return dataclasses.replace(self, **changes)


@_hinting
@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """The parameters of sampling, on llama.cpp's sampler chain.

    The order is logit bias, penalties, top-k, typical, top-p, min-p, temperature, draw; a grammar
    is applied to the drawn token first and to all tokens when that one does not fit.

    Parameters
    ----------
    temperature : float
        0 takes the most likely token.
    top_k : int
        Keep the k most likely; 0 keeps all.
    top_p, min_p, typical_p : float
        1, 0 and 1 keep all.
    repetition_penalty, frequency_penalty, presence_penalty : float
        1, 0 and 0 do nothing.
    penalty_window : int
        Number of tokens that the penalties consider; 0: none, -1: the whole context.
    seed : int, optional
        A draw is a function of (seed, sibling ordinal, position). None draws a seed and records
        it in the ``Completion``.
    logit_bias : mapping of int to float
        Added to the logits of single tokens; ``-inf``, also as a text, forbids one.
    grammar : str, optional
        A GBNF grammar.
    json_schema : mapping or str, optional
        A JSON schema, turned into a grammar.

    Raises
    ------
    ParameterError
        When a value is out of range.
    GrammarError
        When the schema cannot be turned into a grammar.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    penalty_window: int = 64
    seed: int | None = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    grammar: str | None = None
    json_schema: Mapping[str, Any] | str | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in _NUMBERS.items():
            _number(self, name, least, most)
        _integer(self, "top_k", 0, 2**31 - 1)
        _integer(self, "penalty_window", -1, 2**31 - 1)
        if self.seed is not None:
            if is_integer(self.seed) and self.seed < 0:
                raise ParameterError(
                    f"seed={shown(self.seed)} is out of range: it must lie in 0 to {2**64 - 1}; "
                    "None draws one"
                )
            _integer(self, "seed", 0, 2**64 - 1)
        if not isinstance(self.logit_bias, Mapping):
            raise ParameterError(
                f"logit_bias must map token ids to numbers, not {shown(self.logit_bias)}"
            )
        biases = dict(_bias(token, bias) for token, bias in self.logit_bias.items())
        object.__setattr__(self, "logit_bias", biases)
        if self.grammar is not None and self.json_schema is not None:
            raise ParameterError("grammar and json_schema exclude each other; give one of them")
        if self.grammar is not None:
            check_grammar(self.grammar)
        if self.json_schema is not None:
            check_schema(self.json_schema)

    def changed(self) -> dict[str, Any]:
        """Return the values that differ from the defaults, as JSON can hold them."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        default = SamplingParams()
        changed = {k: v for k, v in values.items() if v != getattr(default, k)}
        if "logit_bias" in changed:
            changed["logit_bias"] = {str(k): v for k, v in self.plain_biases}
        return changed

    @property
    def plain_biases(self) -> list[tuple[int, float | str]]:
        """The pairs of ``logit_bias`` as JSON can hold them, ``-inf`` as a text."""
        return [(k, "-inf" if v == -math.inf else v) for k, v in self.logit_bias.items()]

    @lists_options(SamplingOptions, {})
    def with_changes(self, **changes: Unpack[SamplingOptions]) -> SamplingParams:
        """Return a copy with some values changed; unknown names raise ``TypeError``."""
        check_names("SamplingParams", changes, [f.name for f in dataclasses.fields(self)])
        return dataclasses.replace(self, **changes) if changes else self
