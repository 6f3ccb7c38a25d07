"""What comes back of answers that were decoded elsewhere, checked as a stranger's file is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from ..checks import is_integer, is_number
from ..engine.branches import Branch
from ..engine.compatibility import differences_between
from ..engine.completion import Completion, FinishReason, Token
from ..engine.context import Context
from ..engine.sampling.adaptive import check_state
from ..engine.sampling.params import SamplingParams
from ..errors import ParameterError, SessionFormatError, shown
from ..sessions.states import check_rows
from ..state.finite import numbers_are_finite
from ..state.layout import LayoutError, SequenceState
from ..state.segment import Segment
from ..state.segment_file import read_segment_bytes
from .exploring import Explored, ExploredAnswer, ExploringTask

__all__ = ["branches_of"]


def branches_of(task: ExploringTask, explored: object, context: Context) -> Iterator[Branch]:
    """Return the answers that came back as branches, once every byte was checked.

    Rows are there only where they are the ones that this context would have computed.

    Parameters
    ----------
    task : ExploringTask
    explored : Explored
    context : Context
        Where they are to be used.

    Raises
    ------
    SessionFormatError
        When they are not answers to the task, or damaged.
    """
    if not isinstance(explored, Explored) or len(explored.answers) != len(task.each):
        raise SessionFormatError(f"a worker sent no answers: {shown(explored)}")
    n_parallel = explored.n_parallel
    if not (is_integer(n_parallel) and 1 <= n_parallel <= len(task.each)):
        raise SessionFormatError(f"a worker says that {shown(n_parallel)} answers shared a batch")
    try:
        uses_rows = not differences_between(explored.metadata, context.session_metadata)
    except (AttributeError, KeyError, TypeError):
        raise SessionFormatError("a worker did not say where it decoded") from None
    for index, answer in enumerate(explored.answers):
        sibling, (sampling, _) = task.first_sibling + index, task.each[index]
        _check_tokens(answer, task, context, sibling)
        segment = _checked_rows(answer, task, context, sibling) if uses_rows else None
        completion = Completion(
            answer.text,
            finish_reason=answer.finish_reason,
            tokens=answer.tokens,
            reused=len(task.prefix.tokens),
            evaluated=0,
            seconds=answer.seconds,
            sampling=sampling,
            sampler_states=answer.sampler_states,
        )
        yield Branch(index, sibling, completion, segment, explored.n_parallel)


def _check_tokens(
    answer: ExploredAnswer, task: ExploringTask, context: Context, sibling: int
) -> None:
    n_vocab, n_free = context.model.n_vocab, context.n_ctx - len(task.prefix.tokens)
    sound = (
        isinstance(answer.text, str)
        and answer.finish_reason in get_args(FinishReason)
        and isinstance(answer.tokens, tuple)
        and len(answer.tokens) <= n_free
        and all(_is_token(token, n_vocab) for token in answer.tokens)
        and is_number(answer.seconds)
        and _are_states(answer.sampler_states, task.each[sibling - task.first_sibling][0])
        and (isinstance(answer.address, str) if answer.tokens else answer.address is None)
    )
    if not sound:
        raise _damaged(sibling, "its tokens, or what is said of them, cannot be")


def _is_token(token: object, n_vocab: int) -> bool:
    return (
        isinstance(token, Token)
        and is_integer(token.id)
        and 0 <= token.id < n_vocab
        and isinstance(token.text, str)
        and is_number(token.logprob)
    )


def _are_states(states: object, sampling: SamplingParams) -> bool:
    if not isinstance(states, tuple):
        return False
    try:
        for state in states:
            check_state(sampling, state)
    except ParameterError:
        return False
    return True


def _checked_rows(
    answer: ExploredAnswer, task: ExploringTask, context: Context, sibling: int
) -> Segment | None:
    """The rows of an answer, checked as a stranger's file is."""
    if not answer.tokens:
        return None
    if not isinstance(answer.rows, bytes):
        raise _damaged(sibling, "it came without the rows of its tokens")
    name = f"answer {sibling}"
    segment = check_rows(read_segment_bytes(answer.rows, name), context)
    kind, structure = context.memory_kind, context.layout[0]
    on = ((segment.start, task.adapters_on),) if task.adapters_on else ()
    said = {
        "tokens": (segment.tokens, tuple(token.id for token in answer.tokens)),
        "place": (segment.start, len(task.prefix.tokens)),
        "kind of rows": (segment.whole, not kind.can_cut),
        "address": (segment.address, answer.address),
        "parent": (segment.parent, task.parent),
        "adapters": (segment.adapters, on),
    }
    for what, (found, expected) in said.items():
        if found != expected:
            raise _damaged(
                sibling, f"the {what} of its rows: {shown(found)}, not {shown(expected)}"
            )
    state = SequenceState(segment.data, structure)
    try:
        if segment.whole:
            state.check_positions(0, segment.stop, kind.window)
        state.check_extensions((*task.prefix.tokens, *segment.tokens))
    except LayoutError as error:
        raise _damaged(sibling, str(error)) from None
    logits = segment.logits
    if logits is None:
        if segment.whole:
            raise _damaged(sibling, "its state came without logits, which it cannot compute again")
    elif logits.size != context.model.n_vocab or not numbers_are_finite(logits):
        raise _damaged(sibling, "its logits are no logits of this model")
    return segment


def _damaged(sibling: int, what: str) -> SessionFormatError:
    return SessionFormatError(f"answer {sibling} came back damaged: {what}")
