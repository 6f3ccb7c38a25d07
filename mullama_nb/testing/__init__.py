"""Regression tests of conversations: record a tree, replay it anywhere, name what differs."""

from .recording import Recording, RecordingError, read, record
from .replay import compare, replay
from .report import CheckpointReport, Report

__all__ = [
    "CheckpointReport",
    "Recording",
    "RecordingError",
    "Report",
    "compare",
    "read",
    "record",
    "replay",
]
