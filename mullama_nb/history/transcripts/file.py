"""Reading conversations from files, which are not trusted: every value is checked before use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from ...errors import SessionFormatError, TranscriptError, shown
from ...sessions.records import MalformedError, check_plain
from ...state.reading import open_regular
from .formats import transcript_of
from .transcript import Transcript

__all__ = ["read_transcripts"]

_MOST_BYTES = 64 * 2**20
_SUFFIXES = (".md", ".markdown")


def read_transcripts(path: str | os.PathLike[str]) -> list[Transcript]:
    """Return the conversations in a file.

    Parameters
    ----------
    path : str or path
        JSON, or a JSON value on each line: ours, OpenAI's messages, ChatGPT's data export or
        ShareGPT's conversations.

    Raises
    ------
    TranscriptError
        When the file is missing, too large, or holds something else; the message says where.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() in _SUFFIXES:
        raise TranscriptError(
            f"{shown(path.name)}: Markdown is for people to read, and does not tell messages from "
            "what they quote; export the chat to .json"
        )
    try:
        return _read(path)
    except MalformedError as error:
        raise TranscriptError(f"{shown(path.name)}: {shown(str(error), 400)}") from None


def _read(path: Path) -> list[Transcript]:
    text = _text(path)
    try:
        values = _conversations(_parsed(text))
    except json.JSONDecodeError as error:
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        if error.lineno == 1 and len(lines) == 1:
            raise MalformedError(f"it is not JSON: {error}") from None
        values = list(_of_lines(lines, error))
    transcripts = []
    for place, value in values:
        with_place = _located(place)
        try:
            check_plain(value)
            transcripts.append(transcript_of(value))
        except MalformedError as error:
            raise MalformedError(with_place(str(error))) from None
    if not transcripts:
        raise MalformedError("there is no conversation in it")
    return transcripts


def _text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise MalformedError(f"it is larger than {_MOST_BYTES:,} bytes; split it")
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise MalformedError("there is no such file") from None
    except UnicodeDecodeError as error:
        raise MalformedError(f"byte {error.start:,} is not UTF-8 text") from None
    except (OSError, ValueError, SessionFormatError) as error:
        if isinstance(error, MalformedError):
            raise
        raise MalformedError(f"it cannot be read ({error})") from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)
    except RecursionError:
        raise MalformedError("its JSON nests too deeply") from None
    except ValueError as error:
        if isinstance(error, (MalformedError, json.JSONDecodeError)):
            raise
        raise MalformedError(f"it holds a number that is none ({error})") from None


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedError(f"{name} is not a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which each key stands once: people read the first, and JSON the last."""
    if len(values := dict(pairs)) < len(pairs):
        raise MalformedError("a key stands twice in an object")
    return values


def _of_lines(
    lines: list[tuple[int, str]], whole: json.JSONDecodeError
) -> Iterator[tuple[str, Any]]:
    """The values on lines; the error of the whole file is what counts if the first is none."""
    for number, line in lines:
        try:
            value = _parsed(line)
        except (MalformedError, json.JSONDecodeError) as error:
            if number == lines[0][0]:
                raise MalformedError(f"it is not JSON: {whole}") from None
            raise MalformedError(f"line {number:,}: it is not JSON: {error}") from None
        yield f"line {number:,}", value


def _conversations(value: Any) -> list[tuple[str, Any]]:
    """The conversations in a JSON value, each with its place: a list may hold several."""
    is_several = (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, list) or _is_conversation(each) for each in value)
    )
    if is_several:
        return [(f"conversation {index:,}", each) for index, each in enumerate(value)]
    return [("", value)]


def _is_conversation(value: Any) -> bool:
    return isinstance(value, dict) and not value.keys().isdisjoint(
        ("messages", "mapping", "conversations")
    )


def _located(place: str) -> Callable[[str], str]:
    return lambda what: f"{place}: {what}" if place else what
