"""A tiny model of random weights, for tests that do not depend on its words."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

__all__ = ["make_tiny_model"]

_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_MERGES = ("t h", "Ġ t", "i n", "e r")
_N_EMBEDDING, _N_HEAD, _N_HEAD_KV, _N_LAYER, _N_FORWARD = 128, 4, 2, 2, 256
_CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


def make_tiny_model(path: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """Write a two-layer Llama model with random weights and a vocabulary of bytes.

    It takes milliseconds to make and to load, and its text makes no sense; chat messages, tokens,
    all KV cache types and contexts work as with any other model.

    Parameters
    ----------
    path : str or path
        The GGUF file to write.
    seed : int
        Another seed gives other weights with the same vocabulary, like a fine-tune.

    Returns
    -------
    Path
        The file.
    """
    tokens, types = _vocabulary()
    writer = gguf.GGUFWriter(None, "llama")
    writer.add_name("tiny llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(_N_EMBEDDING)
    writer.add_block_count(_N_LAYER)
    writer.add_feed_forward_length(_N_FORWARD)
    writer.add_head_count(_N_HEAD)
    writer.add_head_count_kv(_N_HEAD_KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(_MERGES)
    writer.add_bos_token_id(tokens.index("<|im_start|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(_CHATML)
    rng = np.random.default_rng(seed)
    for name, shape in _shapes(len(tokens)).items():
        writer.add_tensor(name, _values(rng, name, shape))
    target = Path(path)
    writer.write_header_to_file(target)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _vocabulary() -> tuple[list[str], list[int]]:
    """Control tokens, every byte as GPT-2 spells it, and the tokens that merges make."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = [*map(chr, plain), *(chr(256 + i) for i in range(len(others)))]
    merged = [pair.replace(" ", "") for pair in _MERGES]
    normal = [gguf.TokenType.NORMAL] * (len(letters) + len(merged))
    types = [int(kind) for kind in (*[gguf.TokenType.CONTROL] * len(_CONTROL), *normal)]
    return [*_CONTROL, *letters, *merged], types


def _shapes(n_vocab: int) -> dict[str, tuple[int, ...]]:
    e, f, kv = _N_EMBEDDING, _N_FORWARD, _N_EMBEDDING // _N_HEAD * _N_HEAD_KV
    layer = {
        "attn_norm": (e,),
        "attn_q": (e, e),
        "attn_k": (kv, e),
        "attn_v": (kv, e),
        "attn_output": (e, e),
        "ffn_norm": (e,),
        "ffn_gate": (f, e),
        "ffn_up": (f, e),
        "ffn_down": (e, f),
    }
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (n_vocab, e)}
    for number in range(_N_LAYER):
        shapes |= {f"blk.{number}.{name}.weight": shape for name, shape in layer.items()}
    return shapes | {"output_norm.weight": (e,), "output.weight": (n_vocab, e)}


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    noise: npt.NDArray[np.float32] = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        return np.float32(1) + noise / np.float32(10)
    if name == "token_embd.weight":
        return noise
    values = noise * np.float32((3 if name == "output.weight" else 1) / shape[1] ** 0.5)
    if name == "output.weight":
        values[: len(_CONTROL)] /= 10  # answers run to their limit
    return values
