"""What is asked of a context, checked when it is asked, and what comes of it."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import ParameterError
from .chat_template import Message
from .generation import Completion, FinishReason, Generation, Limits
from .params import SamplingParams
from .path import Progress
from .prompt import Prompt

__all__ = ["Request", "Run", "Ticket", "seeded"]


def seeded(sampling: SamplingParams) -> SamplingParams:
    """The same, with a seed that was drawn where none was given."""
    if sampling.seed is not None:
        return sampling
    return dataclasses.replace(sampling, seed=secrets.randbits(32))


@dataclass(frozen=True)
class Request:
    """One call of ``generate`` or ``stream``, checked when it is made."""

    prompt: Prompt | None
    messages: Sequence[Message] | None
    limits: Limits
    sampling: SamplingParams
    sibling: int
    special: bool
    progress: Progress | None

    def __post_init__(self) -> None:
        if isinstance(self.sibling, bool) or not isinstance(self.sibling, int) or self.sibling < 0:
            raise ParameterError(f"sibling={self.sibling!r} must be 0 or more")
        object.__setattr__(self, "sampling", seeded(self.sampling))


@dataclass(eq=False)
class Ticket:
    """One request, from its submission to its end; it can be stopped at any time in between."""

    stopped: bool = False


@dataclass
class Run:
    """A request under way; ``generation`` is None where nothing is to be generated."""

    generation: Generation | None
    request: Request
    ticket: Ticket = field(default_factory=Ticket)
    reused: int = 0
    evaluated: int = 0
    is_evaluated: bool = False

    def completion(self, seconds: float) -> Completion:
        """What came of it so far."""
        generation = self.generation
        reason: FinishReason = "stopped"
        if generation is not None:
            reason = generation.finish_reason or "stopped"
        elif self.is_evaluated:
            reason = "length"
        return Completion(
            "" if generation is None else generation.text,
            finish_reason=reason,
            tokens=() if generation is None else generation.tokens,
            reused=self.reused,
            evaluated=self.evaluated,
            seconds=seconds,
            sampling=self.request.sampling,
        )
