"""The adapters that a recording was made with, which are not in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.adapters.values import Adapter, ControlVector, LoRA, key_of
from ..engine.compatibility import ADAPTERS
from ..errors import AdapterError
from .walk import Entry

__all__ = ["adapters_beside", "with_adapters"]


def with_adapters(settings: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, Any]:
    """Return settings with all adapters that any entry was made with."""
    found = {key_of(note): dict(note) for entry in entries for note in entry.noted.adapters}
    rest = {key: value for key, value in settings.items() if key != ADAPTERS}
    return rest | ({ADAPTERS: [*found.values()]} if found else {})


def adapters_beside(path: Path, entries: Iterable[Entry]) -> list[Adapter]:
    """Return the adapters of a recording that lie beside its file, as ``NAME.gguf``.

    Parameters
    ----------
    path : Path
        The recording.
    entries : iterable of Entry
    """
    notes = {str(n.get("fingerprint")): n for entry in entries for n in entry.noted.adapters}
    found: list[Adapter] = []
    for fingerprint, note in notes.items():
        name = str(note.get("name"))
        if Path(name).name != name or "\0" in name:  # a stranger's, which may lead elsewhere
            continue
        kind = LoRA if note.get("kind") == LoRA.kind else ControlVector
        with contextlib.suppress(AdapterError):
            adapter = kind(path.parent / f"{name}.gguf")
            found += [adapter] if adapter.fingerprint == fingerprint else []
    return found
