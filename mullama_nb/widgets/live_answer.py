"""An answer as it streams: its thought, its text and its calls, each of which grows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..engine.answers.format import Reader
from ..engine.completion import Part
from ..history.answer_reader import answer_reader, text_behind
from ..history.chat import Chat
from ..history.events import Committed, Event, Moved, TokenAdded
from ..history.message import message_parts
from ..history.shown import ShownMessage
from ..history.tree import Checkpoint
from ..history.turn import Turn
from .markdown import Draft

__all__ = ["LiveAnswer", "begin_answer", "count_thought", "head_after"]


class LiveAnswer:
    """An answer as it streams.

    Parameters
    ----------
    reader : Reader
        It tells thoughts and calls from the text; it may have read a beginning.
    n_thought : int
        Tokens of the thought in that beginning.
    continues : bool
        Whether the beginning is a message that has a row.
    """

    def __init__(self, reader: Reader, *, n_thought: int = 0, continues: bool = False) -> None:
        self._reader = reader
        self._n_thought = n_thought
        self._continues = continues
        self._thought, self._text, self._calls = _Growing(), _Growing(), ""
        self._called: list[list[str]] = []
        self._is_told = False
        self._read()

    @classmethod
    def whole(cls, turn: Turn) -> LiveAnswer:
        """Return an answer that is complete."""
        shown, made = ShownMessage.of(turn.message), cls(Reader(()))
        made._thought.become(shown.reasoning)
        made._text.become(shown.text)
        made._called = [[call.name, call.arguments] for call in shown.calls]
        made._n_thought = count_thought(turn)
        return made

    def snapshot(self) -> dict[str, Any]:
        """Return all that there is of it: thought and text as HTML, calls as they are written."""
        return {
            "thought": self._thought.html,
            "n_thought": self._n_thought,
            "text": self._text.html,
            "calls": self._calls,
            "called": self._called,
            "continues": self._continues,
        }

    def catch_up(self, texts: Iterable[str]) -> None:
        """Take in what tokens said before any was told of.

        Parameters
        ----------
        texts : iterable of str
            One for each token.
        """
        n = self._reader.n_certain + len(self._reader.pending)
        for text in texts:
            self._reader.feed(text)
            n += len(text)
            self._n_thought += self._reader.part_at(n) == "reasoning"
        self._read()

    def add(self, tokens: Iterable[TokenAdded]) -> dict[str, Any]:
        """Add tokens; return what to tell views: ``whole`` at first, and then the additions.

        Parameters
        ----------
        tokens : iterable of TokenAdded
        """
        n_before, calls = self._n_thought, self._calls
        for token in tokens:
            self._reader.feed(token.text)
            self._n_thought += token.part == "reasoning"
        change = self._read()
        if not self._is_told:
            self._is_told = True
            return {"whole": self.snapshot()}
        if self._calls != calls:
            change["calls"] = _replaced_end(calls, self._calls)
        if self._n_thought != n_before:
            change["n_thought"] = self._n_thought
        return change

    def _read(self) -> dict[str, Any]:
        """Take in what is certain; marks are not shown."""
        self._calls = self._said("tool_call")
        found = {
            "thought": self._thought.become(self._said("reasoning")),
            "text": self._text.become(self._said("text")),
        }
        return {name: change for name, change in found.items() if change}

    def _said(self, part: Part) -> str:
        pieces = self._reader.pieces
        return "\n\n".join(p.text for p in pieces if p.part == part and not p.is_mark)


class _Growing:
    """A Markdown text that mostly grows."""

    def __init__(self) -> None:
        self._draft, self._said = Draft(), ""

    @property
    def html(self) -> str:
        return self._draft.html

    def become(self, text: str) -> tuple[int, str] | None:
        """Take in a text; return where the HTML changes and what it is from there, if it does."""
        if text == self._said:
            return None
        if not text.startswith(self._said):  # what seemed to be text was a thought
            self._draft, self._said = Draft(), ""
        change = self._draft.add(text[len(self._said) :])
        self._said = text
        return change


def _replaced_end(before: str, now: str) -> tuple[int, str]:
    """Return from where on a text is another one, in UTF-16 units, and what it is from there."""
    same = before if now.startswith(before) else ""
    return len(same.encode("utf-16-le", "surrogatepass")) // 2, now[len(same) :]


def head_after(event: Event) -> str | None:
    """Return the id of the checkpoint to which an event moved the head; None if it did not."""
    if isinstance(event, Committed):
        return event.checkpoint if event.is_head else None
    return event.head if isinstance(event, Moved) else None


def begin_answer(chat: Chat, at: Checkpoint, position: int | None = None) -> LiveAnswer:
    """Return the answer that begins at a checkpoint, or goes on there.

    Parameters
    ----------
    chat : Chat
    at : Checkpoint
        A question, or what there is of an answer.
    position : int, optional
        Place in the context of the token that is told of first: it has those before already.
    """
    reader = answer_reader(chat, at)
    if at.metadata.is_answer:
        live = LiveAnswer(reader, n_thought=count_thought(Turn(chat, at)), continues=True)
    else:
        live = LiveAnswer(reader)
    missed = chat.context.tokens[at.stop : at.stop if position is None else position]
    if missed:
        text = text_behind(chat, at)
        live.catch_up(text.add(token) for token in missed)
    return live


def count_thought(turn: Turn) -> int:
    """Return the number of tokens of a message that are its thought, with the marks around it."""
    begin = message_parts(turn.checkpoint)[0].parent
    if begin is None or turn.reasoning is None:
        return 0
    text = text_behind(turn.chat, begin)
    n = 0
    for token in turn.tokens:
        text.add(token)
        n += text.part_at(text.n_characters) == "reasoning"
    return n
