"""A chat as a document: Markdown of the path, JSON of the whole tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ParameterError
from ..state.atomic import write_atomically
from .tree import CheckpointTree

__all__ = ["as_json", "as_markdown", "export"]


def as_markdown(messages: list[dict[str, Any]]) -> str:
    """Return messages as Markdown, each under its role."""
    parts = [f"**{message['role']}**\n\n{_content(message)}" for message in messages]
    return "\n\n---\n\n".join(parts) + "\n"


def as_json(tree: CheckpointTree) -> str:
    """Return every checkpoint as JSON, with text, notes, tags and parent; no rows."""
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
        "model": tree.context.model.name,
        "head": tree.head.id,
        "checkpoints": checkpoints,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def export(tree: CheckpointTree, messages: list[dict[str, Any]], path: Path) -> None:
    """Write messages or a tree, depending on the file's suffix.

    Raises
    ------
    ParameterError
        When the suffix is neither ``.md`` nor ``.json``.
    """
    ending = path.suffix.lower()
    if ending not in (".md", ".json"):
        raise ParameterError(f"cannot export to {path.name!r}: its ending must be .md or .json")
    text = as_markdown(messages) if ending == ".md" else as_json(tree)
    write_atomically(path, [text.encode()])


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else json.dumps(message, ensure_ascii=False)
