"""Names of the files of one model."""

from __future__ import annotations

import re

__all__ = ["split_names"]

_SPLIT_NAME = re.compile(r"(.*)-\d{5}-of-(\d{5})\.gguf", re.DOTALL)


def split_names(name: str) -> list[str]:
    """Return the names of all files of a file's model, in order.

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
