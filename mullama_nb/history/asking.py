"""Ways to get answers: to a new question, again, to an edited one, from a token on, several."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import HistoryError, ParameterError
from .answering import Answer, Answering
from .conversation import Conversation, Said
from .exploring import Explores, Setting
from .forking import fork
from .message import (
    chain,
    content_text,
    message_parts,
    messages_back,
    point_before,
    token_place,
    whole_message,
)
from .notes import Message, choice_notes
from .rendering import is_answer
from .tree import Checkpoint
from .workspace import Workspace

__all__ = [
    "answer_again",
    "answer_from",
    "ask",
    "ask_otherwise",
    "explore",
    "go_on",
    "instruct_otherwise",
    "question_at",
    "say_otherwise",
    "stand_on_question",
    "stand_to_answer",
]


def ask(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    messages: Sequence[Message],
    answering: Answering,
) -> tuple[Answer, Said]:
    """Say messages and give an answer; see ``Chat.ask``."""
    said = conversation.say(messages, answering.chat_template_kwargs)
    return answering.answer(workspace.head), said


def answer_again(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    end: Checkpoint | None,
    answering: Answering,
) -> Answer:
    """Answer the question at the head, or again what an answer was to; see ``Chat.regenerate``."""
    with workspace.going_back_on_error():
        if end is None:
            end = question_at(workspace.head) or _last(conversation, "assistant", workspace.head)
        if question_at(end) is end:
            is_here = whole_message(workspace.head) is end
            with workspace.changing():
                workspace.checkout(end, adapters=workspace.context.adapters if is_here else None)
        elif end.metadata.is_answer:
            stand_on_question(workspace, conversation, end)
        else:
            raise HistoryError(f"{end!r} is neither an answer nor a question, so none follows it")
        say_otherwise(workspace, conversation, answering.chat_template_kwargs)
        return answering.answer(workspace.head)


def question_at(head: Checkpoint) -> Checkpoint | None:
    """Return the message that a head stands on if the model has to answer it; None elsewhere.

    That is a question, the result of a tool, or anything else that is not the model's.
    """
    end = whole_message(head)
    return end if end.metadata.role not in (None, "", "system", "assistant") else None


def stand_to_answer(workspace: Workspace[Checkpoint], conversation: Conversation) -> None:
    """Move the head to its question: the one that it stands on, or that of its answer."""
    head = workspace.head
    if (question := question_at(head)) is not None:
        with workspace.changing():
            workspace.checkout(question, adapters=workspace.context.adapters)
    elif head.metadata.is_answer:
        stand_on_question(workspace, conversation, head)


def say_otherwise(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    variables: Mapping[str, Any] | None,
) -> None:
    """Say the question at the head again, with other variables of the chat template."""
    question = workspace.head
    notes = question.metadata
    begin = point_before(question) if notes.is_answer else question  # which was begun by hand
    if variables is None or dict(variables) == begin.metadata.chat_template_kwargs:
        return
    if notes.message is None:
        raise HistoryError(
            "chat_template_kwargs changes how a question is put, and there is none at the head"
        )
    messages = conversation.messages_at(question)
    with workspace.changing():
        workspace.checkout(point_before(begin), adapters=workspace.context.adapters)
    n = len(conversation.messages_at(workspace.head))
    held = messages[:n] if workspace.head.is_root else None
    conversation.say(messages[n:], variables, before=held)


def ask_otherwise(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    messages: Sequence[Message],
    end: Checkpoint | None,
    answering: Answering,
) -> tuple[Answer, Said | None]:
    """Replace a message, or the last question; see ``Chat.edit``."""
    if end is not None and (end.is_root or end.metadata.is_system):
        return instruct_otherwise(workspace, conversation, messages, end, answering)
    with workspace.going_back_on_error():
        end = _last(conversation, "user", workspace.head) if end is None else end
        notes, before = end.metadata, conversation.messages_at(end)[:-1]
        conversation.stand_before(end)
        if notes.is_answer:
            conversation.append([dict(messages[0], role="assistant")], edited=True)
            return Answer(workspace.head, 0.0), None
        if notes.message is not None and len(messages) == 1:  # of a tool, it stays that of the call
            messages = [{**notes.message, **messages[0], "role": notes.role}]
        held = before if workspace.head.is_root else None  # where it may be another one's
        said = conversation.say(messages, answering.chat_template_kwargs, before=held)
        return answering.answer(workspace.head), said


def instruct_otherwise(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    messages: Sequence[Message],
    end: Checkpoint,
    answering: Answering,
) -> tuple[Answer, Said | None]:
    """Begin a branch with another system message, and ask the first question again there.

    Parameters
    ----------
    workspace : Workspace
    conversation : Conversation
    messages : sequence of mapping
        The first one has the text.
    end : Checkpoint
        The system message to replace, or the root.
    answering : Answering
    """
    system = {"role": "system", "content": content_text(messages[0])}
    lines = conversation.lines_at(workspace.head)
    said = [line.message for line in lines if end.is_root or end in chain(workspace.head)]
    rest = said[1:] if said and said[0]["role"] == "system" else said
    asked = [*itertools.takewhile(lambda message: not is_answer(message), rest)]
    begin = next((line.end for line in lines if not line.end.is_root), None)
    with workspace.going_back_on_error():
        on = workspace.context.adapters if begin is None else workspace.adapters.instead_of(begin)
        with workspace.changing():
            workspace.checkout(workspace.graph.root, adapters=on)
        cost = conversation.say_anew(system, asked, answering.chat_template_kwargs)
        answer = answering.answer(workspace.head) if asked else Answer(workspace.head, 0.0)
        return answer, cost


def go_on(workspace: Workspace[Checkpoint], answering: Answering) -> Answer:
    """Continue the answer at the head, or answer the question there; see ``Chat.resume``."""
    head = whole_message(workspace.head)
    if head.metadata.is_answer and head.metadata.is_finished:
        raise HistoryError("the last answer is complete: ask something, or regenerate()")
    if head.metadata.role in (None, "system"):
        raise HistoryError(
            "there is no answer to continue and no question to answer; ask() something first"
        )
    _check_goes_on(answering)
    with workspace.going_back_on_error():
        with workspace.changing():
            workspace.checkout(head, adapters=workspace.context.adapters)
        return answering.answer(head)


def answer_from(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    end: Checkpoint,
    token: int,
    choose: str | int | None,
    answering: Answering,
) -> Answer:
    """Branch off at a token of a message; see ``Chat.fork``."""
    _check_goes_on(answering)
    part, index = token_place(end, token)
    begins = part is message_parts(end)[0] and index == 0
    notes = choice_notes(end.metadata.role, continues=not begins)
    with workspace.going_back_on_error(always=True):
        with workspace.changing():
            if begins:
                point = conversation.stand_before(end)
            else:
                point = fork(workspace, part, index, None, {})
        if choose is not None:
            with workspace.changing():
                point = fork(workspace, point, None, choose, notes)
    return answering.answer(point)


def explore(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    messages: Sequence[Message] | None,
    exploring: Explores,
) -> list[tuple[Answer, Setting]]:
    """Give several answers to one question, which is the head afterwards; see ``Chat.explore``.

    Parameters
    ----------
    workspace : Workspace
    conversation : Conversation
    messages : sequence of mapping, optional
        The question. None: the one at the head, or that of the answer there.
    exploring : Explores
    """

    def put(variables: Mapping[str, Any] | None, *, is_first: bool) -> None:
        if is_first and messages is not None:
            conversation.say(messages, variables)
            return
        if is_first:
            stand_to_answer(workspace, conversation)
        say_otherwise(workspace, conversation, variables)

    return exploring.answer(put)


def stand_on_question(
    workspace: Workspace[Checkpoint], conversation: Conversation, answer: Checkpoint
) -> None:
    """Move the head to where an answer began: at its question, or behind a beginning given."""
    parts = message_parts(answer)
    begun = [p for p in parts if p.metadata.message is not None and p.metadata.was_cut_short]
    if begun:
        with workspace.changing():
            replaced = parts[min(len(parts) - 1, parts.index(begun[-1]) + 1)]
            workspace.checkout(begun[-1], adapters=workspace.adapters.instead_of(replaced))
        return
    point = conversation.stand_before(answer)
    if point.is_root or point.metadata.role in ("assistant", "system"):
        raise HistoryError("no question stands before this answer, so there is no other one to it")


def _check_goes_on(answering: Answering) -> None:
    if answering.chat_template_kwargs is not None:
        raise ParameterError(
            "chat_template_kwargs changes how a question is put, and this goes on with an answer: "
            "regenerate() begins it again"
        )


def _last(conversation: Conversation, role: str, head: Checkpoint) -> Checkpoint:
    for parts in messages_back(head):
        if parts[-1].metadata.role == role:
            return parts[-1]
        if any(part.metadata.history is not None for part in parts):
            break  # some of those before it have no checkpoints
    for line in reversed(conversation.lines_at(head)):
        if line.message["role"] == role:
            return line.end if line.index is None else conversation.unfold(line.end, line.index)
    raise HistoryError(f"there is no {role} message yet; ask() something first")
