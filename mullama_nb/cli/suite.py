"""``mullama-nb suite``: run suites, show what came of them, and compare."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem

from ..engine.params import KV_CACHE_TYPES
from ..errors import MullamaError
from .console import note, speaking_plainly
from .models import complete_model
from .paths import NewFile

if TYPE_CHECKING:
    from ..testing.suites.comparison import SuiteComparison
    from ..testing.suites.result import SuiteResult

__all__ = ["suite"]

F = TypeVar("F", bound=Callable[..., Any])

_DIFFERS, _STOPPED = 1, 130
_CANNOT_RUN: Final = 2
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def suite() -> None:
    """Run suites, cases x models x settings, and compare results.

    Each command exits with 0 if all passed, with 1 if not, and with 2 if it cannot be run.
    """


def _complete_ids(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the ids of the suite's cells that begin with the typed text."""
    from ..testing.suites.document import SUFFIXES
    from ..testing.suites.suite import Suite

    # An option that waits for its value keeps click from taking FILE for what it is.
    words = map(str, (context.params.get("file"), *context.args))
    try:
        ids = Suite.read(next(word for word in words if word.endswith(SUFFIXES))).cell_ids
    except (StopIteration, MullamaError):
        return []
    return [CompletionItem(id_) for id_ in ids if id_.startswith(incomplete)]


def _outputs(command: F) -> F:
    """Add the options that say where results go, besides the terminal."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print a JSON object."),
        click.option("--html", type=NewFile(), help="File for a page with all answers."),
    ):
        command = option(command)
    return command


@suite.command()
@click.argument("file", type=_FILE)
@click.option(
    "--model",
    "models",
    multiple=True,
    shell_complete=complete_model,
    help="Instead of the suite's; again for another.",
)
@click.option(
    "--kv",
    "types",
    multiple=True,
    type=click.Choice(sorted(KV_CACHE_TYPES)),
    help="KV cache type of every setting, instead of its own; again for another.",
)
@click.option(
    "--select",
    "patterns",
    multiple=True,
    metavar="ID",
    shell_complete=_complete_ids,
    help="A cell or a case, * for any text in its name; again for another.",
)
@click.option(
    "--results",
    type=NewFile(),
    help="File of JSON lines: results are added as they come, and a stopped run goes on.",
)
@click.option("--junit", type=NewFile(), help="File for a JUnit report.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes on this machine.")
@click.option("--dask", metavar="ADDRESS", help="A Dask scheduler, such as tcp://host:8786.")
@_outputs
def run(
    file: Path,
    *,
    models: tuple[str, ...],
    types: tuple[str, ...],
    patterns: tuple[str, ...],
    results: Path | None,
    junit: Path | None,
    workers: int | None,
    dask: str | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Run the suite in FILE.

    It is called NAME.suite.yaml, NAME.suite.yml or NAME.suite.jsonl.
    """
    from ..tasks.executors import executor_for
    from ..testing.suites.file import read_suite
    from ..testing.suites.junit import write_junit
    from ..testing.suites.selecting import selected
    from ..testing.suites.suite import Suite

    with speaking_plainly(_CANNOT_RUN):
        made = read_suite(Suite, file, models, types)
        ids = selected(made.cell_ids, patterns) if patterns else None
        try:
            with executor_for(workers, dask) as executor:
                result = made.run(executor, results=results, select=ids)
        except KeyboardInterrupt:
            _stopped(results)
        if junit is not None:
            write_junit(result, junit)
    _tell(result, html, as_json=as_json)


@suite.command()
@click.argument("results", nargs=-1, required=True, type=_FILE)
@_outputs
def show(results: tuple[Path, ...], *, html: Path | None, as_json: bool) -> None:
    """Show what is in RESULTS.

    Several files are parts of one suite, such as shards of CI.
    """
    from ..testing.suites.result import SuiteResult

    with speaking_plainly(_CANNOT_RUN):
        result = SuiteResult.read(*results)
    _tell(result, html, as_json=as_json)


@suite.command()
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@_outputs
def compare(old: Path, new: Path, *, html: Path | None, as_json: bool) -> None:
    """Say what changed from the results OLD to the results NEW.

    It passes if nothing fails in NEW that passed in OLD.
    """
    from ..testing.suites.result import SuiteResult

    with speaking_plainly(_CANNOT_RUN):
        comparison = SuiteResult.read(old).compare(SuiteResult.read(new))
    _tell(comparison, html, as_json=as_json)


def _tell(told: SuiteResult | SuiteComparison, html: Path | None, *, as_json: bool) -> NoReturn:
    """Print it, write its page, and end with what it says."""
    if html is not None:
        with speaking_plainly(_CANNOT_RUN):
            told.to_html(html)
    if as_json:
        click.echo(json.dumps(told.to_dict(), ensure_ascii=False))
    else:
        from rich.console import Console

        Console(highlight=False).print(told, soft_wrap=True)
    sys.exit(0 if told.passed else _DIFFERS)


def _stopped(results: Path | None) -> NoReturn:
    if results is None:
        note("stopped; with --results FILE a run goes on where it was stopped")
    else:
        note(f"stopped; what came is in {results.name}, and the same command goes on from there")
    sys.exit(_STOPPED)
