"""Conversations in the formats that people have them in, as trees of messages.

======================  ==========================================================================
ours                    what ``Chat.export`` writes: messages with ids, parents and tags
OpenAI                  a list of messages, or a mapping with ``messages`` and perhaps ``tools``
ChatGPT's data export   a mapping with ``mapping``, whose nodes have parents and children
ShareGPT                a mapping with ``conversations``, each with ``from`` and ``value``
======================  ==========================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import shown
from ...sessions.records import MalformedError
from .chatgpt import entries_of_mapping
from .transcript import (
    Entry,
    Transcript,
    checked_line,
    checked_list,
    checked_message,
    checked_role,
)

__all__ = ["FORMAT", "VERSION", "transcript_of"]

FORMAT = "mullama-transcript"
VERSION = 2
"""Version 1 had no messages, only checkpoints."""

_MOST_OF_A_TITLE = 200


def transcript_of(value: Any) -> Transcript:
    """Return the conversation in a JSON value, whose format is found by its keys.

    Raises
    ------
    MalformedError
        When it is none; the message names place and field.
    """
    if isinstance(value, list):
        return _of_messages(value, {})
    if not isinstance(value, dict):
        raise MalformedError(f"a conversation is a list or an object, not {shown(value)}")
    if value.get("format") == FORMAT:
        return _of_ours(value)
    if "mapping" in value:
        entries, head, left_out = entries_of_mapping(value)
        return _made(entries, value, head=head, left_out=left_out)
    if "messages" in value:
        return _of_messages(value["messages"], value)
    if "conversations" in value:
        return _of_sharegpt(value)
    raise MalformedError(
        "it is not a conversation: there is no list of messages, and none of the keys messages, "
        f"mapping, conversations and format: {FORMAT!r}"
    )


def _made(
    entries: Sequence[Entry], value: Mapping[str, Any], *, head: int | None = None, **others: Any
) -> Transcript:
    if not entries:
        raise MalformedError("there are no messages in it")
    title, model = (_name(value.get(key)) for key in ("title", "model"))
    at = len(entries) - 1 if head is None else head
    return Transcript(tuple(entries), at, title, model, _tools(value), **others)


def _name(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= _MOST_OF_A_TITLE else ""


def _tools(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    tools = value.get("tools")
    if isinstance(tools, str) and tools.strip():  # ShareGPT has them as JSON
        tools = _json(tools, "tools")
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise MalformedError(f"tools are a list of objects, not {shown(tools)}")
    return tools


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedError(f"{what}: {shown(repr(text))} is not JSON") from None


# --- OpenAI's messages ------------------------------------------------------------------------


def _of_messages(messages: Any, value: Mapping[str, Any]) -> Transcript:
    rows = enumerate(checked_list(messages, "messages"))
    entries = [
        Entry(checked_message(row, f"message {index:,}"), index - 1 if index else None)
        for index, row in rows
    ]
    return _made(entries, value)


# --- ours -------------------------------------------------------------------------------------


def _of_ours(value: Mapping[str, Any]) -> Transcript:
    if value.get("version") != VERSION:
        raise MalformedError(
            f"it is a transcript of version {shown(value.get('version'))}, and {VERSION} is read "
            "here: export the chat anew"
        )
    places: dict[str, int] = {}
    entries: list[Entry] = []
    tags: set[str] = set()
    for index, row in enumerate(checked_list(value.get("messages"), "messages")):
        place = f"message {index:,}"
        if not isinstance(row, dict):
            raise MalformedError(f"{place} is an object, not {shown(row)}")
        given: Any = row.get("message")
        message = checked_message(given, place)
        message = {key: message.get(key, given[key]) for key in given}  # whatever was noted
        identifier, parent = checked_line(row.get("id"), f"{place}: id"), row.get("parent")
        if identifier in places:
            raise MalformedError(f"{place}: id {identifier!r} stands twice")
        if parent is not None and (not isinstance(parent, str) or parent not in places):
            raise MalformedError(
                f"{place}: parent {shown(repr(parent))} is not that of a message before it"
            )
        names = tuple(
            checked_line(name, f"{place}: a tag")
            for name in checked_list(row.get("tags", []), "tags")
        )
        if twice := tags & {*names}:
            raise MalformedError(f"{place}: the tag {min(twice)!r} stands twice")
        tags |= {*names}
        places[identifier] = index
        entries.append(Entry(message, None if parent is None else places[parent], names))
    last = value.get("last_message")
    if last is not None and (not isinstance(last, str) or last not in places):
        raise MalformedError(f"last_message {shown(repr(last))} is none of the messages")
    return _made(entries, value, head=None if last is None else places[last])


# --- ShareGPT ---------------------------------------------------------------------------------


def _of_sharegpt(value: Mapping[str, Any]) -> Transcript:
    messages: list[dict[str, Any]] = []
    system = value.get("system")
    if system:
        messages.append(checked_message({"role": "system", "content": system}, "system"))
    for index, row in enumerate(checked_list(value["conversations"], "conversations")):
        place = f"message {index:,}"
        if not isinstance(row, dict):
            raise MalformedError(f"{place} is an object, not {shown(row)}")
        speaker, text = row.get("from", row.get("role")), row.get("value", row.get("content"))
        if not isinstance(text, str):
            raise MalformedError(f"{place}: value is a text, not {shown(text)}")
        if speaker == "function_call":
            calls = _json(text, f"{place}: value")
            calls = calls if isinstance(calls, list) else [calls]
            row = {"role": "assistant", "content": None, "tool_calls": calls}
        else:
            row = {"role": checked_role(speaker, f"{place}: from"), "content": text}
        messages.append(checked_message(row, place))
    entries = [Entry(each, index - 1 if index else None) for index, each in enumerate(messages)]
    return _made(entries, value)
