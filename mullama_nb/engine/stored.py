"""Context parameters from a file, which are not trusted with this machine's resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .. import machine
from ..errors import ParameterError, shown
from .llama_context import bytes_per_cell
from .model import Model
from .params import ContextParams

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import ContextOptions

__all__ = ["check_room", "params_from_file"]

_MOST = {"n_ctx": 2**24, "n_batch": 2**17, "n_ubatch": 2**13}
_THREADS = ("n_threads", "n_threads_batch")


def params_from_file(values: object, **changes: Unpack[ContextOptions]) -> ContextParams:
    """Return parameters from a file, with changes.

    Threads beyond the CPUs that this process may use are left out: 512 on two cores take minutes
    for what two do in a second. Changes by the caller are trusted.

    Parameters
    ----------
    values : mapping
        Fields of ``ContextParams``, as JSON holds them.
    **changes
        Fields of ``ContextParams``.

    Raises
    ------
    ParameterError
        When a value cannot be right, or is beyond what contexts are made with.
    TypeError
        When a change has an unknown name.
    """
    if not isinstance(values, Mapping):
        raise ParameterError(f"context parameters are a mapping, not {shown(values)}")
    known = {**values}
    pair = known.get("kv_cache_type")
    if isinstance(pair, list):
        known["kv_cache_type"] = tuple(pair)
    try:
        params = ContextParams(**known)
    except TypeError as error:
        raise ParameterError(str(error)) from None
    for name, most in _MOST.items():
        if name not in changes and (getattr(params, name) or 0) > most:
            raise ParameterError(
                f"{name}={getattr(params, name):,} is more than a file may ask for, {most:,}; "
                f"give {name} yourself"
            )
    usable = machine.here.cpus.usable
    clamped = {
        name: min(getattr(params, name), usable)
        for name in _THREADS
        if getattr(params, name) is not None
    }
    return params.with_changes(**clamped).with_changes(**changes)


def check_room(model: Model, params: ContextParams, n_tokens: int) -> None:
    """Check that there is memory for a context requested by a file, before allocating it.

    Parameters
    ----------
    model : Model
    params : ContextParams
    n_tokens : int
        Number of tokens in the file, which the context must hold.

    Raises
    ------
    ParameterError
        When there is not.
    """
    n_ctx = params.n_ctx or model.n_ctx_train
    n_bytes, free = n_ctx * bytes_per_cell(model, params), machine.here.memory.free
    if n_bytes > free:
        raise ParameterError(
            f"n_ctx={n_ctx:,} would take {n_bytes / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are "
            f"free here; give a smaller n_ctx, of {n_tokens:,} or more"
        )
