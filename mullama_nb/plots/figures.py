"""Three figures: growth of a conversation's memory, sizes by cache type, token probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..checks import check_integer, check_list
from ..engine.context import Context
from ..engine.kv import kv_bytes_per_token
from ..engine.model import Model
from ..engine.params import ContextParams
from ..errors import ParameterError
from ..history.tree import CheckpointTree
from ..history.turn import Turn
from ..size import size
from .growth import labelled, measure_growth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["kv_growth", "kv_sizes", "token_probabilities"]

_SIZES = (512, 1024, 2048, 4096, 8192)
_TYPES = ("f16", "q8_0", "q4_0")
_AXIS, _LETTER = 420, 6.5  # points: an axis's width at least, and a letter's
_MEASURED = (64, 256)  # tokens: few, because each is evaluated


def kv_growth(tree: CheckpointTree) -> Figure:
    """Plot the KV rows along the active path, against full snapshots at each checkpoint.

    Parameters
    ----------
    tree : CheckpointTree

    Returns
    -------
    matplotlib.figure.Figure
        Each bar is a checkpoint, named S, Q1, A1 and so on. Its coloured part is the rows that it
        keeps; together with the grey part below, it is the size of a full snapshot.
    """
    from .theme import AMBER, BLUE, GREY, ClearFigure  # here, because it takes half a second

    growth = measure_growth(tree)
    figure = ClearFigure()
    axes = figure.axes_for(
        f"{size(growth.kept)} kept, {size(growth.snapshots)} as full snapshots; "
        f"{growth.n_tokens:,} of {growth.n_ctx:,} tokens",
        "checkpoint on the active path",
        "KV rows (bytes)",
        bytes_on_y=True,
    )
    places = range(1, len(growth.steps) + 1)
    axes.bar(
        places,
        [step.before for step in growth.steps],
        color=GREY,
        alpha=0.3,
        label="kept already",
    )
    for label, colour, hatch, is_shared in (
        ("shared by branches", AMBER, "///", True),
        ("on this branch only", BLUE, "", False),
    ):
        axes.bar(
            places,
            [step.n_bytes if step.is_shared is is_shared else 0 for step in growth.steps],
            bottom=[step.before for step in growth.steps],
            color=colour,
            hatch=hatch,
            edgecolor="none" if not hatch else "#ffffff66",
            linewidth=0,
            label=label,
        )
    full = growth.n_ctx * growth.bytes_per_token
    if growth.steps and 0 < full <= 2.5 * growth.steps[-1].snapshot:
        axes.axhline(full, color=GREY, linestyle="--", linewidth=1)
        axes.annotate(
            f"n_ctx = {growth.n_ctx:,}",
            (0, full),
            xycoords=("axes fraction", "data"),
            xytext=(2, 3),
            textcoords="offset points",
            color=GREY,
        )
        axes.set_ylim(top=full * 1.12)
    n_places = max(len(growth.steps), 1) + 0.2
    axes.set_xlim(0.4, n_places + 0.4)
    names = [step.name for step in growth.steps]
    shown = labelled(names, _AXIS / n_places, _LETTER)
    axes.set_xticks([i + 1 for i in shown], [names[i] for i in shown])
    figure.add_legend(axes)
    return figure


def kv_sizes(
    model: Model, *, n_ctx: Sequence[int] | None = None, types: Sequence[str] = _TYPES
) -> Figure:
    """Plot the size of contexts for each cache type: predicted, and measured for small ones.

    Parameters
    ----------
    model : Model
    n_ctx : sequence of int, optional
        None: 512 to 8,192, up to the model's training context.
    types : sequence of str
        KV cache types.

    Returns
    -------
    matplotlib.figure.Figure
        Lines are computed from the model; points are measured in contexts filled with tokens.
    """
    from .theme import (  # here, because matplotlib takes half a second
        GREY,
        MARKERS,
        SERIES,
        ClearFigure,
        label_bytes,
    )

    if n_ctx is None:
        n_ctx = [n for n in _SIZES if n <= model.n_ctx_train] or [model.n_ctx_train]
    counts = check_list("n_ctx", n_ctx, "sizes")
    sizes = sorted({check_integer("n_ctx", n, 1) for n in counts})
    listed = check_list("types", types, "KV cache types")
    names = [name for i, name in enumerate(listed) if name not in listed[:i]]
    if not sizes:
        raise ParameterError("n_ctx=[] must be one or more sizes from 1")
    if not 0 < len(names) <= len(SERIES):
        raise ParameterError(f"types={names!r} must be 1 to {len(SERIES)} KV cache types")
    figure = ClearFigure()
    axes = figure.axes_for(f"KV memory of {model.name}", "tokens", "KV rows (bytes)")
    lowest = min(_MEASURED[0], sizes[0])
    for name, colour, marker in zip(names, SERIES, MARKERS, strict=False):
        params = ContextParams(n_ctx=max(sizes), kv_cache_type=name)
        a_token = kv_bytes_per_token(model, params)
        axes.plot(
            [lowest, *sizes],
            [a_token * n for n in (lowest, *sizes)],
            color=colour,
            label=name,
        )
        measured = _measure(model, params, [n for n in (*_MEASURED, *sizes) if n <= 256])
        axes.plot(*measured, marker, color=colour, markersize=5, label=f"_{name} measured")
        axes.annotate(
            size(a_token * sizes[-1]),
            (sizes[-1], a_token * sizes[-1]),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=colour,
        )
    axes.plot([], [], "o", color=GREY, markersize=5, label="measured")
    axes.set_xscale("log", base=2)  # sizes double, and small ones can be measured quickly
    axes.set_yscale("log")
    label_bytes(axes)
    axes.set_xticks(ticks := sorted({lowest, *sizes}), [f"{n:,}" for n in ticks])
    axes.minorticks_off()
    axes.set_xlim(lowest * 0.9, sizes[-1] * 1.6)
    figure.add_legend(axes)
    return figure


def _measure(
    model: Model, params: ContextParams, counts: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Tokens, and the bytes that a context says it holds then."""
    counts = sorted({min(n, model.n_ctx_train) for n in counts})
    if not counts:
        return [], []
    token = model.tokenize(" the")[0]
    held = []
    with Context(model, params.with_changes(n_ctx=counts[-1])) as context:
        for n in counts:
            context.evaluate([token] * (n - context.token_count()))
            held.append(context.kv_bytes())
    return counts, held


def token_probabilities(turn: Turn) -> Figure:
    """Plot the model's probability of each token of an answer.

    Parameters
    ----------
    turn : Turn
        A generated answer.

    Returns
    -------
    matplotlib.figure.Figure
        One bar per token; up to 48 tokens with their text.
    """
    from .token_bars import token_bars  # here, because matplotlib takes half a second

    probabilities = [math.exp(logprob) for logprob in turn.logprobs]
    if not probabilities:
        raise ParameterError(
            f"{turn!r} was not generated, so its tokens have no probabilities; pass an answer"
        )
    n = len(probabilities)
    unlikely = [p < 0.5 for p in probabilities]
    figure, axes = token_bars(
        f"{n} token{'s' * (n != 1)}, {sum(unlikely)} of them less likely than not",
        "probability (%)",
        [100 * p for p in probabilities],
        unlikely,
        turn.chat.model,
        turn.tokens[-n:],
    )
    axes.set_ylim(0, 100)
    return figure
