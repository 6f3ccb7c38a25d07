"""Conversations of ChatGPT's data export: nodes with parents and children."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...errors import shown
from ...sessions.records import MalformedError
from .transcript import MOST_MESSAGES, Entry, checked_line, checked_message, checked_role

__all__ = ["entries_of_mapping"]


def entries_of_mapping(
    value: Mapping[str, Any],
) -> tuple[list[Entry], int | None, Mapping[str, int]]:
    """Return the messages in a ``mapping`` of nodes, and where the conversation stands.

    Nodes without text are passed over. A thought becomes that of the answer after it, and what is
    said to a tool a call of it.

    Parameters
    ----------
    value : mapping
        One conversation of the export, with ``mapping`` and perhaps ``current_node``.

    Returns
    -------
    entries : list of Entry
    head : int or None
    left_out : mapping
        What is not text: how often, by its kind.

    Raises
    ------
    MalformedError
        The message names node and field.
    """
    nodes = value["mapping"]
    if not isinstance(nodes, dict):
        raise MalformedError(f"mapping is an object, not {shown(nodes)}")
    if len(nodes) > MOST_MESSAGES:
        raise MalformedError(f"mapping has {len(nodes):,} nodes, and {MOST_MESSAGES:,} is most")
    children = _children(nodes)
    entries: list[Entry] = []
    left_out: Counter[str] = Counter()
    said: dict[str, int | None] = {}
    stack: list[tuple[str, int | None, str]] = [(name, None, "") for name in children[""][::-1]]
    while stack:
        name, parent, thought = stack.pop()
        place = f"node {shown(repr(name))}"
        message, thought = _node_message(nodes[name].get("message"), place, thought, left_out)
        if message is not None:
            entries.append(Entry(message, parent))
            parent = len(entries) - 1
        said[name] = parent
        stack += [(child, parent, thought) for child in reversed(children.get(name, []))]
    if len(said) < len(nodes):
        lost = next(name for name in nodes if name not in said)
        raise MalformedError(f"node {shown(repr(lost))} is its own ancestor")
    current = value.get("current_node")
    head = said.get(current) if isinstance(current, str) else None
    return entries, head, left_out


def _children(nodes: Mapping[str, Any]) -> dict[str, list[str]]:
    """The children of each node, in the order that their parent gives; of "" the first ones."""
    found: dict[str, list[str]] = {"": []}
    for name, node in nodes.items():
        if not isinstance(node, dict):
            raise MalformedError(f"node {shown(repr(name))} is an object, not {shown(node)}")
        parent = node.get("parent")
        if parent is not None and not isinstance(parent, str):
            raise MalformedError(f"node {shown(repr(name))}: parent is a text, not {shown(parent)}")
        found.setdefault(parent if parent in nodes and parent is not None else "", []).append(name)
    for name, names in found.items():
        listed = nodes[name].get("children") if name else None
        if isinstance(listed, list):
            order = {child: at for at, child in enumerate(listed) if isinstance(child, str)}
            names.sort(key=lambda child: order.get(child, len(order)))
    return found


def _node_message(
    message: Any, place: str, thought: str, left_out: Counter[str]
) -> tuple[dict[str, Any] | None, str]:
    """The message of a node, and the thought that the next answer has."""
    if message is None:
        return None, thought
    if not isinstance(message, dict):
        raise MalformedError(f"{place}: message is an object, not {shown(message)}")
    author, content = message.get("author"), message.get("content")
    for key, part in (("author", author), ("content", content)):
        if not isinstance(part, dict):
            raise MalformedError(f"{place}: {key} is an object, not {shown(part)}")
    assert isinstance(author, dict)
    assert isinstance(content, dict)
    role = checked_role(author.get("role"), f"{place}: author: role")
    kind = content.get("content_type")
    if kind == "thoughts":
        return None, thought + _thoughts(content, place)
    text = _node_text(content, place, left_out)
    if not text:
        return None, thought
    recipient = message.get("recipient")
    if role == "assistant" and isinstance(recipient, str) and recipient not in ("", "all"):
        arguments = _arguments(text)
        call = {"name": checked_line(recipient, f"{place}: recipient"), "arguments": arguments}
        made = checked_message({"role": role, "content": None, "tool_calls": [call]}, place)
    else:
        made = checked_message({"role": role, "content": text}, place)
    if role == "tool" and isinstance(author.get("name"), str):
        made["name"] = checked_line(author["name"], f"{place}: author: name")
    if role == "assistant" and thought:
        made["reasoning_content"], thought = thought, ""
    return made, thought


def _node_text(content: Mapping[str, Any], place: str, left_out: Counter[str]) -> str:
    """The text of a node's content; what is not text is counted."""
    parts = content.get("parts")
    if isinstance(parts, list):
        kinds = [
            str(part.get("content_type", "part")) if isinstance(part, dict) else "part"
            for part in parts
            if not isinstance(part, str)
        ]
        left_out.update(shown(kind) for kind in kinds)
        return "".join(part for part in parts if isinstance(part, str))
    for key in ("text", "result"):
        if isinstance(text := content.get(key), str):
            return text
    kind = content.get("content_type")
    if not isinstance(kind, str):
        raise MalformedError(f"{place}: content_type is a text, not {shown(kind)}")
    left_out[shown(kind)] += 1
    return ""


def _thoughts(content: Mapping[str, Any], place: str) -> str:
    thoughts = content.get("thoughts")
    if not isinstance(thoughts, list) or not all(isinstance(each, dict) for each in thoughts):
        raise MalformedError(f"{place}: thoughts are a list of objects, not {shown(thoughts)}")
    return "\n\n".join(str(each.get("content") or each.get("summary") or "") for each in thoughts)


def _arguments(text: str) -> dict[str, Any]:
    """The arguments of a call: an object, or a text such as a program."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"input": text}
