"""Segments of made-up rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mullama_nb.state.segment import Segment

__all__ = ["KB", "contents", "files", "segment"]

KB = 1000


def segment(
    number: int, n_bytes: int = KB, *, logits: bool = False, whole: bool = False
) -> Segment:
    """A segment of its own for each number, the same one each time."""
    generator = np.random.default_rng(number)
    return Segment(
        start=number,
        tokens=(number, 2, 3),
        data=generator.integers(0, 256, n_bytes, dtype=np.uint8),
        settings="a" * 32,
        parent="b" * 32,
        whole=whole,
        logits=generator.random(25, dtype=np.float32) if logits else None,
    )


def contents(segment: Segment | None) -> tuple[object, ...] | None:
    """Everything about a segment, for comparing."""
    if segment is None:
        return None
    logits = None if segment.logits is None else segment.logits.tobytes()
    return (
        segment.start,
        segment.tokens,
        segment.data.tobytes(),
        segment.settings,
        segment.parent,
        segment.whole,
        logits,
    )


def files(folder: Path) -> list[Path]:
    """All files in a folder and the folders inside."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
