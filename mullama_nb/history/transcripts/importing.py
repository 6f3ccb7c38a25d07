"""Bringing a conversation from a file into a chat: every branch, and each row evaluated once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...checks import check_integer
from ...engine.warn import warn
from ...errors import ParameterError, ParameterWarning, shown
from ..conversation import Conversation
from ..refs import check_tag
from ..tree import Checkpoint
from ..workspace import Workspace
from .file import read_transcripts
from .transcript import Transcript

__all__ = ["begin_with_transcript", "choose_transcript", "restore_messages"]

_TITLES = 5


def choose_transcript(path: str | os.PathLike[str], index: int | None) -> Transcript:
    """Read a file and return its conversation, or the chosen one of several.

    Raises
    ------
    ParameterError
        When there are several and none is chosen, or there are fewer.
    TranscriptError
        When the file holds no conversation.
    """
    transcripts = read_transcripts(path)
    n, name = len(transcripts), shown(Path(path).name)
    if index is not None:
        check_integer("index", index, 0, n - 1)
    elif n > 1:
        titles = [f"{i}: {shown(t.title, 40)}" for i, t in enumerate(transcripts) if t.title]
        more = "…" if len(titles) > _TITLES else ""
        some = f" ({', '.join(titles[:_TITLES])}{more})" if titles else ""
        raise ParameterError(
            f"{name} holds {n:,} conversations{some}: choose one, index=0 to {n - 1}"
        )
    transcript = transcripts[index or 0]
    if transcript.left_out:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(transcript.left_out.items()))
        warn(f"{name} holds what is not text, which is left out: {kinds}", ParameterWarning)
    return transcript


def begin_with_transcript(transcript: Transcript) -> dict[str, Any]:
    """Return the options of the chat that a conversation is brought into: system and tools.

    Where branches begin with different system messages, the chat is made with none.
    """
    firsts = [entry.message for entry in transcript.entries if entry.parent is None]
    systems = [_text(first) if first["role"] == "system" else None for first in firsts]
    options: dict[str, Any] = {}
    if systems[0] is not None and all(system == systems[0] for system in systems):
        options["system"] = systems[0]
    if transcript.tools is not None:
        options["tools"] = transcript.tools
    return options


def restore_messages(
    workspace: Workspace[Checkpoint], conversation: Conversation, transcript: Transcript
) -> None:
    """Say all messages of a conversation in an empty chat, and go to where it stood.

    Parameters
    ----------
    workspace : Workspace
    conversation : Conversation
        With the system message that the conversation begins with, if it does.
    transcript : Transcript
    """
    entries, root = transcript.entries, workspace.graph.root
    n_children = [0] * len(entries)
    for entry in entries:
        if entry.parent is not None:
            n_children[entry.parent] += 1
    # Where each message ends; None for one that the template does not let stand last.
    ends: list[Checkpoint | None] = [None] * len(entries)
    for index, entry in enumerate(entries):
        is_system = entry.parent is None and entry.message["role"] == "system"
        if is_system and conversation.system is not None:  # else branches have several
            ends[index] = root
    chain: list[int] = []
    for index, entry in enumerate(entries):
        if ends[index] is not None:
            continue
        is_next = bool(chain) and chain[-1] == entry.parent and n_children[chain[-1]] == 1
        if chain and not is_next:
            _say(workspace, conversation, transcript, chain, ends)
            chain = []
        if chain:
            chain.append(index)
        else:
            chain = _way(transcript, ends, index)
    if chain:
        _say(workspace, conversation, transcript, chain, ends)
    _name_places(workspace, transcript, ends)


def _way(transcript: Transcript, ends: Sequence[Checkpoint | None], index: int) -> list[int]:
    """A message, after those before it that have no checkpoint."""
    way = [index]
    while True:
        parent = transcript.entries[way[-1]].parent
        if parent is None or ends[parent] is not None:
            return way[::-1]
        way.append(parent)


def _say(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    transcript: Transcript,
    chain: Sequence[int],
    ends: list[Checkpoint | None],
) -> None:
    """Say messages that follow each other."""
    before = transcript.entries[chain[0]].parent
    start = workspace.graph.root if before is None else ends[before]
    assert start is not None
    with workspace.changing():
        workspace.checkout(start)
    conversation.append([transcript.entries[index].message for index in chain])
    lines = conversation.lines_at(workspace.head)[-len(chain) :]
    for index, line in zip(chain, lines, strict=True):
        if line.index is None:
            ends[index] = line.end


def _name_places(
    workspace: Workspace[Checkpoint], transcript: Transcript, ends: Sequence[Checkpoint | None]
) -> None:
    """Set tags, and go to the head."""
    for entry, end in zip(transcript.entries, ends, strict=True):
        for tag in entry.tags:
            if end is not None:
                workspace.tag(check_tag(tag), end)
    head = ends[transcript.head]
    if head is not None:
        with workspace.changing():
            workspace.checkout(head)


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
