"""``mullama-nb doctor``: a report on this machine."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from .. import machine
from ..engine.files.locate import known_models
from ..engine.params import ContextParams
from ..size import size
from .console import speaking_plainly

__all__ = ["doctor"]

_PACKAGES = ("mullama-nb", "llama-cpp-python", "numpy", "ipywidgets", "anywidget", "ipykernel")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def doctor(*, as_json: bool) -> None:
    """Report CPUs, memory, llama.cpp's build, models and stores."""
    with speaking_plainly():
        found = _found()
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        lines = value if isinstance(value, list) else [value]
        if name in _IN_WORDS:
            lines = [_IN_WORDS[name](value)]
        elif isinstance(value, dict):
            lines = [f"{key} {each}" for key, each in value.items()]
        if name == "ignored" and not lines:
            continue
        for line in lines or ["none"]:
            click.echo(f"{name:12}{line}")
            name = ""


def _found() -> dict[str, Any]:
    from ..engine.compatibility import environment
    from ..engine.threads.contention import explained, waiting
    from ..sessions.reading import default_folder

    folder = default_folder()
    cpus, memory = machine.here.cpus, machine.here.memory
    one, many = ContextParams().threads
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": {
            "usable": cpus.usable,
            "affinity": cpus.n_affinity,
            "limit": cpus.limit if math.isfinite(cpus.limit) else None,
            "decided_by": cpus.decided_by,
        },
        "memory": asdict(memory),
        "threads": {"token": one, "prompt": many},
        "waiting": {"now": waiting(max(one, many)), "because": explained(max(one, many))},
        "ignored": list(machine.here.ignored),
        "packages": {name: _version(name) for name in _PACKAGES},
        "llama.cpp": {key: _flat(value) for key, value in environment(ContextParams()).items()},
        "models": known_models(),
        "store": f"{folder}{'' if folder.is_dir() else ' (not made yet)'}",
    }


def _cpus(found: dict[str, Any]) -> str:
    limit = "" if found["limit"] is None else f" with the time of {found['limit']:g}"
    return f"{found['usable']} of {found['affinity']}{limit}, by {found['decided_by']}"


def _memory(found: dict[str, Any]) -> str:
    return f"{size(found['free'])} free of {size(found['total'])}, by {found['decided_by']}"


_IN_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "cpus": _cpus,
    "memory": _memory,
    "threads": lambda found: f"{found['token']} for a token, {found['prompt']} for a prompt",
    "waiting": lambda found: f"{found['now']}: {found['because']}",
}


def _flat(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
