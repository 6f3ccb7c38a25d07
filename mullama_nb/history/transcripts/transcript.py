"""A conversation from a file: a tree of messages, each checked before use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import shown
from ...sessions.records import MalformedError

__all__ = [
    "MOST_MESSAGES",
    "Entry",
    "Transcript",
    "checked_line",
    "checked_list",
    "checked_message",
    "checked_role",
]

MOST_MESSAGES = 100_000
_MOST_OF_A_LINE = 200
_ROLES = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
}
_LINES = ("name", "tool_call_id")
_TEXTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True)
class Entry:
    """A message in its place.

    Attributes
    ----------
    message : dict
        In the form that chat templates take.
    parent : int or None
        Index of the entry before it; None for a first message.
    tags : tuple of str
    """

    message: dict[str, Any]
    parent: int | None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """A conversation from a file.

    Attributes
    ----------
    entries : tuple of Entry
        Parents first.
    head : int
        Index of the entry to go on from.
    title, model : str
        Empty if the file does not say.
    tools : list of dict or None
    left_out : mapping
        What was not read, as it is not text: how often, by its kind.
    """

    entries: tuple[Entry, ...]
    head: int
    title: str = ""
    model: str = ""
    tools: list[dict[str, Any]] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)


def checked_list(value: Any, place: str) -> list[Any]:
    """Return a list that is not too long."""
    if not isinstance(value, list):
        raise MalformedError(f"{place} is a list, not {shown(value)}")
    if len(value) > MOST_MESSAGES:
        raise MalformedError(f"{place} has {len(value):,} items, and {MOST_MESSAGES:,} is most")
    return value


def checked_message(row: Any, place: str) -> dict[str, Any]:
    """Return a message with the keys that chat templates know.

    Parameters
    ----------
    row : object
        From JSON; other keys are left out.
    place : str
        What messages call it.

    Raises
    ------
    MalformedError
        When it is not a message; the message names the field.
    """
    if not isinstance(row, dict):
        raise MalformedError(f"{place} is an object, not {shown(row)}")
    message: dict[str, Any] = {"role": checked_role(row.get("role"), f"{place}: role")}
    calls = row.get("tool_calls")
    if calls is None and row.get("function_call") is not None:
        calls = [row["function_call"]]
    if calls:
        message["tool_calls"] = [
            _call(call, f"{place}: call {number}")
            for number, call in enumerate(checked_list(calls, f"{place}: tool_calls"))
        ]
    if "content" in row:
        message["content"] = _content(row["content"], f"{place}: content")
    for key in _TEXTS:
        if (text := row.get(key)) is not None:
            if not isinstance(text, str):
                raise MalformedError(f"{place}: {key} is a text, not {shown(text)}")
            message.setdefault("reasoning_content", text)
    for key in _LINES:
        if (line := row.get(key)) is not None:
            message[key] = checked_line(line, f"{place}: {key}")
    if message.get("content") is None and not {"tool_calls", "reasoning_content"} & message.keys():
        raise MalformedError(f"{place} has neither a content nor tool_calls")
    return message


def checked_role(value: Any, place: str) -> str:
    """Return a role under the name that chat templates know."""
    if value is None:
        raise MalformedError(f"{place} is missing")
    role = checked_line(value, place)
    return _ROLES.get(role.lower(), role)


def checked_line(value: Any, place: str) -> str:
    """Return a short text of printable characters."""
    is_line = isinstance(value, str) and 0 < len(value) <= _MOST_OF_A_LINE and value.isprintable()
    if not is_line:
        raise MalformedError(f"{place} is a short text, not {shown(repr(value))}")
    assert isinstance(value, str)
    return value


def _content(value: Any, place: str) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(
        isinstance(part, str) or (isinstance(part, dict) and isinstance(part.get("type"), str))
        for part in value
    ):
        return value
    raise MalformedError(f"{place} is a text or a list of parts with a type, not {shown(value)}")


def _call(value: Any, place: str) -> dict[str, Any]:
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict):
        raise MalformedError(f"{place} is an object with a function, not {shown(value)}")
    arguments = function.get("arguments", function.get("parameters", {}))
    if not isinstance(arguments, (str, dict)):
        raise MalformedError(
            f"{place}: arguments are an object or its JSON, not {shown(arguments)}"
        )
    name = checked_line(function.get("name"), f"{place}: name")
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    if (identifier := value.get("id")) is not None:
        call["id"] = checked_line(identifier, f"{place}: id")
    return call
