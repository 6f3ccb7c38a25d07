"""Having the model answer, and committing what came of it, however it ended."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..engine.branches import Branch, BranchRequest
from ..engine.generation import Completion, Limits, Token
from ..engine.model import Model
from ..engine.params import SamplingParams
from ..engine.request import Request
from ..engine.sampler import Sampler
from ..errors import HistoryError
from .checkpoint import Checkpoint, check_notes
from .events import TokenAdded
from .options import LIMIT_OPTIONS, SAMPLING_OPTIONS, check_names, pick
from .order import Job
from .turn import Turn, decoded

if TYPE_CHECKING:
    from .chat import Chat

__all__ = ["Answering", "answer_notes", "check_answer", "explored_notes"]

_OPTIONS = (*LIMIT_OPTIONS, "echo", "on_token", *SAMPLING_OPTIONS)


class Answering(Job):
    """How one answer is to be given; checked when it is made, before anything is evaluated.

    Parameters
    ----------
    chat : Chat
    options : mapping
        ``max_tokens``, ``stop``, ``stop_tokens``, ``echo``, ``on_token``, and sampling parameters
        that differ from the chat's.
    sampling : SamplingParams, optional
        What they differ from, if not from the chat's.
    """

    def __init__(
        self, chat: Chat, options: Mapping[str, Any], sampling: SamplingParams | None = None
    ) -> None:
        super().__init__(chat.context)
        check_names("an answer", options, _OPTIONS)
        self.echo: bool | None = options.get("echo")
        self.on_token: Callable[[Token], object] | None = options.get("on_token")
        sampling = chat.sampling if sampling is None else sampling
        sampling = sampling.with_changes(**pick(options, SAMPLING_OPTIONS))
        self._chat = chat
        self._stream = chat.context.stream(sampling=sampling, **pick(options, LIMIT_OPTIONS))
        check_answer(chat.model, self._stream.request)

    def answer(self, point: Checkpoint) -> Turn:
        """Generate behind a checkpoint, which is the head.

        An interrupt or an exception of a callback leaves what was said as a checkpoint.
        """
        tree, stream = self._chat.tree, self._stream
        # A continued answer goes on with its own draws, if it is the first to do so.
        continues = point.metadata.get("role") == "assistant"
        sibling = tree.next_ordinal(point) + continues * point.metadata.get("sibling", 0)
        stream.request = dataclasses.replace(stream.request, sibling=sibling)
        with tree.operation(self):
            failed = True
            try:
                self._generate()
                failed = False
            finally:
                stream.close()
                if not failed or stream.completion.tokens:
                    self._commit(stream.completion, sibling, point)
        return Turn(self._chat, tree.head, seconds=stream.completion.seconds)

    def _generate(self) -> None:
        order, tree = self._chat.tree.order, self._chat.tree
        show = _in_notebook() if self.echo is None else self.echo
        shown = False
        try:
            while not self.is_stopped and (token := next(self._stream, None)) is not None:
                tree.tell(TokenAdded(token.id, token.text, token.logprob))
                if self.on_token is None and not show:
                    continue
                with order.callback():
                    if show and token.text:
                        shown = True
                        sys.stdout.write(token.text)
                        sys.stdout.flush()
                    if self.on_token is not None:
                        self.on_token(token)
        finally:
            if shown:
                sys.stdout.write("\n")

    def _commit(self, completion: Completion, sibling: int, point: Checkpoint) -> None:
        tree = self._chat.tree
        if tree.head is not point or tree.uncommitted != len(completion.tokens):
            raise HistoryError("the context was moved while it answered; what it holds is kept")
        limits = self._stream.request.limits
        notes = answer_notes(self._chat.model, completion, sibling, limits)
        if point.metadata.get("role") == "assistant":
            notes["continues"] = True
        logprobs = [token.logprob for token in completion.tokens]
        tree.commit(logprobs=logprobs, allow_empty=True, **notes)


def answer_notes(
    model: Model, completion: Completion, sibling: int, limits: Limits
) -> dict[str, Any]:
    """What is noted of an answer: enough to give it again."""
    whole = len(decoded(model.vocabulary, [token.id for token in completion.tokens]))
    notes: dict[str, Any] = {
        "role": "assistant",
        "finish_reason": completion.finish_reason,
        "sampling": completion.sampling.changed(),
        "sibling": sibling,
        "limits": limits.changed(),
    }
    if completion.finish_reason == "stop" and whole > len(completion):
        notes["hidden"] = whole - len(completion)
    return notes


def explored_notes(branch: Branch, n: int) -> dict[str, Any]:
    """What is noted of an answer whose last bits depend on those that were decoded beside it.

    Parameters
    ----------
    branch : Branch
    n : int
        How many were asked for together.
    """
    if branch.n_parallel == 1:
        return {}
    return {"explored": {"n": n, "n_parallel": branch.n_parallel}}


def check_answer(model: Model, request: Request | BranchRequest) -> None:
    """Check what would be refused only when an answer begins, or is noted.

    Raises
    ------
    GrammarError
        When the grammar cannot be read.
    ParameterError
        When a biased token is not in the vocabulary, or a text has half a character.
    """
    sampling = request.sampling
    check_notes({"sampling": sampling.changed(), "limits": request.limits.changed()})
    if sampling.grammar or sampling.json_schema is not None or sampling.logit_bias:
        Sampler(model.vocabulary, sampling, 0, (), 1)


def _in_notebook() -> bool:
    """Whether to print as it comes: IPython runs, and this is the thread of its cells."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and threading.current_thread() is threading.main_thread()
