"""A chat as a document: Markdown of the path, JSON of the whole tree."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from ..errors import ParameterError
from ..state.atomic import write_atomically
from .shown import ShownMessage
from .tree import CheckpointTree

__all__ = ["as_json", "as_markdown", "export"]


def as_markdown(messages: list[dict[str, Any]]) -> str:
    """Return messages as Markdown, each under its role; thoughts are folded."""
    parts = [_as_markdown(ShownMessage.of(message)) for message in messages]
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
