"""Recovering the messages of a rendered conversation by the model's own chat template."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

from ..engine.model import Model
from ..engine.templates.options import TemplateOptions
from ..engine.templates.template import Message
from ..errors import ChatTemplateError, SessionMismatchError, shown
from ..state.session_info import SessionInfo
from .conversation import Conversation
from .notes import message_notes
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["load_session", "read_messages", "recover_messages"]

_MARK = "\ud800"  # stands before a control token; decoding makes none
_NEVER = "\ud801"

_SYSTEM, _USER, _ASSISTANT, _NEXT = "\ufdd8S", "\ufdd8U", "\ufdd8A", "\ufdd8N"


def load_session(
    workspace: Workspace[Checkpoint],
    path: str | os.PathLike[str],
    conversation: Conversation,
) -> SessionInfo:
    """Continue from a session file; see ``Chat.load_session``.

    Parameters
    ----------
    workspace : Workspace
    path : str or path
    conversation : Conversation
        The chat's.
    """
    with workspace.changing(), workspace.going_back_on_error(always=True):
        try:
            info = workspace.context.load_session(path)
        finally:  # its warnings may be errors
            if workspace.uncommitted:
                workspace.commit({"source": "session"})
        recover_messages(workspace, conversation)
        return info


def recover_messages(
    workspace: Workspace[Checkpoint], conversation: Conversation
) -> list[dict[str, Any]]:
    """Recover the messages in the context, and note them at the head.

    Where the template writes the date, that of the text becomes the conversation's.

    Parameters
    ----------
    workspace : Workspace
        Its head, a child of the root, holds the tokens from another context.
    conversation : Conversation
        The chat's.

    Returns
    -------
    list of dict
        Empty if the text is not a conversation in the model's template.

    Raises
    ------
    SessionMismatchError
        When the conversation's system message differs from the chat's.
    """
    model, tokens, system = workspace.context.model, workspace.context.tokens, conversation.system
    template = conversation.template
    with contextlib.suppress(ChatTemplateError):  # there is none, or it asks for more
        template = template.as_of(model, model.detokenize(tokens, special=True))
    messages = read_messages(model, tokens, template)
    if not messages:
        return []
    first, last = messages[0], messages[-1]
    theirs = first["content"] if first["role"] == "system" else None
    if system is not None and theirs != system:
        raise SessionMismatchError(
            f"the conversation has {_quoted(theirs)}, and the chat {_quoted(system)}: a session "
            "brings its own system message, so make the chat without one"
        )
    notes = message_notes(last, history=messages)
    if last["role"] == "assistant":
        notes["finish_reason"] = "stop"
    workspace.commit(notes)
    conversation.template = template
    return messages


def _quoted(system: str | None) -> str:
    return "no system message" if system is None else f"the system message {shown(repr(system))}"


def read_messages(
    model: Model, tokens: Sequence[int], template: TemplateOptions | None = None
) -> list[dict[str, Any]] | None:
    """Return the messages that were rendered to tokens, such as those of a loaded session.

    The text between two messages is found by rendering a probe, and the result is rendered again:
    only messages that reproduce the text are accepted. Typed control tokens are text, and separate
    no messages.

    Parameters
    ----------
    model : Model
    tokens : sequence of int
    template : TemplateOptions, optional
        How they were rendered.

    Returns
    -------
    list of dict or None
        None if the tokens are not a conversation in this model's template.
    """
    text = _spelled(model, tokens)

    def render(*messages: Message, asks: bool = True) -> str:
        options = TemplateOptions() if template is None else template
        prompt = options.render(model, messages, add_generation_prompt=asks, is_probe=True)
        return _spelled(model, prompt.tokens)

    try:
        joints = _joints(render)
        messages = [] if joints is None else _split(text, joints)
        if not messages:
            return None
        again = render(*messages, asks=messages[-1]["role"] == "user")
    except ChatTemplateError:
        return None
    is_same = again.replace(_MARK, "").startswith(text.replace(_MARK, ""))
    return messages if is_same else None


def _spelled(model: Model, tokens: Sequence[int]) -> str:
    """The text of tokens, with a mark before each control token that tells it from typed text."""
    parts: list[str] = []
    vocabulary = model.vocabulary
    for is_control, group in itertools.groupby(tokens, vocabulary.is_control):
        if is_control:
            parts += [_MARK + vocabulary.text(token) for token in group]
        else:
            parts.append(b"".join(map(vocabulary.piece, group)).decode("utf-8", "replace"))
    return "".join(parts)


def _joints(render: Callable[..., str]) -> dict[tuple[str, str], str] | None:
    """What stands between two roles; an empty role is the beginning or the end."""
    system, user = {"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}
    answer, following = {"role": "assistant", "content": _ASSISTANT}, {**user, "content": _NEXT}
    try:
        start, rest = render(user, answer, following).split(_USER)
        to_answer, rest = rest.split(_ASSISTANT)
        to_user = rest.split(_NEXT)[0]
        joints = {
            ("", "user"): start,
            ("user", "assistant"): to_answer,
            ("assistant", "user"): to_user,
            ("assistant", ""): render(user, answer, asks=False).split(_ASSISTANT)[1],
        }
    except ValueError:
        return None  # a template that says a message twice, or changes it
    if not to_answer:
        return None  # plain text: nothing shows where an answer begins
    with contextlib.suppress(ChatTemplateError, ValueError):  # no system message, or none alone
        start, rest = render(system, user).split(_SYSTEM)
        joints["", "system"] = start
        joints["system", "user"] = rest.split(_USER)[0]
        joints["system", ""] = render(system, asks=False).split(_SYSTEM)[1]
    return joints


def _split(text: str, joints: dict[tuple[str, str], str]) -> list[dict[str, Any]]:
    follows = {"system": "user", "user": "assistant", "assistant": "user"}
    role = next((r for r in ("system", "user") if _begins(text, joints.get(("", r)))), None)
    if role is None:
        return []
    rest, messages = text[len(joints["", role]) :], []
    while True:
        content, joint, after = rest.partition(joints.get((role, follows[role])) or _NEVER)
        if not joint:
            content = content.removesuffix(joints.get((role, ""), ""))
        if content or joint:
            messages.append({"role": role, "content": content.replace(_MARK, "")})
        if not joint:
            return messages
        role, rest = follows[role], after


def _begins(text: str, beginning: str | None) -> bool:
    return beginning is not None and text.startswith(beginning)
