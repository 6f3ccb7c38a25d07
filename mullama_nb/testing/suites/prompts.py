"""The prompts of cases: how they are said, and their tokens before anything is evaluated."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ...engine.model import Model
from ...engine.templates.options import TemplateOptions
from ...errors import ChatTemplateError, MullamaError
from ...history.chat import Chat
from ...history.message import content_text
from ...history.notes import message_notes
from ...history.rendering import Rendering
from .case import Case
from .settings import Setting

__all__ = ["DATE", "Prompt", "planned_tokens", "prompt_of", "put", "template_of"]

DATE = datetime(2025, 1, 1)
"""The date that chat templates are told: a prompt that changes each day is no test."""

_PROBE = {"role": "user", "content": "?"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a case says with one setting.

    Attributes
    ----------
    system : str or None
        The system message: the case's own, or else the setting's.
    messages : tuple of mapping
        What is said behind it; empty for a case that says it by itself.
    is_plain : bool
        Whether the text is completed as it is, as the model has no chat template.
    """

    system: str | None
    messages: tuple[Mapping[str, Any], ...]
    is_plain: bool = False

    @property
    def question(self) -> str:
        """The text of what is asked."""
        asked = [message for message in self.messages if message.get("role") != "assistant"]
        return content_text((asked or self.messages)[-1]) if self.messages else ""


def prompt_of(case: Case, setting: Setting, model: Model) -> Prompt:
    """Return what a case says to a model with a setting.

    Raises
    ------
    ChatTemplateError
        When the model has no chat template, and the case needs one.
    """
    if case.kind in ("recording", "function"):
        return Prompt(setting.system, ())
    has_template = setting.chat_template is not None or bool(model.chat_templates)
    if isinstance(case.said, str):
        if has_template:
            return Prompt(setting.system, ({"role": "user", "content": case.said},))
        if setting.system is not None:
            raise ChatTemplateError(
                f"the model {model.name!r} has no chat template, so its texts are completed as "
                "they are, and no system message stands in front of them: put it into the text, "
                "or give a template with chat_template="
            )
        return Prompt(None, ({"role": "user", "content": case.said},), is_plain=True)
    if not has_template:
        model.find_chat_template()  # which says what to give
    messages = tuple(case.said)  # type: ignore[arg-type]
    first = messages[0]
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        return Prompt(first["content"], messages[1:])
    return Prompt(setting.system, messages)


def template_of(setting: Setting, model: Model) -> TemplateOptions:
    """Return how a setting has messages rendered, on the same day each time."""
    name = setting.chat_template if setting.chat_template or model.chat_templates else "plain"
    made = TemplateOptions.of(model, None, name, setting.chat_template_kwargs)
    return made if made.date is None else replace(made, date=DATE)


def planned_tokens(case: Case, setting: Setting, model: Model) -> tuple[int, ...]:
    """Return the tokens that a case begins with, as far as they are known in advance.

    Of a function that is the system message. Nothing is known of what cannot be rendered, which is
    said where it is evaluated.
    """
    try:
        prompt = prompt_of(case, setting, model)
        if prompt.is_plain:
            return _plain_tokens(model, prompt.question)
        return _said(prompt, model, template_of(setting, model))
    except MullamaError:
        return ()


def _said(prompt: Prompt, model: Model, template: TemplateOptions) -> tuple[int, ...]:
    """The tokens that saying a prompt leaves in an empty context, message by message."""
    held = _Held(model)
    rendering = Rendering(held, template)
    before: list[Mapping[str, Any]] = []
    if prompt.system is not None:
        system = {"role": "system", "content": prompt.system}
        with contextlib.suppress(ChatTemplateError):  # it does not stand alone
            held.tokens = rendering.alone([], system, prompt.messages or [_PROBE], None)
        before.append(system)
    for n, message in enumerate(prompt.messages, 1):
        rest = prompt.messages[n:]
        try:
            keep, added = rendering.addition(before, message, rest, None)
            held.tokens = (*held.tokens[:keep], *added)
        except ChatTemplateError:
            if not rest:
                raise
        before.append(message)
    return held.tokens


def put(chat: Chat, prompt: Prompt) -> None:
    """Say a prompt in an empty chat; the head is where the model answers."""
    if prompt.is_plain:
        with chat.tree.turn():
            chat._workspace.evaluate(_plain_tokens(chat.model, prompt.question))
            chat.tree.commit(**message_notes(prompt.messages[0]))
        return
    with chat.tree.turn():
        chat._conversation.say(list(prompt.messages))


def _plain_tokens(model: Model, text: str) -> tuple[int, ...]:
    return tuple(model.tokenize(text, add_bos=True, special=True))


@dataclass
class _Held:
    """What stands for a context."""

    model: Model
    tokens: tuple[int, ...] = ()
