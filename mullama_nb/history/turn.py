"""Turns: a message with the checkpoints that hold it."""

from __future__ import annotations

import codecs
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from ..engine.live import Live
from ..errors import HistoryError, ParameterError
from .checkpoint import Checkpoint

if TYPE_CHECKING:
    from ..engine.context import TokenProbability
    from ..engine.vocabulary import Vocabulary
    from .chat_moves import ChatMoves

__all__ = [
    "Answers",
    "Turn",
    "begins_turn",
    "decoded",
    "message_parts",
    "message_text",
    "messages_on",
    "token_place",
    "turns_back",
    "turns_on_path",
]


@dataclass(frozen=True, repr=False, eq=False)
class Turn(Live):
    """One message of a chat; what ``ask`` returns is its answer's.

    Attributes
    ----------
    checkpoint : Checkpoint
        Where the message ends.
    reused, evaluated : int
        Tokens of the prompt that the context held already, and that had to be evaluated.
    evaluated_again : int
        How many of those had been evaluated before: the chat template rewrote earlier text.
    seconds : float
        For the prompt and the answer; 0 for turns that were looked up.
    """

    _instead_of_a_copy = "its text is a value: str(turn), or chat.messages for the conversation"

    chat: ChatMoves
    checkpoint: Checkpoint
    reused: int = 0
    evaluated: int = 0
    evaluated_again: int = 0
    seconds: float = 0.0

    @property
    def role(self) -> str:
        """Who speaks."""
        return str(self.checkpoint.metadata.get("role", ""))

    @property
    def text(self) -> str:
        """What the message says."""
        return message_text(self.checkpoint)

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens of the message, with those of the template around it."""
        return tuple(token for part in message_parts(self.checkpoint) for token in part.tokens)

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Of the tokens, where they were generated; empty otherwise."""
        return tuple(value for part in message_parts(self.checkpoint) for value in part.logprobs)

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended; None for messages that were not generated."""
        return self.checkpoint.metadata.get("finish_reason")

    @property
    def is_complete(self) -> bool:
        """Whether the model came to an end by itself."""
        return self.finish_reason in (None, "stop")

    def alternatives(self, token: int, k: int = 10) -> list[TokenProbability]:
        """What could have stood in a token's place, with the probabilities that it had."""
        return self.chat.alternatives(self, token, k)

    def keep(self) -> Turn:
        """Make this the head."""
        self.chat.checkout(self.checkpoint)
        return self

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        notes = [self.role, _count(self)]
        if self.finish_reason is not None:
            notes.append(self.finish_reason)
        if self.evaluated_again:
            notes.append(f"{self.evaluated_again} tokens evaluated again")
        return f"Turn({', '.join(notes)})"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"


class Answers(Sequence[Turn]):
    """The answers of an exploration: siblings, none of them the head yet.

    Parameters
    ----------
    chat : Chat
    turns : sequence of Turn
    """

    def __init__(self, chat: ChatMoves, turns: Sequence[Turn]) -> None:
        self._chat = chat
        self._turns = tuple(turns)

    @overload
    def __getitem__(self, index: int) -> Turn: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Turn, ...]: ...

    def __getitem__(self, index: int | slice) -> Turn | tuple[Turn, ...]:
        return self._turns[index]

    def __len__(self) -> int:
        return len(self._turns)

    def drop_others(self, kept: Turn | int, *, force: bool = False) -> Turn:
        """Keep one answer as the head and prune the others.

        Parameters
        ----------
        kept : Turn or int
        force : bool
            Needed where tags would go with them.
        """
        turn = self._turns[kept] if isinstance(kept, int) else kept
        if not any(turn.checkpoint is other.checkpoint for other in self._turns):
            raise HistoryError(f"{turn!r} is none of these answers")
        tree = self._chat.tree
        with tree.turn():
            turn.keep()
            begins = [message_parts(other.checkpoint)[0] for other in self._turns]
            others = [c for c in begins if c in tree and not c.is_ancestor_of(turn.checkpoint)]
            tags = [n for n, c in tree.tags.items() if any(o.is_ancestor_of(c) for o in others)]
            if tags and not force:
                raise HistoryError(
                    f"pruning the others would remove the tag{'s' * (len(tags) > 1)} "
                    f"{', '.join(map(repr, tags))}; give force=True"
                )
            for other in others:
                tree.prune(other, force=True)
        return turn

    def __repr__(self) -> str:
        return f"Answers({', '.join(f'{_count(turn)} {turn.finish_reason}' for turn in self)})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{i}</td><td style='text-align:left;white-space:pre-wrap'>"
            f"{html.escape(turn.text)}</td></tr>"
            for i, turn in enumerate(self._turns)
        )
        return f"<table>{rows}</table>"


