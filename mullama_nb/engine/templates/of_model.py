"""The chat templates of a model: those in its GGUF file, and others that it is given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...checks import check_list
from ...errors import ChatTemplateError, ParameterError, shown
from ..vocabulary import Vocabulary
from .plain import BUILT_IN
from .template import ChatTemplate

__all__ = ["ChatTemplates", "checked_schemas", "is_template", "template_text"]

_KEY = "tokenizer.chat_template"
_DEFAULT, _FOR_TOOLS = "default", "tool_use"


class ChatTemplates:
    """Finds and keeps the templates of a model.

    Parameters
    ----------
    metadata : mapping
        Of the GGUF file.
    vocabulary : Vocabulary
    model : str
        The model's name.
    """

    def __init__(self, metadata: Mapping[str, Any], vocabulary: Vocabulary, model: str) -> None:
        named = {
            key.removeprefix(_KEY).removeprefix(".") or _DEFAULT: source
            for key, source in metadata.items()
            if (key == _KEY or key.startswith(f"{_KEY}.")) and isinstance(source, str)
        }
        # Here and not by llama.cpp: for some models without a template it names one of its own.
        self._sources = {name: named[name] for name in sorted(named, key=_place)}
        self._vocabulary = vocabulary
        self._model = model
        self._made: dict[str, ChatTemplate] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the templates in the file; the default one comes first."""
        return tuple(self._sources)

    @property
    def default(self) -> ChatTemplate:
        """The default template."""
        if _DEFAULT in self._sources:
            return self.find(_DEFAULT)
        if self._sources:
            others = shown(", ".join(map(repr, self._sources)), 300)
            raise ChatTemplateError(
                f"the model {self._model!r} has no default chat template: choose one of {others} "
                "with chat_template="
            )
        raise ChatTemplateError(
            f"the model {self._model!r} has no chat template: it was not made for chat. Give "
            'chat_template="plain" to have it go on with what is said as with any text, or the '
            "text or the file of a Jinja template"
        )

    def find(
        self,
        template: str | os.PathLike[str] | None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> ChatTemplate:
        """Return a template by name, by text or from a file; see ``Model.find_chat_template``."""
        schemas = checked_schemas(tools)
        if template is None:
            has_one = bool(schemas) and _FOR_TOOLS in self._sources
            if has_one and not (_DEFAULT in self._sources and self.default.reads_tools(schemas)):
                return self.find(_FOR_TOOLS)
            return self.default
        if isinstance(template, str) and template in self._sources:
            which = "" if template == _DEFAULT else f" {shown(repr(template))}"
            whose = f"the chat template{which} of {self._model!r}"
            source = self._sources[template]
        elif isinstance(template, str) and template in BUILT_IN:
            whose, source = f"the chat template {template!r}", BUILT_IN[template]
        else:
            whose, source = "the given chat template", template_text(template, self.names)
        found = self._made.get(source)
        if found is None:
            found = self._made[source] = ChatTemplate(source, self._vocabulary, whose)
        return found


def checked_schemas(tools: object) -> list[Mapping[str, Any]]:
    """Return the schemas of tools; none for None.

    Raises
    ------
    ParameterError
        When they are no list of mappings.
    """
    what = "mappings, as the chat template takes them"
    schemas = [] if tools is None else check_list("tools", tools, what)
    if not all(isinstance(schema, Mapping) for schema in schemas):
        raise ParameterError(f"tools must be a list of {what}, not {shown(tools)}")
    return schemas


def _place(name: str) -> tuple[bool, str]:
    return name != _DEFAULT, name


def template_text(template: str | os.PathLike[str], names: Sequence[str] = ()) -> str:
    """Return the text of a template that was given as such, or as a file.

    Parameters
    ----------
    template : str or path
    names : sequence of str
        Of templates that could have been meant.

    Raises
    ------
    ChatTemplateError
        When it is neither.
    """
    if isinstance(template, str) and is_template(template):
        return template
    path, given = Path(template), shown(repr(str(template)), 200)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        known = f"; those in the model are {', '.join(map(repr, names))}" if names else ""
        raise ChatTemplateError(
            f"chat_template={given} is not a Jinja template, and there is no file of that name"
            f'{shown(known, 300)}. "plain" goes with any model'
        ) from None
    except (OSError, ValueError) as error:
        raise ChatTemplateError(
            f"chat_template={given} cannot be read: "
            f"{getattr(error, 'strerror', None) or 'it is not UTF-8 text'}"
        ) from None
    if not is_template(text):
        raise ChatTemplateError(f"{path.name} is not a chat template: there is no Jinja in it")
    return text


def is_template(text: str) -> bool:
    """Return whether a text has anything of a Jinja template in it."""
    return any(mark in text for mark in ("{{", "{%"))
