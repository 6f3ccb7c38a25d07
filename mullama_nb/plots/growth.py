"""The bytes that the checkpoints of the active path keep, as numbers to plot."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..history.drawing import label
from ..history.tree import Checkpoint, CheckpointTree

__all__ = ["Growth", "Step", "labelled", "measure_growth"]

_LETTERS = {"system": "S", "developer": "D", "user": "Q", "assistant": "A", "tool": "T"}
_STRIDES = (1, 2, 5)


@dataclass(frozen=True)
class Step:
    """One checkpoint of the active path.

    Attributes
    ----------
    checkpoint : Checkpoint
    n_bytes : int
        Bytes of its rows.
    before : int
        Bytes of the preceding checkpoints' rows, which a full snapshot would repeat; 0 where the
        model's memory cannot be cut and the checkpoint is itself a full snapshot.
    is_shared : bool
        Whether several branches share it.
    name : str
        S for a system message, Q1 for the first question, A1 for the first answer; the same for all
        checkpoints of a message. Its number on the path where it is no message.
    """

    checkpoint: Checkpoint
    n_bytes: int
    before: int
    is_shared: bool
    name: str

    @property
    def label(self) -> str:
        """The beginning of its text."""
        return label(self.checkpoint)

    @property
    def snapshot(self) -> int:
        """The bytes of a full snapshot here."""
        return self.before + self.n_bytes


@dataclass(frozen=True)
class Growth:
    """The active path of a tree.

    Attributes
    ----------
    steps : tuple of Step
        From the root, exclusive, to the head.
    n_tokens, n_ctx : int
        Tokens up to the head, and cells of the context.
    """

    steps: tuple[Step, ...]
    n_tokens: int
    n_ctx: int

    @property
    def kept(self) -> int:
        """The bytes that the path keeps."""
        return sum(step.n_bytes for step in self.steps)

    @property
    def snapshots(self) -> int:
        """The bytes of full snapshots of its checkpoints."""
        return sum(step.snapshot for step in self.steps)

    @property
    def bytes_per_token(self) -> float:
        """The mean over the path; 0 if it is empty or bytes are not proportional to tokens."""
        whole = any(step.before == 0 for step in self.steps[1:])
        return 0.0 if whole or not self.n_tokens else self.kept / self.n_tokens


def measure_growth(tree: CheckpointTree) -> Growth:
    """Measure the active path of a tree."""
    path = tree.path()
    # From the head backwards: a point where paths part makes everything in front of it shared.
    shared: list[bool] = []
    is_shared = False
    for checkpoint in reversed(path):
        is_shared = is_shared or len(checkpoint.children) > 1
        shared.append(is_shared)
    steps: list[Step] = []
    so_far = 0
    for checkpoint, is_shared, name in zip(path, reversed(shared), _names(path), strict=True):
        n_bytes = checkpoint.n_bytes
        before = 0 if tree.keeps_snapshots else so_far
        steps.append(Step(checkpoint, n_bytes, before, is_shared, name))
        so_far += n_bytes
    return Growth(tuple(steps), path[-1].stop if path else 0, tree.context.n_ctx)


def labelled(names: Sequence[str], room: float, letter: float) -> list[int]:
    """Return which bars have their names written below them, so that no two overlap.

    All have, or else every question, every second or fifth or tenth and so on.

    Parameters
    ----------
    names : sequence of str
        Of the bars, in order; those of a message in several checkpoints are the same.
    room, letter : float
        Width of a bar, and of a letter.

    Notes
    -----
    The same rule is in front_end/kv_bars.js.
    """
    first = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    questions = [i for i in first if names[i].startswith("Q")] or first
    if _fit(first, names, room, letter):
        return first
    power = 1
    while True:
        for stride in _STRIDES:
            chosen = questions[:: stride * power]
            if len(chosen) < 2 or _fit(chosen, names, room, letter):
                return chosen
        power *= 10


def _fit(chosen: Sequence[int], names: Sequence[str], room: float, letter: float) -> bool:
    """Whether names in the middle of their bars leave a letter of space between them."""
    return all(
        (b - a) * room >= letter * ((len(names[a]) + len(names[b])) / 2 + 1)
        for a, b in itertools.pairwise(chosen)
    )


def _names(path: Sequence[Checkpoint]) -> list[str]:
    counts: Counter[str] = Counter()
    names: list[str] = []
    for i, checkpoint in enumerate(path):
        notes = checkpoint.metadata
        letter = _LETTERS.get(notes.role or "", "")
        if not letter:
            names.append(str(i + 1))
        elif notes.continues and names:
            names.append(names[-1])
        else:
            counts[letter] += 1
            only = letter in "SD" and counts[letter] == 1
            names.append(letter if only else f"{letter}{counts[letter]}")
    return names
