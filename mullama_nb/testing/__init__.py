"""Regression tests of conversations: record a tree, replay it anywhere, report differences.

>>> from mullama_nb.testing import record, replay
>>> record(chat, "greeting.mullama.json")
>>> replay("greeting.mullama.json", "smollm2", kv_cache_type="q8_0")

A recording is a small JSON file: the tokens of every checkpoint, how they were sampled, and the
probability of each generated one. It holds no KV rows. Replaying forces the recorded tokens on a
model and reports, for each checkpoint, the first token that would be drawn differently here,
whether rounding decided that, and how far the probabilities have moved.

======================  ================================================================
``"exact"``             the same to the bit; needs the same build and class of machine
``"near-ties"``         other tokens only where the likeliest two were within a margin
``"probabilities"``     each recorded token about as likely as it was; holds on any CPU
======================  ================================================================

This module is a pytest plugin, too: ``pytest --mullama`` collects ``*.mullama.json`` files as
tests, and lives beside ``--nbval`` in one run. In a notebook, ``%%regress NAME`` records on its
first run and compares afterwards.

``check`` is what the exercises of the lessons call: it says of an answer whether it is right, or
what is missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import RecordingError, RegressionError
    from .comparison import compare
    from .exercises import Verdict, check
    from .reading import read
    from .recording import Recording, record
    from .regression import regress
    from .replaying import replay
    from .replaying_all import Replay, ReplayResults, replay_all
    from .report import CheckpointReport, Quality, Report
    from .rerunning import record_again
    from .shown_words import sanitize_file, words
    from .suites.case import Case
    from .suites.cell import CheckResult, SuiteAnswer, SuiteCell
    from .suites.checks.check import Check, Finding
    from .suites.checks.documents import json_schema
    from .suites.checks.kv_quality import kv_quality
    from .suites.checks.probabilities import at_least, likelier, perplexity_below
    from .suites.checks.same_as import same_as
    from .suites.checks.subject import Subject
    from .suites.checks.words import contains, matches
    from .suites.comparing import MovedAnswer
    from .suites.comparison import SuiteComparison
    from .suites.result import SuiteResult
    from .suites.suite import Suite
    from .tiny import make_tiny_model

_PLACES = {
    "Case": ".suites.case",
    "Check": ".suites.checks.check",
    "CheckResult": ".suites.cell",
    "CheckpointReport": ".report",
    "Finding": ".suites.checks.check",
    "MovedAnswer": ".suites.comparing",
    "Quality": ".report",
    "Recording": ".recording",
    "RecordingError": "..errors",
    "RegressionError": "..errors",
    "Replay": ".replaying_all",
    "ReplayResults": ".replaying_all",
    "Report": ".report",
    "Subject": ".suites.checks.subject",
    "Suite": ".suites.suite",
    "SuiteAnswer": ".suites.cell",
    "SuiteCell": ".suites.cell",
    "SuiteComparison": ".suites.comparison",
    "SuiteResult": ".suites.result",
    "Verdict": ".exercises",
    "at_least": ".suites.checks.probabilities",
    "check": ".exercises",
    "compare": ".comparison",
    "contains": ".suites.checks.words",
    "json_schema": ".suites.checks.documents",
    "kv_quality": ".suites.checks.kv_quality",
    "likelier": ".suites.checks.probabilities",
    "make_tiny_model": ".tiny",
    "matches": ".suites.checks.words",
    "perplexity_below": ".suites.checks.probabilities",
    "read": ".reading",
    "record": ".recording",
    "record_again": ".rerunning",
    "regress": ".regression",
    "replay": ".replaying",
    "replay_all": ".replaying_all",
    "same_as": ".suites.checks.same_as",
    "sanitize_file": ".shown_words",
    "words": ".shown_words",
}

__all__ = [
    "Case",
    "Check",
    "CheckResult",
    "CheckpointReport",
    "Finding",
    "MovedAnswer",
    "Quality",
    "Recording",
    "RecordingError",
    "RegressionError",
    "Replay",
    "ReplayResults",
    "Report",
    "Subject",
    "Suite",
    "SuiteAnswer",
    "SuiteCell",
    "SuiteComparison",
    "SuiteResult",
    "Verdict",
    "at_least",
    "check",
    "compare",
    "contains",
    "json_schema",
    "kv_quality",
    "likelier",
    "make_tiny_model",
    "matches",
    "perplexity_below",
    "read",
    "record",
    "record_again",
    "regress",
    "replay",
    "replay_all",
    "same_as",
    "sanitize_file",
    "words",
]


def __getattr__(name: str) -> Any:
    # Every run of pytest imports the plugin beside this, and most have no use for llama.cpp.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
