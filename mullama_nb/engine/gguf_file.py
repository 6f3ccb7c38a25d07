"""The structure of a GGUF file, checked before native code sees it, and the model's identity.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What llama.cpp refuses or
aborts on is refused here in words. ``gguf.GGUFReader`` takes seconds where this walk takes
milliseconds: it makes an array of every string of the vocabulary.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NoReturn, TypeAlias

from blake3 import blake3
from gguf import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType, GGUFValueType

from ..errors import ModelError, ModelFormatError, ModelNotFoundError, shown

__all__ = ["ArraySummary", "GGUFFile", "TensorInfo", "fingerprint", "read_gguf", "split_names"]

_LISTED_VALUES = 1024  # longer arrays are the vocabulary's, which llama.cpp reads itself
_MOST_ENTRIES = 1 << 17
_MOST_VALUES = 1 << 24
_SAMPLE_BYTES = 4096
_SPLIT_NAME = re.compile(r"(.*)-\d{5}-of-(\d{5})\.gguf", re.DOTALL)
_NUMBERS = {
    kind: struct.Struct("<" + code)
    for kind, code in zip(GGUFValueType, "BbHhIif?__Qqd", strict=True)
    if code != "_"  # strings and arrays
}
_U32, _U64 = _NUMBERS[GGUFValueType.UINT32], _NUMBERS[GGUFValueType.UINT64]

_FETCH_AGAIN = "Fetch it again: a download or a copy was probably cut short"
_CONVERT = "Use a GGUF edition of the model, or convert it with llama.cpp's convert_hf_to_gguf.py"
_LOOKALIKES = {  # by their first bytes
    rb"\Z": f"it is empty. {_FETCH_AGAIN}",
    rb"\0+\Z": f"it begins with zeros where a header should be. {_FETCH_AGAIN}",
    rb"version https://git-lfs": "it is a Git LFS pointer. Run `git lfs pull` in its folder",
    rb"(?i)\s*<(!doctype|html|\?xml)": "it is a web page. Download the file that the page is about",
    rb"lmgg|fmgg|tjgg|algg": "it is a ggml file from before GGUF. Use a GGUF edition of the model",
    rb"PK\x03\x04|\x80[\x02-\x05]": f"it is a PyTorch checkpoint or an archive. {_CONVERT}",
    rb"(?s).{8}\{": f"it is a safetensors file. {_CONVERT}",
}


@dataclass(frozen=True)
class ArraySummary:
    """Stands for an array of more than 1024 values: their `kind`, such as "string", and number."""

    kind: str
    length: int


Scalar: TypeAlias = "int | float | bool | str"
Value: TypeAlias = "Scalar | list[Scalar] | ArraySummary"


@dataclass(frozen=True)
class TensorInfo:
    """A line of the tensor directory.

    Attributes
    ----------
    name : str
    shape : tuple of int
        In the file's order: the length of a row comes first.
    type : gguf.GGMLQuantizationType
    path : Path
        The file that holds it.
    offset : int
        Where it begins, in bytes from the beginning of that file.
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
    """What a GGUF model says about itself.

    Attributes
    ----------
    paths : tuple of Path
        Its files: one, or all parts of a split model in order.
    version : int
    metadata : dict
        Values by key, of the first file; bytes that are not UTF-8 become U+FFFD.
    tensors : tuple of TensorInfo
        Of all files.
    data_offset : int
        Where the tensors' bytes begin in the first file.
    alignment : int
    size : int
        Bytes of all files.
    """

    paths: tuple[Path, ...]
    version: int
    metadata: dict[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    alignment: int
    size: int

    @property
    def is_vocabulary_only(self) -> bool:
        """Whether there are no weights, so that it can tokenize but not generate."""
        return not self.tensors


def read_gguf(path: str | os.PathLike[str]) -> GGUFFile:
    """Read and check the structure of a GGUF model; of a split one, that of all its files.

    Parameters
    ----------
    path : str or path
        The file, or the first file of a split model.

    Raises
    ------
    ModelFormatError
        When it is no GGUF file, is damaged or incomplete, or another part of it is missing.
    ModelNotFoundError
        When there is no such file.
    """
    parts = _read_parts(Path(path))
    return replace(
        parts[0],
        paths=tuple(part.paths[0] for part in parts),
        tensors=tuple(tensor for part in parts for tensor in part.tensors),
        size=sum(part.size for part in parts),
    )


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Identify a model by its content: 32 hexadecimal digits of a BLAKE3 hash.

    It covers the metadata, the tensor directory, and the first, middle and last 4 KiB of every
    tensor. A fine-tune of equal shapes has another one; weights that changed between the samples
    only go unnoticed. It is computed again when a file's size or modification time changes.

    Parameters and exceptions are those of `read_gguf`.
    """
    path = Path(path).absolute()
    parts = [path.with_name(name) for name in split_names(path.name)]
    files = [(os.path.realpath(part), part.stat()) for part in parts if part.is_file()]
    return _fingerprint(path, tuple((real, s.st_size, s.st_mtime_ns) for real, s in files))


def split_names(name: str) -> list[str]:
    """Names of all files of the model that a file belongs to, in order.

    Parameters
    ----------
    name : str
        Such as ``"model-00001-of-00003.gguf"``; any other name is alone.
    """
    match = _SPLIT_NAME.fullmatch(name)
    if match is None:
        return [name]
    stem, count = match.groups()
    return [f"{stem}-{number:05}-of-{count}.gguf" for number in range(1, int(count) + 1)]


@lru_cache(maxsize=64)
def _fingerprint(path: Path, _state: tuple[tuple[str, int, int], ...]) -> str:
    digest = blake3(b"mullama_nb model 1")
    for part in _read_parts(path):
        # Unbuffered: of a file that is not in memory, only the sampled pages are read.
        with part.paths[0].open("rb", buffering=0) as file:
            digest.update(file.read(part.data_offset))
            for tensor in part.tensors:
                last = max(0, tensor.n_bytes - _SAMPLE_BYTES)
                for start in sorted({0, last // 2, last}):
                    file.seek(tensor.offset + start)
                    digest.update(file.read(min(_SAMPLE_BYTES, tensor.n_bytes)))
    return digest.hexdigest(16)


def _read_parts(path: Path) -> list[GGUFFile]:
    first = _read_file(path)
    count = first.metadata.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return [first]
    names = split_names(path.name)
    if len(names) != count:
        raise ModelFormatError(
            f"{path.name} is one of {count} files of a split model, but its name does not say so. "
            f"Give the files their names back: …-00001-of-{count:05}.gguf and so on"
        )
    if path.name != names[0]:
        raise ModelFormatError(f"{path.name} is not the first file of its model: give {names[0]}")
    if missing := [name for name in names if not path.with_name(name).is_file()]:
        raise ModelFormatError(
            f"{path.name} is the first of {count} files. Fetch those that are missing beside it: "
            f"{', '.join(missing[:8])}{', …' if len(missing) > 8 else ''}"
        )
    parts = [first, *(_read_file(path.with_name(name)) for name in names[1:])]
    tensors = [tensor.name for part in parts for tensor in part.tensors]
    if len(set(tensors)) < len(tensors):
        raise ModelFormatError(f"{path.name} is from another model than the files that follow it")
    return parts


def _read_file(path: Path) -> GGUFFile:
    try:
        with path.open("rb") as file:
            head = file.read(64)
            if not head.startswith(b"GGUF"):
                raise ModelFormatError(f"{path.name} is no GGUF file: {_recognize(head)}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Walk(path, data).file()
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"there is no file {path}") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _recognize(head: bytes) -> str:
    unknown = f"it begins with {head[:4]!r} and not with b'GGUF'. {_CONVERT}"
    return next((what for start, what in _LOOKALIKES.items() if re.match(start, head)), unknown)


class _Walk:
    """One pass over the beginning of a file, every length checked against its size."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.position = len(b"GGUF")
        self.place = "its header"

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
        return GGUFFile((self.path,), version, metadata, tensors, start, alignment, self.size)

    def version(self) -> int:
        version = self.integer(_U32)
        if version & 0xFFFF == 0:
            self.fail("its numbers are big-endian", "Use a little-endian edition of the model")
        if version not in (2, 3):
            self.fail(f"it is GGUF version {version}, and 2 and 3 can be read", _CONVERT)
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
            kind = self.kind()
            yield key, self.array(key) if kind is GGUFValueType.ARRAY else self.scalar(kind)

    def array(self, key: str) -> list[Scalar] | ArraySummary:
        kind = self.kind()
        if kind is GGUFValueType.ARRAY:
            self.fail(f"{shown(repr(key))} is an array of arrays")
        width = _NUMBERS[kind].size if kind in _NUMBERS else _U64.size
        length = self.count(f"values of {shown(repr(key))}", width, _MOST_VALUES)
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
            self.fail(f"it announces {n:,} {what}, more than it can hold", _FETCH_AGAIN)
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
            self.fail(f"{what} ends at byte {end:,}, and the file at {self.size:,}", _FETCH_AGAIN)

    def fail(self, what: str, advice: str = "Fetch the file again, or from elsewhere") -> NoReturn:
        raise ModelFormatError(f"{self.path.name} cannot be used: {what}. {advice}")


def _pad(n_bytes: int, alignment: int) -> int:
    return -(-n_bytes // alignment) * alignment
