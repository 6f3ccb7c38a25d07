"""The report: what a replay found, for people, for notebooks and for CI."""

from __future__ import annotations

import dataclasses
import html
from dataclasses import dataclass
from typing import Any

__all__ = ["CheckpointReport", "Report"]


@dataclass(frozen=True)
class CheckpointReport:
    """What differs at one checkpoint.

    Attributes
    ----------
    id : str
    passed : bool
        Whether the level allows it.
    token : int or None
        The first token that differs, counted from the checkpoint's first; None where none does.
    recorded, here : str
        Both texts from there.
    gap : float or None
        How much likelier one of the two tokens was than the other when it was recorded.
    is_near_tie : bool
        Whether that gap is within the margin, so that rounding may decide.
    largest : float
        The largest difference of a recorded token's log-probability.
    """

    id: str
    passed: bool
    token: int | None = None
    recorded: str = ""
    here: str = ""
    gap: float | None = None
    is_near_tie: bool = False
    largest: float = 0.0

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        lines = [f"checkpoint {self.id[:7]}: {verdict}"]
        if self.largest:
            lines[0] += f", log-probabilities differ by up to {self.largest:.2g}"
        if self.token is not None:
            lines += [
                f"  from token {self.token} on:",
                f"    recorded {self.recorded!r}",
                f"    here     {self.here!r}",
            ]
        if self.gap is not None:
            kind = "a near-tie, which rounding decides" if self.is_near_tie else "a real change"
            lines.append(f"    probability gap {self.gap:.3f}: {kind}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Report:
    """What a replay, or a comparison of two recordings, found.

    Attributes
    ----------
    level : str
    settings : tuple of str
        Settings that differ, in words.
    environment : tuple of str
        Build and machine, where they differ.
    checkpoints : tuple of CheckpointReport
        Those where anything differs.
    n_checkpoints, n_tokens : int
        Compared in all; generated tokens among them.
    mean_difference : float
        Of the recorded tokens' log-probabilities: what another KV cache type costs.
    problems : tuple of str
        Why the level cannot hold, whatever the checkpoints say.
    """

    level: str
    settings: tuple[str, ...]
    environment: tuple[str, ...]
    checkpoints: tuple[CheckpointReport, ...]
    n_checkpoints: int
    n_tokens: int
    mean_difference: float = 0.0
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything is within what the level allows."""
        return not self.problems and all(c.passed for c in self.checkpoints)

    @property
    def is_identical(self) -> bool:
        """Whether nothing differs, to the bit."""
        return not self.checkpoints and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**dataclasses.asdict(self), "passed": self.passed}

    def __str__(self) -> str:
        what = f"{self.n_checkpoints} checkpoints, {self.n_tokens} generated tokens"
        if self.is_identical:
            return f"identical: {what}"
        verdict = "passed" if self.passed else "FAILED"
        lines = [f"{verdict} at level {self.level}: {what}"]
        lines += [*self.problems, *self.settings, *self.environment]
        if self.mean_difference:
            lines.append(f"log-probabilities differ by {self.mean_difference:.2g} on average")
        return "\n".join([*lines, *map(str, self.checkpoints)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"
