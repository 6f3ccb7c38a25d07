"""Messages in the shapes that people have them in, brought into one form.

OpenAI's and its relatives': contents as texts, as lists of parts or as nothing beside a tool call;
arguments of calls as mappings or as JSON; calls with and without a wrapper; thoughts under several
names. What a template gets of this form is decided by ``template_form``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ...checks import close_names
from ...errors import ChatTemplateError, shown

__all__ = ["THOUGHTS", "AnswerMessage", "Message", "normalized"]

Message: TypeAlias = Mapping[str, Any]

THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
_ABOUT_TOOLS = ("tool_calls", "function_call")
_OF_A_FUNCTION = ("name", "arguments", "parameters", "function")
_REPLACED = {"content", *THOUGHTS, *_ABOUT_TOOLS}


class AnswerMessage(dict[str, Any]):
    """A message that was read from a generated answer, and the answer as it was generated.

    Attributes
    ----------
    raw : str
        It takes the place of what was read from it where a template has no place for thoughts or
        calls.
    """

    __slots__ = ("raw",)

    def __init__(self, message: Message, raw: str) -> None:
        super().__init__(message)
        self.raw = raw


def normalized(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return copies of messages in one form.

    Each has ``role`` and ``content``, a text. Where there are any, ``reasoning_content`` is a text
    too, and ``tool_calls`` are mappings with ``type`` and ``function``, whose ``arguments`` are a
    mapping. Other keys stay as they are. One of them is ``raw``: an answer's text as it was
    generated, which takes the place of what was read from it where a template has no place for
    thoughts or calls.

    Raises
    ------
    ChatTemplateError
        When they are no messages, or have parts that are not text.
    """
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence):
        raise ChatTemplateError(
            'messages must be a list such as [{"role": "user", "content": "Hello"}], '
            f"not {type(messages).__name__}"
        )
    if not messages:
        raise ChatTemplateError("there are no messages to render; give at least one")
    return [_normalized(message, index) for index, message in enumerate(messages)]


def _normalized(message: Message, index: int) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ChatTemplateError(f'message {index} has no "role": {shown(repr(message))}')
    thoughts = next((message[key] for key in THOUGHTS if message.get(key) is not None), None)
    if thoughts is not None and not isinstance(thoughts, str):
        raise ChatTemplateError(f"message {index}: thoughts are a text, not {shown(thoughts)}")
    calls = _calls(message, index)
    content = message.get("content")
    if content is None:
        if not calls and thoughts is None:
            raise ChatTemplateError(f"message {index} {_lack(message)}: {shown(message)}")
        content = ""
    elif not isinstance(content, str):
        thinking, content = _joined(content, index)
        thoughts = thinking if thoughts is None and thinking else thoughts
    said = {key: value for key, value in message.items() if key not in _REPLACED}
    said["content"] = content
    if isinstance(message, AnswerMessage):
        said["raw"] = message.raw
    if thoughts:
        said["reasoning_content"] = thoughts
    if calls:
        said["tool_calls"] = calls
    return said


def _lack(message: Message) -> str:
    if "content" in message:
        return 'has "content": None, and calls no tool'
    close = close_names("content", map(str, message), 1)
    return 'has no "content"' + (f" (there is {shown(repr(close[0]))})" if close else "")


def _joined(content: object, index: int) -> tuple[str, str]:
    """The thoughts and the text in a list of parts, each on lines of its own."""
    if isinstance(content, Mapping) or not isinstance(content, Sequence):
        raise ChatTemplateError(
            f"message {index}: the content is a text or a list of parts, not {shown(content)}"
        )
    thoughts, texts = [], []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if kind == "thinking" and isinstance(part, Mapping):
            thoughts.append(_text_of(part.get("thinking"), index))
        elif kind in _TEXT_PARTS:
            text = part.get("text", part.get(kind)) if isinstance(part, Mapping) else part
            texts.append(_text_of(text, index))
        else:
            raise ChatTemplateError(
                f"message {index} has a part of type {shown(repr(kind))}, and only text can be "
                "read here"
            )
    return "\n".join(thoughts), texts[0] if len(texts) == 1 else "\n".join(texts)


def _text_of(value: object, index: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):  # thoughts in parts of their own
        return _joined(value, index)[1]
    raise ChatTemplateError(f"message {index} has a part without a text: {shown(value)}")


# --- calls of tools ---------------------------------------------------------------------------


def _calls(message: Message, index: int) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    if calls is None and (call := message.get("function_call")) is not None:
        calls = [call]
    if calls is None:
        return []
    if isinstance(calls, (str, Mapping)) or not isinstance(calls, Sequence):
        raise ChatTemplateError(f"message {index}: tool_calls are a list, not {shown(calls)}")
    return [_call(call, f"call {number} of message {index}") for number, call in enumerate(calls)]


def _call(call: object, which: str) -> dict[str, Any]:
    if not isinstance(call, Mapping):
        raise ChatTemplateError(f"{which} is a mapping, not {shown(call)}")
    function = call.get("function", call)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise ChatTemplateError(f"{which} does not name a function: {shown(call)}")
    kept = {key: call[key] for key in call if key not in _OF_A_FUNCTION}
    arguments = _arguments(function.get("arguments", function.get("parameters")), which)
    return {"type": "function", **kept, "function": {"name": name, "arguments": arguments}}


def _arguments(arguments: object, which: str) -> dict[str, Any]:
    if isinstance(arguments, str) and arguments.strip():
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            raise ChatTemplateError(
                f"{which}: its arguments are no JSON: {shown(repr(arguments))}"
            ) from None
    if arguments is None or arguments == "" or isinstance(arguments, str):
        return {}
    if not isinstance(arguments, Mapping):
        raise ChatTemplateError(
            f"{which}: its arguments are a mapping of names to values, not {shown(arguments)}"
        )
    return {**arguments}
