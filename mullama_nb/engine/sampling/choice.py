"""How a token was chosen: the steps from the model's probabilities to the draw, as values."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ...tables import LEFT, RIGHT, WRAPPED, html_table

__all__ = ["Candidate", "Choice", "ChoiceStep", "Draw", "How", "Stretch"]

How: TypeAlias = Literal["drawn", "likeliest", "forced", "given"]

_SHOWN = 3  # candidates in a cell of the table


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could be chosen.

    Attributes
    ----------
    token : int
    text : str
        With control tokens written out.
    probability : float
        Among the candidates that there were at that point.
    """

    token: int
    text: str
    probability: float

    def __repr__(self) -> str:
        return f"Candidate({self.token}, {self.text!r}, {_percent(self.probability)})"


@dataclass(frozen=True, slots=True, repr=False)
class ChoiceStep:
    """One sampler of the chain, and what it did to the candidates.

    Attributes
    ----------
    name : str
        As in ``SamplingParams.samplers``; or ``"grammar"``, ``"logit_bias"``, ``"mirostat"``,
        ``"adaptive_p"``.
    detail : str
        Its settings, in words.
    before, after : int
        Numbers of candidates.
    candidates : tuple of Candidate
        After the step, the likeliest first; the first 40.
    removed : tuple of Candidate
        What the step took away, the likeliest first, with the probabilities that they had before
        it; the first 40.
    """

    name: str
    detail: str
    before: int
    after: int
    candidates: tuple[Candidate, ...]
    removed: tuple[Candidate, ...]

    def __repr__(self) -> str:
        return f"ChoiceStep({self.name}: {self.detail}; {self.before:,} → {self.after:,})"


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of the cumulative bar that draws a token.

    Attributes
    ----------
    token : int
    text : str
    low, high : float
        Numbers from ``low`` up to but not including ``high`` draw it.
    """

    token: int
    text: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, repr=False)
class Draw:
    """The number that was drawn, and where it falls.

    The probabilities of the candidates lie end to end on a bar from 0 to 1, in the order in which
    the last sampler left them.

    Attributes
    ----------
    number : float
        In [0, 1); a function of (seed, sibling ordinal, position).
    low, high : float
        The stretch of the token that it draws, ``low <= number < high``.
    next_number : float
        The number of the next sibling ordinal.
    next_token : int or None
        What the next ordinal would have drawn here, with what XTC or a grammar change then. None
        where they leave nothing.
    next_text : str or None
    bar : tuple of Stretch
        The 40 longest stretches and the drawn one, from left to right.
    """

    number: float
    low: float
    high: float
    next_number: float
    next_token: int | None
    next_text: str | None
    bar: tuple[Stretch, ...]

    def __repr__(self) -> str:
        return f"Draw({self.number:.4f} in [{self.low:.4f}, {self.high:.4f}))"


@dataclass(frozen=True, slots=True, repr=False)
class Choice:
    """How one token of an answer was chosen, step by step; made by ``turn.choice``.

    Attributes
    ----------
    token : int
        The token that was chosen.
    text : str
        With control tokens written out.
    position : int
        Number of tokens in front of it in the context.
    how : {"drawn", "likeliest", "forced", "given"}
        By a random number; without one, at temperature 0; by a rule of the answer, such as the
        budget of its thoughts; or not by the model at all.
    note : str
        What else there is to say, in words: why a token was forced or who gave it, what a grammar
        did not take, why the numbers here do not give the token; mostly empty.
    model : tuple of Candidate
        What the model gave, before any step: the likeliest first, the first 40. Empty where no
        token lies in front.
    steps : tuple of ChoiceStep
        In the order of the chain; empty where the token was forced or given.
    draw : Draw or None
        None where no number was drawn, or where these logits give another token than was chosen.
    """

    token: int
    text: str
    position: int
    how: How
    note: str = ""
    model: tuple[Candidate, ...] = field(default=(), repr=False)
    steps: tuple[ChoiceStep, ...] = ()
    draw: Draw | None = None

    @property
    def in_words(self) -> str:
        """One line that says how the token came about."""
        said = f"{self.text!r} was {'the ' * (self.how == 'likeliest')}{self.how}"
        if self.draw is not None:
            draw = self.draw
            said += f": {draw.number:.4f} lies in [{draw.low:.4f}, {draw.high:.4f})"
        return f"{said}; {self.note}" if self.note else said

    def __repr__(self) -> str:
        names = ", ".join(step.name for step in self.steps)
        return f"Choice({self.in_words}{names and f'; {names}'})"

    def _repr_html_(self) -> str:
        rows = [("model", "", "", _shown(self.model), "")]
        rows += [
            (
                *(step.name, step.detail, f"{step.before:,} → {step.after:,}"),
                *(_shown(step.candidates), _shown(step.removed)),
            )
            for step in self.steps
        ]
        heads = ["step", "settings", "candidates", "likeliest", "taken away"]
        styles = (LEFT, WRAPPED, RIGHT, WRAPPED, WRAPPED)
        table = html_table(rows, heads, styles=styles, named_rows=True)
        return f"<p>{html.escape(self.in_words)}</p>{table}"


def _shown(candidates: Sequence[Candidate]) -> str:
    said = [f"{each.text!r} {_percent(each.probability)}" for each in candidates[:_SHOWN]]
    return ", ".join(said) + ", …" * (len(candidates) > _SHOWN)


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f} %"
