"""Suites in files: ``*.suite.yaml``, ``*.suite.yml`` and ``*.suite.jsonl``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from ...engine.adapters.values import Adapter, ControlVector, LoRA
from ...engine.files.locate import is_path
from ...engine.templates.of_model import is_template
from ...errors import SuiteError, shown
from .beside import beside
from .case import Case
from .checks.check import Check
from .checks.forms import check_from_file
from .document import SUFFIXES, Document, read_document
from .mistakes import blaming, check_document, refuse
from .plain import Place
from .schema import suite_schema
from .settings import checked_settings

__all__ = ["read_suite"]

S = TypeVar("S")

_TEMPLATES = (".jinja", ".jinja2", ".j2")
_MOST_CELLS = 1_000_000
_OF_FILES = {"$schema", "cases", "models", "settings"}


def read_suite(
    make: Callable[..., S],
    path: str | os.PathLike[str],
    models: Sequence[str] = (),
    kv_cache_types: Sequence[str] = (),
) -> S:
    """Return the suite in a file; see ``Suite.read``.

    Parameters
    ----------
    make : callable
        ``Suite``.
    path : str or path
    models : sequence of str
        Instead of those in the file, from the working directory on.
    kv_cache_types : sequence of str
        Each setting is there with each of them.
    """
    path = Path(path)
    suffix = next((each for each in SUFFIXES if path.name.endswith(each)), None)
    if suffix is None:
        raise SuiteError(
            f"{shown(path.name, 200)} is not called like a suite: its name must end in "
            f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        )
    document = read_document(path)
    check_document(document, suite_schema())
    said: dict[str, Any] = document.value
    _check_size(document, said)
    for key in ("cases", "settings"):
        _check_names(document, key, said.get(key, ()))
    cases = [_case(document, ("cases", i), each) for i, each in enumerate(said["cases"])]
    names = [*models] or [_model(document, each) for each in said["models"]]
    settings = [
        _setting(document, ("settings", i), each)
        for i, each in enumerate(said.get("settings", [{}]))
    ]
    if kv_cache_types:
        settings = _with_types(settings, kv_cache_types)
    rest = {key: value for key, value in said.items() if key not in _OF_FILES}
    with blaming(document, ()):
        return make(cases, names, settings, **({"name": path.name.removesuffix(suffix)} | rest))


def _check_size(document: Document, said: Mapping[str, Any]) -> None:
    """Refuse a matrix that a few lines make larger than memory."""
    n = math.prod(len(said.get(key, "1")) for key in ("cases", "models", "settings"))
    if n > _MOST_CELLS:
        refuse(document, ("cases",), f"cases x models x settings are {n:,}, over {_MOST_CELLS:,}")


def _check_names(document: Document, key: str, given: Sequence[Mapping[str, Any]]) -> None:
    lines: dict[str, int] = {}
    for i, each in enumerate(given):
        if (name := each.get("name")) is not None:
            place = (key, i, "name")
            if name in lines:
                refuse(document, place, f"{shown(repr(name))} stands in line {lines[name]}, too")
            lines[name] = document.line(place)


def _case(document: Document, place: Place, given: Mapping[str, Any]) -> Case:
    values = _options(document, place, given)
    checks = [
        _check(document, (*place, "checks", i), each)
        for i, each in enumerate(values.pop("checks", ()))
    ]
    said = values.pop("said", None)
    if "recording" in values:
        said = _file(document, (*place, "recording"), values.pop("recording"))
    with blaming(document, place):
        return Case(said, checks, **values)


def _check(document: Document, place: Place, given: Mapping[str, Any]) -> Check:
    (kind,) = given
    with blaming(document, (*place, kind)):
        return check_from_file(given, document.folder)


def _setting(document: Document, place: Place, given: Mapping[str, Any]) -> dict[str, Any]:
    values = _options(document, place, given)
    template = values.get("chat_template")
    if template is not None and template.endswith(_TEMPLATES):
        values["chat_template"] = _file(document, (*place, "chat_template"), template)
    elif template is not None and not is_template(template) and _is_file(document, template):
        refuse(document, (*place, "chat_template"), "a path to a chat template ends in .jinja")
    if "adapters" in values:
        values["adapters"] = [
            _adapter(document, (*place, "adapters", i), each)
            for i, each in enumerate(values["adapters"])
        ]
    with blaming(document, place):
        checked_settings([values])
    return values


def _is_file(document: Document, name: str) -> bool:
    """Whether the name of a template could be taken for a path."""
    if is_path(name, document.folder):
        return True
    return os.path.isfile(name)  # noqa: PTH113 - a text may be no path at all


def _with_types(settings: Sequence[dict[str, Any]], types: Sequence[str]) -> list[dict[str, Any]]:
    """Each setting with each KV cache type; those that were apart by nothing else are one."""
    made: list[dict[str, Any]] = []
    for setting, kind in product(settings, types):
        changed = setting | {"kv_cache_type": kind}
        if "name" in setting and len(types) > 1:
            changed["name"] = f"{setting['name']} {kind}"
        if changed not in made:
            made.append(changed)
    return made


def _options(document: Document, place: Place, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as Python takes them: JSON has texts only as keys."""
    values = dict(given)
    if "logit_bias" in values:
        with blaming(document, (*place, "logit_bias")):
            values["logit_bias"] = {int(k): bias for k, bias in values["logit_bias"].items()}
    return values


def _adapter(document: Document, place: Place, given: Mapping[str, Any]) -> Adapter:
    values = dict(given)
    kind = LoRA if "lora" in values else ControlVector
    file = _file(
        *(document, place, values.pop("lora" if kind is LoRA else "control_vector")),
        may_be_elsewhere=True,  # weights, of which nothing is shown
    )
    with blaming(document, place):
        return kind(file, **values)


def _model(document: Document, name: str) -> str:
    """A model's name, or its path from the file on."""
    if not is_path(name, document.folder):
        return name
    path = Path(name)
    with suppress(RuntimeError):  # nobody's home
        path = path.expanduser()
    return str(document.folder.absolute() / path)


def _file(document: Document, place: Place, name: str, *, may_be_elsewhere: bool = False) -> Path:
    """A file that is there, from the suite's folder on."""
    path = document.folder.absolute() / name
    if not may_be_elsewhere:
        with blaming(document, place):
            beside(document.folder, name)
    try:
        is_there = path.is_file()
    except (OSError, ValueError):
        is_there = False
    if not is_there:
        refuse(document, place, f"there is no file {name!r} beside the suite")
    return path
