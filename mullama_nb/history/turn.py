"""Turns: a message with the checkpoints that hold it."""

from __future__ import annotations

import html
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..checks import check_integer
from ..engine.live import Live
from ..errors import HistoryError
from ..tables import WRAPPED, Markup, html_card, html_table
from .choice import choice
from .differing import mark_differing
from .display import Bundle, answers_bundle
from .message import answer_said, content_text, message_of, message_parts, message_text
from .shown import given_calls, thought_text
from .surprise import Nats, entropy, mean_surprisal, perplexity, surprisal
from .tree import Checkpoint

if TYPE_CHECKING:
    from ..engine.answers.format import ToolCall
    from ..engine.context import TokenProbability
    from ..engine.sampling.choice import Choice
    from .chat import Chat
    from .notes import Message
    from .workspace import Workspace

__all__ = ["Answers", "Turn"]

_MOST_CHARACTERS = 40  # of a setting
_SPEAKERS = {"user": "You", "assistant": "Model", "system": "System", "tool": "Tool"}


@dataclass(frozen=True, repr=False, eq=False)
class Turn(Live):
    """One message of a chat; ``ask`` returns the answer's.

    A message whose checkpoint was pruned, or that was loaded together with others, is held by the
    checkpoint of a later one. ``edit``, ``regenerate`` and ``checkout`` give it one of its own
    first; until then it has no tokens.

    Attributes
    ----------
    checkpoint : Checkpoint
        Where the message ends, or the one that holds it.
    reused, evaluated : int
        Tokens of the prompt that were reused from the context, and that were evaluated.
    evaluated_again : int
        The evaluated tokens that had been evaluated before: the chat template rewrote earlier text.
    rewritten : str or None
        Why they were, such as "the template leaves out earlier thoughts".
    seconds : float
        For the prompt and the answer; 0 for turns from the history.
    index : int or None
        Which of the messages up to the checkpoint it is, if that holds several.
    """

    _instead_of_a_copy = "its text is a value: str(turn), or chat.messages for the conversation"

    chat: Chat
    checkpoint: Checkpoint
    reused: int = 0
    evaluated: int = 0
    evaluated_again: int = 0
    rewritten: str | None = None
    seconds: float = 0.0
    index: int | None = None
    _held: Message | None = None
    _is_printed: bool = False  # so that a card does not say it once more

    @property
    def id(self) -> str:
        """The checkpoint's id, and the index if that holds several messages."""
        return self.checkpoint.id + ("" if self.index is None else f".{self.index}")

    @property
    def role(self) -> str:
        """The role of the speaker."""
        said = self.checkpoint.metadata if self._held is None else self._held
        return said.get("role") or ""

    @property
    def text(self) -> str:
        """The text of the message, without thoughts and calls.

        A call that cannot be read is part of it.
        """
        return content_text(self.message)

    @property
    def reasoning(self) -> str | None:
        """The thought of an answer; None without one."""
        return thought_text(self.message)

    @property
    def raw(self) -> str:
        """All of an answer's text, with its thoughts, calls and the marks around them."""
        if self._held is None:
            return message_text(self.checkpoint)
        return content_text(self._held)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls of tools; one that cannot be read has an error."""
        said = None if self._held is not None else answer_said(self.checkpoint)
        if said is None:
            return given_calls(self.message)
        return self.chat._workspace.readings.parsed(*said).tool_calls

    @property
    def parts(self) -> list[Checkpoint]:
        """The checkpoints of the message alone: several if it was resumed or cut."""
        return message_parts(self.checkpoint) if self._held is None else []

    @property
    def message(self) -> dict[str, Any]:
        """The message, in the form that chat templates take."""
        return message_of(self.checkpoint) if self._held is None else dict(self._held)

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens of the message, including those of the template around it."""
        return tuple(token for part in self.parts for token in part.tokens)

    @property
    def logprobs(self) -> tuple[float, ...]:
        """The log-probabilities of the tokens; empty if they were not generated."""
        return tuple(value for part in self.parts for value in part.logprobs)

    @property
    def surprisal(self) -> Nats:
        """The surprisal of each token in nats, ``-log(p)``: float32 of shape ``(n_tokens,)``.

        Of generated tokens it is what was noted then. Others, such as a question's with the
        template around it, are evaluated once more, in batches and beside the context: their last
        digits differ from those of single tokens. The very first token of a context has NaN.
        """
        return self._measured(surprisal)

    @property
    def entropy(self) -> Nats:
        """How unsure the model was before each token, in nats: float32 of shape ``(n_tokens,)``.

        It is the entropy of the model's own distribution, before any sampler. The tokens are
        evaluated once more, in batches and beside the context, when it is first asked for. The very
        first token of a context has NaN.
        """
        return self._measured(entropy)

    def perplexity(self, start: int = 0, stop: int | None = None) -> float:
        """Return the perplexity of a span of tokens: the exponential of their mean surprisal.

        Parameters
        ----------
        start, stop : int, optional
            As in a slice of ``tokens``. None: to the end.

        Raises
        ------
        ParameterError
            When the span is empty.
        """
        start = check_integer("start", start)
        stop = None if stop is None else check_integer("stop", stop)
        return perplexity(self.surprisal, start, stop)

    def _measured(self, measure: Callable[[Workspace[Checkpoint], Checkpoint], Nats]) -> Nats:
        if self._held is not None:
            return np.zeros(0, np.float32)
        with self.chat.tree.turn():
            return measure(self.chat._workspace, self.checkpoint)

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended; None for a message that was not generated."""
        return self.checkpoint.metadata.finish_reason if self._held is None else None

    @property
    def is_complete(self) -> bool:
        """Whether the model ended the answer by itself."""
        return self._held is not None or not self.checkpoint.metadata.was_cut_short

    def alternatives(self, token: int, k: int = 10) -> list[TokenProbability]:
        """Return the most likely alternatives to a token; see ``Chat.alternatives``."""
        return self.chat.alternatives(self, token, k)

    def choice(self, token: int) -> Choice:
        """Return how a token was chosen: each sampler's part in it, and what was drawn.

        Parameters
        ----------
        token : int
            Index of a token in the message; -1 is the last.

        Returns
        -------
        Choice
            Without steps where the token was given, not generated; it says so.

        Raises
        ------
        ParameterError
            When the message has no such token.

        Warns
        -----
        InexactWarning
            When the logits that it was chosen from had to be evaluated again.
        """
        with self.chat.tree.turn():
            return choice(self.chat._workspace, self.chat._place(self), token)

    def keep(self) -> Turn:
        """Make this turn the head."""
        self.chat.checkout(self)
        return self

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Turn({', '.join([self.role, *self._facts()])})"

    def _repr_html_(self) -> str:
        shown = "" if self._is_printed else content_text(self.message)
        return html_card(
            _SPEAKERS.get(self.role, self.role), [("", f) for f in self._facts()], shown
        )

    def _facts(self) -> list[str]:
        facts = [_count(self)]
        if self.finish_reason is not None:
            facts.append(self.finish_reason)
        if self.checkpoint.metadata.decoded_elsewhere:
            facts.append("decoded elsewhere")
        if self.evaluated_again:
            why = f": {self.rewritten}" if self.rewritten else ""
            facts.append(f"{self.evaluated_again} tokens evaluated again{why}")
        return facts


class Answers(Sequence[Turn]):
    """The answers of an exploration: siblings, none of which is the head yet.

    At the end of a cell they are cards, side by side; elsewhere a table. Words that the first
    answer does not have are marked.

    Parameters
    ----------
    chat : Chat
    turns : sequence of Turn
    varied : sequence of mapping
        What each was made with, as far as that was not the same for all.

    Attributes
    ----------
    chat : Chat
    varied : tuple of mapping
    """

    def __init__(
        self, chat: Chat, turns: Sequence[Turn], varied: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self.chat = chat
        self._turns = tuple(turns)
        self.varied = tuple(varied) or ({},) * len(self._turns)

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
            Needed where tags would be removed with them.
        """
        turn = kept if isinstance(kept, Turn) else self._turns[operator.index(kept)]
        if not any(turn.checkpoint is other.checkpoint for other in self._turns):
            raise HistoryError(f"{turn!r} is none of these answers")
        tree = self.chat.tree
        with tree.turn():
            turn.keep()
            kept_parts = turn.parts  # with a beginning that was given to all
            ways = [[part for part in other.parts if part not in kept_parts] for other in self]
            others = [way[0] for way in ways if way and way[0] in tree]
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
        settings = [" ".join(f"{k}={_short(v)}" for k, v in each.items()) for each in self.varied]
        said = [f"{_count(turn)} {turn.finish_reason}" for turn in self]
        pairs = zip(settings, said, strict=True)
        return f"Answers({', '.join(f'{a}: {b}' if a else b for a, b in pairs)})"

    def _repr_html_(self) -> str:
        names = list(self.varied[0]) if self.varied else []
        said = [html.escape(turn.text) for turn in self]
        rows = []
        for i, (turn, varied, text) in enumerate(zip(self, self.varied, said, strict=True)):
            [marked] = [text] if i == 0 else mark_differing(said[:1], [text], _mark)
            surprise = mean_surprisal(turn.logprobs)
            nats = "" if surprise is None else f"{surprise:.2f}"
            settings = [_short(varied[name]) for name in names]
            rows.append((str(i), *settings, str(len(turn.tokens)), nats, Markup(marked)))
        heads = ["", *names, "tokens", "nats per token", "answer"]
        return html_table(rows, heads, styles=(*[""] * (len(heads) - 1), WRAPPED))

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        return answers_bundle(self, self._repr_html_())


def _mark(words: str) -> str:
    return f"<mark>{words}</mark>"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _count(turn: Turn) -> str:
    n = len(turn.tokens)
    return f"{n} token{'s' * (n != 1)}"
