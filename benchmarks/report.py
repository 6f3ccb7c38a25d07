"""What was measured: as an aligned table, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from .pairing import Race

__all__ = ["Effort", "Row", "Table", "compared", "machine", "write_into", "write_results"]


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    rounds : int
        Turns of each way.
    fraction : float
        Of the work in one turn.
    is_trial : bool
        Whether all of it is only to run once, and its speed says nothing.
    """

    rounds: int = 15
    fraction: float = 1.0
    is_trial: bool = False

    def scaled(self, amount: int) -> int:
        """An amount of work, made smaller for a quick look."""
        return max(1, round(amount * self.fraction))

    def shortened(self, amount: int) -> int:
        """An amount that makes a case what it is: a quick look leaves it whole."""
        return min(amount, self.scaled(4 * amount))


@dataclass(frozen=True)
class Row:
    """One line of a table: what is shown, and what a program may read."""

    cells: Mapping[str, str]
    values: Mapping[str, Any]


@dataclass
class Table:
    """Rows under a title, all with the same columns."""

    title: str
    note: str
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Put a row at the end."""
        self.rows.append(row)

    def text(self) -> str:
        """Columns aligned for a terminal."""
        header = list(self.rows[0].cells)
        lines = [header, *([row.cells[name] for name in header] for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        aligned = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        rule = "-" * max(len(line) for line in aligned)
        return "\n".join([f"{self.title} ({self.note})", rule, *aligned, ""])

    def markdown(self) -> str:
        """A Markdown section."""
        return f"## {self.title}\n\n{self.note}.\n\n{self._lines()}\n"

    def inserted(self) -> str:
        """A Markdown table, with its note below, between the marks of a page."""
        begin, end = self._marks()
        return f"{begin}\n\n{self._lines()}\n\n*{self.note[0].upper()}{self.note[1:]}.*\n\n{end}"

    def found_in(self, page: str) -> str:
        """What stands between this table's marks in a page, with the marks."""
        begin, end = self._marks()
        _, is_begun, rest = page.partition(begin)
        within, is_ended, _ = rest.partition(end)
        if not (is_begun and is_ended):
            raise ValueError(f"the page has no place for {self.title!r}: {begin} and {end}")
        return begin + within + end

    def _marks(self) -> tuple[str, str]:
        return f"<!-- measured: {self.title} -->", "<!-- end -->"

    def _lines(self) -> str:
        header = list(self.rows[0].cells)
        align = ["---", *["--:"] * (len(header) - 1)]
        lines = [header, align, *([row.cells[name] for name in header] for row in self.rows)]
        escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
        return "\n".join("| " + " | ".join(line) + " |" for line in escaped)


def compared(
    result: Race,
    case: str,
    ours: str,
    theirs: str,
    *,
    per_second: float | None = None,
    target: float | None = None,
) -> Row:
    """A row that compares two ways of a race.

    Parameters
    ----------
    result : Race
    case : str
    ours, theirs : str
        Names of the ways.
    per_second : float, optional
        Units of work that the race's seconds stand for, to show a rate; None shows milliseconds.
    target : float, optional
        What the ratio of speeds should reach.
    """
    speed = result.speed(ours, theirs)

    def shown(way: str) -> str:
        median = result.spread(way).median
        return f"{median * 1e3:,.2f} ms" if per_second is None else f"{per_second / median:,.1f}"

    cells = {
        "case": case,
        "against": theirs,
        "ours": shown(ours),
        "theirs": shown(theirs),
        "speed ratio": f"{speed.median:.3g}",
        "quartiles": f"{speed.low:.3g} to {speed.high:.3g}",
        "target": "" if target is None else f"{target:g} {_verdict(speed.median >= target)}",
    }
    values = {
        "case": case,
        "ours": {"name": ours, "seconds": list(result.seconds[ours])},
        "theirs": {"name": theirs, "seconds": list(result.seconds[theirs])},
        "speed_ratio": {"median": speed.median, "low": speed.low, "high": speed.high},
        "target": target,
    }
    return Row(cells, values)


def _verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"


_INTRODUCTION = """\
Written by `python -m benchmarks --write`. Ways to do the same work took turns; a ratio is the
median over rounds, above 1 where ours is faster. What is compared with what, and why that is fair,
stands at the top of each module.
"""


def machine() -> dict[str, str]:
    """The class of machine; nothing in it tells one machine from another of its class."""
    return {
        "a machine with": f"{os.cpu_count()} CPUs ({_processor()})",
        platform.system(): platform.machine(),
        "Python": platform.python_version(),
        "llama-cpp-python": llama_cpp.__version__,
        "numpy": np.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write_results(folder: Path, subject: str, tables: Sequence[Table]) -> None:
    """Put a subject's tables into ``results.json`` and ``results.md``; others stay as they are."""
    path = folder / "results.json"
    results: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    results[subject] = {"machine": machine(), "tables": [asdict(table) for table in tables]}
    results = dict(sorted(results.items()))
    path.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    sections = [_INTRODUCTION]
    for name, result in results.items():
        about = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
        sections.append(f"# {name.capitalize()}\n\nMeasured on {about}.\n")
        for table in result["tables"]:
            rows = [Row(**row) for row in table["rows"]]
            sections.append(Table(table["title"], table["note"], rows).markdown())
    (folder / "results.md").write_text("\n".join(sections), "utf-8")


def write_into(page: Path, tables: Sequence[Table]) -> None:
    """Put tables between their marks in a page."""
    text = page.read_text("utf-8")
    for table in tables:
        text = text.replace(table.found_in(text), table.inserted())
    page.write_text(text, "utf-8")
