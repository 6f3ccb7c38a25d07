"""``mullama-nb lab``: a copy of the lessons, opened in JupyterLab."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import click

__all__ = ["lab"]

_FIRST = "01-quickstart.ipynb"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="lessons")
@click.option("--port", type=click.IntRange(1, 65_535), help="JupyterLab's port.")
@click.option("--no-open", is_flag=True, help="Only copy the lessons.")
def lab(folder: Path, *, port: int | None, no_open: bool) -> None:
    """Copy the lessons to FOLDER and open JupyterLab there.

    Existing files are not overwritten.
    """
    lessons = _lessons()
    folder.mkdir(parents=True, exist_ok=True)
    copied = [each for each in lessons if not (folder / each.name).exists()]
    for lesson in copied:
        shutil.copyfile(lesson, folder / lesson.name)
    click.echo(f"{len(copied)} of {len(lessons)} lessons copied to {folder.name}", err=True)
    if no_open:
        return
    if importlib.util.find_spec("jupyterlab") is None:
        raise click.ClickException("JupyterLab is missing: pip install 'mullama-nb[lab]'")
    command = [sys.executable, "-m", "jupyter", "lab", str(folder / _FIRST)]
    if port is not None:
        command.append(f"--port={port}")
    sys.exit(subprocess.run(command, check=False).returncode)


def _lessons() -> list[Path]:
    """The lessons beside the package where it was cloned, or those that were installed with it."""
    installed = Path(sysconfig.get_path("data")) / "share" / "mullama_nb" / "notebooks"
    for place in (Path(__file__).parents[2] / "notebooks", installed):
        if (place / _FIRST).is_file():
            return sorted(place.glob("[0-9][0-9]-*.ipynb"))
    raise click.ClickException("the lessons are not installed here; they are in the repository")
