"""What must match between a saved state and a context, what is said, and what may differ.

==================================  ==========================================================
refused                             weights, KV cache types, flash attention, rope settings and
                                    regime, the cache's shape
loads, and is said not to be exact  llama.cpp's build, thread count, CPU features and backend
free                                n_ctx with room for the tokens, batch sizes, n_parallel
==================================  ==========================================================
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import Any

from blake3 import blake3

from . import native
from .model import Model
from .params import ContextParams

__all__ = ["differences", "environment", "settings", "settings_digest"]

_NAMES = {
    "fingerprint": "the weights",
    "architecture": "the architecture",
    "type": "the KV cache type",
    "flash_attention": "flash attention",
    "rope": "the rope settings",
    "build": "the build of llama.cpp",
    "n_threads": "the number of threads",
    "system": "the CPU features and backends",
}


def settings(model: Model, params: ContextParams, n_ctx: int) -> dict[str, Any]:
    """What rows depend on and a loading context must have the same.

    Parameters
    ----------
    model : Model
    params : ContextParams
    n_ctx : int
        Cells of the context.
    """
    return {
        "fingerprint": model.fingerprint,
        "architecture": model.architecture,
        "type_k": params.type_k.name,
        "type_v": params.type_v.name,
        "flash_attention": params.flash_attention,
        "rope": {
            "scaling": params.rope_scaling,
            "freq_base": params.rope_freq_base,
            "freq_scale": params.rope_freq_scale,
            "yarn_orig_ctx": params.yarn_orig_ctx,
            "long": _uses_long_factors(model, params, n_ctx),
        },
    }


def _uses_long_factors(model: Model, params: ContextParams, n_ctx: int) -> bool:
    """LongRoPE models pick one of two sets of factors by the context's size, not the tokens'."""
    prefix = f"{model.architecture}.rope.scaling."
    original = model.metadata.get(prefix + "original_context_length")
    if not (
        model.metadata.get(prefix + "type") == "longrope"
        or params.rope_scaling == "longrope"
        or "rope_factors_long.weight" in model.tensor_names
    ):
        return False
    return n_ctx > (params.yarn_orig_ctx or int(original or model.n_ctx_train))


def environment(params: ContextParams) -> dict[str, Any]:
    """What only the last bits depend on."""
    return {
        "build": native.build(),
        "n_threads": list(params.threads),
        "system": f"{platform.machine()} {native.system_info()}",
    }


def settings_digest(values: Mapping[str, Any]) -> str:
    """A short name for settings, the same for equal ones."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return blake3(canonical.encode()).hexdigest(length=16)


def differences(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Where two such dictionaries disagree, in words."""
    saved, here = _joined(saved), _joined(here)
    return [
        f"{_NAMES.get(key, key)}: {_show(saved.get(key))} saved, {_show(value)} here"
        for key, value in here.items()
        if saved.get(key) != value
    ]


def _joined(values: Mapping[str, Any]) -> dict[str, Any]:
    """Pairs that are mostly equal, shown as one value where they are."""
    shown = dict(values)
    if "type_k" in shown and shown["type_k"] == shown.get("type_v"):
        shown["type"] = shown.pop("type_k")
        del shown["type_v"]
    elif "type_k" in shown:
        shown["type"] = f"{shown.pop('type_k')} for K and {shown.pop('type_v', None)} for V"
    threads = shown.get("n_threads")
    if isinstance(threads, list) and len(set(map(str, threads))) == 1:
        shown["n_threads"] = threads[0]
    return shown


def _show(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}={v}" for k, v in value.items())
    if isinstance(value, bool):
        return "on" if value else "off"
    return "nothing" if value is None else str(value)
