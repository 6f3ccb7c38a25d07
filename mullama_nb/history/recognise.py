"""Reading the messages back out of a rendered conversation, by the model's own chat template."""

from __future__ import annotations

from typing import Any

from ..engine.model import Model
from ..errors import ChatTemplateError

__all__ = ["recognise_messages"]

_SYSTEM, _USER, _ASSISTANT, _NEXT = "\ufdd8S", "\ufdd8U", "\ufdd8A", "\ufdd8N"


def recognise_messages(model: Model, text: str) -> list[dict[str, Any]] | None:
    """The messages that a text renders, such as that of a context which loaded a session.

    What the template puts between two messages is found by rendering a probe, and what was found
    is rendered again: only messages that give the text are taken.

    Parameters
    ----------
    model : Model
    text : str
        With control tokens written out.

    Returns
    -------
    list of dict or None
        None when the text is no conversation in this model's template.
    """
    try:
        joints = _joints(model)
        messages = None if joints is None else _split(text, joints)
        if not messages or not _renders(model, messages, text):
            return None
    except ChatTemplateError:
        return None
    return messages


def _joints(model: Model) -> dict[tuple[str, str], str] | None:
    """What stands between two roles; an empty role is the beginning or the end."""
    system, user = {"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}
    answer, following = {"role": "assistant", "content": _ASSISTANT}, {**user, "content": _NEXT}
    plain = str(model.apply_chat_template([user, answer, following]))
    closed = str(model.apply_chat_template([user, answer], add_generation_prompt=False))
    try:
        start, rest = plain.split(_USER)
        to_answer, rest = rest.split(_ASSISTANT)
        to_user = rest.split(_NEXT)[0]
        joints = {
            ("", "user"): start,
            ("user", "assistant"): to_answer,
            ("assistant", "user"): to_user,
            ("assistant", ""): closed.split(_ASSISTANT)[1],
        }
        with_system = str(model.apply_chat_template([system, user]))
        start, rest = with_system.split(_SYSTEM)
        joints["", "system"] = start
        joints["system", "user"] = rest.split(_USER)[0]
        alone = str(model.apply_chat_template([system], add_generation_prompt=False))
        joints["system", ""] = alone.split(_SYSTEM)[1]
    except ChatTemplateError:
        pass  # it takes no system message, or not one alone
    except ValueError:
        return None  # a template that says a message twice, or changes it
    return joints


def _split(text: str, joints: dict[tuple[str, str], str]) -> list[dict[str, Any]]:
    follows = {"system": "user", "user": "assistant", "assistant": "user"}
    role = next((r for r in ("system", "user") if _begins(text, joints.get(("", r)))), None)
    if role is None:
        return []
    rest, messages = text[len(joints["", role]) :], []
    while True:
        content, joint, after = rest.partition(joints.get((role, follows[role]), "\ufdd9"))
        if not joint:
            content = content.removesuffix(joints.get((role, ""), ""))
        if content or joint:
            messages.append({"role": role, "content": content})
        if not joint:
            return messages
        role, rest = follows[role], after


def _begins(text: str, beginning: str | None) -> bool:
    return beginning is not None and text.startswith(beginning)


def _renders(model: Model, messages: list[dict[str, Any]], text: str) -> bool:
    asks = messages[-1]["role"] == "user"
    return str(model.apply_chat_template(messages, add_generation_prompt=asks)).startswith(text)
