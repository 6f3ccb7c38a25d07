"""The tree as a clickable version-control graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..history.chat import Chat
from ..history.drawing import draw_html, draw_svg, label, row_states, speaker, words
from ..history.events import (
    Committed,
    Event,
    Moved,
    Pruned,
    Recalled,
    Spilled,
    Split,
    Tagged,
    TokenAdded,
)
from ..history.layout import segments, shared_tokens
from ..history.message import message_of
from ..history.segments import continues_message
from ..history.shown import ShownMessage
from ..history.tree import Checkpoint, CheckpointTree
from .actions import stops_first
from .base import TreeWidget
from .comparison import comparison
from .esm import front_end
from .pictures import picture_or_words

__all__ = ["Timeline"]

_MOVES = (Committed, Moved, Pruned)
_LIVE_CHARACTERS = 60
_MOST_CHARACTERS = 20_000  # of a text that is shown or copied


class Timeline(TreeWidget):
    """One row per message, one lane per branch, the active path in the brand colour.

    Parameters
    ----------
    source : Chat or CheckpointTree
    """

    _esm, _css = front_end("timeline")
    can_turn = True

    def __init__(self, source: Chat | CheckpointTree) -> None:
        # Labels and flags of messages: text has to be detokenized.
        self._said: dict[tuple[str, int], tuple[str, int]] = {}
        super().__init__(source)

    def take_snapshot(self) -> dict[str, Any]:
        """Return all checkpoints, the head and the tags; views lay the rows out."""
        return {
            "rows": [self._row(checkpoint) for checkpoint in _in_order(self.tree.root)],
            "head": self.tree.head.id,
            "tags": {name: checkpoint.id for name, checkpoint in self.tree.tags.items()},
        }

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return one small message for all events, or all rows if a checkpoint was split."""
        live = _live(events) | _explored(events)
        if any(isinstance(event, Split) for event in events):
            yield {"all": self.take_snapshot(), **live}
            return
        rows: dict[str, Checkpoint] = {}  # in the order of their first commit, as siblings lie
        gone: list[str] = []
        tags: dict[str, str | None] = {}
        for event in events:
            if isinstance(event, Committed) and event.checkpoint in self.tree:
                rows |= {i: self.tree[i] for i in (event.parent, event.checkpoint)}
            elif isinstance(event, Spilled | Recalled) and event.checkpoint in self.tree:
                rows[event.checkpoint] = self.tree[event.checkpoint]
            elif isinstance(event, Pruned):
                gone += event.checkpoints
                for identifier in event.checkpoints:  # one that is back lies behind its siblings
                    rows.pop(identifier, None)
            elif isinstance(event, Tagged):
                tags[event.tag] = event.checkpoint
        has_moved = any(isinstance(event, _MOVES) for event in events)
        change = {
            "gone": gone,
            "rows": [self._row(checkpoint) for checkpoint in rows.values()],
            "head": self.tree.head.id if has_moved else "",
            "tags": tags,
            **live,
        }
        if change := {name: value for name, value in change.items() if value}:
            yield change

    @stops_first
    def do_undo(self) -> None:
        """Move the head one step back."""
        self._target.undo()

    def do_redo(self) -> None:
        """Take the last undo back."""
        self._target.redo()

    @stops_first
    def do_checkout(self, checkpoint: str) -> None:
        """Move the head to a checkpoint."""
        self._target.checkout(checkpoint)

    @stops_first
    def do_fork(self, checkpoint: str) -> None:
        """Start a branch at a checkpoint."""
        self.tree.fork(checkpoint)

    def do_tag(self, checkpoint: str, name: str) -> None:
        """Tag a checkpoint with a name."""
        self.tree.tag(name, checkpoint)

    def do_prune(self, checkpoint: str, force: bool = False) -> None:
        """Remove a checkpoint and its descendants."""
        with self.tree.turn():
            before = self.tree.head
            self.tree.prune(checkpoint, force=force)
            head = self.tree.head
            if self.chat is not None and head is not before and head.metadata.cut:
                self.chat.checkout(head)  # a piece of a question stands for it

    def do_look(self, checkpoint: str) -> None:
        """Send the details of a checkpoint."""
        self.queue_change({"card": self._card(self.tree[checkpoint])})

    def do_compare(self, checkpoint: str) -> None:
        """Send where a checkpoint and the head diverge, and what each says from there."""
        self.queue_change({"comparison": comparison(self.tree, self.tree[checkpoint])})

    @property
    def _target(self) -> Chat | CheckpointTree:
        return self.tree if self.chat is None else self.chat

    def draw_html(self) -> str:
        """Return the tree as SVG, and as text."""
        return picture_or_words(draw_svg(self.tree), draw_html(self.tree))

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
        bundle, metadata = super()._repr_mimebundle_(**options)
        return {**bundle, "image/svg+xml": draw_svg(self.tree)}, metadata

    def _card(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """What a row has no room for."""
        states = ["unfinished"] if checkpoint.is_unfinished else []
        if n := shared_tokens(checkpoint):
            states.append(f"forked at token {n}")
        text = "" if checkpoint.is_root else words(checkpoint)
        parts = segments(checkpoint)
        return {
            "id": checkpoint.id,
            "name": "" if checkpoint.is_root else checkpoint.short_id,
            "role": "root" if checkpoint.is_root else speaker(checkpoint.metadata.role),
            "text": text[:_MOST_CHARACTERS],
            "is_cut": len(text) > _MOST_CHARACTERS,
            "tokens": sum(len(part.tokens) for part in parts),
            "path": checkpoint.stop,
            "bytes": sum(part.n_bytes for part in parts),
            "states": [*states, *row_states(checkpoint)],
        }

    def _row(self, checkpoint: Checkpoint) -> list[Any]:
        key = (checkpoint.id, len(checkpoint.tokens))
        if key not in self._said:
            self._said[key] = label(checkpoint), _flags(checkpoint)
        text, flags = self._said[key]
        spilled = bool(checkpoint.tokens) and checkpoint.place != "memory"
        return [
            checkpoint.id,
            checkpoint.parent.id if checkpoint.parent else "",
            speaker(checkpoint.metadata.role),
            text,
            len(checkpoint.tokens),
            checkpoint.n_bytes,
            checkpoint.is_unfinished
            + 2 * spilled
            + flags
            + 16 * continues_message(checkpoint)
            + 32 * checkpoint.metadata.is_answer,
        ]


def _flags(checkpoint: Checkpoint) -> int:
    """Return 4 for a message with a thought, plus 8 for one with calls."""
    if not checkpoint.metadata.is_message:
        return 0
    shown = ShownMessage.of(message_of(checkpoint))
    return 4 * bool(shown.reasoning) + 8 * bool(shown.calls)


def _live(events: Sequence[Event]) -> dict[str, Any]:
    """What an answer has grown by since the head moved."""
    moves = [i for i, event in enumerate(events) if isinstance(event, (*_MOVES, Split))]
    since = events[moves[-1] + 1 :] if moves else events
    tokens = [event for event in since if isinstance(event, TokenAdded)]
    texts = [token.text for token in tokens if token.branch is None]
    return {"live": ["".join(texts)[-_LIVE_CHARACTERS:], len(texts)]} if texts else {}


def _explored(events: Sequence[Event]) -> dict[str, Any]:
    """What each answer of an exploration has grown by that is no checkpoint yet."""
    grown: dict[tuple[str, int], tuple[str, int]] = {}
    for event in events:
        if isinstance(event, TokenAdded) and event.branch is not None and event.question:
            place = event.question, event.branch
            text, n = grown.get(place, ("", 0))
            grown[place] = (text + event.text)[-_LIVE_CHARACTERS:], n + 1
        elif isinstance(event, Committed) and not event.is_head:  # all to a question come at once
            grown = {place: each for place, each in grown.items() if place[0] != event.parent}
    return {"explored": [[*place, *each] for place, each in grown.items()]} if grown else {}


def _in_order(root: Checkpoint) -> Iterator[Checkpoint]:
    """Parents before their children, and siblings in their order."""
    stack = [root]
    while stack:
        checkpoint = stack.pop()
        yield checkpoint
        stack.extend(reversed(checkpoint.children))
