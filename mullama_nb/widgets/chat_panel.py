"""The chat panel: what was said, a box to write in, and a way into every answer."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import traitlets

from ..errors import HistoryError, ParameterError
from ..history.chat import Chat
from ..history.checkpoint import Checkpoint
from ..history.events import Event, Progress, TokenAdded
from ..history.refs import resolve
from ..history.turn import Turn, message_parts
from .base import TreeWidget, front_end
from .markdown import render_markdown

__all__ = ["ChatPanel"]

_render = lru_cache(maxsize=512)(render_markdown)


class ChatPanel(TreeWidget):
    """The messages up to the head, and what can be done with each.

    Parameters
    ----------
    chat : Chat

    Attributes
    ----------
    is_busy : bool
        Whether an action of the panel is under way.
    detail : dict
        The tokens of the message that was looked into last, and the alternatives to one of them.
    """

    _esm, _css = front_end("chat_panel")

    # Both are written by the thread for actions alone.
    is_busy = traitlets.Bool(False).tag(sync=True)
    detail = traitlets.Dict().tag(sync=True)

    def __init__(self, chat: Chat) -> None:
        if not isinstance(chat, Chat):
            raise ParameterError(f"ChatPanel shows a Chat, not a {type(chat).__name__}.")
        self._chat = chat
        self._draft: list[str] = []
        self._visited: dict[str, Checkpoint] = {}
        super().__init__(chat)

    def take_snapshot(self) -> dict[str, Any]:
        """The messages, and what has been said of the one that is being generated."""
        return {"messages": self._messages(), "draft": "".join(self._draft)}

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """New text alone while an answer streams; the messages when the tree has changed."""
        moves = [i for i, e in enumerate(events) if not isinstance(e, TokenAdded | Progress)]
        latest = events[moves[-1] + 1 :] if moves else events
        text = "".join(e.text for e in latest if isinstance(e, TokenAdded) and e.branch == 0)
        if moves:
            self._remember_way()
            self._draft = [text]
            yield {"event": "messages", "messages": self._messages(), "draft": text}
        elif text:
            self._draft.append(text)
            yield {"event": "text", "text": text}
        progress = [event for event in latest if isinstance(event, Progress)]
        if progress and not text:
            last = progress[-1]
            yield {"event": "progress", "evaluated": last.evaluated, "total": last.total}

    def handle(self, action: str, arguments: dict[str, Any]) -> None:
        """Do what a view asks for."""
        self.is_busy = True
        try:
            self._act(action, arguments)
        finally:
            self.is_busy = False

    def _act(self, action: str, arguments: dict[str, Any]) -> None:
        message = str(arguments.get("id", ""))
        text = str(arguments.get("text", ""))
        token = int(arguments.get("token", 0))
        chat = self._chat
        if action == "ask":
            chat.ask(text, echo=False)
        elif action == "resume":
            chat.resume(echo=False)
        elif action == "regenerate":
            chat.regenerate(self._turn(message), echo=False)
        elif action == "edit":
            chat.edit(text, self._turn(message), echo=False)
        elif action == "show":
            chat.checkout(self._leaf(resolve(self.tree, message)))
        elif action == "tokens":
            self.detail = {"id": message, "tokens": self._tokens(self._turn(message))}
        elif action == "alternatives":
            self.detail = {**self.detail, "at": token, "alternatives": self._others(message, token)}
        elif action == "fork":
            chat.fork(self._turn(message), token=token, choose=arguments.get("choose"), echo=False)
        else:
            super().handle(action, {})

    def draw_html(self) -> str:
        """The messages, one below the other."""
        if not self._chat.turns:
            return "<p><em>Nothing has been said yet.</em></p>"
        return "".join(
            f"<p><strong>{html.escape(turn.role)}</strong></p>{_render(turn.text)}"
            for turn in self._chat.turns
        )

    def _messages(self) -> list[dict[str, Any]]:
        return [
            {
                "id": turn.checkpoint.id,
                "role": turn.role,
                "html": _render(turn.text),
                "text": turn.text,
                "siblings": [end.id for end in _endings(turn.checkpoint)],
                "unfinished": turn.checkpoint.is_unfinished,
                "tokens": bool(turn.logprobs),
            }
            for turn in self._chat.turns
        ]

    def _turn(self, identifier: str) -> Turn:
        for turn in self._chat.turns:
            if turn.checkpoint.id == identifier:
                return turn
        raise HistoryError("That message is not on the way to the head any more.")

    def _tokens(self, turn: Turn) -> list[list[Any]]:
        pieces = [self._chat.model.detokenize([token], special=True) for token in turn.tokens]
        return [
            [piece, math.exp(value)] for piece, value in zip(pieces, turn.logprobs, strict=False)
        ]

    def _others(self, identifier: str, token: int) -> list[list[Any]]:
        found = self._chat.alternatives(self._turn(identifier), token)
        return [
            [
                other.id,
                self._chat.model.detokenize([other.id], special=True),
                other.probability,
            ]
            for other in found
        ]

    def _remember_way(self) -> None:
        for checkpoint in self.tree.path():
            if checkpoint.parent is not None:
                self._visited[checkpoint.parent.id] = checkpoint

    def _leaf(self, at: Checkpoint) -> Checkpoint:
        """Where one went last from here, or else the first way to its end."""
        while at.children:
            visited = self._visited.get(at.id)
            at = visited if visited in at.children else at.children[0]
        return at

    def __repr__(self) -> str:
        n = len(self._chat.turns)
        return f"ChatPanel({n} message{'s' * (n != 1)})"


def _endings(checkpoint: Checkpoint) -> list[Checkpoint]:
    """Where the message and those in its place end, in the order of the tree."""
    first = message_parts(checkpoint)[0]
    role = checkpoint.metadata.get("role")

    def walk(at: Checkpoint) -> Iterator[Checkpoint]:
        following = [child for child in at.children if child.metadata.get("continues")]
        if at is checkpoint or not following:
            yield at
        for child in following:
            yield from walk(child)

    return [end for c in first.siblings if c.metadata.get("role") == role for end in walk(c)]
