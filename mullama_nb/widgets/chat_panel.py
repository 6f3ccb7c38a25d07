"""The chat panel: the messages, an input box, and actions on every answer."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import traitlets

from ..errors import HistoryError
from ..history.chat import Chat
from ..history.events import Committed, Event, Moved, Progress, Pruned, Split, TokenAdded
from ..history.message import message_parts, message_versions
from ..history.tree import Checkpoint
from ..history.turn import Turn
from .actions import stops_first
from .base import ChatWidget
from .esm import front_end
from .markdown import Draft, render_markdown

__all__ = ["ChatPanel"]

_MOVES = (Committed, Moved, Split, Pruned)


class ChatPanel(ChatWidget):
    """The messages up to the head, with actions on each.

    Parameters
    ----------
    chat : Chat

    Attributes
    ----------
    pending : str
        The question from the panel that is being answered.
    detail : dict
        The tokens of the message inspected last.
    alternatives : dict
        The alternatives to the token inspected last.
    """

    _esm, _css = front_end("chat_panel")

    # All are written by the thread for actions alone.
    pending = traitlets.Unicode("").tag(sync=True)
    detail = traitlets.Dict().tag(sync=True)
    alternatives = traitlets.Dict().tag(sync=True)

    def __init__(self, chat: Chat) -> None:
        self._draft = Draft()
        self._progress: list[int] | None = None
        self._visited: dict[str, Checkpoint] = {}
        self._content: dict[Checkpoint, dict[str, Any]] = {}
        self._told: list[dict[str, Any]] | None = None
        super().__init__(chat)

    def take_snapshot(self) -> dict[str, Any]:
        """Return the messages, and the running answer so far."""
        messages = self._messages()
        if self._told is None:  # what the first view begins with
            self._told = messages
        return {
            "messages": messages,
            "draft": self._draft.html,
            "progress": self._progress,
        }

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return the changes of the messages, the streaming answer and an evaluation."""
        change: dict[str, Any] = {}
        moves = [i for i, event in enumerate(events) if isinstance(event, _MOVES)]
        if moves:
            self._remember_way()
            change |= self._message_changes()
            events = events[moves[-1] + 1 :]
            self._draft, change["draft"] = Draft(), (0, "")
        text = "".join(e.text for e in events if isinstance(e, TokenAdded) and e.branch is None)
        if text:
            change["draft"] = self._draft.add(text)
        done = bool(moves or text)
        progress = None if done else self._progress
        for event in events:
            if isinstance(event, Progress):
                going = event.evaluated < event.total and not text
                progress = [event.evaluated, event.total] if going else None
        if progress != self._progress:
            self._progress = change["progress"] = progress
        if change:
            yield change

    def begin_anew(self) -> None:
        """Show a streaming answer from here on."""
        self._draft, self._progress = Draft(), None

    @stops_first
    def do_show(self, checkpoint: str) -> None:
        """Show another version of a message, with what followed it before."""
        self.chat.checkout(self._leaf(self.tree[checkpoint]))

    def do_ask(self, text: str) -> None:
        """Send a message, and generate the answer."""
        with self._answering(pending=text):
            self.chat.ask(text, echo=False)

    def do_edit(self, checkpoint: str, text: str) -> None:
        """Replace a message by a sibling with another text."""
        with self._answering():
            self.chat.edit(text, self._turn(checkpoint), echo=False)

    def do_regenerate(self, checkpoint: str) -> None:
        """Generate another answer in place of one."""
        with self._answering():
            self.chat.regenerate(self._turn(checkpoint), echo=False)

    def do_resume(self) -> None:
        """Continue an unfinished answer."""
        with self._answering():
            self.chat.resume(echo=False)

    def do_fork(self, checkpoint: str, token: int, choose: int | None = None) -> None:
        """Branch off inside an answer."""
        with self._answering():
            self.chat.fork(self._turn(checkpoint), token=token, choose=choose, echo=False)

    def do_tokens(self, checkpoint: str) -> None:
        """Show the tokens of a message."""
        self.detail = {"id": checkpoint, "tokens": self._tokens(self._turn(checkpoint))}

    def do_alternatives(self, checkpoint: str, token: int) -> None:
        """Show the alternatives to a token."""
        self.alternatives = self._alternatives(checkpoint, token)

    def do_close(self) -> None:
        """Hide the tokens."""
        self.detail = self.alternatives = {}

    @contextmanager
    def _answering(self, pending: str = "") -> Iterator[None]:
        with self.answering():
            self.pending = pending
            self.detail = self.alternatives = {}
            try:
                yield
            finally:
                self.pending = ""

    def draw_html(self) -> str:
        """Return the messages, one below the other."""
        if not self.chat.turns:
            return "<p><em>Nothing has been said yet.</em></p>"
        return "".join(
            f"<p><strong>{html.escape(turn.role)}</strong></p>{render_markdown(turn.text)}"
            for turn in self.chat.turns
        )

    def _messages(self) -> list[dict[str, Any]]:
        turns, known = self.chat.turns, self._content
        self._content = {t.checkpoint: known.get(t.checkpoint) or _described(t) for t in turns}
        return [{**said, **_places(checkpoint)} for checkpoint, said in self._content.items()]

    def _message_changes(self) -> dict[str, Any]:
        """Messages that are new behind the one called ``after``, and fields of those before."""
        before, now = self._told or [], self._messages()
        self._told = now
        pairs = list(zip(before, now, strict=False))
        n = next((i for i, (a, b) in enumerate(pairs) if a["id"] != b["id"]), len(pairs))
        changed = [
            {"id": b["id"], **{name: value for name, value in b.items() if value != a[name]}}
            for a, b in pairs[:n]
            if a != b
        ]
        return {"after": now[n - 1]["id"] if n else None, "messages": now[n:], "changed": changed}

    def _turn(self, identifier: str) -> Turn:
        for turn in self.chat.turns:
            if turn.checkpoint.id == identifier:
                return turn
        raise HistoryError("That message is not on the way to the head any more.")

    def _tokens(self, turn: Turn) -> list[tuple[str, float | None]]:
        """Each token's text, and how likely it was, where it was drawn."""
        return [
            (self._piece(token), None if logprob is None else math.exp(logprob))
            for part in message_parts(turn.checkpoint)
            for token, logprob in zip_longest(part.tokens, part.logprobs)
        ]

    def _alternatives(self, identifier: str, token: int) -> dict[str, Any]:
        turn = self._turn(identifier)
        found = self.chat.alternatives(turn, token)
        return {
            "id": identifier,
            "token": token,
            "chosen": turn.tokens[token],
            "found": [(other.id, self._piece(other.id), other.probability) for other in found],
        }

    def _piece(self, token: int) -> str:
        return self.chat.model.detokenize([token], special=True)

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
        n = len(self.chat.turns)
        return f"ChatPanel({n} message{'s' * (n != 1)})"


def _described(turn: Turn) -> dict[str, Any]:
    """What never changes of a message."""
    text = turn.text
    return {
        "id": turn.checkpoint.id,
        "role": turn.role,
        "html": render_markdown(text),
        "text": text,
        "tokens": bool(turn.logprobs),
    }


def _places(checkpoint: Checkpoint) -> dict[str, Any]:
    """Where a message stands among those in its place, and whether it could go on."""
    ends = message_versions(checkpoint)
    at = ends.index(checkpoint)
    return {
        "unfinished": checkpoint.is_unfinished,
        "place": at + 1,
        "count": len(ends),
        "before": ends[at - 1].id if at else None,
        "after": ends[at + 1].id if at + 1 < len(ends) else None,
    }
