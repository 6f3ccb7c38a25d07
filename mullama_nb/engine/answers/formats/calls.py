"""Calls of tools, read from the text between their marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from .literals import Literals, json_value
from .parsed import ToolCall, call_id
from .xml_calls import xml_calls

__all__ = ["SYNTAXES", "Found", "Schemas", "Syntax", "read_calls", "schemas_of"]

Found: TypeAlias = tuple[str, dict[str, Any], str | None]
"""A call's name, arguments and id."""
Schemas: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The properties of each tool's parameters."""
Syntax: TypeAlias = Callable[[str, Schemas], list[Found]]

_TAG = re.compile(r"<[^<>\n]*>|\[[A-Z_]+\]|```(?:json)?")
_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([\w.-]+)")
_FUNCTION = re.compile(r"<function=([^<>\n]+)>")
_WORD = re.compile(r"[^\W\d][\w.-]*(?::\d+)?|[\w-]+")
_CALL_ID = re.compile(r"\[CALL_ID\]\s*([^\s\[\]]+)")
_GEMMA = re.compile(r"call:\s*([^\s{}]+?)\s*\{")
_VALUE = re.compile(r"\[[A-Z_]+\]|[\[{]")
_NAMES = ("name", "tool_name", "function")
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_IDS = ("id", "tool_call_id", "call_id")
_GEMMA_QUOTE = '<|"|>'


def schemas_of(tools: Sequence[Mapping[str, Any]] | None) -> Schemas:
    """Return the properties of each tool's parameters."""
    found: dict[str, Mapping[str, Any]] = {}
    for tool in tools or ():
        function = tool.get("function", tool)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            continue
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        found[function["name"]] = properties if isinstance(properties, Mapping) else {}
    return found


def read_calls(
    block: str, syntaxes: Sequence[Syntax], schemas: Schemas, first: int
) -> list[ToolCall]:
    """Return the calls in a block; one with an error where none can be read.

    Parameters
    ----------
    block : str
        From an opening mark up to the next part, with the marks.
    syntaxes : sequence of Syntax
        In order of preference.
    schemas : Schemas
    first : int
        How many calls there were before.
    """
    why = ""
    for syntax in syntaxes:
        try:
            found = syntax(block, schemas)
        except (ValueError, RecursionError) as error:
            why = why or str(error)
            continue
        if found:
            return [
                ToolCall(given or call_id(first + i, f"{name} {arguments}"), name, arguments, block)
                for i, (name, arguments, given) in enumerate(found)
            ]
    return [
        ToolCall(
            call_id(first, block), "", {}, block, f"the call cannot be read: {why or 'it is empty'}"
        )
    ]


# -- syntaxes --------------------------------------------------------------------------------


def _objects(block: str, _schemas: Schemas) -> list[Found]:
    """JSON objects with a name and arguments, alone, in a list, or in a row."""
    return [call for _, value in _values(block) for call in _calls_in(value)]


def _named(block: str, _schemas: Schemas) -> list[Found]:
    """A name before each JSON object of arguments."""
    found: list[Found] = []
    for head, value in _values(block):
        name, given = _name_in(head)
        if not isinstance(value, dict):
            raise ValueError("the arguments are no JSON object")
        found.append((name, value, given))
    return found


def _single(block: str, _schemas: Schemas) -> list[Found]:
    """JSON objects whose only key is the name: Apertus's."""
    found: list[Found] = []
    for _, value in _values(block):
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, dict) or len(each) != 1:
                raise ValueError("a call has one key, its name")
            ((name, arguments),) = each.items()
            if not isinstance(arguments, dict):
                raise ValueError("the arguments are no JSON object")
            found.append((name, arguments, None))
    return found


def _gemma(block: str, _schemas: Schemas) -> list[Found]:
    """Gemma 4's: ``call:name{key:<|"|>text<|"|>,other:3}``."""
    found: list[Found] = []
    at = 0
    while (match := _GEMMA.search(block, at)) is not None:
        literals = Literals(block, match.end(), (_GEMMA_QUOTE,), escapes=False)
        found.append((match.group(1), literals.pairs("}", ":"), None))
        at = literals.at
    if not found:
        raise ValueError("there is no call in it")
    return found


def _python(block: str, _schemas: Schemas) -> list[Found]:
    """Python's: ``[name(key="text", other=3)]``; LFM2's, and Llama's after ``<|python_tag|>``."""
    text = _TAG.sub(lambda tag: " " * len(tag.group()), block)
    literals = Literals(text, 0)
    literals.takes("[")
    found: list[Found] = []
    while not found or literals.takes(",") or literals.takes(";"):
        name = literals.name()
        literals.need("(")
        found.append((name.removesuffix(".call"), literals.pairs(")", "="), None))
    literals.takes("]")
    return found


SYNTAXES: Mapping[str, Syntax] = {
    "objects": _objects,
    "named": _named,
    "single": _single,
    "xml": xml_calls,
    "gemma": _gemma,
    "python": _python,
}


# -- for the above ---------------------------------------------------------------------------


def _values(block: str) -> Iterator[tuple[str, Any]]:
    """Yield the JSON values in a text, each with the text before it."""
    at = 0
    while (begin := _next_value(block, at)) is not None:
        value, end = json_value(block, begin)
        yield block[at:begin], value
        at = end
    if not at:
        raise ValueError("there is no JSON in it")


def _next_value(block: str, at: int) -> int | None:
    begins = (match.start() for match in _VALUE.finditer(block, at) if len(match.group()) == 1)
    return next(begins, None)


def _calls_in(value: Any) -> Iterator[Found]:
    if isinstance(value, list):
        for each in value:
            yield from _calls_in(each)
        return
    if not isinstance(value, dict):
        raise ValueError("a call is a JSON object")
    inner = value.get("function")
    if isinstance(inner, dict):  # as OpenAI writes them
        value = {**inner, **{key: value[key] for key in _IDS if key in value}}
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    arguments: Any = next((value[key] for key in _ARGUMENTS if key in value), {})
    if name is None:
        raise ValueError("the call has no name")
    if isinstance(arguments, str):
        arguments, _ = json_value(arguments.strip() or "{}")
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are no JSON object")
    given = next((value[key] for key in _IDS if isinstance(value.get(key), str)), None)
    yield name, arguments, given


def _name_in(head: str) -> tuple[str, str | None]:
    """The name and the id in front of the arguments."""
    for pattern in (_FUNCTION, _RECIPIENT):
        match = pattern.search(head)
        if match is not None:
            return match.group(1), None
    given = _CALL_ID.search(head)
    words = _WORD.findall(_TAG.sub(" ", _CALL_ID.sub(" ", head)))
    if not words:
        raise ValueError("the call has no name")
    name = words[-1]
    if ":" in name:  # Kimi K2: functions.name:0 is the id
        return name.rpartition(":")[0].removeprefix("functions."), name
    if given is None and len(words) == 2 and "<|tool_call:name|>" in head:  # Solar
        return name, words[0]
    return name, None if given is None else given.group(1)