def _count(turn: Turn) -> str:
    n = len(turn.tokens)
    return f"{n} token{'s' * (n != 1)}"


def message_parts(checkpoint: Checkpoint) -> list[Checkpoint]:
    """The checkpoints of one message, in order: more than one where it was resumed or forked."""
    parts = [checkpoint]
    while parts[-1].metadata.get("continues") and parts[-1].parent is not None:
        parts.append(parts[-1].parent)
    return parts[::-1]


def message_text(checkpoint: Checkpoint) -> str:
    """What a message says, without the template around it."""
    message = checkpoint.metadata.get("message")
    if message is not None:
        content = message.get("content")
        return content if isinstance(content, str) else ""
    tokens = [token for part in message_parts(checkpoint) for token in part.tokens]
    text = decoded(checkpoint.tree.context.model.vocabulary, tokens)
    return text[: len(text) - checkpoint.metadata.get("hidden", 0)]


def decoded(vocabulary: Vocabulary, tokens: Sequence[int]) -> str:
    """Text of tokens as it streams: a character that is not complete yet stays out."""
    data = b"".join(map(vocabulary.piece, tokens))
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


def turns_back(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """The checkpoints up to one where messages end, the latest first, as far as they are asked."""
    following: Mapping[str, Any] = {}
    for at in checkpoint.lineage():
        if not at.is_root and _ends_message(at.metadata, following):
            yield at
        following = at.metadata


class Noted(Protocol):
    """What has notes: a checkpoint, or one that is saved."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The notes."""


N = TypeVar("N", bound=Noted)


def turns_on_path(path: Sequence[N]) -> Iterator[N]:
    """The checkpoints on a path where messages end."""
    for index, checkpoint in enumerate(path):
        notes = checkpoint.metadata
        following = path[index + 1].metadata if index + 1 < len(path) else {}
        if _ends_message(notes, following):
            yield checkpoint


def _ends_message(notes: Mapping[str, Any], following: Mapping[str, Any]) -> bool:
    """Whether a message ends between two checkpoints with these notes."""
    if "role" not in notes or following.get("continues"):
        return False
    # Of a message that was cut only the beginning of an answer is one, unless what comes next says
    # by itself what was said before it.
    is_rest = notes["role"] != "assistant" or "history" in following
    return not (notes.get("cut") and is_rest)


def begins_turn(checkpoint: Checkpoint) -> bool:
    """Whether a question begins here, or what else an answer may follow."""
    notes = checkpoint.metadata
    return notes.get("role") not in (None, "system", "assistant") and not notes.get("continues")


def messages_on(
    path: Sequence[N], text_of: Callable[[N], str], system: str | None
) -> list[dict[str, Any]]:
    """The messages on a path, as chat templates take them.

    Parameters
    ----------
    path : sequence of Checkpoint or Entry
    text_of : callable
        What a message says that ends there, where the notes do not have it.
    system : str or None
        The system message, where the path has none.
    """
    messages: list[dict[str, Any]] = []
    for end in turns_on_path(path):
        history = end.metadata.get("history")
        if history is not None:  # the template rewrote what came before, or turns were dropped
            messages = [dict(message) for message in history]
        elif (message := end.metadata.get("message")) is not None:
            messages.append(dict(message))
        else:
            messages.append({"role": end.metadata["role"], "content": text_of(end)})
    if system is not None and not any(m["role"] == "system" for m in messages[:1]):
        messages.insert(0, {"role": "system", "content": system})
    return messages


def token_place(turn: Turn, token: int) -> tuple[Checkpoint, int]:
    """The checkpoint of a message's token, and its number in there."""
    parts = message_parts(turn.checkpoint)
    n = sum(len(part.tokens) for part in parts)
    index = token + n if token < 0 else token
    if not 0 <= index < n:
        raise ParameterError(f"token={token} is not in the message, which has {n} tokens")
    for part in parts:
        if index < len(part.tokens):
            return part, index
        index -= len(part.tokens)
    raise AssertionError("unreachable")
