"""Where attention and the residual stream are in a graph, read from what the graph does.

Architectures name few nodes alike. Attention is found by its operation, a node's layer by the
number that llama.cpp appends to names; only what leaves a layer goes by its name, ``l_out``, which
llama.cpp gives it in every architecture that takes control vectors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import ContextError
from .graph import Step

__all__ = ["LAYER_OUTPUT", "Anatomy", "anatomy_of"]

LAYER_OUTPUT = "l_out"
"""The name of what leaves a layer, before the layer's number."""

_LAYER = re.compile(r"-(\d+)\b")
_TOKENS = "inp_tokens"
_OUTPUT_ROWS = "out_ids"  # which tokens of a batch are to have logits


@dataclass(frozen=True)
class Anatomy:
    """Where in a graph to look.

    Attributes
    ----------
    attention : mapping of int to int
        From a step's number to its layer.
    hidden : mapping of int to int
        From a step's number to how many layers went before.
    names : mapping of int to str
        The names of all these steps.
    is_headed : bool
        Whether the logits depend on nothing but what leaves the last layer.
    """

    attention: Mapping[int, int]
    hidden: Mapping[int, int]
    names: Mapping[int, str]
    is_headed: bool


def anatomy_of(steps: Sequence[Step], n_layers: int, n_embd: int, architecture: str) -> Anatomy:
    """Return where in a graph of one token to look.

    Parameters
    ----------
    steps : sequence of Step
    n_layers, n_embd : int
    architecture : str
        For errors.

    Raises
    ------
    ContextError
        When the graph is not of a kind that is known here.
    """

    def refusal(what: str) -> ContextError:
        return ContextError(
            f"cannot look into the architecture {architecture!r}: {what}. Its logits are available "
            "with logits_at()"
        )

    ends = {name: i for i, name in enumerate(step.name for step in steps)}
    hidden: dict[int, int] = {}
    for layer in range(n_layers):
        end = ends.get(f"{LAYER_OUTPUT}-{layer}")
        if end is None:
            raise refusal(f"llama.cpp does not say what leaves layer {layer}")
        if steps[end].shape != (1, 1, 1, n_embd):
            raise refusal(f"what leaves layer {layer} is not one vector of {n_embd} numbers")
        hidden[end] = layer + 1
    entry = _entry(steps, n_embd)
    if entry is None:
        raise refusal("what enters the first layer is not found in its graph")
    hidden[entry] = 0

    attention: dict[int, int] = {}
    for i, step in enumerate(steps):
        if step.op == "FLASH_ATTN_EXT" or (step.op == "SOFT_MAX" and step.has_mask):
            layer = next((n for n in map(_layer_of, steps[i:]) if n is not None), n_layers)
            if layer in attention.values() or layer >= n_layers:
                raise refusal(f"more than one attention is found in layer {layer}")
            attention[i] = layer

    names = {i: steps[i].name for i in (*hidden, *attention)}
    last = ends[f"{LAYER_OUTPUT}-{n_layers - 1}"]
    return Anatomy(attention, hidden, names, _is_headed(steps, last))


def _layer_of(step: Step) -> int | None:
    found = _LAYER.search(step.name)
    return int(found[1]) if found else None


def _entry(steps: Sequence[Step], n_embd: int) -> int | None:
    """The embedding, with all that is done to it before it parts into the stream and a layer."""
    readers: dict[int, set[int]] = {}
    for i, step in enumerate(steps):
        for source in step.sources:
            readers.setdefault(source, set()).add(i)
    for i, step in enumerate(steps):
        if _TOKENS in step.inputs and step.shape == (1, 1, 1, n_embd):
            while len(readers.get(i, ())) == 1:
                (i,) = readers[i]
            is_entry = i in readers and steps[i].shape == (1, 1, 1, n_embd)
            return i if is_entry else None
    return None


def _is_headed(steps: Sequence[Step], last: int) -> bool:
    waiting, seen = [len(steps) - 1], {last}
    while waiting:
        step = waiting.pop()
        if step not in seen:
            seen.add(step)
            if set(steps[step].inputs) - {_OUTPUT_ROWS}:
                return False
            waiting += steps[step].sources
    return True
