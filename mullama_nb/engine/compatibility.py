"""What must match between a saved state and a context, what causes a warning, what may differ.

==================================  ==========================================================
refused                             weights, KV cache types, flash attention, rope settings and
                                    factors, the cache's shape; of quantised rows their rotation
                                    and llama.cpp's build; adapters that are not at hand; whatever
                                    this version does not know
loads, and is said not to be exact  llama.cpp's build, thread count, CPU features and backends,
                                    layers on a GPU; more than two LoRAs
free                                n_ctx with room for the tokens, batch sizes, n_parallel
==================================  ==========================================================

Why, and where llama.cpp reads each of them: ``docs/what-rows-depend-on.md``.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import Any

from blake3 import blake3

from ..checks import is_integer
from . import native
from .adapters.loaded import KnownAdapters
from .adapters.values import described
from .differences import differences, in_brief
from .llama_context import metadata_number
from .model import Model
from .params import ContextParams
from .rotation import rotation

__all__ = [
    "ADAPTERS",
    "ADAPTER_RUNS",
    "FORMAT",
    "differences_between",
    "environment",
    "inexactness",
    "refusals",
    "settings",
    "settings_digest",
]

FORMAT = 2
"""The version of what a session says about itself. Version 1 knew nothing of rotation."""

ADAPTERS = "adapters"
"""Among settings: the adapters that rows were made with; missing where there are none."""

ADAPTER_RUNS = "adapter_runs"
"""In metadata, beside settings: which tokens were evaluated with which adapters, and what is on."""

_CELLS = 256  # llama.cpp makes a context's cells a multiple of this


def settings(model: Model, params: ContextParams, n_ctx: int) -> dict[str, Any]:
    """Return the settings that rows depend on, which must match in another context.

    Parameters
    ----------
    model : Model
    params : ContextParams
    n_ctx : int
        Cells of the context.
    """
    is_quantised = params.type_k.block > 1 or params.type_v.block > 1
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
            "factors": _rope_factors(model, n_ctx),
        },
        "rotation": dict(rotation(model, params)),
        "quantised_by": native.build() if is_quantised else None,
    }


def _rope_factors(model: Model, n_ctx: int) -> str | None:
    """Which set of factors a LongRoPE model uses; None for models that have but one, or none.

    llama.cpp chooses by the context's size, not the tokens', and against what the file says of the
    model whatever ``yarn_orig_ctx`` is (``llama_model::get_rope_factors``).
    """
    names = model.tensor_names
    if "rope_factors_long.weight" not in names or "rope_freqs.weight" in names:
        return None
    original = metadata_number(
        model, "rope.scaling.original_context_length", default=model.n_ctx_train
    )
    n_cells = -(-n_ctx // _CELLS) * _CELLS
    return "long" if n_cells > original else "short"


def environment(params: ContextParams, model: Model | None = None) -> dict[str, Any]:
    """Return the environment, on which only the last bits of rows depend.

    Parameters
    ----------
    params : ContextParams
    model : Model, optional
        Its layers may be on a GPU.
    """
    values = {
        "build": native.build(),
        "n_threads": list(params.threads),
        "system": f"{platform.machine()} {native.system_info()}",
    }
    return values if model is None else values | {"gpu_layers": model.n_gpu_layers}


def settings_digest(values: Mapping[str, Any]) -> str:
    """Return a digest of settings."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return blake3(canonical.encode()).hexdigest(length=16)


def refusals(
    saved: Mapping[str, Any], here: Mapping[str, Any], known: KnownAdapters | None = None
) -> list[str]:
    """Return the reasons why a session cannot be loaded, in words.

    Parameters
    ----------
    saved, here : mapping
        The metadata of a session and of a context.
    known : KnownAdapters, optional
        The adapters at hand there.
    """
    version = saved.get("format", 1)
    if not is_integer(version) or version > FORMAT:
        return [
            f"the version of its metadata: {in_brief(version)} saved, up to {FORMAT} known here"
        ]
    theirs, ours = (_without_adapters(values["settings"]) for values in (saved, here))
    return [*differences(theirs, ours), *_missing(saved["settings"].get(ADAPTERS, []), known)]


def _without_adapters(values: Mapping[str, Any]) -> dict[str, Any]:
    """What adapters are on is switched when a session is loaded, so it need not be the same."""
    return {key: value for key, value in values.items() if key != ADAPTERS}


def _missing(notes: object, known: KnownAdapters | None) -> list[str]:
    if not isinstance(notes, list) or not all(isinstance(note, Mapping) for note in notes):
        return [f"its adapters: {in_brief(notes)} saved, which are none"]
    missing = known.missing(notes) if known is not None else [*map(described, notes)]
    return [f"{what}, which is not at hand: give its file as adapters=[...]" for what in missing]


def inexactness(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return the reasons why a session goes on with other last bits, in words.

    Parameters
    ----------
    saved, here : mapping
        The metadata of a session and of a context, between which nothing is to be refused.
    """
    return [*differences(saved["environment"], here["environment"]), *_order(saved)]


def _order(metadata: Mapping[str, Any]) -> list[str]:
    notes = metadata["settings"].get(ADAPTERS, [])
    loras = {note["fingerprint"] for note in notes if note["kind"] == "lora"}
    # llama.cpp keeps them by their addresses in memory.
    return ["the order in which llama.cpp adds up more than two LoRAs"] * (len(loras) > 2)


def differences_between(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return why rows of another process are not the ones that are computed here, in words.

    Parameters
    ----------
    there, here : mapping
        The metadata of two contexts that exist now.
    """
    theirs, ours = (_without_adapters(values["settings"]) for values in (there, here))
    sides = ("there", "here")
    found = differences(theirs, ours, sides)
    return [*found, *differences(there["environment"], here["environment"], sides), *_order(here)]
