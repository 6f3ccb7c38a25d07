"""The result of a generation: tokens, and a text with its origin; and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from ..checks import check_list, check_names, is_integer
from ..errors import ParameterError, shown
from .options import LimitOptions
from .sampling.adaptive import SamplerState
from .sampling.params import SamplingParams

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["Completion", "FinishReason", "Limits", "Part", "Token"]

FinishReason: TypeAlias = Literal["stop", "length", "context_full", "stopped"]
Part: TypeAlias = Literal["text", "reasoning", "tool_call"]


class Token(NamedTuple):
    """One generated token.

    Attributes
    ----------
    id : int
    text : str
        The text to show for it: empty while a character is incomplete or a stop string may be
        beginning. Control tokens have one too, except those that end an answer.
    logprob : float
        Natural logarithm of the model's own probability, before any sampler.
    part : {"text", "reasoning", "tool_call"}
        The part of an answer that it is in. A mark such as ``<think>`` is in the part that it
        begins or ends.
    """

    id: int
    text: str
    logprob: float
    part: Part = "text"


class Completion(str):
    """Generated text, and how it was generated.

    Attributes
    ----------
    finish_reason : {"stop", "length", "context_full", "stopped"}
        An end token or stop string; ``max_tokens``; no cell left; ``stop()`` was called.
    tokens : tuple of Token
        In order of the text; all of them are in the context.
    reused, evaluated : int
        Tokens of the prompt that were reused from the context, and that were evaluated.
    seconds : float
        For the prompt and the generation.
    sampling : SamplingParams
        Including the seed used.
    sampler_states : tuple of tuple of float
        What Mirostat or adaptive-p carried on from each token; empty without them. The last one
        continues the answer.
    """

    finish_reason: FinishReason
    tokens: tuple[Token, ...]
    reused: int
    evaluated: int
    seconds: float
    sampling: SamplingParams
    sampler_states: tuple[SamplerState, ...]

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
        sampler_states: Sequence[SamplerState] = (),
    ) -> Completion:
        """Attach what is known of a generation to its text."""
        completion = super().__new__(cls, text)
        completion.finish_reason = finish_reason
        completion.tokens = tuple(tokens)
        completion.reused = reused
        completion.evaluated = evaluated
        completion.seconds = seconds
        completion.sampling = sampling
        completion.sampler_states = tuple(sampler_states)
        return completion

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, object]]:
        """Let it be copied and pickled, as the messages are that it is put into."""
        return (str(self),), vars(self)


@dataclass(frozen=True)
class Limits:
    """The limits of a generation.

    Parameters
    ----------
    max_tokens : int, optional
        None for no limit but the context's.
    stop : str or sequence of str
        Texts that end it; not part of the result.
    stop_tokens : sequence of int
        Tokens that end it, besides the model's own end tokens.
    reasoning_budget : int, optional
        Tokens after which a thought is ended by its closing mark; 0: at once. None for no limit.
    """

    max_tokens: int | None = None
    stop: str | Sequence[str] = ()
    stop_tokens: Sequence[int] = ()
    reasoning_budget: int | None = None
    stop_texts: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("max_tokens", "reasoning_budget"):
            n = getattr(self, name)
            if n is not None and not (is_integer(n) and n >= 0):
                raise ParameterError(f"{name}={n!r} must be 0 or more, or None for no limit")
            object.__setattr__(self, name, n if n is None else int(n))
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        texts = tuple(check_list("stop", stop, "texts, or one text"))
        if not all(isinstance(text, str) and text for text in texts):
            raise ParameterError(
                f"stop={shown(repr(self.stop))} must be a text or several, none of them empty"
            )
        tokens = check_list("stop_tokens", self.stop_tokens, "token ids")
        if not all(map(is_integer, tokens)):
            raise ParameterError(
                f"stop_tokens={shown(repr(self.stop_tokens))} must be a list of token ids"
            )
        object.__setattr__(self, "stop_tokens", tuple(map(int, tokens)))
        object.__setattr__(self, "stop", texts)
        object.__setattr__(self, "stop_texts", texts)

    def with_changes(self, **changes: Unpack[LimitOptions]) -> Self:
        """Return a copy with other values; ``None`` and ``()`` take a limit away."""
        check_names("limits", changes, [f.name for f in fields(self) if f.init])
        return replace(self, **changes)

    def changed(self) -> dict[str, Any]:
        """Return the limits that are set, as JSON can hold them."""
        limits = {
            "max_tokens": self.max_tokens,
            "stop": list(self.stop_texts),
            "stop_tokens": list(self.stop_tokens),
            "reasoning_budget": self.reasoning_budget,
        }
        return {name: value for name, value in limits.items() if value not in (None, [])}
