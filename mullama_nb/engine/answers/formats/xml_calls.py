"""Calls written as tags: Qwen3-Coder's, GLM's, MiniMax's, DeepSeek's, MiniCPM's, Kimi K3's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .literals import plain_value

__all__ = ["xml_calls"]

_MINIMAX = "]<]minimax[>["  # stands before each of M3's tags


class _Dialect(NamedTuple):
    """How a call and a parameter are written; groups ``name``, ``body``, ``key``, ``value``."""

    call: re.Pattern[str]
    parameter: re.Pattern[str]


def _dialect(call: str, parameter: str) -> _Dialect:
    return _Dialect(re.compile(call, re.DOTALL), re.compile(parameter, re.DOTALL))


_SUFFIX = r"(?::\w+)?"  # Hunyuan's tags: <arg_key:opensource>
_DIALECTS = (
    _dialect(
        r"<function=(?P<name>[^<>\n]+)>(?P<body>.*?)</function>",
        r"<parameter=(?P<key>[^<>\n]+)>(?P<value>.*?)</parameter>",
    ),
    _dialect(
        r'<(?P<dialect>[^<>\s"/]*)invoke name="(?P<name>[^"]*)">(?P<body>.*?)</(?P=dialect)invoke>',
        r'<(?P<dialect>[^<>\s"/]*)parameter name="(?P<key>[^"]*)"(?: string="(?P<quoted>\w+)")?>'
        r"(?P<value>.*?)</(?P=dialect)parameter>",
    ),
    _dialect(
        r'<invoke name="(?P<name>[^"]*)">(?P<body>.*?)</invoke>',
        r"<(?P<key>[^<>\s/]+)>(?P<value>.*?)</(?P=key)>",
    ),
    _dialect(
        r'<function name="(?P<name>[^"]*)">(?P<body>.*?)</function>',
        r'<param name="(?P<key>[^"]*)">(?P<value>.*?)</param>',
    ),
    _dialect(
        rf"<tool_call{_SUFFIX}>\s*(?P<name>[\w.-]+)\s*(?:<tool_sep{_SUFFIX}>\s*)?"
        rf"(?P<body>(?:<arg_key.*?)?)</tool_call{_SUFFIX}>",
        rf"<arg_key{_SUFFIX}>(?P<key>.*?)</arg_key{_SUFFIX}>\s*"
        rf"<arg_value{_SUFFIX}>(?P<value>.*?)</arg_value{_SUFFIX}>",
    ),
    _dialect(
        r'<\|open\|>call tool="(?P<name>[^"]*)"[^<>]*<\|sep\|>'
        r"(?P<body>.*?)<\|close\|>call<\|sep\|>",
        r'<\|open\|>argument key="(?P<key>[^"]*)" type="(?P<type>\w+)"<\|sep\|>'
        r"(?P<value>.*?)<\|close\|>argument<\|sep\|>",
    ),
)


def xml_calls(
    block: str, schemas: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, dict[str, Any], str | None]]:
    """Return the calls in a block: name, arguments, id.

    Parameters
    ----------
    block : str
    schemas : mapping
        Each tool's properties. A value is a text if its schema says so or nothing else can be read
        in it, else what JSON reads in it.

    Raises
    ------
    ValueError
        When there is none.
    """
    block = block.replace(_MINIMAX, "")
    for call, parameter in _DIALECTS:
        found = list(call.finditer(block))
        texts = [match.group("body") for match in found]
        if found and all(not text.strip() or parameter.search(text) for text in texts):
            return [
                (name, _arguments(parameter, match.group("body"), schemas.get(name, {})), None)
                for match in found
                for name in [match.group("name").strip()]
            ]
    raise ValueError("there is no call in it that ends")


def _arguments(
    parameter: re.Pattern[str], body: str, properties: Mapping[str, Any]
) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for match in parameter.finditer(body):
        named = match.groupdict()
        key, text = named["key"].strip(), _without_newlines(named["value"])
        schema = properties.get(key)
        is_text = named.get("quoted") == "true" or named.get("type") == "string"
        if isinstance(schema, Mapping) and schema.get("type") == "string":
            is_text = True
        arguments[key] = text if is_text else plain_value(text)
    return arguments


def _without_newlines(text: str) -> str:
    """A value without the newline after its opening tag and that before its closing one."""
    text = text.removeprefix("\n")
    return text.removesuffix("\n")
