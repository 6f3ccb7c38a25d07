"""The bytes that the checkpoints of the active path keep, as numbers to plot."""

from __future__ import annotations

from dataclasses import dataclass

from ..history.drawing import label
from ..history.tree import Checkpoint, CheckpointTree

__all__ = ["Growth", "Step", "measure_growth"]


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
    """

    checkpoint: Checkpoint
    n_bytes: int
    before: int
    is_shared: bool

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
    for checkpoint, is_shared in zip(path, reversed(shared), strict=True):
        n_bytes = checkpoint.n_bytes
        before = 0 if tree.keeps_snapshots else so_far
        steps.append(Step(checkpoint, n_bytes, before, is_shared))
        so_far += n_bytes
    return Growth(tuple(steps), path[-1].stop if path else 0, tree.context.n_ctx)
