"""``mullama-nb replay``: replay a recorded conversation on a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from ..engine.adapters.values import Adapter
from ..engine.params import KV_CACHE_TYPES
from ..testing.adapters import adapters_beside
from ..testing.comparison import LEVELS, Rule
from ..testing.reading import read
from ..testing.replaying import find_model, replayed
from .console import speaking_plainly
from .models import adapter_options, complete_model, load_model

__all__ = ["replay"]

_DIFFERS = 1


class _CannotReplay(click.ClickException):
    exit_code = 2  # 1 says that something differs


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
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
@click.option("--json", "as_json", is_flag=True, help="Print the report as a JSON object.")
def replay(
    file: Path,
    *,
    model: str | None,
    kv: str | None,
    level: str,
    adapters: Sequence[Adapter],
    as_json: bool,
) -> None:
    """Replay the recording FILE, and report the differences.

    Exits with 0 if it holds, with 1 if it does not, and with 2 if it cannot be replayed.
    """
    try:
        with speaking_plainly():
            recording = read(file)
            loaded = find_model(recording) if model is None else load_model(model)
            changes = {} if kv is None else {"kv_cache_type": kv}
            at_hand = [*adapters_beside(file, recording.entries), *adapters]
            report = replayed(recording, loaded, Rule(level), changes, adapters=at_hand)
    except click.ClickException as error:
        raise _CannotReplay(error.message) from error
    if as_json:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        Console(highlight=False).print(report, soft_wrap=True)
    sys.exit(0 if report.passed else _DIFFERS)
