"""A report reads the same as text, HTML and JSON, and shows a model's words as words."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from mullama_nb import Model
from mullama_nb.testing import CheckpointReport, Quality, Report, replay

HOSTILE = "<script>alert(1)</script>\x1b[2J[bold]\n"


def failed() -> Report:
    there = CheckpointReport(
        f"abc {HOSTILE.strip()[:8]}", False, 3, HOSTILE, "b", 0.31, False, 0.7, 2, 0.4
    )
    return Report("near-ties", ("the weights: a saved, b here",), (), (there,), 5, Quality())


def test_the_text() -> None:
    report = Report("near-ties", (), (), (failed().checkpoints[0],), 1, Quality())
    assert (
        str(report)
        == repr(report)
        == "\n".join(
            (
                "FAILED at level near-ties: 1 checkpoint, 0 generated tokens",
                "checkpoint abc <script>: FAILED, log-probabilities differ by up to 0.7",
                "  differs from token 3 on (2 tokens in all):",
                "    recorded '<script>alert(1)</script>\\x1b[2J[bold]\\n'",
                "    here     'b'",
                "    probability gap 0.310: a real change",
                "    the largest gap of a token behind it is 0.400",
            )
        )
    )


def test_html_escapes_what_a_model_said() -> None:
    markup = failed()._repr_html_()
    assert "<script>" not in markup
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in markup
    assert "the weights: a saved, b here" in markup
    assert "FAILED at level near-ties: 5 checkpoints" in markup
    assert "0.310, real change" in markup


def test_rich_shows_the_text_and_no_markup_of_a_model() -> None:
    shown = io.StringIO()
    Console(file=shown, force_terminal=True, highlight=False, width=200).print(failed())
    assert "\x1b[1;31mFAILED at level" in shown.getvalue()
    plain = io.StringIO()
    Console(file=plain, highlight=False).print(failed(), soft_wrap=True)
    assert plain.getvalue() == f"{failed()}\n"
    assert "\x1b" not in plain.getvalue()


def test_json_holds_all_of_it(coarse: Report) -> None:
    report = coarse
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["passed"] is report.passed
    assert values["identical"] is False
    assert values["quality"]["mean_difference"] == report.quality.mean_difference
    assert len(values["checkpoints"]) == len(report.checkpoints)


def test_it_is_the_same_each_time(recording: Path, smollm2: Model, coarse: Report) -> None:
    first, second = coarse, replay(recording, smollm2, kv_cache_type="q4_0")
    assert first == second
    assert str(first) == str(second)
    assert first._repr_html_() == second._repr_html_()
