"""Jinja's sandbox with what chat templates expect: the one of transformers, and llama.cpp's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ...errors import ChatTemplateError, shown
from .date import Clock

__all__ = ["GivenList", "SandboxedTemplate", "to_json"]

_MOST_SHOWN = 300
_MUTATORS = ("append", "pop")


class GivenList(list[Any]):
    """A list that a template was given: unlike its own lists, it may not be changed."""


class SandboxedTemplate:
    """The source of a template, compiled.

    Parameters
    ----------
    source : str
    whose : str
        What messages call it, such as ``"the chat template of 'smollm2'"``.

    Attributes
    ----------
    variables : frozenset of str
        The names that it may look up.

    Raises
    ------
    ChatTemplateError
        When it cannot be parsed.
    """

    def __init__(self, source: str, whose: str) -> None:
        self._whose = whose
        environment = _Environment(
            loader=jinja2.BaseLoader(),
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
        )
        environment.filters["tojson"] = to_json
        try:
            self.variables = frozenset(meta.find_undeclared_variables(environment.parse(source)))
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError, ValueError) as error:
            where = f" (line {line})" if (line := getattr(error, "lineno", None)) else ""
            raise ChatTemplateError(
                f"{whose} cannot be read{where}: {shown(str(error), _MOST_SHOWN)}"
            ) from None

    def render(self, variables: Mapping[str, Any], date: Clock) -> str:
        """Return the rendered text.

        Parameters
        ----------
        variables : mapping
        date : Clock
            What the template is told when it asks for the time.

        Raises
        ------
        ChatTemplateError
            When it raises an exception itself, or fails.
        """
        try:
            return self._template.render(
                raise_exception=_refuse, strftime_now=date.strftime, **variables
            )
        except Exception as error:  # a template's code may fail in any way
            reason = _reason(error, self._template)
        raise ChatTemplateError(f"{self._whose} refuses this conversation: {reason}")


def _reason(error: Exception, template: jinja2.Template) -> str:
    if isinstance(error, jinja2.TemplateNotFound):
        return "it includes another template, and there is none"
    if isinstance(error, (_RefusalError, SecurityError, OverflowError)):  # they say what is wrong
        return shown(str(error), _MOST_SHOWN)
    return _failure(error, template)


class _Environment(ImmutableSandboxedEnvironment):
    """What is given may not be changed; the lists that a template makes itself may grow."""

    def handle_exception(self, source: str | None = None) -> NoReturn:  # noqa: ARG002 - as the base class has it
        """Raise an error as it is.

        The frames that Jinja would make up for it refer to each other: with them they would keep
        the callers, and what these hold, until Python collects.
        """
        raise

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may look at an attribute."""
        if type(obj) is list and attr in _MUTATORS:
            return True
        return super().is_safe_attribute(obj, attr, value)


class _Generation(Extension):
    """``{% generation %}`` marks what a model says, for training; here it is passed through."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return what stands between the two tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _RefusalError(Exception):
    """A template called ``raise_exception``."""


def _refuse(message: object = "") -> NoReturn:
    raise _RefusalError(str(message))


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return a value as JSON, as transformers writes it for templates."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators and tuple(separators),  # type: ignore[arg-type]
        sort_keys=sort_keys,
        default=_plain,
    )


def _plain(value: object) -> object:
    if isinstance(value, Iterator):  # of a filter such as ``map``
        return [*value]
    if isinstance(value, jinja2.Undefined):
        raise _RefusalError("it writes something as JSON that is not there")
    raise TypeError


def _failure(error: Exception, template: jinja2.Template) -> str:
    """What went wrong, in words that are the template's and not Python's."""
    line, at = 0, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == "<template>":
            line = template.get_corresponding_lineno(at.tb_lineno)
        at = at.tb_next
    where = f"line {line} of it" if line else "it"
    return (
        f"{where} takes something for granted that a message or option does not have, or has in "
        "another form"
    )
