"""Parameters of sampling: frozen values, checked on creation, one by one and together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...checks import (
    check_integer,
    check_list,
    check_names,
    check_number,
    did_you_mean,
    is_integer,
    is_number,
)
from ...errors import ParameterError, shown
from ..grammars.grammar import check_grammar
from ..grammars.json_schema import gbnf
from ..options import SamplingOptions, hinting, lists_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["RANGES", "SAMPLERS", "SamplingParams"]

_INT32 = 2**31 - 1
_NUMBERS = {
    "temperature": (0.0, 1e4),
    "dynamic_temperature_range": (0.0, 1e4),
    "dynamic_temperature_exponent": (0.0, 1e3),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.0, 1.0),
    "top_n_sigma": (0.0, 1e4),
    "xtc_probability": (0.0, 1.0),
    "xtc_threshold": (0.0, 0.5),
    "repetition_penalty": (1e-3, 1e3),
    "frequency_penalty": (-1e3, 1e3),
    "presence_penalty": (-1e3, 1e3),
    "dry_multiplier": (0.0, 1e3),
    "dry_base": (1.0, 1e3),
    "mirostat_tau": (0.0, 1e3),
    "mirostat_eta": (0.0, 1e3),
    "adaptive_p_decay": (0.0, 0.99),
}
_INTEGERS = {
    "top_k": (0, _INT32),
    "penalty_window": (-1, _INT32),
    "dry_allowed_length": (0, _INT32),
    "dry_window": (-1, _INT32),
    "mirostat": (0, 2),
}
_MOST_SEED = 2**64 - 1
_TARGET = (0.0, 1.0)
RANGES: Mapping[str, tuple[float, float]] = {
    **_NUMBERS,
    **_INTEGERS,
    "adaptive_p_target": _TARGET,
    "seed": (0, _MOST_SEED),
}
"""The least and the most of what is a number."""
_MOST_BREAKERS = 64  # the whole vocabulary is searched for each
_MOST_BREAKER_BYTES = 40  # llama.cpp cuts off the rest

# In llama.cpp's order: each with what belongs to it, and the values at which it does nothing.
_OF_SAMPLERS: dict[str, dict[str, Any]] = {
    "penalties": {
        "repetition_penalty": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
    },
    "dry": {"dry_multiplier": 0.0},
    "top_n_sigma": {"top_n_sigma": 0.0},
    "top_k": {"top_k": 0},
    "typical_p": {"typical_p": 1.0},
    "top_p": {"top_p": 1.0},
    "min_p": {"min_p": 0.0},
    "xtc": {"xtc_probability": 0.0},
    "temperature": {"temperature": 1.0, "dynamic_temperature_range": 0.0},
}
SAMPLERS = tuple(_OF_SAMPLERS)
"""The samplers in front of the draw, in their usual order."""

_NOT_GREEDY = ("dynamic_temperature_range", "xtc_probability", "mirostat", "adaptive_p_target")
_NOT_WITH_MIROSTAT = (
    "dynamic_temperature_range",
    "top_n_sigma",
    "typical_p",
    "xtc_probability",
    "adaptive_p_target",
)


@hinting
@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """The parameters of sampling, on llama.cpp's sampler chain.

    The order is logit bias, those of ``samplers``, draw; a grammar is applied to the drawn token
    first and to all tokens when that one does not fit.

    Parameters
    ----------
    temperature : float
        0 takes the most likely token.
    dynamic_temperature_range, dynamic_temperature_exponent : float
        With a range above 0 the temperature lies up to that far below or above, the higher the
        more even the probabilities are: their entropy's share of its maximum, to this power.
    top_k : int
        Keep the k most likely; 0 keeps all.
    top_p, min_p, typical_p : float
        1, 0 and 1 keep all.
    top_n_sigma : float
        Keep logits within this many standard deviations of the highest; 0 keeps all.
    xtc_probability, xtc_threshold : float
        How often to exclude the top choices: of the tokens above the threshold all but the least
        likely. 0 never does.
    repetition_penalty, frequency_penalty, presence_penalty : float
        1, 0 and 0 do nothing.
    penalty_window : int
        Number of tokens that the penalties consider; 0: none, -1: the whole context.
    dry_multiplier, dry_base : float
        DRY ("don't repeat yourself") lowers the logit of a token that would continue a repeated
        sequence, by multiplier * base ** (length - allowed length). A multiplier of 0 does nothing.
    dry_allowed_length : int
        Length from which a repeated sequence counts.
    dry_window : int
        Number of tokens to look for repetitions in; 0: none, -1: the whole context.
    dry_sequence_breakers : sequence of str
        Texts that no repetition reaches across.
    mirostat : {0, 1, 2}
        Version of Mirostat, which adapts how many tokens to keep so that their mean surprise comes
        near to ``mirostat_tau`` bits. Of ``samplers``, only penalties, DRY and the temperature
        apply beside it, as those that truncate would hide the surprise. 0: none.
    mirostat_tau, mirostat_eta : float
        Target surprise in bits, and learning rate.
    adaptive_p_target : float, optional
        Adaptive-p draws tokens whose probability is near a target, which it adapts so that the
        moving average of the drawn ones comes near to this. None: off.
    adaptive_p_decay : float
        Of the moving average; up to 0.99. It spans about 1 / (1 - decay) tokens.
    samplers : sequence of str
        The samplers in front of the draw, in order. One that is left out must not be set.
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
        When a value is out of range, or has no effect beside another one.
    GrammarError
        When the schema cannot be turned into a grammar.

    Notes
    -----
    Mirostat (Basu et al. 2021, arXiv:2007.14966) and adaptive-p carry a state from token to token.
    It is kept with an answer's tokens, so that ``resume`` and ``fork`` go on with it.
    """

    temperature: float = 0.8
    dynamic_temperature_range: float = 0.0
    dynamic_temperature_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    penalty_window: int = 64
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_window: int = 64
    dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*")
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_p_target: float | None = None
    adaptive_p_decay: float = 0.9
    samplers: Sequence[str] = SAMPLERS
    seed: int | None = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    grammar: str | None = None
    json_schema: Mapping[str, Any] | str | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in _NUMBERS.items():
            self._set(name, check_number(name, getattr(self, name), least, most))
        if self.adaptive_p_target is not None:
            target = check_number("adaptive_p_target", self.adaptive_p_target, *_TARGET)
            self._set("adaptive_p_target", target)
        for name, (low, high) in _INTEGERS.items():
            self._set(name, check_integer(name, getattr(self, name), low, high))
        if self.seed is not None:
            if is_integer(self.seed) and self.seed < 0:
                raise ParameterError(
                    f"seed={shown(self.seed)} is out of range: it must lie in 0 to {_MOST_SEED}; "
                    "None draws one"
                )
            self._set("seed", check_integer("seed", self.seed, 0, _MOST_SEED))
        if not isinstance(self.logit_bias, Mapping):
            raise ParameterError(
                f"logit_bias must map token ids to numbers, not {shown(self.logit_bias)}"
            )
        self._set("logit_bias", dict(_bias(*item) for item in self.logit_bias.items()))
        self._set("dry_sequence_breakers", _breakers(self.dry_sequence_breakers))
        self._set("samplers", _samplers(self.samplers))
        self._check_together()
        if self.grammar is not None and self.json_schema is not None:
            raise ParameterError("grammar and json_schema exclude each other; give one of them")
        if self.grammar is not None:
            check_grammar(self.grammar)
        if self.json_schema is not None:
            gbnf(self.json_schema)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_together(self) -> None:
        """Refuse what would have no effect and was not set by default."""
        if self.temperature == 0:
            self._refuse(_NOT_GREEDY, "temperature=0 takes the most likely token")
        if self.mirostat:
            self._refuse(_NOT_WITH_MIROSTAT, "mirostat chooses the tokens to keep")
        for sampler in [name for name in SAMPLERS if name not in self.samplers]:
            set_ = [n for n, off in _OF_SAMPLERS[sampler].items() if getattr(self, n) != off]
            self._refuse(set_, f"samplers leaves {sampler!r} out")

    def _refuse(self, names: Sequence[str], why: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value != getattr(type(self), name):
                raise ParameterError(
                    f"{why}, so {name}={value!r} would do nothing; leave one of the two out"
                )

    @property
    def carries(self) -> str | None:
        """The sampler that carries a state from token to token, if there is one."""
        if self.mirostat:
            return "mirostat"
        return None if self.adaptive_p_target is None else "adaptive_p"

    def changed(self) -> dict[str, Any]:
        """Return the values that differ from the defaults, as JSON can hold them."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        default = SamplingParams()
        changed = {k: v for k, v in values.items() if v != getattr(default, k)}
        if "logit_bias" in changed:
            changed["logit_bias"] = {str(k): v for k, v in self.plain_biases}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in changed.items()}

    @property
    def plain_biases(self) -> list[tuple[int, float | str]]:
        """The pairs of ``logit_bias`` as JSON can hold them, ``-inf`` as a text."""
        return [(k, "-inf" if v == -math.inf else v) for k, v in self.logit_bias.items()]

    @lists_options(SamplingOptions, {})
    def with_changes(self, **changes: Unpack[SamplingOptions]) -> SamplingParams:
        """Return a copy with some values changed; unknown names raise ``TypeError``."""
        check_names("SamplingParams", changes, [f.name for f in dataclasses.fields(self)])
        return dataclasses.replace(self, **changes) if changes else self


