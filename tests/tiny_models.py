"""Tiny random GGUF files, one for each kind of memory that llama.cpp has.

The weights are random, the vocabulary is real (`tiny_vocabulary`), the shapes are those of
`tiny_architectures`. A file takes milliseconds to make and to load, its greedy text is varied, and
the same arguments give the same bytes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
import numpy.typing as npt
from tiny_architectures import ARCHITECTURES, Architecture, Block, Fill, Tensor, metadata, sizes
from tiny_vocabulary import (
    CONTROL_TOKENS,
    FIRST_OWN,
    IM_END,
    IM_START,
    Vocabulary,
    cut_vocabulary,
)

__all__ = [
    "ARCHITECTURES",
    "CHATML",
    "CONTROL_TOKENS",
    "FIRST_OWN",
    "IM_END",
    "IM_START",
    "Architecture",
    "DType",
    "cut_vocabulary",
    "make_model",
    "make_vocabulary_only",
]

DType = Literal["f32", "f16"]

CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


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
    named_templates: Mapping[str, str] | None = None,
    control_tokens: tuple[str, ...] = (),
    dtype: DType = "f32",
    ends: bool = False,
    added: Mapping[str, gguf.TokenType] | None = None,
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
    named_templates : mapping, optional
        Further templates by name.
    control_tokens : tuple of str
        Spellings for control tokens of its own, the first of which is the token `FIRST_OWN`.
    dtype : {"f32", "f16"}
        How matrices are stored.
    ends : bool
        Whether it may pick control tokens, and so end its answers. Otherwise they are so unlikely
        that a generation always runs to its limit.
    added : mapping of str to TokenType, optional
        Further tokens, such as the control tokens of another family; those that SmolLM2 has
        already stay as they are.
    """
    vocabulary = cut_vocabulary(n_vocab).with_control_tokens(control_tokens)
    vocabulary = vocabulary.with_added(added or {})
    n_added = len(vocabulary.tokens) - n_vocab
    spec = ARCHITECTURES[architecture]
    if n_layer < len(spec.layers):
        msg = f"{architecture} needs {len(spec.layers)} layers to have one of each kind"
        raise ValueError(msg)
    size = sizes(head_dim, n_vocab + n_added)
    layers = [spec.layers[i % len(spec.layers)] for i in range(n_layer)]
    values = metadata(layers, size, window)
    rng = np.random.default_rng([seed, zlib.crc32(architecture.encode())])

    writer = _start(
        spec.name,
        n_ctx=n_ctx,
        n_embd=size["E"],
        n_layer=n_layer,
        vocabulary=vocabulary,
        chat_template=chat_template,
    )
    for key, template in (named_templates or {}).items():
        writer.add_string(f"tokenizer.chat_template.{key}", template)
    for key in spec.keys:
        value = values[key]
        if isinstance(value, list):
            writer.add_array(f"{spec.name}.{key.removesuffix('[]')}", value)
        elif isinstance(value, float):
            writer.add_float32(f"{spec.name}.{key}", value)
        elif isinstance(value, str):
            writer.add_string(f"{spec.name}.{key}", value)
        else:
            writer.add_uint32(f"{spec.name}.{key}", value)

    output = spec.output or spec.embedding
    for name, tensor in _named(spec, layers):
        data = _random(rng, tensor, [size[axis] for axis in tensor.axes.split()])
        if tensor is output and not ends:
            data[[*CONTROL_TOKENS, *range(n_vocab, n_vocab + n_added)]] *= 0.1
        if dtype == "f16" and tensor.fill in {Fill.MATRIX, Fill.TABLE}:
            writer.add_tensor(name, data.astype(np.float16))
        else:
            writer.add_tensor(name, data)
    return _finish(writer, path)


def make_vocabulary_only(
    path: Path, *, n_vocab: int = 512, chat_template: str | None = None
) -> Path:
    """Write a file that has a vocabulary and no weights, and return the path."""
    vocabulary = cut_vocabulary(n_vocab)
    writer = _start(
        "llama",
        n_ctx=2048,
        n_embd=64,
        n_layer=4,
        vocabulary=vocabulary,
        chat_template=chat_template,
    )
    return _finish(writer, path)


def _start(
    name: str,
    *,
    n_ctx: int,
    n_embd: int,
    n_layer: int,
    vocabulary: Vocabulary,
    chat_template: str | None,
) -> gguf.GGUFWriter:
    """Begin a file with the metadata that every model has."""
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
