"""Turns that are lost when a notebook is killed at random and its cells run again from the top.

Each of 200 rounds (a quarter with ``--quick``) starts a process that runs ``Chat.open_or_create``,
checks that the last 200 turns it was told of are there, and talks until it is killed, anywhere in a
turn or between two.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mullama_nb.sessions.store import SessionStore

from .report import Effort, Row, Table
from .weights import load_model

__all__ = ["run"]

_ROUNDS = 200
_CRASHES = Path(__file__).parents[1] / "tests" / "history" / "crashes.py"


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    spec = importlib.util.spec_from_file_location("crashes", _CRASHES)
    assert spec is not None
    assert spec.loader is not None
    crashes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(crashes)
    model, n_rounds = load_model(), effort.scaled(_ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        n_turns, n_lost, n_failed = crashes.crash(
            model.path, Path(folder), n_rounds, seed=1, n_ctx=2048
        )
        damaged = len(SessionStore(folder).verify())
    figure = f"{n_lost} turns lost, {n_failed} runs failed, {damaged} damaged"
    reached = not (n_lost or n_failed or damaged) and n_turns > 0
    case = f"{n_rounds} kills, {n_turns:,} turns"
    verdict = "reached" if reached else "MISSED"
    table = Table("A notebook that is killed", "SmolLM2-135M Q4_1, SIGKILL at a random token")
    table.add(
        Row(
            {"case": case, "figure": figure, "target": "none", "verdict": verdict},
            {"case": case, "figure": figure, "target": "none", "reached": reached},
        )
    )
    return [table]
