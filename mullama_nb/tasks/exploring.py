"""Answers to one question as a task: a recipe that any process can carry out, and what comes back.

The prefix is told by the address of its rows. A worker whose context holds rows of that address
goes on from them; otherwise it reads them from a file, if it sees the same one, or evaluates the
prefix as it was evaluated before, whichever is said to be quicker, and asks for the bytes where
neither gives rows of that address.
"""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.branches import Branch
from ..engine.compatibility import differences_between
from ..engine.completion import FinishReason, Limits, Token
from ..engine.context import Context
from ..engine.params import ContextParams
from ..engine.sampling.params import SamplingParams
from ..engine.templates.options import TemplateOptions
from ..errors import (
    DecodeError,
    GrammarError,
    SessionError,
    SessionFormatError,
    SessionMismatchError,
)
from ..sessions.states import resume
from ..state.segment import Segment
from ..state.segment_file import read_segment, read_segment_bytes, segment_bytes
from .adapters import AdapterRecipe
from .recipe import ModelRecipe
from .worker import lend, where

__all__ = [
    "Evaluation",
    "Explored",
    "ExploredAnswer",
    "ExploringTask",
    "Prefix",
    "RowsNeeded",
    "explore",
]

_PREFIX = "the rows of the question"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Tokens of a prefix, and how they were evaluated.

    Attributes
    ----------
    tokens : tuple of int
    one_by_one : bool
        Whether each was evaluated by itself, as generated ones are.
    adapters : str
        What was on, as ``LoadedAdapters.text``.
    """

    tokens: tuple[int, ...]
    one_by_one: bool = False
    adapters: str = ""


@dataclass(frozen=True, slots=True)
class Prefix:
    """What all answers of a task follow.

    Attributes
    ----------
    address : str
        Of the rows of all its tokens.
    evaluations : tuple of Evaluation
    metadata : mapping
        ``Context.session_metadata`` of the context that holds it.
    file : str, optional
        Where a worker that sees the same files finds the rows. None: it has to ask for them.
    rows : bytes, optional
        The rows as the contents of a segment file, where they were asked for.
    is_evaluated : bool
        Whether evaluating the tokens again is quicker than sending the rows.
    """

    address: str
    evaluations: tuple[Evaluation, ...]
    metadata: Mapping[str, Any]
    file: str | None = None
    rows: bytes | None = None
    is_evaluated: bool = False

    @property
    def tokens(self) -> tuple[int, ...]:
        """All of its tokens."""
        return tuple(token for each in self.evaluations for token in each.tokens)


@dataclass(frozen=True, slots=True)
class ExploringTask:
    """Answers that are decoded together, in one process.

    Attributes
    ----------
    model : ModelRecipe
    params : ContextParams
    prefix : Prefix
    parent : str, optional
        Address of the rows that those of an answer follow, for their own address.
    each : tuple of (SamplingParams, Limits)
        Of each answer; a seed is given.
    first_sibling : int
        Ordinal of the first answer, which determines its draws; the others follow.
    n_said : int
        How many tokens at the end of the prefix are the beginning of every answer.
    template : TemplateOptions
        How answers are read and calls are written.
    adapters : tuple of AdapterRecipe
        What prefix and answers are evaluated with.
    adapters_on : str
        What is on for the answers, as ``LoadedAdapters.text``.
    exact : bool
        As for ``Context.explore``.
    """

    model: ModelRecipe
    params: ContextParams
    prefix: Prefix
    parent: str | None
    each: tuple[tuple[SamplingParams, Limits], ...]
    first_sibling: int
    n_said: int = 0
    template: TemplateOptions = dataclasses.field(default_factory=TemplateOptions)
    adapters: tuple[AdapterRecipe, ...] = ()
    adapters_on: str = ""
    exact: bool = False

    def with_rows(self, rows: bytes) -> ExploringTask:
        """Return the same task with the rows of the prefix."""
        return dataclasses.replace(self, prefix=dataclasses.replace(self.prefix, rows=rows))


@dataclass(frozen=True, slots=True)
class ExploredAnswer:
    """One answer as it comes back.

    Attributes
    ----------
    text : str
    finish_reason : str
    tokens : tuple of Token
    seconds : float
    sampler_states : tuple of tuple of float
    address : str, optional
        Of the rows of its tokens behind ``ExploringTask.parent``; None without tokens.
    rows : bytes, optional
        These rows as the contents of a segment file; None where they would not be used.
    """

    text: str
    finish_reason: FinishReason
    tokens: tuple[Token, ...]
    seconds: float
    sampler_states: tuple[tuple[float, ...], ...] = ()
    address: str | None = None
    rows: bytes | None = None


@dataclass(frozen=True, slots=True)
class Explored:
    """What comes of a task.

    Attributes
    ----------
    answers : tuple of ExploredAnswer
        In order.
    metadata : mapping
        ``Context.session_metadata`` of the worker's context.
    worker : str
        Where it was: ``"this process"``, or a process and its machine.
    n_parallel : int
        The most answers that shared a batch.
    bytes_taken : int
        Bytes of the prefix's rows that came to the worker for this task.
    n_evaluated : int
        Tokens of the prefix that it evaluated for this task.
    error : GrammarError or DecodeError, optional
        What ended it early; the answers are as they were by then.
    """

    answers: tuple[ExploredAnswer, ...]
    metadata: Mapping[str, Any]
    worker: str
    n_parallel: int = 1
    bytes_taken: int = 0
    n_evaluated: int = 0
    error: GrammarError | DecodeError | None = None


@dataclass(frozen=True, slots=True)
class RowsNeeded:
    """A worker's word that it lacks the rows of an address.

    Attributes
    ----------
    address : str
    asker : tuple of (str, int)
        The worker's place and thread.
    """

    address: str
    asker: tuple[str, int]


# -- in the worker ---------------------------------------------------------------------------


def explore(task: ExploringTask) -> Explored | RowsNeeded:
    """Carry a task out in this process, on the context that the worker keeps for this thread.

    Raises
    ------
    ModelNotFoundError, ModelMismatchError
        When the model is not here.
    AdapterError
        When an adapter is not here.
    SessionFormatError
        When the rows that were sent are damaged.
    """
    with lend(task.model, task.params) as context:
        context.known_adapters.offer(recipe.load() for recipe in task.adapters)
        came = _stand_behind(context, task.prefix)
        if came is None:
            return RowsNeeded(task.prefix.address, (where(), threading.get_ident()))
        context.adapters = context.known_adapters.saved(task.adapters_on).values
        run = context.exploration(
            len(task.each),
            each=task.each,
            exact=task.exact,
            answer_format=task.template.calling_format(context.model),
        )
        error: GrammarError | DecodeError | None = None
        try:
            run.run(task.first_sibling, n_said=task.n_said)
        except (GrammarError, DecodeError) as found:
            error = found
            if not run.branches:
                raise
        metadata = context.session_metadata
        uses_rows = not differences_between(metadata, task.prefix.metadata)
        answers = tuple(_answer(branch, task.parent, uses_rows) for branch in run.branches)
        n_parallel = run.branches[0].n_parallel
        return Explored(answers, metadata, where(), n_parallel, *came, error)


def _answer(branch: Branch, parent: str | None, with_rows: bool) -> ExploredAnswer:
    completion, segment = branch.completion, branch.segment
    if segment is not None:
        segment = dataclasses.replace(segment, parent=parent)
    return ExploredAnswer(
        str(completion),
        completion.finish_reason,
        completion.tokens,
        completion.seconds,
        completion.sampler_states,
        None if segment is None else segment.address,
        segment_bytes(segment) if segment is not None and with_rows else None,
    )


class _Behind(threading.local):
    """The prefix that a thread evaluated last, whose rows may not be those that were meant."""

    context: weakref.ref[Context] | None = None
    wanted = found = ""
    refused = ""  # the address of one that is not to be evaluated again, as its rows were others


_behind = _Behind()


def _stand_behind(context: Context, prefix: Prefix) -> tuple[int, int] | None:
    """Have a context hold a prefix; return bytes taken and tokens evaluated, None if it cannot."""
    if _holds(context, prefix):
        return 0, 0
    if not prefix.is_evaluated or prefix.rows is not None:
        try:
            segment = _rows_of(prefix)
            if segment is None:
                return None
            resume(context, [segment], _metadata(prefix, context), _PREFIX)
        except SessionMismatchError:
            pass  # they mean something else here; the tokens do not
        else:
            return segment.n_bytes, 0
    if _behind.refused == prefix.address:
        return None
    _evaluate(context, prefix)
    found = context.capture().address
    is_same = not differences_between(context.session_metadata, prefix.metadata)
    if found != prefix.address and is_same:
        _behind.refused = prefix.address
        return None  # it came about in another way, such as in a session that was loaded
    _behind.context, _behind.wanted, _behind.found = weakref.ref(context), prefix.address, found
    return 0, context.token_count()


def _evaluate(context: Context, prefix: Prefix) -> None:
    """Evaluate a prefix in the steps in which it was evaluated before."""
    context.clear()
    for each in prefix.evaluations:
        context.adapters = context.known_adapters.saved(each.adapters).values
        for tokens in [[token] for token in each.tokens] if each.one_by_one else [each.tokens]:
            context.evaluate(tokens)


def _holds(context: Context, prefix: Prefix) -> bool:
    """Whether a context holds the prefix: whatever used it since, its rows are hashed again."""
    tokens = prefix.tokens
    if context.token_count() != len(tokens) or context.tokens != tokens:
        return False
    expected = prefix.address
    if _behind.context is not None and _behind.context() is context and _behind.wanted == expected:
        expected = _behind.found
    return context.capture().address == expected


def _rows_of(prefix: Prefix) -> Segment | None:
    """The rows of a prefix; None if they are not here."""
    if prefix.rows is not None:
        sent = read_segment_bytes(prefix.rows, _PREFIX)
        if sent.address != prefix.address:
            raise SessionFormatError(f"{_PREFIX} were exchanged on their way to a worker")
        return sent
    if prefix.file is None:
        return None
    try:
        segment = read_segment(Path(prefix.file))
    except SessionError:  # of another machine; or damaged there
        return None
    return segment if segment.address == prefix.address else None


def _metadata(prefix: Prefix, context: Context) -> dict[str, Any]:
    """What is said of a prefix; that it comes from another environment is told where it matters."""
    return {**prefix.metadata, "environment": context.session_metadata["environment"]}
