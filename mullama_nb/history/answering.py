"""Generating answers: one or several, their limits, sampling and notes.

However an answer ends, the text so far becomes a checkpoint.
"""

from __future__ import annotations

import itertools
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..checks import check_names
from ..engine.answers.format import AnswerFormat
from ..engine.completion import Completion, Limits, Token
from ..engine.model import Model
from ..engine.sampling.adaptive import SamplerState
from ..engine.sampling.params import SamplingParams
from ..engine.sampling.sampler import Sampler
from ..engine.templates.options import checked_variables
from ..engine.threads.lock import CancelToken
from ..errors import HistoryError
from .carrying import carried, notes_back
from .echo import echo_to_screen
from .events import TokenAdded
from .message import message_parts, tokens_said
from .notes import answer_notes, check_notes
from .options import LIMIT_OPTIONS, SAMPLING_OPTIONS, pick
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["Answer", "Answering", "check_request", "completion_notes"]

_OPTIONS = (
    *(*LIMIT_OPTIONS, "echo", "on_token", "run_tools", "chat_template_kwargs"),
    *SAMPLING_OPTIONS,
)


class Answer(NamedTuple):
    """An answer that was committed.

    Attributes
    ----------
    checkpoint : Checkpoint
        Where it ends.
    seconds : float
        Duration of the answer.
    was_printed : bool
        Whether it was printed as it came.
    """

    checkpoint: Checkpoint
    seconds: float
    was_printed: bool = False


class Answering:
    """The options of one answer, checked on creation, before anything is evaluated.

    Parameters
    ----------
    workspace : Workspace
    sampling : SamplingParams
    limits : Limits
        The chat's; those among the options take their place.
    options : mapping
        ``echo``, ``on_token``, ``chat_template_kwargs``, and changes to the sampling and to the
        limits.
    """

    def __init__(
        self,
        workspace: Workspace[Checkpoint],
        sampling: SamplingParams,
        limits: Limits,
        options: Mapping[str, Any],
    ) -> None:
        context = workspace.context
        check_names("an answer", options, _OPTIONS)
        self.echo: bool | None = options.get("echo")
        self.on_token: Callable[[Token], object] | None = options.get("on_token")
        variables: Mapping[str, Any] | None = options.get("chat_template_kwargs")
        self.chat_template_kwargs = None if variables is None else checked_variables(variables)
        check_notes({"": self.chat_template_kwargs}, "chat_template_kwargs")
        sampling = sampling.with_changes(**pick(options, SAMPLING_OPTIONS))
        limits = limits.with_changes(**pick(options, LIMIT_OPTIONS))
        self._workspace = workspace
        self._sampling = sampling
        self._was_printed = False
        self._stream = context.stream(
            sampling=sampling,
            answer_format=workspace.readings.calling_format,
            **pick(vars(limits), LIMIT_OPTIONS),
        )
        request = self._stream.request
        check_request(context.model, request.sampling, request.limits)

    def answer(self, point: Checkpoint) -> Answer:
        """Generate an answer after a checkpoint, which is the head.

        An interrupt or an exception in a callback keeps the text so far as a checkpoint.
        """
        workspace, stream, before = self._workspace, self._stream, point.metadata
        # A continued answer goes on with its own draws, if it is the first to do so.
        sibling = workspace.graph.next_ordinal(point) + before.is_answer * before.sibling
        with workspace.operation() as cancel:
            failed = True
            try:
                state = carried(notes_back(point), self._sampling)
                self._generate(sibling, cancel, state, point)
                failed = False
            finally:
                stream.close()
                if not failed or stream.completion.tokens:
                    self._commit(stream.completion, sibling, point)
        return Answer(workspace.head, stream.completion.seconds, self._was_printed)

    def _generate(
        self,
        sibling: int,
        cancel: CancelToken,
        sampler_state: SamplerState | None,
        point: Checkpoint,
    ) -> None:
        workspace, began = self._workspace, time.perf_counter()
        positions = itertools.count(point.stop)
        show = _in_notebook() if self.echo is None else self.echo
        echo = echo_to_screen() if show else None
        self._was_printed = echo is not None
        try:
            if not cancel.is_cancelled:
                self._stream.start(sibling, sampler_state, n_said=tokens_said(point))
            while not cancel.is_cancelled and (token := next(self._stream, None)) is not None:
                workspace.notify(TokenAdded(*token[:3], part=token.part, position=next(positions)))
                if workspace.stages.are_told:
                    self._tell(token, began)
                    began = time.perf_counter()
                if self.on_token is None and echo is None:
                    continue
                with workspace.lock.callback():
                    if echo is not None:
                        echo.feed(token.text)
                    if self.on_token is not None:
                        self.on_token(token)
        finally:
            if echo is not None:
                echo.end()

    def _tell(self, token: Token, began: float) -> None:
        stages, position = self._workspace.stages, self._workspace.context.token_count() - 1
        said = {"token": token.id, "text": token.text, "probability": math.exp(token.logprob)}
        stages.tell("decode", 1, began, **said, position=position)

    def _commit(self, completion: Completion, sibling: int, point: Checkpoint) -> None:
        workspace = self._workspace
        if workspace.head is not point or workspace.uncommitted != len(completion.tokens):
            raise HistoryError("the context was moved while it answered; what it holds is kept")
        notes = completion_notes(
            workspace.context.model,
            completion,
            sibling,
            self._stream.request.limits,
            continues=point.metadata.is_answer,
            before=[token for node in message_parts(point) for token in node.tokens][-4:],
            answer_format=self._stream.request.answer_format,
        )
        logprobs = [token.logprob for token in completion.tokens]
        workspace.commit(notes, logprobs=logprobs, allow_empty=True)


