"""Beyond one machine: a model of cost fitted to measurements here, and what follows from it.

What is measured is in ``costs.py`` and ``overhead.py``; what is simulated from it, in
``scenarios.py``. ``--write`` puts the tables into docs/scaling.md as well, which says what they
mean. The figures of ``ships_rows`` stand beside what was measured.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from mullama_nb.size import size
from mullama_nb.tasks.shipping import ships_rows

from . import overhead
from .costs import Costs, Measured, measure
from .overhead import Overhead
from .report import Effort, Row, Table
from .scenarios import LARGE, LINK, Size, duration, lessons, recordings

__all__ = ["DOCUMENT", "run"]

DOCUMENT = Path(__file__).parents[1] / "docs" / "scaling.md"

_PREFIX = 1_000
_LINKS = {"100 Mbit/s": LINK / 10, "1 Gbit/s": LINK, "10 Gbit/s": 10 * LINK}
_FASTER = {"one core": 1, "16 cores": 16, "an accelerator, 500 times a core": 500}


def _default(name: str) -> float:
    """A figure that the rule has unless another is given."""
    return float(inspect.signature(ships_rows).parameters[name].default)


def _costs(costs: Costs, overheads: dict[str, Overhead]) -> Table:
    about = f"a model of {costs.n_parameters / 1e6:.3g} million parameters, one thread"
    table = Table("What things cost", f"{about}; residuals are relative, root mean square")

    def add(what: str, shown: str, residual: float | None = None, **values: object) -> None:
        off = "" if residual is None else f"{residual:.1%}"
        table.add(Row({"what": what, "cost": shown, "residual": off}, {"what": what, **values}))

    for kind, n_bytes in costs.row_bytes.items():
        add(f"rows of a token in {kind}", f"{n_bytes:,.0f} bytes", bytes=n_bytes)
    fixed, token, behind = costs.evaluate.coefficients
    shown = f"{duration(fixed)} + {duration(token)} a token"
    shown += f" + {duration(1000 * behind)} for each 1,000 tokens in front of it"
    add("evaluate a prompt", shown, costs.evaluate.residual, fit=costs.evaluate.coefficients)
    fixed, behind = costs.decode.coefficients
    shown = f"{duration(fixed)} + {duration(1000 * behind)} for each 1,000 tokens in front of it"
    add("decode one token", shown, costs.decode.residual, fit=costs.decode.coefficients)
    fixed, answer = costs.step.coefficients
    shown = f"{duration(fixed)} + {duration(answer)} an answer"
    add(
        "a token of each answer in a batch", shown, costs.step.residual, fit=costs.step.coefficients
    )
    for what, moved in (
        ("copy rows out of a context", costs.capture),
        ("copy rows into a context", costs.restore),
        ("write a session, on disk at the end", costs.save),
        ("read and check a session, into a context", costs.load),
    ):
        add(what, _per_megabyte(*moved.coefficients), moved.residual, fit=moved.coefficients)
    add("save under another name", duration(costs.entry), seconds=costs.entry)
    add("start a process", duration(costs.start), seconds=costs.start)
    shown = f"{duration(costs.load_warm)}, from disk {duration(costs.load_cold)}"
    seconds = {"warm": costs.load_warm, "cold": costs.load_cold}
    add(f"load a model of {size(costs.model_bytes)}", shown, seconds=seconds)
    for name, each in overheads.items():
        add(f"a task through {name}, alone", duration(each.alone), seconds=each.alone)
        shown = duration(each.together)
        add(f"a task through {name}, among many", shown, seconds=each.together)
        carrying = each.carrying
        shown = _per_megabyte(*carrying.coefficients)
        add(f"carry bytes through {name}", shown, carrying.residual, fit=carrying.coefficients)
    return table


def _each_second(seconds: float) -> float:
    """How many there are in a second; in a trial a fit may say that they take no time."""
    return 1 / seconds if seconds else math.inf


def _per_megabyte(fixed: float, per_byte: float) -> str:
    return f"{duration(fixed)} + {duration(1e6 * per_byte)} a MB"


def _where_lines_end(measured: Measured) -> Table:
    table = Table(
        "Where the lines end",
        "against the fit: short pieces of a prompt take another path in llama.cpp",
    )
    for depth, (seconds, fitted) in measured.short.items():
        _against(table, f"63 tokens behind {depth:,}", seconds, fitted)
    for n, rate in measured.answers.items():
        case = f"{n} answer{'s' * (n > 1)} in a batch, {rate:.3g} tokens/s"
        _against(table, case, n / rate, measured.costs.step(1, n))
    return table


def _against(table: Table, case: str, seconds: float, fitted: float) -> None:
    cells = {
        "case": case,
        "measured": duration(seconds),
        "fitted": duration(fitted),
        "ratio": f"{seconds / fitted:.2f}" if fitted else "",
    }
    table.add(Row(cells, {"case": case, "seconds": seconds, "fitted": fitted}))


def _figures(costs: Costs, overheads: dict[str, Overhead]) -> Table:
    table = Table("The figures of the rule", "in `ships_rows`, and as measured here")
    speed = costs.n_parameters * _each_second(costs.evaluate.coefficients[1])
    carried = min(_each_second(each.carrying.coefficients[1]) for each in overheads.values())
    for name, what, figure, measured in (
        (
            "parameter_tokens_per_second",
            "a model's parameters, times tokens of a prompt in a second",
            f"{speed:.2g}, one thread",
            speed,
        ),
        (
            "bytes_per_second",
            "bytes of rows that arrive in a second",
            f"{carried:.2g}, between processes",
            carried,
        ),
    ):
        given = _default(name)
        cells = {"figure": f"`{name}`", "of": what, "rule": f"{given:.2g}", "measured": figure}
        table.add(Row(cells, {"name": name, "rule": given, "measured": measured}))
    return table


def _sizes(costs: Costs) -> Iterator[tuple[str, Size]]:
    for kind, n_bytes in costs.row_bytes.items():
        yield kind, Size("SmolLM2", costs.n_parameters, costs.model_bytes, n_bytes)
    yield "f16", LARGE


def _rule(costs: Costs) -> Table:
    table = Table("Ship rows, or evaluate again", f"what `ships_rows` says of {_PREFIX:,} tokens")
    for kind, model in _sizes(costs):
        for worker, faster in _FASTER.items():
            speed = faster * _default("parameter_tokens_per_second")
            asked = {
                "n_bytes": round(_PREFIX * model.row_bytes),
                "n_tokens": _PREFIX,
                "n_parameters": round(model.n_parameters),
            }
            says = {
                link: ships_rows(**asked, bytes_per_second=rate, parameter_tokens_per_second=speed)
                for link, rate in _LINKS.items()
            }
            equal = model.row_bytes * speed / model.n_parameters
            cells = {"model": f"{model.name}, {kind}", "worker": worker}
            cells |= {link: "ship" if ships else "evaluate" for link, ships in says.items()}
            cells["the same at"] = f"{size(equal)}/s"
            values = {
                **asked,
                "parameter_tokens_per_second": speed,
                "ships": [[_LINKS[link], ships] for link, ships in says.items()],
            }
            table.add(Row(cells, values))
    return table


def run(effort: Effort) -> Sequence[Table]:
    """Measure, fit and simulate."""
    overheads = {}
    for name, make in overhead.EXECUTORS.items():
        with make() as executor:
            overheads[name] = overhead.measure(executor, effort)
    measured = measure(effort)
    costs = measured.costs
    return [
        _costs(costs, overheads),
        _where_lines_end(measured),
        _figures(costs, overheads),
        _rule(costs),
        recordings(costs, overheads, effort),
        *lessons(costs, effort),
    ]
