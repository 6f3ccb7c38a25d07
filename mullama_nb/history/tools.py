"""Tools: Python functions described as schemas, and their calls checked and run."""

from __future__ import annotations

import enum
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ..checks import check_list
from ..engine.answers.format import ToolCall
from ..errors import ParameterError, SessionMismatchError, shown

__all__ = ["Tool", "ToolError", "Tools", "schema_of"]

Tool: TypeAlias = Callable[..., Any] | Mapping[str, Any]

_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}
_LISTS = (list, tuple, set, frozenset)
_SECTION = re.compile(r"^\s*(?:Parameters|Args|Arguments)\s*:?\s*$")
_RULE = re.compile(r"^\s*-{3,}\s*$")
_NUMPY = re.compile(r"^(\*{0,2}\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_GOOGLE = re.compile(r"^(\*{0,2}\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


class ToolError(Exception):
    """A call that cannot be run, in words for the model."""


class Tools:
    """The tools of a chat.

    Parameters
    ----------
    tools : sequence of callable or mapping, optional
        Functions, and schemas as chat templates take them.

    Attributes
    ----------
    schemas : list of mapping or None
        What the template gets; None if there are none.
    functions : mapping of str to callable
        Those that may be run, by name.

    Raises
    ------
    ParameterError
        When one is neither, or two have one name.
    """

    def __init__(self, tools: Sequence[Tool] | None) -> None:
        self.functions: dict[str, Callable[..., Any]] = {}
        schemas: list[Mapping[str, Any]] = []
        given = [] if tools is None else check_list("tools", tools, "functions or schemas")
        for tool in given:
            if callable(tool):
                schema = schema_of(tool)
                name = schema["function"]["name"]
                if name in self.functions:
                    raise ParameterError(f"two tools have the name {name!r}; rename one of them")
                self.functions[name] = tool
                schemas.append(schema)
            elif isinstance(tool, Mapping):
                schemas.append(tool)
            else:
                raise ParameterError(
                    f"tools are functions or schemas, as the chat template takes them, not "
                    f"{shown(repr(tool))}"
                )
        self.schemas = None if tools is None else schemas

    def check_same(self, schemas: Sequence[Mapping[str, Any]] | None) -> None:
        """Check that these are the tools of a chat, which its prompts describe.

        Raises
        ------
        SessionMismatchError
        """
        here = {_name(tool): tool for tool in self.schemas or ()}
        there = {_name(tool): dict(tool) for tool in schemas or ()}
        names = sorted({*here, *there})
        differing = [name for name in names if here.get(name) != there.get(name)]
        if differing:
            raise SessionMismatchError(
                f"the chat was made with other tools: {', '.join(map(repr, differing))} "
                "differ in name, parameters or docstring. Give those that it was made with, or "
                "make a new chat"
            )

    def run(self, call: ToolCall) -> str:
        """Run a call and return its result as text.

        Raises
        ------
        ToolError
            When there is no such function, or the arguments are not its own.
        Exception
            Whatever the function raises.
        """
        function = self.functions.get(call.name)
        if function is None:
            names = ", ".join(map(repr, self.functions))
            raise ToolError(f"there is no tool {call.name!r}; there are: {names}")
        try:
            inspect.signature(function).bind(**call.arguments)
        except TypeError as error:
            raise ToolError(f"the arguments of {call.name!r} are wrong: {error}") from None
        parameters = schema_of(function)["function"]["parameters"]["properties"]
        for name, value in call.arguments.items():
            _check(name, value, parameters.get(name, {}))
        return _text(function(**call.arguments))


def _name(tool: Mapping[str, Any]) -> str:
    return str(tool.get("function", tool).get("name"))


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the schema of a function, in OpenAI's form.

    Names and types come from its signature, what it is for from the docstring's first paragraph,
    what a parameter is from its section of parameters, in numpy's style or Google's. A parameter
    without a default is required.

    Raises
    ------
    ParameterError
        When it has no name or signature, or takes arguments by position alone.
    """
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise ParameterError(f"a tool needs a name, and {shown(repr(function))} has none: use def")
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function)
    except (TypeError, ValueError, NameError) as error:
        raise ParameterError(f"the tool {name!r} cannot be described: {error}") from None
    about, described = _documented(inspect.getdoc(function) or "")
    properties: dict[str, Any] = {}
    required = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ParameterError(f"the tool {name!r} takes {parameter.name!r} by position alone")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        schema = _schema(hints.get(parameter.name, Any))
        if parameter.name in described:
            schema["description"] = described[parameter.name]
        properties[parameter.name] = schema
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    parameters = {"type": "object", "properties": properties, "required": required}
    return {
        "type": "function",
        "function": {"name": name, "description": about, "parameters": parameters},
    }


def _schema(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        schema = _schema(arguments[0])
        words = [word for word in arguments[1:] if isinstance(word, str)]
        return schema | ({"description": words[0]} if words else {})
    if origin in (typing.Union, types.UnionType):
        kinds = [_schema(each) for each in arguments if each is not type(None)]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [each.value for each in hint]}
    kind = origin or hint
    if kind in _LISTS or kind is Sequence:
        inner = _schema(arguments[0]) if arguments and arguments[0] is not Ellipsis else {}
        return {"type": "array"} | ({"items": inner} if inner else {})
    if kind is Mapping:
        return {"type": "object"}
    return {"type": _JSON_TYPES[kind]} if kind in _JSON_TYPES else {}


# -- docstrings ------------------------------------------------------------------------------


def _documented(text: str) -> tuple[str, dict[str, str]]:
    """The first paragraph of a docstring, and the descriptions of its parameters."""
    about = " ".join(text.split("\n\n")[0].split())
    lines = text.splitlines()
    begin = next((n for n, line in enumerate(lines) if _SECTION.match(line)), None)
    if begin is None:
        return about, {}
    body = lines[begin + 1 :]
    if body and _RULE.match(body[0]):
        return about, _of_numpy(body[1:])
    return about, _of_google(body)


def _of_numpy(lines: Sequence[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for at, line in enumerate(lines):
        if at + 1 < len(lines) and _RULE.match(lines[at + 1]):  # the next section
            break
        if line[:1].isspace():
            for name in names:
                found[name].append(line.strip())
        elif match := _NUMPY.match(line.strip()):
            names = [name.strip().lstrip("*") for name in match.group(1).split(",")]
            found.update((name, []) for name in names)
    return {name: " ".join(filter(None, words)) for name, words in found.items() if any(words)}


def _of_google(lines: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    name, indent = "", None
    for line in lines:
        if line.strip() and not line[:1].isspace():  # the next section
            break
        depth = len(line) - len(line.lstrip())
        indent = depth if indent is None and line.strip() else indent
        match = _GOOGLE.match(line.strip()) if depth == indent else None
        if match is not None:
            name = match.group(1).lstrip("*")
            found[name] = match.group(2)
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found


# -- values ----------------------------------------------------------------------------------


def _check(name: str, value: object, schema: Mapping[str, Any]) -> None:
    """Check an argument against its schema."""
    kinds = schema.get("anyOf", [schema])
    if value is None or any(_fits(value, kind) for kind in kinds):
        return
    wanted = " or ".join(
        f"one of {kind['enum']}" if "enum" in kind else str(kind.get("type")) for kind in kinds
    )
    raise ToolError(f"the argument {name!r} must be {wanted}, not {shown(repr(value))}")


def _fits(value: object, schema: Mapping[str, Any]) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema.get("type")
    if kind is None:
        return True
    if isinstance(value, bool) and kind != "boolean":
        return False
    if not isinstance(value, _PYTHON_TYPES[kind]):
        return False
    items = schema.get("items")
    return not (items and isinstance(value, list)) or all(_fits(item, items) for item in value)


def _text(result: object) -> str:
    if isinstance(result, str):
        return result
    return json.dumps(result, ensure_ascii=False, default=str)
