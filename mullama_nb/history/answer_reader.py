"""What reads an answer from a checkpoint on: what the prompt there opened is known to it."""

from __future__ import annotations

from ..engine.answers.format import Reader
from ..engine.answers.text import AnswerText
from .chat import Chat
from .message import message_parts, message_text
from .tree import Checkpoint

__all__ = ["answer_reader", "text_behind"]

_TAIL = 64  # tokens of a prompt that tell whether it opened a thought


def answer_reader(chat: Chat, at: Checkpoint) -> Reader:
    """Return what reads the answer that begins at a checkpoint, or goes on there.

    Parameters
    ----------
    chat : Chat
    at : Checkpoint
        A question, or what there is of an answer, which was read then.
    """
    if not at.metadata.is_answer:
        return text_behind(chat, at).reader or Reader(())
    begin = message_parts(at)[0].parent
    reader = (text_behind(chat, begin).reader if begin is not None else None) or Reader(())
    reader.feed(message_text(at))
    return reader


def text_behind(chat: Chat, at: Checkpoint) -> AnswerText:
    """Return what an answer at a checkpoint says before its first token.

    That is nothing, or a thought has begun.
    """
    before: list[int] = []
    for node in at.lineage():
        before[:0] = node.tokens
        if len(before) >= _TAIL:
            break
    return AnswerText(chat.model.vocabulary, chat.answer_format, before, 0)
