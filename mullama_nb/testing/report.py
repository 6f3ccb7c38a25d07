"""The report of a replay, for people, notebooks and CI."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import RegressionError
from ..tables import WRAPPED, html_table

if TYPE_CHECKING:
    from rich.text import Text

    from .moved_answer import MovedAnswer
    from .walk import Step

__all__ = ["CheckpointReport", "Quality", "Report"]

_HEADS = ("checkpoint", "from token", "recorded", "here", "gap", "log-probability")


@dataclass(frozen=True)
class CheckpointReport:
    """The differences at one checkpoint.

    Attributes
    ----------
    name : str
        Short id, role, tags.
    passed : bool
        Whether the level permits them.
    token : int or None
        Index of the first token that differs in the checkpoint; None if none does.
    recorded, here : str
        Both texts from there.
    gap : float or None
        How much likelier one of the two tokens was than the other in the recording; for tokens
        drawn at random, how far any probability has moved.
    is_near_tie : bool
        Whether the gap is within the margin, so that rounding may decide.
    largest : float
        The largest difference of a recorded token's log-probability.
    n_differing : int
        Number of differing tokens, each after the recorded prefix.
    largest_gap : float or None
        The largest of their gaps.
    is_missing : bool
        Whether the checkpoint is on one side only.
    """

    name: str
    passed: bool
    token: int | None = None
    recorded: str = ""
    here: str = ""
    gap: float | None = None
    is_near_tie: bool = False
    largest: float = 0.0
    n_differing: int = 1
    largest_gap: float | None = None
    is_missing: bool = False

    def lines(self) -> Iterator[tuple[str, str]]:
        """Return the report's lines, each with its kind: ``"head"``, ``"text"`` or ``"note"``."""
        verdict = "passed" if self.passed else "FAILED"
        moved = f", log-probabilities differ by up to {self.largest:.2g}" if self.largest else ""
        yield "head", f"checkpoint {self.name}: {verdict}{moved}"
        if self.is_missing:
            side, text = ("recorded", self.recorded) if self.recorded else ("here", self.here)
            yield "text", f"  is only {side}: {text!r}"
        elif self.token is not None:
            others = f" ({self.n_differing} tokens in all)" if self.n_differing > 1 else ""
            yield "note", f"  differs from token {self.token} on{others}:"
            yield "text", f"    recorded {self.recorded!r}"
            yield "text", f"    here     {self.here!r}"
        if self.gap is not None:
            kind = "a near-tie, which rounding can decide" if self.is_near_tie else "a real change"
            yield "note", f"    probability gap {self.gap:.3f}: {kind}"
        if self.largest_gap is not None and self.largest_gap != self.gap:
            yield "note", f"    the largest gap of a token behind it is {self.largest_gap:.3f}"

    def __str__(self) -> str:
        return "\n".join(line for _, line in self.lines())


@dataclass(frozen=True)
class Quality:
    """How well the recorded tokens are predicted, for instance by another KV cache type.

    Attributes
    ----------
    n_tokens : int
        Number of tokens with probabilities on both sides.
    recorded, here : float
        Mean log-probability, in nats per token; closer to 0 is better.
    mean_difference, largest : float
        Absolute difference of a token's log-probability.
    same_likeliest : float
        Share of positions at which the same token is the most likely, 0 to 1.
    """

    n_tokens: int = 0
    recorded: float = 0.0
    here: float = 0.0
    mean_difference: float = 0.0
    largest: float = 0.0
    same_likeliest: float = 1.0

    @classmethod
    def of(cls, pairs: Sequence[tuple[Step, Step]]) -> Quality:
        """Return the quality of log-probabilities here against recorded ones."""
        if not pairs:
            return cls()
        n = len(pairs)
        moved = [abs(a.logprob - b.logprob) for a, b in pairs]
        same = sum(_likeliest(a) == _likeliest(b) for a, b in pairs)
        return cls(
            n,
            sum(a.logprob for a, _ in pairs) / n,
            sum(b.logprob for _, b in pairs) / n,
            sum(moved) / n,
            max(moved),
            same / n,
        )

    @property
    def cost(self) -> float:
        """The loss here in nats per token; below 0 if the tokens became likelier."""
        return self.recorded - self.here

    def __str__(self) -> str:
        return (
            f"{self.recorded:.4f} nats per token recorded, {self.here:.4f} here; log-probabilities "
            f"differ by {self.mean_difference:.2g} on average and by {self.largest:.2g} at most; "
            f"the likeliest token is the same {self.same_likeliest:.1%} of the time"
        )


