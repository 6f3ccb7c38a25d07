"""A tiny model with a vocabulary of SentencePiece, which writes a space in front of a text."""

from __future__ import annotations

from pathlib import Path

import gguf

from mullama_nb.testing import make_tiny_model

WORDS = ("▁", "a", "▁a", "n")
FIRST_WORD = 259


def make_sentencepiece_model(path: Path) -> Path:
    """Write it, with the weights of another tiny model, and return the path."""
    reader = gguf.GGUFReader(make_tiny_model(path.with_suffix(".bytes.gguf")))
    writer = gguf.GGUFWriter(None, "llama")
    for key, field in reader.fields.items():
        if key.startswith("llama."):
            (value,) = field.parts[field.data[0]]
            add = writer.add_float32 if key.endswith("epsilon") else writer.add_uint32
            add(key, value.item())
    kinds = gguf.TokenType
    marks = ["<unk>", "<s>", "</s>"]
    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*marks, *letters, *WORDS])
    writer.add_token_scores([0.0] * FIRST_WORD + [-3.0, -2.0, -1.0, -2.5])
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * 256]
    writer.add_token_types([int(kind) for kind in (*types, *[kinds.NORMAL] * len(WORDS))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
