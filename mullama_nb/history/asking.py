"""Ways to get an answer: to a new question, again, to an edited question, from a token on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import HistoryError, ParameterError
from .answering import Answer, Answering
from .conversation import Conversation, Said
from .forking import fork
from .message import message_ends_back, message_parts, token_place
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
        end = _last(workspace, "assistant") if end is None else end
        if not end.metadata.is_answer:
            raise HistoryError(f"{end!r} is not an answer, so there is no other one")
        stand_on_question(workspace, end)
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
    if variables is None or dict(variables) == notes.chat_template_kwargs:
        return
    if notes.message is None:
        raise HistoryError(
            "chat_template_kwargs changes how a question is put, and there is none at the head"
        )
    with workspace.changing():
        workspace.checkout(conversation.point_before(question))
    n_before = len(conversation.messages_at(workspace.head))
    conversation.say(list(notes.history or ())[n_before:] or [notes.message], variables)


def ask_otherwise(
    workspace: Workspace[Checkpoint],
    conversation: Conversation,
    messages: Sequence[Message],
    end: Checkpoint | None,
    answering: Answering,
) -> tuple[Answer, Said | None]:
    """Replace a message, or the last question; see ``Chat.edit``."""
    with workspace.going_back_on_error():
        end = _last(workspace, "user") if end is None else end
        with workspace.changing():
            workspace.checkout(conversation.point_before(end))
        if end.metadata.is_answer:
            said = dict(messages[0], role="assistant")
            return Answer(conversation.answer_with(said, edited=True), 0.0), None
        return ask(workspace, conversation, messages, answering)


def go_on(workspace: Workspace[Checkpoint], answering: Answering) -> Answer:
    """Continue the answer at the head; see ``Chat.resume``."""
    head = workspace.head
    if head.metadata.is_answer and head.metadata.is_finished:
        raise HistoryError("the last answer is complete: ask something, or regenerate()")
    if head.metadata.role is None:
        raise HistoryError("there is no answer to continue; ask() something first")
    _check_goes_on(answering)
    return answering.answer(head)


def answer_from(
    workspace: Workspace[Checkpoint],
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
            point = fork(workspace, part, index, None, {})
        if choose is not None:
            with workspace.changing():
                point = fork(workspace, point, None, choose, notes)
    return answering.answer(point)


def stand_on_question(workspace: Workspace[Checkpoint], answer: Checkpoint) -> Checkpoint:
    """Move the head to the question of an answer."""
    question = message_parts(answer)[0].parent
    assert question is not None
    with workspace.changing():
        workspace.checkout(question)
    return question


def _check_goes_on(answering: Answering) -> None:
    if answering.chat_template_kwargs is not None:
        raise ParameterError(
            "chat_template_kwargs changes how a question is put, and this goes on with an answer: "
            "regenerate() begins it again"
        )


def _last(workspace: Workspace[Checkpoint], role: str) -> Checkpoint:
    for end in message_ends_back(workspace.head):
        if end.metadata.role == role:
            return end
    raise HistoryError(f"there is no {role} message yet; ask() something first")
