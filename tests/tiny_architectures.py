"""The shapes of the tiny models: which tensors and metadata each architecture has.

Tensors are declared as rows of a table. Axes are in ggml's order (fastest first) and are named:

=====  =============================  =====  =====================================
``E``  embedding                      ``D``  inner width of a state-space layer
``V``  vocabulary                     ``S``  its state size
``F``  feed-forward                   ``R``  its time-step rank; in Mamba 2, its heads
``H``  query heads x head size        ``C``  its convolution's length
``K``  key-value heads x head size    ``L``  length of a short convolution
``h``  one head                       ``/``  half of one head
``4``  query heads                    ``X``  experts
=====  =============================  =====  =====================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

__all__ = ["ARCHITECTURES", "Architecture", "Block", "Fill", "Tensor", "metadata", "sizes"]


class Fill(Enum):
    """What a tensor is filled with, from Gaussian noise and its gain.

    Matrices and tables may be stored as f16; llama.cpp wants everything else in f32.
    """

    MATRIX = auto()  # gain * noise / sqrt(inputs): what goes through keeps its size
    TABLE = auto()  # gain * noise: embeddings
    AROUND = auto()  # gain, give or take a tenth: norms
    SHIFT = auto()  # gain, give or take a quarter: biases
    KERNEL = auto()  # as a matrix, always f32: convolutions
    DECAY = auto()  # -exp(gain, give or take a quarter): how fast a state forgets


class Tensor(NamedTuple):
    """One row of the table: a name without its ``blk.i.``, its axes, what it holds."""

    name: str
    axes: str
    fill: Fill = Fill.MATRIX
    gain: float = 1.0


Block = tuple[Tensor, ...]

# The gains make the greedy text varied and the far past matter, which random weights of gain 1 do
# not: a strong feed-forward keeps attention's averages from settling on one token, strong
# post-norms outweigh the token itself where the output is tied to the embedding, and state-space
# layers forget slowly (time steps about 0.1, rates about 0.05) and pass little through directly.

ATTENTION: Block = (
    Tensor("attn_norm.weight", "E", Fill.AROUND),
    Tensor("attn_q.weight", "E H", gain=1.5),
    Tensor("attn_k.weight", "E K", gain=1.5),
    Tensor("attn_v.weight", "E K"),
    Tensor("attn_output.weight", "H E", gain=2.0),
)
QK_NORMS: Block = (
    Tensor("attn_q_norm.weight", "h", Fill.AROUND, 1.5),
    Tensor("attn_k_norm.weight", "h", Fill.AROUND, 1.5),
)
FEED_FORWARD: Block = (
    Tensor("ffn_norm.weight", "E", Fill.AROUND),
    Tensor("ffn_gate.weight", "E F"),
    Tensor("ffn_up.weight", "E F"),
    Tensor("ffn_down.weight", "F E", gain=4.0),
)
POST_NORMS: Block = (
    Tensor("post_attention_norm.weight", "E", Fill.AROUND, 24.0),
    Tensor("post_ffw_norm.weight", "E", Fill.AROUND, 24.0),
)
SHORT_CONVOLUTION: Block = (
    Tensor("attn_norm.weight", "E", Fill.AROUND),
    Tensor("shortconv.conv.weight", "L E", Fill.KERNEL),
    Tensor("shortconv.in_proj.weight", "E 3E"),
    Tensor("shortconv.out_proj.weight", "E E"),
)
MAMBA: Block = (
    Tensor("attn_norm.weight", "E", Fill.AROUND),
    Tensor("ssm_in.weight", "E 2D"),
    Tensor("ssm_conv1d.weight", "C D", Fill.KERNEL),
    Tensor("ssm_conv1d.bias", "D", Fill.SHIFT, 0.0),
    Tensor("ssm_x.weight", "D R+2S"),
    Tensor("ssm_dt.weight", "R D"),
    Tensor("ssm_dt.bias", "D", Fill.SHIFT, -2.0),
    Tensor("ssm_a", "S D", Fill.DECAY, -3.0),
    Tensor("ssm_d", "D", Fill.AROUND, 0.25),
    Tensor("ssm_out.weight", "D E", gain=2.0),
)
MAMBA_NORMS: Block = (
    Tensor("ssm_dt_norm.weight", "R", Fill.AROUND),
    Tensor("ssm_b_norm.weight", "S", Fill.AROUND),
    Tensor("ssm_c_norm.weight", "S", Fill.AROUND),
)
MAMBA2: Block = (
    Tensor("attn_norm.weight", "E", Fill.AROUND),
    Tensor("ssm_in.weight", "E 2D+2S+R"),
    Tensor("ssm_conv1d.weight", "C D+2S", Fill.KERNEL),
    Tensor("ssm_conv1d.bias", "D+2S", Fill.SHIFT, 0.0),
    Tensor("ssm_dt.bias", "R", Fill.SHIFT, -2.0),
    Tensor("ssm_a", "1 R", Fill.DECAY, -3.0),
    Tensor("ssm_d", "1 R", Fill.AROUND, 0.25),
    Tensor("ssm_norm.weight", "D 1", Fill.AROUND),
    Tensor("ssm_out.weight", "D E", gain=2.0),
)
EMBEDDING = Tensor("token_embd.weight", "E V", Fill.TABLE)
TIED_EMBEDDING = Tensor("token_embd.weight", "E V", Fill.TABLE, 0.3)
OUTPUT = Tensor("output.weight", "E V", gain=3.0)
SINKS: Block = (Tensor("attn_sinks.weight", "4", Fill.SHIFT, 1.0),)
EXPERTS: Block = (
    Tensor("attn_output.bias", "E", Fill.SHIFT, 0.0),
    Tensor("post_attention_norm.weight", "E", Fill.AROUND),
    Tensor("ffn_gate_inp.weight", "E X"),
    Tensor("ffn_gate_inp.bias", "X", Fill.SHIFT, 0.0),
    Tensor("ffn_gate_exps.weight", "E F X"),
    Tensor("ffn_gate_exps.bias", "F X", Fill.SHIFT, 0.0),
    Tensor("ffn_up_exps.weight", "E F X"),
    Tensor("ffn_up_exps.bias", "F X", Fill.SHIFT, 0.0),
    Tensor("ffn_down_exps.weight", "F E X", gain=4.0),
    Tensor("ffn_down_exps.bias", "E X", Fill.SHIFT, 0.0),
)
BLOOM: Block = (
    Tensor("attn_norm.weight", "E", Fill.AROUND),
    Tensor("attn_norm.bias", "E", Fill.SHIFT, 0.0),
    Tensor("attn_qkv.weight", "E 3E", gain=3.5),
    Tensor("attn_qkv.bias", "3E", Fill.SHIFT, 0.0),
    Tensor("attn_output.weight", "E E", gain=5.0),
    Tensor("attn_output.bias", "E", Fill.SHIFT, 0.0),
    Tensor("ffn_norm.weight", "E", Fill.AROUND),
    Tensor("ffn_norm.bias", "E", Fill.SHIFT, 0.0),
    Tensor("ffn_up.weight", "E F"),
    Tensor("ffn_up.bias", "F", Fill.SHIFT, 0.0),
    Tensor("ffn_down.weight", "F E", gain=1.5),
    Tensor("ffn_down.bias", "E", Fill.SHIFT, 0.0),
)
BLOOM_NORMS: Block = (
    Tensor("token_embd_norm.weight", "E", Fill.AROUND),
    Tensor("token_embd_norm.bias", "E", Fill.SHIFT, 0.0),
    Tensor("output_norm.bias", "E", Fill.SHIFT, 0.0),
)
ROPE_FACTORS: Block = (
    Tensor("rope_factors_short.weight", "/", Fill.AROUND),
    Tensor("rope_factors_long.weight", "/", Fill.AROUND, 4.0),
)


@dataclass(frozen=True)
class Architecture:
    """A kind of model: which metadata it needs and which tensors its layers have.

    Attributes
    ----------
    name : str
        llama.cpp's name of the architecture.
    layers : tuple of Block
        The layers' tensors, repeated until there are enough layers.
    keys : tuple of str
        The metadata to write beside what every model has; see `metadata`.
    final_norm : str
        The name of the norm before the output.
    embedding : Tensor
        The embedding of the tokens.
    output : Tensor or None
        What gives the logits; None where the embedding does that too.
    others : Block
        Tensors that belong to no layer.
    """

    name: str
    layers: tuple[Block, ...]
    keys: tuple[str, ...]
    final_norm: str = "output_norm.weight"
    embedding: Tensor = EMBEDDING
    output: Tensor | None = OUTPUT
    others: Block = ()


_ATTENTION_KEYS = ("feed_forward_length", "attention.head_count", "attention.head_count_kv")
_WINDOW_KEYS = ("attention.sliding_window", "attention.sliding_window_pattern")
_SSM_KEYS = ("ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "ssm.time_step_rank")
_LONGROPE_KEYS = ("rope.scaling.type", "rope.scaling.original_context_length")
_GRANITE_KEYS = ("logit_scale", "residual_scale", "embedding_scale", "attention.scale")
_EXPERT_KEYS = ("expert_count", "expert_used_count", "expert_feed_forward_length")
_LFM2_LAYERS = (SHORT_CONVOLUTION + FEED_FORWARD, ATTENTION + QK_NORMS + FEED_FORWARD)
_LFM2_KEYS = (*_ATTENTION_KEYS, "shortconv.l_cache")

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("llama", (ATTENTION + FEED_FORWARD,), _ATTENTION_KEYS),
    "longrope": Architecture(
        "llama", (ATTENTION + FEED_FORWARD,), _ATTENTION_KEYS + _LONGROPE_KEYS, others=ROPE_FACTORS
    ),
    "qwen2vl": Architecture(
        "qwen2vl",
        (ATTENTION + FEED_FORWARD,),
        (*_ATTENTION_KEYS, "rope.dimension_sections"),
    ),
    "gemma3": Architecture(
        "gemma3",
        (ATTENTION + QK_NORMS + FEED_FORWARD + POST_NORMS,),
        _ATTENTION_KEYS + _WINDOW_KEYS,
    ),
    "gemma2": Architecture(
        "gemma2",
        (ATTENTION + FEED_FORWARD + POST_NORMS,),
        _ATTENTION_KEYS + _WINDOW_KEYS,
        embedding=TIED_EMBEDDING,
        output=None,
    ),
    "granite_swa": Architecture(
        "granite_swa",
        (ATTENTION + SINKS + FEED_FORWARD,),
        (
            *_ATTENTION_KEYS,
            "attention.sliding_window",
            "attention.sliding_window_pattern[]",
            *_GRANITE_KEYS,
        ),
    ),
    "gpt-oss": Architecture(
        "gpt-oss",
        (ATTENTION + SINKS + EXPERTS,),
        (*_ATTENTION_KEYS, "attention.sliding_window", *_EXPERT_KEYS),
    ),
    "bloom": Architecture(
        "bloom",
        (BLOOM,),
        ("feed_forward_length", "attention.head_count", "attention.layer_norm_epsilon"),
        others=BLOOM_NORMS,
    ),
    "mamba": Architecture("mamba", (MAMBA,), _SSM_KEYS),
    "mamba2": Architecture("mamba2", (MAMBA2,), (*_SSM_KEYS, "ssm.group_count")),
    "lfm2": Architecture("lfm2", _LFM2_LAYERS, _LFM2_KEYS, "token_embd_norm.weight"),
    "jamba": Architecture(
        "jamba",
        (MAMBA + MAMBA_NORMS + FEED_FORWARD, ATTENTION + FEED_FORWARD),
        _ATTENTION_KEYS + _SSM_KEYS,
    ),
    "lfm2swa": Architecture(
        "lfm2",
        _LFM2_LAYERS,
        (*_LFM2_KEYS, "attention.sliding_window"),
        "token_embd_norm.weight",
    ),
}


def sizes(head_dim: int, n_vocab: int) -> dict[str, int]:
    """Return the length of every axis that the tables name."""
    e, s, r = 4 * head_dim, 16, 8
    d = 2 * e
    return {
        "1": 1,
        "4": 4,
        "X": 4,
        "h": head_dim,
        "/": head_dim // 2,
        "E": e,
        "3E": 3 * e,
        "V": n_vocab,
        "H": 4 * head_dim,
        "K": 2 * head_dim,
        "F": 2 * e,
        "L": 3,
        "C": 4,
        "S": s,
        "R": r,
        "D": d,
        "2D": 2 * d,
        "R+2S": r + 2 * s,
        "D+2S": d + 2 * s,
        "2D+2S+R": 2 * d + 2 * s + r,
    }


def metadata(
    layers: list[Block], size: dict[str, int], window: int
) -> dict[str, int | float | str | list[int]]:
    """Return every metadata value that an architecture may ask for; ``[]``: layer by layer."""
    kv_heads = [2 if any(t.name == "attn_k.weight" for t in layer) else 0 for layer in layers]
    half = size["h"] // 2
    return {
        "feed_forward_length": size["F"],
        "attention.head_count": 4,
        "attention.head_count_kv": kv_heads if 0 in kv_heads else 2,
        "attention.sliding_window": window,
        "attention.sliding_window_pattern": 2,
        "attention.sliding_window_pattern[]": [(i + 1) % 2 for i in range(len(layers))],
        "attention.layer_norm_epsilon": 1e-5,
        "expert_count": size["X"],
        "expert_used_count": 2,
        "expert_feed_forward_length": size["F"],
        "attention.scale": 0.3,
        "embedding_scale": 1.5,
        "residual_scale": 0.8,
        "logit_scale": 2.0,
        "rope.scaling.type": "longrope",
        "rope.scaling.original_context_length": 1024,
        "rope.dimension_sections": [half // 4, half // 4, half - 2 * (half // 4), 0],
        "shortconv.l_cache": size["L"],
        "ssm.conv_kernel": size["C"],
        "ssm.inner_size": size["D"],
        "ssm.state_size": size["S"],
        "ssm.time_step_rank": size["R"],
        "ssm.group_count": 1,
    }
