"""Requests to a context, checked on creation."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..checks import check_integer
from ..errors import ParameterWarning
from .answers.format import AnswerFormat
from .completion import Limits
from .model import Model
from .path import Progress
from .prompt import Prompt
from .sampling.adaptive import check_state
from .sampling.params import SamplingParams
from .templates.template import Message
from .warn import warn

__all__ = ["Request", "seeded", "warn_of_budget"]


def seeded(sampling: SamplingParams) -> SamplingParams:
    """Return the parameters, with a random seed if none was given."""
    if sampling.seed is not None:
        return sampling
    return dataclasses.replace(sampling, seed=secrets.randbits(32))


def warn_of_budget(
    model: Model, answer_format: AnswerFormat | None, limits: Iterable[Limits]
) -> None:
    """Warn of a reasoning budget where answers have no thoughts that are known as such."""
    if all(each.reasoning_budget is None for each in limits):
        return
    if not (answer_format or model.answer_format).has_thoughts:
        warn(
            f"the chat template of {model.name!r} shows no thoughts, so that reasoning_budget has "
            "no effect",
            ParameterWarning,
        )


@dataclass(frozen=True)
class Request:
    """One call of ``generate`` or ``stream``, checked on creation."""

    prompt: Prompt | None
    messages: Sequence[Message] | None
    limits: Limits
    sampling: SamplingParams
    sibling: int
    special: bool
    progress: Progress | None
    sampler_state: Sequence[float] | None = None
    answer_format: AnswerFormat | None = None
    n_said: int = 0

    def __post_init__(self) -> None:
        for name in ("sibling", "n_said"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), 0))
        object.__setattr__(self, "sampling", seeded(self.sampling))
        object.__setattr__(self, "sampler_state", check_state(self.sampling, self.sampler_state))
