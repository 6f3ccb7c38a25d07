"""Attention in numpy: which part of its value each token gets from each, by head.

Flash attention never writes these numbers down, but its node has everything that they follow from:
the queries after rope, the rows of K as they are stored (rotated as the queries are, where
llama.cpp rotates), the mask with windows and ALiBi's distances, the scale, the softcap, the sinks.
"""

from __future__ import annotations

import math

import gguf
import numpy as np
from gguf import GGMLQuantizationType

from ...errors import ContextError
from .graph import Floats, Tensor

__all__ = ["attention_of", "flash_attention"]


def attention_of(node: Tensor, n_tokens: int) -> tuple[Floats, Floats]:
    """Return the attention of one token, from a node that was computed just now.

    Parameters
    ----------
    node : Tensor
        A ``FLASH_ATTN_EXT``, or the ``SOFT_MAX`` of attention without it.
    n_tokens : int
        Tokens up to this one.

    Returns
    -------
    weights : ndarray of float32, shape (n_heads, n_tokens)
    sinks : ndarray of float32, shape (n_heads,)
        What goes to a learnt sink instead of a token; 0 where there is none.

    Raises
    ------
    ContextError
        When it is not laid out as is known here.
    """
    if node.op == "SOFT_MAX":
        weights, learnt = _cut(node, n_tokens, 0.0), node.sources[2]
        sinks = 1 - weights.sum(axis=1) if learnt is not None else np.zeros(len(weights))
        return weights, np.asarray(sinks, np.float32)
    q, k, _, mask, learnt = node.sources[:5]
    if q is None or k is None or mask is None or q.shape[2] != 1:
        raise _unknown(node)
    biases = _cut(mask, n_tokens, -np.inf)
    sinks = None if learnt is None else learnt.read().reshape(-1)
    queries = rounded(q.read(), k.kind)
    return flash_attention(queries, k.read()[:, :, :n_tokens], biases, sinks, node.parameters)


def rounded(queries: Floats, kind: GGMLQuantizationType) -> Floats:
    """Return queries as they are multiplied with K of a type: the CPU rounds them alike first."""
    if kind == GGMLQuantizationType.F32:
        return queries
    if kind == GGMLQuantizationType.F16:
        return queries.astype(np.float16).astype(np.float32)
    if kind != GGMLQuantizationType.BF16:
        kind = GGMLQuantizationType.Q8_0  # whatever else K is quantised to
    return gguf.dequantize(gguf.quantize(queries, kind), kind)


def flash_attention(
    q: Floats, k: Floats, biases: Floats, learnt: Floats | None, parameters: Floats
) -> tuple[Floats, Floats]:
    """Return the weights that flash attention gives to values, and what goes to its sinks.

    Parameters
    ----------
    q : ndarray of float32, shape (1, n_heads, 1, width)
    k : ndarray of float32, shape (1, n_kv_heads, n_tokens, width)
    biases : ndarray of float32, shape (1 or n_heads, n_tokens)
        The mask: minus infinity where a token is not seen.
    learnt : ndarray of float32, shape (n_heads,), optional
        The score of each head's sink.
    parameters : ndarray of float32
        The node's: scale, ALiBi's highest bias, softcap; 0 for none of the latter two.
    """
    scale, most_bias, cap = (float(value) for value in parameters[:3])
    scores = _products(q, k) * np.float32(scale / (cap or 1.0))
    if cap:
        scores = np.tanh(scores) * np.float32(cap)
    slopes = alibi_slopes(len(scores), most_bias) if most_bias else np.ones(len(scores), np.float32)
    scores += slopes[:, None] * biases
    return softmax(scores, learnt)


def _unknown(node: Tensor) -> ContextError:
    return ContextError(
        f"the attention in {node.name!r} has another layout than is known here: "
        f"{' x '.join(map(str, node.shape))} values for one token"
    )


def _cut(node: Tensor, n_tokens: int, behind: float) -> Floats:
    """The first token's row of each head, up to its last token; nothing may lie behind that."""
    rows = node.read()
    if len(rows) != 1 or rows.shape[3] < n_tokens or (rows[0, :, 0, n_tokens:] != behind).any():
        raise _unknown(node)
    return np.ascontiguousarray(rows[0, :, 0, :n_tokens])


def _products(q: Floats, k: Floats) -> Floats:
    """The product of each head's query with its rows of K; several heads may share their rows."""
    n_heads, n_kv, width = q.shape[1], k.shape[1], k.shape[3]
    queries = q.reshape(n_kv, n_heads // n_kv, width)
    products: Floats = np.matmul(k[0], queries.transpose(0, 2, 1))
    return products.transpose(0, 2, 1).reshape(n_heads, -1)


def alibi_slopes(n_heads: int, most_bias: float) -> Floats:
    """Return by how much each head weighs a distance (ALiBi, as in ggml's ``soft_max_ext``)."""
    n_even = 2 ** math.floor(math.log2(n_heads))
    heads = np.arange(n_heads)
    first = 2.0 ** (-most_bias / n_even * (heads + 1))
    others = 2.0 ** (-most_bias / 2 / n_even * (2 * (heads - n_even) + 1))
    return np.asarray(np.where(heads < n_even, first, others), np.float32)


def softmax(scores: Floats, learnt: Floats | None) -> tuple[Floats, Floats]:
    """Return the softmax over each row, and what of it goes to a learnt sink."""
    top = scores.max(axis=1)
    if learnt is not None:
        top = np.maximum(top, learnt)
    weights = np.exp(scores - top[:, None])
    sinks = np.zeros_like(top) if learnt is None else np.exp(learnt - top)
    total = weights.sum(axis=1) + sinks
    return weights / total[:, None], sinks / total
