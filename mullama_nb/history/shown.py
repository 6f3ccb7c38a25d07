"""Messages as people see them: thought, text and calls apart from each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engine.answers.format import ToolCall

__all__ = ["ShownCall", "ShownMessage", "given_calls", "pretty_json", "thought_text"]

_REASONING = ("reasoning_content", "reasoning", "thinking")  # whichever a message has
_INDENT = 2
_SHORT = 72  # characters: arguments up to here stand on one line


@dataclass(frozen=True)
class ShownCall:
    """A tool call.

    Attributes
    ----------
    name : str
    arguments : str
        JSON, on one line where that is short; what is not JSON stays as it is.
    """

    name: str
    arguments: str

    @property
    def text(self) -> str:
        """Name and arguments."""
        return f"{self.name}({self.arguments})"


@dataclass(frozen=True)
class ShownMessage:
    """What is shown of a message.

    Attributes
    ----------
    role : str
    name : str
        Of the tool that a result is from, or of who speaks; often empty.
    reasoning, text : str
    calls : tuple of ShownCall
    """

    role: str
    name: str
    reasoning: str
    text: str
    calls: tuple[ShownCall, ...]

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> ShownMessage:
        """Return what is shown of a message, whatever shape its fields have.

        Parameters
        ----------
        message : mapping
            In the form that chat templates take. It may come from a file: nothing about its fields
            is certain.
        """
        calls = message.get("tool_calls")
        name = message.get("name")
        return cls(
            role=str(message.get("role") or ""),
            name=name if isinstance(name, str) else "",
            reasoning=thought_text(message) or "",
            text=_text(message.get("content")),
            calls=tuple(_call(each) for each in calls) if isinstance(calls, list | tuple) else (),
        )

    @property
    def has_text(self) -> bool:
        """Whether its text is shown: where it is empty, a thought or calls stand for it."""
        return bool(self.text) or not (self.reasoning or self.calls)

    @property
    def result(self) -> str:
        """The text of a tool's result: JSON is indented."""
        return pretty_json(self.text)


def thought_text(message: Mapping[str, Any]) -> str | None:
    """Return the thought in a message, under whichever name; None where there is nothing in it."""
    found = (message.get(field) for field in _REASONING)
    return next((text for text in found if isinstance(text, str) and text.strip()), None)


def given_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """Return the calls in a message that was given, in any of the usual shapes."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list | tuple):
        return ()
    return tuple(_given_call(call, number) for number, call in enumerate(calls))


def _given_call(call: object, number: int) -> ToolCall:
    found = call if isinstance(call, Mapping) else {}
    function = found.get("function", found)
    function = function if isinstance(function, Mapping) else {}
    name, arguments, error = function.get("name"), function.get("arguments"), None
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            error = "its arguments are no JSON"
    if not isinstance(name, str):
        error = "it has no name"
    given = found.get("id")
    return ToolCall(
        given if isinstance(given, str) else f"call{number:05}",
        name if isinstance(name, str) else "",
        dict(arguments) if isinstance(arguments, Mapping) else {},
        error=error,
    )


def pretty_json(text: str) -> str:
    """Return the JSON of an object or a list with indentation, and any other text as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _dumped(value) if isinstance(value, dict | list) else text


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return "\n".join(_part(part) for part in content)
    return "" if content is None else _dumped(content)


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else None
    return f"[{kind or 'content'}]"


def _call(call: object) -> ShownCall:
    call = call if isinstance(call, Mapping) else {}
    function = call.get("function")
    function = function if isinstance(function, Mapping) else call
    arguments = function.get("arguments", {})
    shown = pretty_json(arguments) if isinstance(arguments, str) else _dumped(arguments)
    return ShownCall(str(function.get("name") or "?"), shown)


def _dumped(value: object) -> str:
    """JSON, on one line where that is short."""
    try:
        line = json.dumps(value, ensure_ascii=False)
        return (
            line if len(line) <= _SHORT else json.dumps(value, ensure_ascii=False, indent=_INDENT)
        )
    except (TypeError, ValueError, RecursionError):
        return str(value)
