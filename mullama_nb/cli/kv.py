"""``mullama-nb kv``: the size of a model's KV cache, before anything is allocated."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..engine.params import ContextParams
from ..errors import ParameterError
from ..size import size
from .console import note, speaking_plainly
from .models import complete_model, load_model
from .paths import NewFile

__all__ = ["kv"]

_SIZES = (1024, 2048, 4096, 8192)
_TYPES = ("f16", "q8_0", "q4_0")


@click.command()
@click.argument("model", shell_complete=complete_model)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--plot", type=NewFile(), help="File for a figure.")
def kv(model: str, *, as_json: bool, plot: Path | None) -> None:
    """Print the sizes of a token and of sessions, for each KV cache type."""
    from rich.console import Console
    from rich.table import Table

    from ..engine.kv import kv_bytes_per_token, predict_session_bytes

    with speaking_plainly():
        loaded = load_model(model)
        sizes = [n for n in _SIZES if n <= loaded.n_ctx_train] or [loaded.n_ctx_train]
        rows: dict[str, dict[str, int]] = {}
        for name in _TYPES:
            try:
                params = ContextParams(kv_cache_type=name, n_ctx=max(sizes))
                per_token = kv_bytes_per_token(loaded, params)
                tokens = {str(n): predict_session_bytes(loaded, n, params) for n in sizes}
            except ParameterError as error:
                note(f"{name}: {error}")
                continue
            rows[name] = {"token": per_token, **tokens}
        if plot is not None:
            from .. import plots  # matplotlib takes a second that nothing else here needs

            figure = plots.kv_sizes(loaded, n_ctx=sizes, types=[*rows])
            try:
                figure.savefig(plot)
            except (OSError, ValueError) as error:
                raise click.ClickException(f"{plot.name} cannot be written: {error}") from None
            note(f"drawn to {plot.name}")
        if as_json:
            click.echo(json.dumps({"model": loaded.name, "bytes": rows}))
            return
        table = Table(title=f"Session sizes of {loaded.name}", title_justify="left")
        table.add_column("type")
        for heading in ("a token", *(f"{n:,} tokens" for n in sizes)):
            table.add_column(heading, justify="right")
        for name, row in rows.items():
            table.add_row(name, f"{row['token']:,} B", *(size(row[str(n)]) for n in sizes))
        Console().print(table)
