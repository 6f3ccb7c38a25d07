"""A chat as a document: Markdown of the path, JSON of the whole tree."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ParameterError
from ..state.atomic import write_atomically
from .conversation import Conversation
from .shown import ShownMessage
from .transcripts.formats import FORMAT, VERSION
from .tree import Checkpoint, CheckpointTree

__all__ = ["as_json", "as_markdown", "export"]


def as_markdown(messages: list[dict[str, Any]]) -> str:
    """Return messages as Markdown, each under its role; thoughts are folded."""
    parts = [_as_markdown(ShownMessage.of(message)) for message in messages]
    return "\n\n---\n\n".join(parts) + "\n"


def as_json(tree: CheckpointTree, conversation: Conversation) -> str:
    """Return a tree as JSON, without rows: its messages, and its checkpoints with their notes.

    Each message has the id of the one before it in the conversation, so that all branches can be
    read without the checkpoints; see ``Chat.from_transcript``.
    """
    messages, last = _message_rows(tree, conversation)
    checkpoints = [
        {
            "id": checkpoint.id,
            "parent": checkpoint.parent.id,
            "tokens": list(checkpoint.tokens),
            "text": checkpoint.text,
            "tags": list(checkpoint.tags),
            "notes": checkpoint.metadata,
        }
        for checkpoint in tree
        if checkpoint.parent is not None
    ]
    document = {
        "format": FORMAT,
        "version": VERSION,
        "model": tree.context.model.name,
        "tools": conversation.tools,
        "last_message": last,
        "messages": messages,
        "head": tree.head.id,
        "checkpoints": checkpoints,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _message_rows(
    tree: CheckpointTree, conversation: Conversation
) -> tuple[list[dict[str, Any]], str | None]:
    """All messages, branch by branch; and the id of the head's last one."""
    graph = tree._workspace.graph
    rows: dict[str, dict[str, Any]] = {}

    def add(checkpoint: Checkpoint) -> str | None:
        before = None
        for line in conversation.lines_at(checkpoint):
            name = line.end.id if line.index is None else f"{line.end.id}.{line.index}"
            row: dict[str, Any] = {"id": name, "parent": before, "tags": []}
            row["message"] = line.message
            rows.setdefault(name, row)
            before = name
        return before

    stack = [tree.root]  # in the order of the conversation, so that the oldest sibling comes first
    while stack:
        checkpoint = stack.pop()
        following = graph.followers(checkpoint)
        stack += reversed(following)
        if not following:
            add(checkpoint)
    for tag, checkpoint in sorted(tree.tags.items()):
        if (name := add(checkpoint)) is not None:
            rows[name]["tags"].append(tag)
    last = add(tree.head)
    return _branch_by_branch([*rows.values()]), last


def _branch_by_branch(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages in the order in which a chat that was made of them lists them, too.

    That of the checkpoints may be another one: an answer may be a piece of another.
    """
    following: dict[str | None, list[dict[str, Any]]] = {}
    for row in rows:
        following.setdefault(row["parent"], []).append(row)
    found, stack = list[dict[str, Any]](), following.get(None, [])[::-1]
    while stack:
        row = stack.pop()
        found.append(row)
        stack += following.get(row["id"], [])[::-1]
    return found


def export(tree: CheckpointTree, conversation: Conversation, path: Path) -> None:
    """Write the messages up to the head or the whole tree, depending on the file's suffix.

    Raises
    ------
    ParameterError
        When the suffix is neither ``.md`` nor ``.json``.
    """
    ending = path.suffix.lower()
    if ending not in (".md", ".json"):
        raise ParameterError(f"cannot export to {path.name!r}: its ending must be .md or .json")
    if ending == ".md":
        text = as_markdown(conversation.messages_at(tree.head))
    else:
        text = as_json(tree, conversation)
    write_atomically(path, [text.encode()])


def _as_markdown(message: ShownMessage) -> str:
    name = f" {_code(message.name)}" if message.name else ""
    parts = [f"**{html.escape(message.role)}**{name}"]
    if message.reasoning:
        thought = _block(message.reasoning.strip(), "text")
        parts += ["<details>\n<summary>Thought</summary>", thought, "</details>"]
    if message.role == "tool":
        parts.append(_block(message.result))
    elif message.has_text:
        parts.append(message.text)
    for call in message.calls:
        parts += [f"Call of {_code(call.name)}", _block(call.arguments, "json")]
    return "\n\n".join(parts)


def _block(text: str, language: str = "") -> str:
    """A code block: Markdown shows what is in it as it is, even HTML."""
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}{language}\n{text}\n{fence}"


def _code(text: str) -> str:
    """A text as inline code, on one line."""
    text = " ".join(text.split())
    ticks = "`" * (1 + _longest_run(text))
    space = " " if "`" in text else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
