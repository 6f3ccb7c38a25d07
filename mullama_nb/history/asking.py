"""Ways to get an answer: to a new question, again, to an edited question, from a token on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import HistoryError, ParameterError
from .answering import Answer, Answering
from .conversation import Conversation, Said
from .forking import fork
from .message import message_parts, messages_back, point_before, token_place, whole_message
from .notes import Message, choice_notes
from .tree import Checkpoint
from .workspace import Workspace

__all__ = [
    "answer_again",
    "answer_from",
    "ask",
    "ask_otherwise",
    "go_on",
    "say_otherwise",
    "stand_on_question",
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
    """Generate another answer in place of one, or of the last; see ``Chat.regenerate``."""
    with workspace.going_back_on_error():
        end = _last(conversation, "assistant", workspace.head) if end is None else end
        if not end.metadata.is_answer:
            raise HistoryError(f"{end!r} is not an answer, so there is no other one")
        stand_on_question(workspace, conversation, end)
        say_otherwise(workspace, conversation, answering.chat_template_kwargs)
        return answering.answer(workspace.head)


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
    conversation.say(messages[len(conversation.messages_at(workspace.head)) :], variables)


def ask_otherwise(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    messages: Sequence[Message],
    end: Checkpoint | None,
    answering: Answering,
) -> tuple[Answer, Said | None]:
    """Replace a message, or the last question; see ``Chat.edit``."""
    with workspace.going_back_on_error():
        end = _last(conversation, "user", workspace.head) if end is None else end
        notes = end.metadata
        if notes.is_system or end.is_root:
            raise HistoryError(
                "the system message is what the chat was made with: make one with another, "
                "Chat.from_messages(model, chat.messages[1:], system=...)"
            )
        conversation.stand_before(end)
        if notes.is_answer:
            conversation.append([dict(messages[0], role="assistant")], edited=True)
            return Answer(workspace.head, 0.0), None
        if notes.message is not None and len(messages) == 1:  # of a tool, it stays that of the call
            messages = [{**notes.message, **messages[0], "role": notes.role}]
        return ask(workspace, conversation, messages, answering)


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
