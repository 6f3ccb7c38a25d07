"""How the messages of a chat are rendered: the template, tools and variables that go with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ...checks import check_bool
from ...errors import ChatTemplateError, ParameterError, shown
from ..answers.format import AnswerFormat
from ..model import Model
from .date import Clock, date_in
from .of_model import checked_schemas, is_template, template_text
from .plain import BUILT_IN
from .template import ChatPrompt, Message

__all__ = ["TemplateOptions", "checked_variables"]

_RESERVED = {
    "messages": "it is what is said",
    "tools": "give tools= by itself",
    "add_generation_prompt": "it follows from the messages",
    "continue_final_message": "it follows from the messages",
    "chat_template": "give it by itself",
    "is_probe": "it is for what nobody reads",
    "date": "it is the day of the first message",
}


@dataclass(frozen=True)
class TemplateOptions:
    """The options of a chat template.

    Parameters
    ----------
    tools : sequence of mapping, optional
    chat_template : str, optional
        The text of one, or the name of one in the model's file or of a built-in one.
    chat_template_kwargs : mapping, optional
        Variables of the template, such as ``{"enable_thinking": False}``.
    date : datetime, optional
        What the template is told when it asks for the time. None: now.
    keep_reasoning : bool
        Whether earlier answers stay as they were generated, instead of as the template writes them.

    Raises
    ------
    ParameterError
        When the tools are not mappings, or a variable is not one to give.
    """

    tools: Sequence[Mapping[str, Any]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    date: datetime | None = None
    keep_reasoning: bool = False

    def __post_init__(self) -> None:
        variables = self.chat_template_kwargs
        checked_schemas(self.tools)
        object.__setattr__(self, "chat_template_kwargs", checked_variables(variables))

    @classmethod
    def of(
        cls,
        model: Model,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | os.PathLike[str] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        date: datetime | None = None,
        keep_reasoning: bool | None = None,
    ) -> TemplateOptions:
        """Return the options of a new chat, with the text of a template that is in a file.

        Where the template asks for the time, it is told that of now, and that stays: otherwise each
        midnight would change the beginning of a conversation, and all of it would be evaluated
        again.

        Raises
        ------
        ChatTemplateError
            When there is no such template, it cannot be read, or none is given and the model has
            none.
        """
        text = None
        if chat_template is not None:
            names = model.chat_templates
            is_name = isinstance(chat_template, str) and chat_template in (*names, *BUILT_IN)
            text = str(chat_template) if is_name else template_text(chat_template, names)
        found = model.find_chat_template(text, tools)
        keeps = False if keep_reasoning is None else keep_reasoning
        check_bool("keep_reasoning", keeps)
        variables = {} if chat_template_kwargs is None else chat_template_kwargs
        made = cls(tools, text, variables, date, keeps)
        if date is None and found.tells_date:
            return replace(made, date=datetime.now().replace(microsecond=0))
        return made

    def with_changes(self, variables: Mapping[str, Any] | None) -> TemplateOptions:
        """Return options with further variables, which replace those of the same name."""
        if variables is None:
            return self
        given = checked_variables(variables)
        if not given:
            return self
        return replace(self, chat_template_kwargs={**self.chat_template_kwargs, **given})

    def render(
        self,
        model: Model,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        is_probe: bool = False,
    ) -> ChatPrompt:
        """Render messages; see ``Model.apply_chat_template``."""
        variables = dict(self.chat_template_kwargs)
        if self.tools is not None:
            variables["tools"] = [*self.tools]
        self.check(model)
        return model.apply_chat_template(
            messages,
            chat_template=self.chat_template,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            is_probe=is_probe,
            date=self.date,
            **variables,
        )

    def answer_format(self, model: Model) -> AnswerFormat:
        """Return how answers are read: the marks that the template teaches."""
        with contextlib.suppress(ChatTemplateError):
            self.check(model)
            return model.find_chat_template(self.chat_template, self.tools).answer_format
        return model.answer_format

    def calling_format(self, model: Model) -> AnswerFormat:
        """Return how answers are made: calls follow the schemas of the tools."""
        return self.answer_format(model).calling(self.tools, model.vocabulary)

    def as_of(self, model: Model, text: str) -> TemplateOptions:
        """Return options with the date of a text that was rendered with them."""

        def beginning(clock: Clock) -> str:
            template = model.find_chat_template(self.chat_template, self.tools)
            variables = {**self.chat_template_kwargs, "tools": self.tools}
            asked = [{"role": "user", "content": "?"}]
            return template.render(asked, date=clock, is_probe=True, **variables)

        if not model.find_chat_template(self.chat_template, self.tools).tells_date:
            return self
        date = date_in(text, beginning)
        return self if date is None else replace(self, date=date)

    def check(self, model: Model) -> None:
        """Check that the template is a text, or the name of one in a model.

        It may come from somebody else's file, and is not a path.

        Raises
        ------
        ChatTemplateError
            When it is neither.
        """
        template, names = self.chat_template, model.chat_templates
        if template is None or template in (*names, *BUILT_IN) or is_template(template):
            return
        raise ChatTemplateError(
            f"{model.name!r} has no chat template named {shown(repr(template))}"
            + (f"; it has {shown(', '.join(names), 300)}" if names else "")
        )

    def saved(self) -> dict[str, Any]:
        """Return the options besides the tools that are given, as JSON holds them."""
        values = {
            "chat_template": self.chat_template,
            "chat_template_kwargs": dict(self.chat_template_kwargs) or None,
            "date": None if self.date is None else self.date.isoformat(timespec="seconds"),
            "keep_reasoning": self.keep_reasoning or None,
        }
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any]) -> TemplateOptions:
        """Return options from a file; a template's text is never taken for a path.

        Parameters
        ----------
        saved : mapping
            ``tools`` and what ``saved`` returned.

        Raises
        ------
        ParameterError
            When they are not options.
        """
        template, date = saved.get("chat_template"), saved.get("date")
        if not (template is None or isinstance(template, str)):
            raise ParameterError(f"chat_template is {shown(template)}, no text")
        try:
            when = None if date is None else datetime.fromisoformat(date)
        except (TypeError, ValueError):
            raise ParameterError(f"date is {shown(date)}, no date") from None
        variables = saved.get("chat_template_kwargs")
        keeps = saved.get("keep_reasoning", False)
        check_bool("keep_reasoning", keeps)
        variables = {} if variables is None else variables
        return cls(saved.get("tools"), template, variables, when, keeps)


def checked_variables(variables: object) -> dict[str, Any]:
    """Return the variables of a chat template, as a copy.

    Raises
    ------
    ParameterError
        When they are no mapping of names to values, or one is not to be given so.
    """
    if not isinstance(variables, Mapping) or not all(isinstance(k, str) for k in variables):
        raise ParameterError(
            "chat_template_kwargs are a mapping of names to values, such as "
            f'{{"enable_thinking": False}}, not {shown(variables)}'
        )
    for name in variables:
        if name in _RESERVED:
            raise ParameterError(
                f"chat_template_kwargs has {name!r}, which is not given so: {_RESERVED[name]}"
            )
    return dict(variables)
