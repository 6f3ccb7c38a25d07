"""Chats with every chat template of a folder, each through the walk of ``tests/template_walk.py``.

A template is *right* if, after each of some 50 steps, everything that shows the conversation says
the same, the context holds what the template renders, and nothing that was given was dropped
unsaid; steps that it does not take have to be refused, or warned of, in words. It is *refused in
words* if not even a question can be asked. The folder is that of the tests, or the one that
``--folder`` names: llama.cpp's is ``models/templates`` in its source.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .report import Effort, Row, Table

__all__ = ["run"]

_TESTS = Path(__file__).parents[1] / "tests"
_SHOWN = 100


def run(effort: Effort, folder: Path = _TESTS / "templates") -> Sequence[Table]:
    """Walk with all templates of a folder, or with some of them."""
    sys.path.insert(0, str(_TESTS))
    walk_template: Any = importlib.import_module("template_walk").walk_template
    paths = sorted(folder.glob("*.jinja"))
    n_all, paths = len(paths), paths[: effort.scaled(len(paths))]
    outcomes = []
    with tempfile.TemporaryDirectory() as scratch:
        for path in paths:
            outcomes.append(walk_template(path.stem, path.read_text("utf-8"), Path(scratch)))
            print(f"{path.stem}: {outcomes[-1].verdict}", file=sys.stderr, flush=True)
    where = "/".join(folder.absolute().parts[-2:])
    about = f"{len(paths)} of {n_all} templates of {where}"
    counts = Table("Chat templates", about)
    for verdict in ("right", "refused in words", "wrong"):
        n = sum(outcome.verdict == verdict for outcome in outcomes)
        is_wrong = verdict == "wrong"
        reached = "reached" if n == 0 else "MISSED"
        cells = {"case": verdict, "templates": str(n), "target": f"0 {reached}" if is_wrong else ""}
        counts.add(Row(cells, {"case": verdict, "templates": n}))
    each = Table("Each template", "steps that were done, refused in words and warned of")
    for outcome in outcomes:
        each.add(_row(outcome))
    return [counts, each]


def _row(outcome: Any) -> Row:
    why = outcome.wrong or (outcome.refused if outcome.verdict != "right" else ())
    first = ": ".join(why[0]) if why else ""
    refused = [*dict.fromkeys(step for step, _ in outcome.refused)]
    cells = {
        "case": outcome.name,
        "verdict": outcome.verdict,
        "steps": str(outcome.n_steps),
        "refused": ", ".join(refused),
        "warned": str(len({*outcome.warned})),
        "first": first if len(first) <= _SHOWN else f"{first[: _SHOWN - 1]}…",
    }
    values = {
        "case": outcome.name,
        "verdict": outcome.verdict,
        "steps": outcome.n_steps,
        "refused": [list(each) for each in outcome.refused],
        "warned": sorted({*outcome.warned}),
        "wrong": [list(each) for each in outcome.wrong],
    }
    return Row(cells, values)
