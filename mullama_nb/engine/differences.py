"""What differs between a saved state and a context, in words; loads nothing native."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .params import KV_CACHE_TYPES

__all__ = ["differences", "in_brief"]

_MOST_CHARACTERS = 100
_NAMES = {
    "fingerprint": "the weights",
    "architecture": "the architecture",
    "type": "the KV cache type",
    "flash_attention": "flash attention",
    "rope": "the rope settings",
    "rotation": "the rotation of K and V",
    "quantised_by": "the build of llama.cpp, which quantised rows depend on",
    "build": "the build of llama.cpp",
    "n_threads": "the number of threads",
    "system": "the CPU features and backends",
    "gpu_layers": "the layers on a GPU",
    "adapters": "the adapters",
}
_PLAIN_TYPES = frozenset(name for name, kv in KV_CACHE_TYPES.items() if kv.block == 1)
_OF_TYPE = ("rotation", "quantised_by")  # other ones where the types are others


def differences(
    saved: Mapping[str, Any], here: Mapping[str, Any], sides: tuple[str, str] = ("saved", "here")
) -> list[str]:
    """Return the differences of two such dictionaries, in words.

    Values missing in the saved one are inferred from the others where that is certain. Keys unknown
    here count as differences: they may have mattered to the writer.

    Parameters
    ----------
    saved, here : mapping
    sides : tuple of (str, str)
        What the two are called.
    """
    completed = _completed(saved, here)
    if here in (saved, completed):
        return []
    joined = [*_disagreements(_joined(completed), _joined(here), *sides)]
    # What looks the same once it is joined.
    return joined or [*_disagreements(completed, here, *sides)]


def _disagreements(
    saved: Mapping[str, Any], here: Mapping[str, Any], first: str, second: str
) -> Iterator[str]:
    follows = _OF_TYPE if saved.get("type") != here.get("type") else ()
    for key, value in here.items():
        name = _NAMES.get(key, key)
        if key in follows:
            continue
        if key not in saved:
            when = "when it was saved" if first == "saved" else first
            yield f"{name}: {in_brief(value)} {second}, and {when} that was not noted"
        elif saved[key] != value:
            there, value = _apart(saved[key], value)
            yield f"{name}: {in_brief(there)} {first}, {in_brief(value)} {second}"
    for key in saved:
        if key not in here:
            yield f"{in_brief(key)}: {in_brief(saved[key])} {first}, unknown to this version"


def _apart(there: Any, here: Any) -> tuple[Any, Any]:
    """Of two dictionaries what they disagree in."""
    if not (isinstance(there, Mapping) and isinstance(here, Mapping)):
        return there, here
    keys = [key for key in {**here, **there} if there.get(key, ...) != here.get(key, ...)]
    mine, theirs = ({key: side[key] for key in keys if key in side} for side in (here, there))
    return theirs, mine


def _completed(saved: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, Any]:
    """What earlier versions did not write, where it is certain."""
    values = dict(saved)
    types = [values.get("type_k"), values.get("type_v")]
    if "rotation" in here and _PLAIN_TYPES.issuperset(map(str, types)):
        values.setdefault("rotation", {"k": False, "v": False})
        values.setdefault("quantised_by", None)
    rope, own = values.get("rope"), here.get("rope")
    if isinstance(rope, Mapping) and isinstance(own, Mapping) and own.get("factors") is None:
        # It was noted, and not always rightly, for models that have two sets of factors.
        rest = {key: value for key, value in rope.items() if key != "long"}
        values["rope"] = {**rest, "factors": rest.get("factors")}
    if "gpu_layers" in here and here["gpu_layers"] is None:  # then "system" tells of a GPU
        values.setdefault("gpu_layers", None)
    return values


def _joined(values: Mapping[str, Any]) -> dict[str, Any]:
    """Pairs that are mostly equal, shown as one value where they are."""
    shown = dict(values)
    if shown.keys() >= {"type_k", "type_v"} and shown["type_k"] == shown["type_v"]:
        shown["type"] = shown.pop("type_k")
        del shown["type_v"]
    elif "type_k" in shown:
        shown["type"] = f"{shown.pop('type_k')} for K and {shown.pop('type_v', None)} for V"
    rotated = shown.get("rotation")
    if isinstance(rotated, Mapping) and rotated.keys() == {"k", "v"}:
        k, v = rotated["k"], rotated["v"]
        shown["rotation"] = k if k == v else f"{in_brief(k)} for K and {in_brief(v)} for V"
    threads = shown.get("n_threads")
    if isinstance(threads, list) and len(set(map(str, threads))) == 1:
        shown["n_threads"] = threads[0]
    return shown


def in_brief(value: Any) -> str:
    """Return a value of a file, which may say anything, in few characters."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{k}={v}" for k, v in value.items())
    elif isinstance(value, bool):
        return "on" if value else "off"
    else:
        text = "nothing" if value is None else str(value)
    short = text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "..."
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in short)
