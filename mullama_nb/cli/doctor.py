"""``mullama-nb doctor``: what was found on this machine."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from ..engine.compatibility import environment
from ..engine.locate import known_models
from ..engine.params import ContextParams
from ..sessions.reading import default_folder
from .console import speaking_plainly

__all__ = ["doctor"]

_PACKAGES = ("mullama-nb", "llama-cpp-python", "numpy", "ipywidgets", "anywidget", "ipykernel")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def doctor(*, as_json: bool) -> None:
    """Say what there is: llama.cpp's build, CPU features, models and stores."""
    with speaking_plainly():
        found = _found()
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        lines = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            lines = [f"{key} {each}" for key, each in value.items()]
        for line in lines or ["none"]:
            click.echo(f"{name:12}{line}")
            name = ""


def _found() -> dict[str, Any]:
    folder = default_folder()
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in _PACKAGES},
        "llama.cpp": {key: _flat(value) for key, value in environment(ContextParams()).items()},
        "models": known_models(),
        "store": f"{folder}{'' if folder.is_dir() else ' (not made yet)'}",
    }


def _flat(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
