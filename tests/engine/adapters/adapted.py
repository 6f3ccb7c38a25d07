"""Adapters of tiny models, and what is evaluated with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from engine.helpers import PARAMS, words

from mullama_nb import Context, ControlVector, LoRA, Model
from mullama_nb.engine.adapters.values import Adapter

__all__ = ["Logits", "MakeLoRA", "evaluated", "vector"]

Logits = npt.NDArray[np.float32]
MakeLoRA = Callable[..., LoRA]


def vector(model: Model, seed: int = 0, scale: float = 1.0, **options: Any) -> ControlVector:
    rows = np.random.default_rng(seed).normal(0, 1, (model.n_layers, model.n_embd))
    rows[0] = 0
    return ControlVector.from_array(rows, name=f"v{seed}", scale=scale, **options)


def evaluated(model: Model, adapters: Sequence[Adapter], n_tokens: int = 40) -> Logits:
    with Context(model, PARAMS, adapters=adapters) as context:
        context.evaluate(words(n_tokens))
        return context.logits
