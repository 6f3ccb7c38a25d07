"""Where a chat stands: its messages up to the head, the ways from there, what can be asked."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.context import Context, TokenProbability
from ..engine.live import Live
from ..engine.model import Model
from ..engine.params import ContextParams, SamplingParams
from ..errors import ParameterError
from .checkpoint import Checkpoint
from .compare import Difference
from .conversation import Conversation
from .options import CONTEXT_OPTIONS, N_CTX, SAMPLING_OPTIONS, check_names, lists_chat, pick
from .paths import Redo, Totals
from .persistence import Saves
from .recover import recover_messages
from .transcript import export
from .tree import CheckpointTree, check_steps
from .turn import Turn, begins_turn, token_place, turns_back, turns_on_path

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .options import ChatOptions

__all__ = ["ChatMoves"]


class ChatMoves(Live):
    """What a chat knows and where it goes; ``Chat`` adds what is said.

    Parameters
    ----------
    model, system, tools, max_bytes, **options
        As for ``Chat``.
    """

    _instead_of_a_copy = (
        "chat.save(name) keeps it, and Chat.open(name) is a copy, here or in another process"
    )

    @lists_chat
    def __init__(
        self,
        model: str | os.PathLike[str] | Model | Context,
        system: str | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        max_bytes: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> None:
        check_names("a chat", options, (*CONTEXT_OPTIONS, *SAMPLING_OPTIONS))
        self.sampling = SamplingParams().with_changes(**pick(options, SAMPLING_OPTIONS))
        self.context = _make_context(model, pick(options, CONTEXT_OPTIONS))
        self.tree = CheckpointTree(self.context, max_bytes=max_bytes)
        self._conversation = Conversation(self.tree, system, tools)
        if not self.tree.head.is_root:  # a context that holds a conversation already
            recover_messages(self.tree, system, tools)
        self._turns_behind = Totals(self._conversation.step_back)
        self._turns_ahead = Totals(_step_ahead)
        self.saves = Saves(self)

    # -- look --------------------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The model that answers."""
        return self.context.model

    @property
    def head(self) -> Checkpoint:
        """The checkpoint that the chat stands on."""
        return self.tree.head

    @property
    def turns(self) -> list[Turn]:
        """The messages up to the head."""
        return [Turn(self, checkpoint) for checkpoint in turns_on_path(self.tree.path())]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages up to the head, as chat templates take them."""
        return self._conversation.messages_at(self.tree.head)

    @property
    def system(self) -> str | None:
        """The system message."""
        return self._conversation.system

    @property
    def tools(self) -> list[dict[str, Any]] | None:
        """What the chat template is told of tools."""
        return self._conversation.tools

    @property
    def undo_steps(self) -> int:
        """How many turns ``undo`` can go back."""
        return self._turns_behind.at(self.tree.head, self.tree.n_edits)

    @property
    def redo_steps(self) -> int:
        """How many turns ``redo`` can follow."""
        return self._turns_ahead.at(self.tree.redo_way, self.tree.n_edits)

    # -- move --------------------------------------------------------------------------------

    def undo(self, n: int = 1) -> Turn | None:
        """Take back the last ``n`` questions with their answers; stops an answer under way.

        Returns
        -------
        Turn or None
            The last message that is left.
        """
        check_steps(n)
        self._stop_others()
        with self.tree.turn():
            for _ in range(n):
                steps = enumerate(self.tree.head.lineage(), 1)
                found = next(((i, c) for i, c in steps if begins_turn(c)), None)
                if found is None:
                    break
                n_steps, begin = found
                self.tree.undo(n_steps, to=self._conversation.point_before(begin))
            return self._here()

    def redo(self, n: int = 1) -> Turn | None:
        """Say again what ``undo`` took back.

        Returns
        -------
        Turn or None
            The last message.
        """
        check_steps(n)
        with self.tree.turn():
            for _ in range(n):
                way = self.tree.redo_way
                if way is None:
                    break
                ahead = itertools.islice(enumerate(way), 1, None)
                self.tree.redo(next((i for i, c in ahead if begins_turn(c)), way.n))
            return self._here()

    def checkout(self, ref: Checkpoint | Turn | str) -> Turn | None:
        """Stand on a checkpoint; stops an answer under way."""
        self._stop_others()
        with self.tree.turn():
            self.tree.checkout(ref.checkpoint if isinstance(ref, Turn) else ref)
            return self._here()

    @contextmanager
    def at(self, ref: Checkpoint | Turn | str) -> Iterator[Self]:
        """Stand on a checkpoint for the length of a ``with`` block, then again where one was."""
        with self.tree.visit(ref.checkpoint if isinstance(ref, Turn) else ref):
            yield self

    def tag(self, name: str, ref: Checkpoint | Turn | str = "HEAD") -> Checkpoint:
        """Name a checkpoint."""
        with self.tree.turn():
            return self.tree.tag(name, ref.checkpoint if isinstance(ref, Turn) else ref)

    def _stop_others(self) -> None:
        if not self.tree.order.is_mine:
            self.tree.order.stop()
            self.context.stop()  # whoever uses it directly

    def _turn(self, ref: Turn | Checkpoint | str) -> Turn:
        return ref if isinstance(ref, Turn) else Turn(self, self.tree[ref])

    def _here(self) -> Turn | None:
        last = next(turns_back(self.tree.head), None)
        return None if last is None else Turn(self, last)

    def trim(self, keep: int | None = None) -> int:
        """Make room: go on from a new root that holds the latest turns only.

        The conversation as it was stays in the tree.

        Parameters
        ----------
        keep : int, optional
            Questions to keep, with their answers. None: as many as fill half of the context.

        Returns
        -------
        int
            Tokens that became free.
        """
        with self.tree.turn():
            return self._conversation.trim(keep)

    # -- ask about ---------------------------------------------------------------------------

    def alternatives(
        self, turn: Turn | Checkpoint | str, token: int, k: int = 10
    ) -> list[TokenProbability]:
        """What could have stood in a token's place, with the probabilities that it had.

        Parameters
        ----------
        turn : Turn, Checkpoint or str
        token : int
            Counted from the message's first token, 0; -1 is its last.
        k : int
        """
        with self.tree.turn():
            part, index = token_place(self._turn(turn), token)
            position = part.start + index
            if part.is_ancestor_of(self.tree.head):
                return self.context.top_tokens(k, at=position)
            with self.tree.visit(part):
                return self.context.top_tokens(k, at=position)

    def compare(self, a: Turn | Checkpoint | str, b: Turn | Checkpoint | str) -> Difference:
        """Where two messages part, what each says from there, and how likely that was."""
        a, b = (ref.checkpoint if isinstance(ref, Turn) else ref for ref in (a, b))
        return self.tree.diff(a, b)

    def score(self, text: str) -> float:
        """Natural log-probability of a text as the way on from here; nothing of it is kept."""
        with self.tree.turn():
            return self.context.score(text).total

    def kv_bytes(self) -> int:
        """Bytes of the rows up to the head."""
        return self.context.kv_bytes()

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write the messages as Markdown (``.md``) or the tree's transcript as JSON (``.json``)."""
        export(self, Path(path).expanduser())


def _step_ahead(way: Redo) -> tuple[int, Redo | None]:
    return int(begins_turn(way.checkpoint)), way.rest


def _make_context(
    model: str | os.PathLike[str] | Model | Context, options: dict[str, Any]
) -> Context:
    if isinstance(model, Context):
        if options:
            raise ParameterError(f"a context is made already; {', '.join(options)} come too late")
        return model
    loaded = model if isinstance(model, Model) else Model.load(model)
    options.setdefault("n_ctx", min(N_CTX, loaded.n_ctx_train))
    return Context(loaded, ContextParams(**options))
