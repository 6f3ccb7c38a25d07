"""``python -m benchmarks [name ...]``: measure, print, and write results down if asked."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from . import weights
from .report import Effort, Table, write_into, write_results

_NAMES = (
    "generation",
    "sessions",
    "store",
    "crashes",
    "resume",
    "tree",
    "replay",
    "busy",
    "browser",
    "exactness",
    "fuzz",
    "growth",
    "templates",
    "inside",
    "scaling",
    "suite",
)
_QUICK = Effort(rounds=3, fraction=0.25)
_LEAST = Effort(rounds=1, fraction=0.02, is_trial=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(_NAMES)}")
    parser.add_argument("--quick", action="store_true", help="a first look, in minutes")
    parser.add_argument("--least", action="store_true", help="once, with a tiny model: does it run")
    parser.add_argument("--rounds", type=int, help="turns of each way")
    parser.add_argument("--write", action="store_true", help="write results.md and results.json")
    parser.add_argument("--folder", type=Path, help="of Jinja files, for templates")
    options = parser.parse_args(arguments)
    if options.folder is not None:
        options.names = options.names or ["templates"]
        if options.names != ["templates"]:
            parser.error("--folder is for templates")
        if not [*options.folder.glob("*.jinja")]:
            parser.error(f"there are no Jinja files in {options.folder}")
    if unknown := set(options.names) - set(_NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there is {', '.join(_NAMES)}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is named, or everything."""
    options = _options(arguments)
    effort = _LEAST if options.least else _QUICK if options.quick else Effort()
    if options.rounds is not None:
        effort = replace(effort, rounds=options.rounds)
    with weights.tiny() if effort.is_trial else nullcontext():
        for name in options.names or _NAMES:
            _measure(name, effort, options)


def _measure(name: str, effort: Effort, options: argparse.Namespace) -> None:
    subject = importlib.import_module(f"{__package__}.{name}")
    where = {} if options.folder is None else {"folder": options.folder}
    tables: Sequence[Table] = subject.run(effort, **where)
    for table in tables:
        print(table.text(), flush=True)
    if options.write:
        write_results(Path(__file__).parent, name, tables)
        if page := getattr(subject, "DOCUMENT", None):
            write_into(page, tables)


if __name__ == "__main__":
    main()