def _bias(token: object, bias: object) -> tuple[int, float]:
    """Return an item of ``logit_bias`` as Python's own numbers."""
    if not is_integer(token) or token < 0:
        raise ParameterError(f"logit_bias has the key {shown(repr(token))}; keys are token ids")
    if bias == "-inf":  # as JSON has it, which knows no infinity
        return int(token), -math.inf
    if not is_number(bias) or math.isnan(bias) or bias == math.inf:
        raise ParameterError(f"logit_bias of token {token} is {shown(repr(bias))}; give a number")
    return int(token), int(bias) if is_integer(bias) else float(bias)


def _breakers(given: object) -> tuple[str, ...]:
    """Return ``dry_sequence_breakers`` as a tuple."""
    texts = _listed("dry_sequence_breakers", given)
    for text in texts:
        is_whole = not any("\ud800" <= c <= "\udfff" or c == "\0" for c in text)
        n_bytes = len(text.encode("utf-8", "replace"))
        if not is_whole or not 0 < n_bytes <= _MOST_BREAKER_BYTES:
            raise ParameterError(
                f"dry_sequence_breakers holds {shown(repr(text))}; give texts of 1 to "
                f"{_MOST_BREAKER_BYTES} bytes in UTF-8"
            )
    if len(texts) > _MOST_BREAKERS:
        raise ParameterError(
            f"dry_sequence_breakers holds {len(texts)} texts; at most {_MOST_BREAKERS} are allowed"
        )
    return texts


def _samplers(given: object) -> tuple[str, ...]:
    """Return ``samplers`` as a tuple."""
    names = _listed("samplers", given)
    for i, name in enumerate(names):
        if name not in _OF_SAMPLERS:
            hint = did_you_mean(name, SAMPLERS)
            raise ParameterError(
                f"samplers holds {shown(repr(name))}, which is unknown; there is "
                f"{', '.join(SAMPLERS)}{hint and f' ({hint})'}"
            )
        if name in names[:i]:
            raise ParameterError(f"samplers holds {name!r} twice; each is applied once")
    return names


def _listed(name: str, given: object) -> tuple[str, ...]:
    values = [given] if isinstance(given, str) else check_list(name, given, "texts")
    # The order counts, which a set does not have.
    if isinstance(given, Set) or not all(isinstance(value, str) for value in values):
        raise ParameterError(f"{name}={shown(repr(given))} must be a list of texts")
    return tuple(map(str, values))
