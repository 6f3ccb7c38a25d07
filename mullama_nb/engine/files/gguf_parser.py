"""Parsing the header of a GGUF file, with every number checked before use.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Files that llama.cpp would
reject or abort on are rejected here with an explanation. ``gguf.GGUFReader`` takes seconds where
this parser takes milliseconds: it makes an array of every string of the vocabulary.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypeAlias

from gguf import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType, GGUFValueType

from ...errors import ModelFormatError, shown

__all__ = ["CONVERT", "FETCH_AGAIN", "ArraySummary", "GGUFFile", "TensorInfo", "parse"]

_LISTED_VALUES = 1024  # longer arrays are the vocabulary's, which llama.cpp reads itself
_TOKENS = "tokenizer.ggml.tokens"
_MOST_ENTRIES = 1 << 17
_MOST_VALUES = 1 << 24
_NUMBERS = {
    kind: struct.Struct("<" + code)
    for kind, code in zip(GGUFValueType, "BbHhIif?__Qqd", strict=True)
    if code != "_"  # strings and arrays
}
_U32, _U64 = _NUMBERS[GGUFValueType.UINT32], _NUMBERS[GGUFValueType.UINT64]

FETCH_AGAIN = "Fetch it again: a download or a copy was probably cut short"
CONVERT = "Use a GGUF edition of the model, or convert it with llama.cpp's convert_hf_to_gguf.py"


@dataclass(frozen=True)
class ArraySummary:
    """Placeholder for an array of over 1024 values: their `kind`, such as "string", and number."""

    kind: str
    length: int


Scalar: TypeAlias = "int | float | bool | str"
Value: TypeAlias = "Scalar | list[Scalar] | ArraySummary"


@dataclass(frozen=True)
class TensorInfo:
    """An entry of the tensor directory.

    Attributes
    ----------
    name : str
    shape : tuple of int
        In the file's order: the length of a row comes first.
    type : gguf.GGMLQuantizationType
    path : Path
        The file with the tensor's data.
    offset : int
        Offset in bytes from the beginning of that file.
    n_bytes : int
    """

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    path: Path
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class GGUFFile:
    """The header of a GGUF model.

    Attributes
    ----------
    paths : tuple of Path
        Its files: one, or all parts of a split model in order.
    version : int
    metadata : dict
        Values by key, of the first file; bytes that are not UTF-8 become U+FFFD.
    kinds : dict
        Their types by key.
    tensors : tuple of TensorInfo
        Of all files.
    data_offset : int
        Offset of the tensors' data in the first file.
    alignment : int
    size : int
        Bytes of all files.
    vocabulary : tuple of int, optional
        Offset in bytes of the first token's text in the first file, and the number of tokens.
    """

    paths: tuple[Path, ...]
    version: int
    metadata: dict[str, Value]
    kinds: dict[str, GGUFValueType]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    alignment: int
    size: int
    vocabulary: tuple[int, int] | None = None

    @property
    def is_vocabulary_only(self) -> bool:
        """Whether there are no weights, so that the model can tokenize but not generate."""
        return not self.tensors


def parse(path: Path, data: mmap.mmap) -> GGUFFile:
    """Parse the header of a file.

    Raises
    ------
    ModelFormatError
        When the header is inconsistent, also with the file's size.
    """
    return _Parser(path, data).file()


class _Parser:
    """One pass over the beginning of a file, every length checked against its size."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.position = len(b"GGUF")
        self.place = "its header"
        self.vocabulary: tuple[int, int] | None = None
        self.kinds: dict[str, GGUFValueType] = {}

    def file(self) -> GGUFFile:
        version = self.version()
        n_tensors = self.count("tensors", 24, _MOST_ENTRIES)
        n_entries = self.count("metadata entries", 13, _MOST_ENTRIES)
        metadata = dict(self.entries(n_entries))
        alignment = metadata.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            self.fail(f"general.alignment is {shown(repr(alignment))}, not a power of two")
        self.check_hyperparameters(metadata)
        directory = list(self.directory(n_tensors))
        start = _pad(self.position, alignment) if directory else self.position
        tensors = tuple(self.placed(directory, start, alignment))
        return GGUFFile(
            *((self.path,), version, metadata, self.kinds, tensors, start, alignment, self.size),
            vocabulary=self.vocabulary,
        )

    def version(self) -> int:
        version = self.integer(_U32)
        if version & 0xFFFF == 0:
            self.fail("its numbers are big-endian", "Use a little-endian edition of the model")
        if version not in (2, 3):
            self.fail(f"it is GGUF version {version}, and 2 and 3 can be read", CONVERT)
        return version

    def entries(self, n_entries: int) -> Iterator[tuple[str, Value]]:
        seen: set[str] = set()
        for number in range(n_entries):
            self.place = f"entry {number} of its metadata"
            key = self.text()
            if not key or key in seen:
                self.fail(
                    f"{self.place} has the key {shown(repr(key))}, "
                    "which is empty or not the first one"
                )
            seen.add(key)
            self.place = f"the value of {shown(repr(key))}"
            kind = self.kinds[key] = self.kind()
            yield key, self.array(key) if kind is GGUFValueType.ARRAY else self.scalar(kind)

    def array(self, key: str) -> list[Scalar] | ArraySummary:
        kind = self.kind()
        if kind is GGUFValueType.ARRAY:
            self.fail(f"{shown(repr(key))} is an array of arrays")
        width = _NUMBERS[kind].size if kind in _NUMBERS else _U64.size
        length = self.count(f"values of {shown(repr(key))}", width, _MOST_VALUES)
        if key == _TOKENS and kind is GGUFValueType.STRING:
            self.vocabulary = self.position, length
        if length <= _LISTED_VALUES:
            return [self.scalar(kind) for _ in range(length)]
        if kind in _NUMBERS:
            self.skip(length * width)
        else:
            self.skip_strings(length)
        return ArraySummary(kind.name.lower(), length)

    def check_hyperparameters(self, metadata: dict[str, Value]) -> None:
        """Refuse values for which llama.cpp ends the process."""
        name = metadata.get("general.architecture")
        n_layers = metadata.get(f"{name}.block_count", 1)
        if isinstance(n_layers, int) and not 1 <= n_layers <= 512:
            self.fail(f"it announces {n_layers:,} layers, and llama.cpp takes 1 to 512")
        for key in (f"{name}.attention.layer_norm{kind}_epsilon" for kind in ("", "_rms")):
            epsilon = metadata.get(key, 0.0)
            if isinstance(epsilon, float) and not epsilon >= 0:
                self.fail(f"{shown(key)} is {epsilon}, and can only be 0 or more")

    def directory(self, n_tensors: int) -> Iterator[TensorInfo]:
        """Yield the tensors, with offsets from the beginning of the data."""
        seen: set[str] = set()
        for number in range(n_tensors):
            self.place = f"entry {number} of its tensor directory"
            name = self.text()
            if name in seen or len(name.encode()) > 63:
                self.fail(f"the tensor name {name[:64]!r} appears twice or is longer than 63 bytes")
            seen.add(name)
            if (n_dimensions := self.integer(_U32)) > 4:
                self.fail(f"the tensor {name!r} has {n_dimensions} dimensions, and 4 are allowed")
            shape = tuple(self.integer(_U64) for _ in range(n_dimensions))
            code = self.integer(_U32)
            try:
                kind = GGMLQuantizationType(code)
            except ValueError:
                self.fail(
                    f"the tensor {name!r} is of type {code}, which is not known here",
                    "Update the packages gguf and llama-cpp-python, or use another quantization",
                )
            block, block_bytes = GGML_QUANT_SIZES[kind]
            n_values = math.prod(shape)
            if n_values == 0 or math.prod(shape[:1]) % block:
                self.fail(f"the tensor {name!r} has the shape {shape}, and rows of {block} values")
            offset = self.integer(_U64)
            yield TensorInfo(name, shape, kind, self.path, offset, n_values // block * block_bytes)

    def placed(self, tensors: list[TensorInfo], start: int, step: int) -> Iterator[TensorInfo]:
        """Make offsets count from the beginning of the file; llama.cpp wants no gaps."""
        expected = 0
        for tensor in tensors:
            if tensor.offset != expected:
                self.fail(
                    f"the tensor {tensor.name!r} begins at byte {tensor.offset:,} of the data, "
                    f"and the one before it ends at {expected:,}"
                )
            offset = start + tensor.offset
            self.check_end(f"the tensor {tensor.name!r}", offset + tensor.n_bytes)
            expected = _pad(tensor.offset + tensor.n_bytes, step)
            yield replace(tensor, offset=offset)

    def kind(self) -> GGUFValueType:
        code = self.integer(_U32)
        if code >= len(GGUFValueType):
            self.fail(f"{self.place} is of type {code}, and there are types 0 to 12")
        return GGUFValueType(code)

    def scalar(self, kind: GGUFValueType) -> Scalar:
        return self.number(_NUMBERS[kind]) if kind in _NUMBERS else self.text()

    def number(self, form: struct.Struct) -> int | float | bool:
        self.skip(form.size)
        number: int | float | bool = form.unpack_from(self.data, self.position - form.size)[0]
        return number

    def integer(self, form: struct.Struct) -> int:
        return int(self.number(form))

    def text(self) -> str:
        n_bytes = self.integer(_U64)
        self.skip(n_bytes)
        return self.data[self.position - n_bytes : self.position].decode("utf-8", "replace")

    def count(self, what: str, width: int, most: int) -> int:
        """Read how many `what` follow, each of at least `width` bytes."""
        if (n := self.integer(_U64)) > min(most, (self.size - self.position) // width):
            self.fail(f"it announces {n:,} {what}, more than it can hold", FETCH_AGAIN)
        return n

    def skip(self, n_bytes: int) -> None:
        self.check_end(self.place, self.position + n_bytes)
        self.position += n_bytes

    def skip_strings(self, n: int) -> None:
        # The one loop that takes time: a vocabulary has hundreds of thousands of strings.
        data, position, length = self.data, self.position, _U64.unpack_from
        try:
            for _ in range(n):
                position += 8 + length(data, position)[0]
        except (struct.error, OverflowError):  # beyond the end, which skip() puts into words
            position = max(position, self.size + 1)
        self.skip(position - self.position)

    def check_end(self, what: str, end: int) -> None:
        if end > self.size:
            self.fail(f"{what} ends at byte {end:,}, and the file at {self.size:,}", FETCH_AGAIN)

    def fail(self, what: str, advice: str = "Fetch the file again, or from elsewhere") -> NoReturn:
        raise ModelFormatError(f"{self.path.name} cannot be used: {what}. {advice}")


def _pad(n_bytes: int, alignment: int) -> int:
    return -(-n_bytes // alignment) * alignment