@dataclass(frozen=True, repr=False)
class Report:
    """The result of a replay, or of a comparison of two recordings.

    In a test use ``assert report.passed, report``; :meth:`check` does the same.

    Attributes
    ----------
    level : str
    settings : tuple of str
        Differing settings, in words.
    environment : tuple of str
        Differences of build and machine.
    checkpoints : tuple of CheckpointReport
        The checkpoints with differences.
    n_checkpoints : int
        Number of checkpoints compared.
    quality : Quality
        Of the tokens that were compared.
    problems : tuple of str
        Reasons for failing other than the checkpoints.
    moved : tuple of MovedAnswer
        For ``regress``: the answers here that are others than the recorded ones. That alone fails
        at no level, as rounding may decide it.
    """

    level: str
    settings: tuple[str, ...]
    environment: tuple[str, ...]
    checkpoints: tuple[CheckpointReport, ...]
    n_checkpoints: int
    quality: Quality
    problems: tuple[str, ...] = ()
    moved: tuple[MovedAnswer, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all differences are within the level."""
        return not self.problems and all(c.passed for c in self.checkpoints)

    @property
    def is_identical(self) -> bool:
        """Whether nothing differs, to the bit."""
        return not (self.checkpoints or self.problems or self.moved)

    def check(self) -> None:
        """Raise an error unless the report passed.

        Raises
        ------
        RegressionError
            With the report as its message.
        """
        if not self.passed:
            raise RegressionError(str(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return {
            "passed": self.passed,
            "identical": self.is_identical,
            **dataclasses.asdict(self),
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Return the report's lines, each with its kind: ``"head"``, ``"text"`` or ``"note"``."""
        n, measured = self.n_checkpoints, self.quality.n_tokens
        what = f"{n} checkpoint{'s' * (n != 1)}, {measured} generated token{'s' * (measured != 1)}"
        verdict = "passed" if self.passed else "FAILED"
        yield (
            "head",
            (
                f"identical: {what}"
                if self.is_identical
                else f"{verdict} at level {self.level}: {what}"
            ),
        )
        for note in (*self.problems, *self.settings, *self.environment):
            yield "note", note
        if self.quality.largest:
            yield "note", str(self.quality)
        for checkpoint in self.checkpoints:
            yield from checkpoint.lines()
        for answer in self.moved:
            yield "text", str(answer)

    def __str__(self) -> str:
        return "\n".join(line for _, line in self.lines())

    def __repr__(self) -> str:
        return str(self)

    def __rich__(self) -> Text:
        from rich.text import Text

        shown = Text()
        for kind, line in self.lines():
            colour = "" if kind != "head" else "bold red" if "FAILED" in line else "bold green"
            shown.append(f"{line}\n", colour or {"note": "", "text": "dim"}[kind])
        shown.rstrip()
        return shown

    def _repr_html_(self) -> str:
        colour = (
            "var(--jp-success-color1, #388e3c)"
            if self.passed
            else ("var(--jp-error-color1, #d32f2f)")
        )
        head, *notes = [
            html.escape(line)
            for _, line in dataclasses.replace(self, checkpoints=(), moved=()).lines()
        ]
        if self.checkpoints or self.moved:
            head = html.escape(next(self.lines())[1])
        rows = [*map(_row, self.checkpoints)]
        table = html_table(rows, _HEADS, styles=[WRAPPED] * len(_HEADS)) if rows else ""
        below = "".join(f"<div>{note}</div>" for note in notes)
        strips = "".join(answer.to_html() for answer in self.moved)
        return f'<div><strong style="color:{colour}">{head}</strong>{below}{table}{strips}</div>'


def _row(report: CheckpointReport) -> tuple[str, ...]:
    gap = ""
    if report.gap is not None:
        gap = f"{report.gap:.3f}, {'near-tie' if report.is_near_tie else 'real change'}"
    return (
        f"{report.name}: {'passed' if report.passed else 'FAILED'}",
        "" if report.token is None else str(report.token),
        report.recorded,
        report.here,
        gap,
        f"±{report.largest:.2g}" if report.largest else "",
    )


def _likeliest(step: Step) -> int | None:
    return step.top[0][0] if step.top else None