def completion_notes(
    model: Model,
    completion: Completion,
    sibling: int,
    limits: Limits,
    *,
    continues: bool = False,
    explored: Mapping[str, int] | None = None,
    decoded_elsewhere: Mapping[str, Any] | None = None,
    before: Sequence[int] = (),
    answer_format: AnswerFormat | None = None,
) -> dict[str, Any]:
    """Return the notes of an answer: enough to reproduce it.

    Parameters
    ----------
    model : Model
    completion : Completion
    sibling, continues, explored, decoded_elsewhere
        As for ``Notes``.
    limits : Limits
        The answer's limits.
    before : sequence of int
        The last tokens before the answer, which may end within a character.
    answer_format : AnswerFormat, optional
        What it was made with.
    """
    tokens, vocabulary = [token.id for token in completion.tokens], model.vocabulary
    said = vocabulary.generated_text(tokens, vocabulary.incomplete_at_end(before))
    is_cut = completion.finish_reason == "stop"  # by a stop string, perhaps
    sampling = completion.sampling
    has_grammar = sampling.grammar is not None or sampling.json_schema is not None
    calls = None if answer_format is None else answer_format.call_grammar
    return answer_notes(
        completion.finish_reason,
        sampling=sampling.changed(),
        sibling=sibling,
        limits=limits.changed(),
        hidden=max(0, len(said) - len(completion)) if is_cut else 0,
        continues=continues,
        explored=explored,
        decoded_elsewhere=decoded_elsewhere,
        sampler_states=completion.sampler_states,
        call_grammar=calls is not None and not has_grammar,
    )


def check_request(model: Model, sampling: SamplingParams, limits: Limits) -> None:
    """Check what would be refused only when an answer begins, or is noted.

    Raises
    ------
    GrammarError
        When the grammar cannot be read.
    ParameterError
        When a biased token is not in the vocabulary, or a text has an unpaired surrogate.
    """
    said = {"sampling": sampling.changed(), "limits": limits.changed()}
    check_notes(said, "an option of the answer")
    if sampling.grammar or sampling.json_schema is not None or sampling.logit_bias:
        Sampler(model.vocabulary, sampling, 0, (), 1)


def _in_notebook() -> bool:
    """Whether to print as it comes: IPython runs, and this is the thread of its cells."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and threading.current_thread() is threading.main_thread()
