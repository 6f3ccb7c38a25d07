"""What an answer says: its thought, its text, its calls of tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

__all__ = ["ParsedAnswer", "ToolCall", "call_id"]


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool, as the model wrote it.

    Attributes
    ----------
    id : str
        The model's own, or 9 digits that depend on what is called and how.
    name : str
        Empty where it cannot be read.
    arguments : mapping
        Empty where they cannot be read.
    raw : str
        The text of the call, with the marks around it.
    error : str, optional
        Why it cannot be read.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    raw: str = field(default="", repr=False)
    error: str | None = None

    def as_message(self) -> dict[str, Any]:
        """Return the call in OpenAI's form, its arguments as a mapping."""
        function = {"name": self.name, "arguments": dict(self.arguments)}
        return {"id": self.id, "type": "function", "function": function}


@dataclass(frozen=True)
class ParsedAnswer:
    """An answer, parsed.

    Attributes
    ----------
    reasoning : str, optional
        The thought; None for none, or an empty one.
    text : str
        The answer without thoughts and calls.
    tool_calls : tuple of ToolCall
    """

    reasoning: str | None
    text: str
    tool_calls: tuple[ToolCall, ...] = ()

    def as_message(self) -> dict[str, Any]:
        """Return the answer as a message for a chat template.

        A call that cannot be read stays in the content as it was written.
        """
        unread = [call.raw for call in self.tool_calls if call.error is not None]
        content = "".join([self.text, *unread]) if unread else self.text
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if self.reasoning is not None:
            message["reasoning_content"] = self.reasoning
        calls = [call.as_message() for call in self.tool_calls if call.error is None]
        if calls:
            message["tool_calls"] = calls
        return message


def call_id(index: int, raw: str) -> str:
    """Return an id for a call without one.

    Mistral's templates take nine letters or digits, and refuse anything else.
    """
    digest = blake3(f"{index} {raw}".encode("utf-8", "surrogatepass")).digest(length=8)
    return f"{int.from_bytes(digest, 'big') % 10**9:09d}"
