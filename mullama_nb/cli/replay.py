"""``mullama-nb replay``: replay recorded conversations on a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ..engine.params import KV_CACHE_TYPES
from ..testing.rule import LEVELS, Rule
from .console import speaking_plainly
from .models import adapter_options, complete_model, load_model

if TYPE_CHECKING:
    from ..engine.adapters.values import Adapter
    from ..testing.replaying_all import ReplayResults
    from ..testing.report import Report

__all__ = ["replay"]

_DIFFERS = 1
_CANNOT_REPLAY: Final = 2


@click.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option("--model", shell_complete=complete_model, help="Instead of the recorded one.")
@click.option(
    "--kv",
    type=click.Choice(sorted(KV_CACHE_TYPES)),
    help="KV cache type, instead of the recorded one.",
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default=LEVELS[-1],
    show_default=True,
    help="What may differ: nothing; tokens that rounding decides; probabilities a little.",
)
@adapter_options
@click.option("--workers", type=click.IntRange(1, 1024), help="Replay in so many processes.")
@click.option("--dask", metavar="ADDRESS", help="Replay on the workers of a Dask scheduler.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as a JSON object.")
def replay(
    files: Sequence[Path],
    *,
    model: str | None,
    kv: str | None,
    level: str,
    adapters: Sequence[Adapter],
    workers: int | None,
    dask: str | None,
    as_json: bool,
) -> None:
    """Replay the recordings in FILE..., and report the differences.

    Exits with 0 if all hold, with 1 if one does not, and with 2 if one cannot be replayed.
    """
    from rich.console import Console

    from ..tasks.executors import executor_for
    from ..testing.replaying_all import ReplayResults, replay_all

    changes: dict[str, Any] = {} if kv is None else {"kv_cache_type": kv}
    report: Report | ReplayResults
    with speaking_plainly(_CANNOT_REPLAY):
        if len(files) == 1 and workers is None and dask is None:
            report = _one(files[0], model, Rule(level), changes, adapters)
        else:
            with executor_for(workers, dask) as executor:
                report = replay_all(
                    *(files, model, level), adapters=adapters, executor=executor, **changes
                )
    if as_json:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        Console(highlight=False).print(report, soft_wrap=True)
    if isinstance(report, ReplayResults) and any(each.report is None for each in report):
        sys.exit(_CANNOT_REPLAY)
    sys.exit(0 if report.passed else _DIFFERS)


def _one(
    file: Path,
    model: str | None,
    rule: Rule,
    changes: Mapping[str, Any],
    adapters: Sequence[Adapter],
) -> Report:
    from ..testing.adapters import adapters_beside
    from ..testing.reading import read
    from ..testing.replaying import find_model, replayed

    recording = read(file)
    loaded = find_model(recording) if model is None else load_model(model)
    at_hand = [*adapters_beside(file, recording.entries), *adapters]
    return replayed(recording, loaded, rule, changes, adapters=at_hand)
