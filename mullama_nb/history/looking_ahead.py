"""Looking at what may follow a place of a chat, and going on with it."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine.continuations import Continuations, Reach
from ..engine.sampling.sampler import log_probability
from ..errors import HistoryError
from .answering import Answer
from .conversation import Conversation
from .forking import fork
from .message import message_parts, token_place
from .notes import choice_notes
from .tree import Checkpoint
from .visiting import look
from .workspace import Workspace

__all__ = ["follow", "look_ahead"]


def look_ahead(
    workspace: Workspace[Checkpoint], end: Checkpoint, token: int | None, reach: Reach
) -> Continuations:
    """Return what may follow a message, or stand in place of one of its tokens.

    It is evaluated with what the message was made with, and at the head with what is on. The head
    may move, and is what it was afterwards.
    """
    part, index = (end, len(end.tokens)) if token is None else token_place(end, token)
    at = part.start + index
    if at == 0:
        raise HistoryError(
            "nothing stands before this, so nothing says what may follow; ask() something first"
        )
    adapters, stand = workspace.adapters, part
    after: tuple[int, ...] = ()
    is_inside, before = index < len(part.tokens), part.parent
    if workspace.keeps_snapshots:  # going to what is kept is exact; going back may not be
        if is_inside and part.start and before is not None:
            stand, at, after = before, part.start, part.tokens[:index]
    elif part.is_ancestor_of(workspace.head) and (is_inside or not adapters.used):
        stand = workspace.head
    with look(workspace, stand):
        if after:
            adapters.switch(adapters.of(part))
        return workspace.context.continuations(
            reach.depth, min_p=reach.min_p, width=reach.width, at=at, after=after
        )


def follow(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    end: Checkpoint,
    token: int | None,
    tokens: Sequence[int],
) -> Answer:
    """Go on with tokens behind a message, or in place of one of its tokens; see ``Likely``."""
    _check_answer(end, token)
    is_end = workspace.context.model.vocabulary.is_end
    said = [each for each in tokens if not is_end(each)]
    with workspace.operation(), workspace.going_back_on_error(always=True):
        point = _stand(workspace, conversation, end, token)
        conversation.check_room(point.stop, len(said))
        _evaluate(workspace, point, said, ends=len(said) < len(tokens))
    return Answer(workspace.head, 0.0)


def _stand(
    workspace: Workspace[Checkpoint], conversation: Conversation, end: Checkpoint, token: int | None
) -> Checkpoint:
    """Move the head behind a message, or before one of its tokens."""
    if token is not None:
        part, index = token_place(end, token)
        made_with = workspace.adapters.of(part)
        if part is message_parts(end)[0] and index == 0:
            point = conversation.stand_before(end)
        else:
            point = fork(workspace, part, index, None, {})
        workspace.adapters.switch(made_with)
        return point
    with workspace.changing() as head:
        if end is not head:  # where it is, what is on stays on
            workspace.checkout(end)
    return end


def _check_answer(end: Checkpoint, token: int | None) -> None:
    notes = end.metadata
    if notes.is_answer:
        return
    if token is not None:
        raise HistoryError(
            f"{end!r} is not an answer, so the model does not go on inside it; edit() replaces it"
        )
    if notes.role in (None, "system") or notes.cut:
        raise HistoryError(f"{end!r} is no question, so no answer follows it; ask() something")


def _evaluate(
    workspace: Workspace[Checkpoint], point: Checkpoint, tokens: Sequence[int], *, ends: bool
) -> None:
    """Evaluate tokens one at a time and commit them, up to where it is stopped."""
    context, logprobs = workspace.context, list[float]()
    try:
        for token in tokens:
            logprobs.append(log_probability(context.logits, token))
            workspace.evaluate([token])
    except HistoryError:  # it was stopped
        if not workspace.uncommitted:
            raise
    finally:
        n = workspace.uncommitted
        is_whole = n == len(tokens)
        if n or is_whole:
            notes = choice_notes("assistant", continues=point.metadata.is_answer)
            if not is_whole:
                notes["finish_reason"] = "stopped"
            elif ends:
                notes["finish_reason"] = "stop"
            workspace.commit(notes, logprobs=logprobs[:n], allow_empty=True)
