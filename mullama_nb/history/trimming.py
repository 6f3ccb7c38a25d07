"""Making room: continuing on a new branch that holds only the latest questions."""

from __future__ import annotations

from ..checks import is_integer
from ..errors import HistoryError, ParameterError
from .conversation import Conversation
from .message import last_message
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["trim"]

_WHY = "earlier turns were dropped to make room"


def trim(workspace: Workspace[Checkpoint], conversation: Conversation, keep: int | None) -> int:
    """Drop the oldest questions with their answers; see ``Chat.trim``.

    Parameters
    ----------
    workspace : Workspace
    conversation : Conversation
        The messages of the tree.
    keep : int, optional
        Questions to keep. None: as many as fit in half of the context.
    """
    context, graph, head = workspace.context, workspace.graph, workspace.head
    n_before, messages = context.token_count(), conversation.messages_at(head)
    begins = [i for i, m in enumerate(messages) if m["role"] not in ("system", "assistant")]
    if keep is not None and not (is_integer(keep) and 0 < keep <= len(begins)):
        raise ParameterError(f"keep={keep!r} must be 1 to {len(begins)}, the questions")
    keep = None if keep is None else int(keep)
    if not begins:
        return 0
    last, parts = last_message(head), list[Checkpoint]()
    if last is not None and last[-1].metadata.is_answer:  # taken over as it is, token by token
        parts = last
    answer = [token for part in parts for token in part.tokens]
    system = [m for m in messages[:1] if m["role"] == "system"]
    for begin in begins if keep is None else begins[-keep:]:
        asked = [*system, *(messages[begin:-1] if parts else messages[begin:])]
        prompt = conversation.rendering.render(asked)
        n_tokens = len(prompt.tokens) + len(answer)
        if keep is not None or 2 * n_tokens <= context.n_ctx:
            break
    else:
        raise HistoryError(
            "no turn is left that fills less than half of the context; make a chat with a "
            "larger n_ctx"
        )
    if begin == begins[0]:
        return 0
    conversation.check_room(0, n_tokens)
    with workspace.operation(), workspace.going_back_on_error(always=True):
        workspace.checkout(graph.root, adapters=context.adapters)
        told = conversation.messages_at(graph.root)
        if asked[: len(told)] == told:
            conversation.append(asked[len(told) :], why_again=_WHY)
        else:  # it has another system message
            conversation.append(asked, before=[], why_again=_WHY)
        for part in parts:
            workspace.evaluate(part.tokens)
            notes = part.metadata.of_another_place(part.id)
            if part is parts[-1]:
                notes["evaluated_again"] = {"tokens": len(answer), "why": _WHY}
            workspace.commit(notes, logprobs=part.logprobs, allow_empty=True)
    return n_before - context.token_count()
