"""What a page shows of two checkpoints: who says what from where they part."""

from __future__ import annotations

import itertools
from typing import Any

from ..history.drawing import speaker, words
from ..history.layout import segments
from ..history.tree import Checkpoint, CheckpointTree
from ..signs import signs

__all__ = ["comparison"]

_MOST_CHARACTERS = 20_000  # of a side

Said = tuple[str, str, str]


def comparison(tree: CheckpointTree, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return where a checkpoint and the head part, and what each says from there.

    Parameters
    ----------
    tree : CheckpointTree
    checkpoint : Checkpoint

    Returns
    -------
    dict
        ``id`` of the checkpoint; ``common``, the number of tokens that both begin with; ``sides``,
        each a name, the first token of its own with the model's probability of it, and what is
        said: lists of a speaker, what the other side says, too, and what it does not.
    """
    head = tree.head
    difference = tree.diff(checkpoint, head)
    common = tree[difference.common.id]
    said = _said(checkpoint, common), _said(head, common)
    if said[0] and said[1]:
        (who, text), (other, text_of_other) = said[0][0], said[1][0]
        alike = itertools.takewhile(
            lambda pair: pair[0] == pair[1], zip(text, text_of_other, strict=False)
        )
        shared = sum(1 for _ in alike) if who == other else 0
    else:
        shared = 0
    names = (checkpoint.short_id, "head")
    tokens = (difference.a_token, difference.b_token)
    chances = (difference.a_probability, difference.b_probability)
    return {
        "id": checkpoint.id,
        "common": difference.position,
        "sides": [
            [name, None if token is None else _shown(tree, token), chance, _cut(lines, shared)]
            for name, token, chance, lines in zip(names, tokens, chances, said, strict=True)
        ],
    }


def _said(end: Checkpoint, common: Checkpoint) -> list[tuple[str, str]]:
    """The messages of a path, with who says each, from the one on that a checkpoint is inside."""
    found: list[tuple[str, str]] = []
    shared = set(common.lineage())
    at: Checkpoint | None = end
    while at is not None and at not in shared:
        found.append((speaker(at.metadata.role), words(at)))
        at = segments(at)[0].parent
    return found[::-1]


def _cut(lines: list[tuple[str, str]], shared: int) -> list[Said]:
    """The lines with their shared beginning apart, as far as there is room."""
    room, found = _MOST_CHARACTERS, list[Said]()
    for i, (who, text) in enumerate(lines):
        n = 0 if i else shared
        found.append((who, text[:n][:room], text[n : max(n, room)]))
        room -= len(text)
        if room <= 0:
            break
    return found


def _shown(tree: CheckpointTree, token: int) -> str:
    """A token in words, without the template's marks."""
    vocabulary = tree.context.model.vocabulary
    if vocabulary.is_end(token):
        return "the end of the message"
    if vocabulary.is_control(token):
        return "a mark of the template"
    return signs(tree.context.model.detokenize([token]))
