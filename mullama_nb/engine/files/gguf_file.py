"""A model's GGUF files, checked before native code sees them, and the model's identity."""

from __future__ import annotations

import mmap
import os
import re
import struct
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from blake3 import blake3

from ...errors import ModelError, ModelFormatError, ModelNotFoundError, shown
from .gguf_parser import CONVERT, FETCH_AGAIN, GGUFFile, parse
from .names import split_names

__all__ = ["check_vocabulary", "fingerprint", "read_gguf"]

_SAMPLE_BYTES = 4096
_NO_VOCABULARY = ("no_vocab", "none")

_LOOKALIKES = {  # by their first bytes
    rb"\Z": f"it is empty. {FETCH_AGAIN}",
    rb"\0+\Z": f"it begins with zeros where a header should be. {FETCH_AGAIN}",
    rb"version https://git-lfs": "it is a Git LFS pointer. Run `git lfs pull` in its folder",
    rb"(?i)\s*<(!doctype|html|\?xml)": "it is a web page. Download the file that the page is about",
    rb"lmgg|fmgg|tjgg|algg": "it is a ggml file from before GGUF. Use a GGUF edition of the model",
    rb"PK\x03\x04|\x80[\x02-\x05]": f"it is a PyTorch checkpoint or an archive. {CONVERT}",
    rb"(?s).{8}\{": f"it is a safetensors file. {CONVERT}",
}


def read_gguf(path: str | os.PathLike[str]) -> GGUFFile:
    """Read and check the structure of a GGUF model, including all files of a split one.

    Parameters
    ----------
    path : str or path
        The file, or the first file of a split model.

    Raises
    ------
    ModelFormatError
        When it is not a GGUF file, is damaged or incomplete, or a part of a split model is missing.
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


def check_vocabulary(file: GGUFFile) -> None:
    """Refuse a vocabulary for which llama.cpp would end the process: two equal tokens.

    Raises
    ------
    ModelFormatError
    """
    if file.vocabulary is None or file.metadata.get("tokenizer.ggml.model") in _NO_VOCABULARY:
        return
    path, (position, n_tokens) = file.paths[0], file.vocabulary
    length_at = struct.Struct("<Q").unpack_from
    words = []
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for _ in range(n_tokens):
            start = position + 8
            position = start + length_at(data, position)[0]
            words.append(data[start:position])
    # llama.cpp reads up to the first zero, and gives a name to what is empty.
    if b"\0" in b"".join(words):
        words = [word.partition(b"\0")[0] for word in words]
    if b"" in (distinct := {*words}):
        words = [word or b"[EMPTY_%d]" % token for token, word in enumerate(words)]
        distinct = {*words}
    if len(distinct) == n_tokens:
        return
    places: dict[bytes, int] = {}
    for token, word in enumerate(words):
        twin = places.setdefault(word, token)
        if twin != token:
            raise ModelFormatError(
                f"{path.name} cannot be used: its tokens {twin} and {token} are both "
                f"{shown(repr(word.decode('utf-8', 'replace')))}, and llama.cpp takes each text "
                "once. Use another GGUF edition of the model, or convert it anew"
            )


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Identify a model by its content: 32 hexadecimal digits of a BLAKE3 hash.

    It covers the metadata, the tensor directory, and the first, middle and last 4 KiB of every
    tensor. A fine-tune of the same shapes has a different one; changes only between the samples go
    unnoticed. It is computed again when a file's size or modification time changes.

    Parameters and exceptions are those of `read_gguf`.
    """
    path = Path(path).absolute()
    parts = [path.with_name(name) for name in split_names(path.name)]
    files = [(os.path.realpath(part), part.stat()) for part in parts if part.is_file()]
    return _fingerprint(path, tuple((real, s.st_size, s.st_mtime_ns) for real, s in files))


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
            f"Give the files their original names: …-00001-of-{count:05}.gguf and so on"
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
                raise ModelFormatError(f"{path.name} is not a GGUF file: {_recognize(head)}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return parse(path, data)
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"there is no file {path}") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _recognize(head: bytes) -> str:
    unknown = f"it begins with {head[:4]!r} and not with b'GGUF'. {CONVERT}"
    return next((what for start, what in _LOOKALIKES.items() if re.match(start, head)), unknown)
