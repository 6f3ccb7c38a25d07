"""A chat as a document: Markdown of the path, JSON of the whole tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ParameterError
from ..state.atomic import write_atomically

if TYPE_CHECKING:
    from .chat_moves import ChatMoves

__all__ = ["as_json", "as_markdown", "export"]


def as_markdown(chat: ChatMoves) -> str:
    """The messages up to the head, each under its role."""
    parts = [f"**{message['role']}**\n\n{_content(message)}" for message in chat.messages]
    return "\n\n---\n\n".join(parts) + "\n"


def as_json(chat: ChatMoves) -> str:
    """Every checkpoint with its text, notes, tags and parent; no rows."""
    tree = chat.tree
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
        "format": "mullama-transcript",
        "version": 1,
        "model": chat.model.name,
        "head": tree.head.id,
        "checkpoints": checkpoints,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def export(chat: ChatMoves, path: Path) -> None:
    """Write the chat in the form that the file's ending asks for.

    Raises
    ------
    ParameterError
        When the ending is neither ``.md`` nor ``.json``.
    """
    forms = {".md": as_markdown, ".json": as_json}
    if path.suffix.lower() not in forms:
        raise ParameterError(f"cannot export to {path.name!r}: its ending must be .md or .json")
    write_atomically(path, [forms[path.suffix.lower()](chat).encode()])


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else json.dumps(message, ensure_ascii=False)
