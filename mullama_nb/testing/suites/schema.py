"""The JSON schema of suites in files, made of the classes that take what they say.

Names and types of options come from ``ContextOptions``, ``SamplingOptions`` and ``LimitOptions``,
their ranges from the modules that check them, what they mean from docstrings, and checks from
their own classes. ``docs/suite.schema.json`` is this, for editors.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from ...engine import params as of_contexts
from ...engine.completion import Limits
from ...engine.options import ContextOptions, LimitOptions, SamplingOptions
from ...engine.params import KV_CACHE_TYPES, ROPE_SCALING, ContextParams
from ...engine.sampling import params as of_sampling
from ...engine.sampling.params import SAMPLERS, SamplingParams
from .checks.check import Check
from .checks.forms import KINDS

__all__ = ["suite_schema"]

_Schema: TypeAlias = "dict[str, Any]"

_MOST_REPEATS = 1000
_MOST_LISTED = 1000  # models, and settings
_NAMES: Mapping[str, Sequence[str]] = {
    "kv_cache_type": [*KV_CACHE_TYPES],
    "rope_scaling": [*ROPE_SCALING],
    "samplers": SAMPLERS,
}
_RANGES: Mapping[str, tuple[float, float | None]] = {
    **of_contexts.RANGES,
    **of_sampling.RANGES,
    "max_tokens": (0, None),
    "reasoning_budget": (0, None),
}
_PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
_TEXT: _Schema = {"type": "string", "minLength": 1}


@cache
def suite_schema() -> _Schema:
    """Return the schema; do not change it."""
    limits = _options(LimitOptions, Limits)
    sampling = _options(SamplingOptions, SamplingParams)
    context = _options(ContextOptions, ContextParams)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A suite of mullama_nb",
        "description": "Cases x models x settings, and what must hold of each.",
        **_mapping(
            {
                "$schema": _said("Where this schema is, for editors.", type="string"),
                "name": _said("What the suite is called; otherwise as its file.", **_TEXT),
                "models": _said(
                    "Names as Model.load takes them, or paths that begin where the file lies.",
                    **_list(_TEXT, least=1, most=_MOST_LISTED),
                ),
                "settings": _said(
                    "Each case is asked with each of them; {} changes nothing.",
                    **_list({"$ref": "#/$defs/setting"}, least=1, most=_MOST_LISTED),
                ),
                "repeat": _said(
                    "Answers of each case, drawn in one batch.",
                    type="integer",
                    minimum=1,
                    maximum=_MOST_REPEATS,
                ),
                "cases": _said("What is asked.", **_list({"$ref": "#/$defs/case"}, least=1)),
            },
            required=["models", "cases"],
        ),
        "$defs": {
            "case": _case(limits | sampling),
            "setting": _setting(context | sampling | limits),
            "check": _checks(),
            "message": {
                "type": "object",
                "required": ["role"],
                "properties": {"role": _TEXT},
                "description": "A message, as chat templates take them.",
            },
            "adapter": _adapter(),
        },
    }


def _case(options: Mapping[str, _Schema]) -> _Schema:
    own = {
        "name": _said("Unique in the suite; otherwise what is said.", **_TEXT),
        "said": {
            "description": "A question, or messages; the last may be how the answer begins.",
            "anyOf": [_TEXT, _list({"$ref": "#/$defs/message"}, least=1)],
        },
        "recording": _said(
            "In place of said: a *.mullama.json file; its path begins where the suite lies.",
            **_TEXT,
        ),
        "checks": _said("What must hold.", **_list({"$ref": "#/$defs/check"})),
    }
    one = {"oneOf": [{"required": ["said"]}, {"required": ["recording"]}]}
    return _said("A question and what must hold.", **_mapping({**own, **options}), **one)


def _setting(options: Mapping[str, _Schema]) -> _Schema:
    own = {
        "name": _said("Its label in results; otherwise what it changes.", **_TEXT),
        "system": _said("The system message; null for none.", type=["string", "null"]),
        "chat_template": _said(
            "Jinja, the name of a template in the model, or a path that ends in .jinja.", **_TEXT
        ),
        "chat_template_kwargs": _said(
            "Variables of the chat template, such as enable_thinking.", type="object"
        ),
        "adapters": _said("What is on.", **_list({"$ref": "#/$defs/adapter"})),
    }
    return _said("What is the same for all cases.", **_mapping({**own, **options}))


def _adapter() -> _Schema:
    path = _said("A GGUF file; its path begins where the suite lies.", **_TEXT)
    layer = {"type": "integer", "minimum": 1}
    shared = {"scale": _said("1: as it was trained.", type="number")}
    layers = _said("The first and the last.", **_list(layer, least=2, most=2))
    kinds = {
        "lora": _mapping({"lora": path, **shared}, required=["lora"]),
        "control_vector": _mapping(
            {"control_vector": path, **shared, "layers": layers}, required=["control_vector"]
        ),
    }
    return {"description": "A LoRA or a control vector.", "anyOf": [*kinds.values()]}


def _checks() -> _Schema:
    """A mapping of one check's name to its arguments."""
    known = {
        name: _said(_summary(_maker(kind)), **_explained(kind.file_schema, _meanings(_maker(kind))))
        for name, kind in KINDS.items()
        if kind.file_schema is not None
    }
    one = {"minProperties": 1, "maxProperties": 1}
    return _said("What must hold.", **_mapping(known), **one)


def _maker(kind: type[Check]) -> Any:
    """The function that makes a check, which has its documentation."""
    return getattr(sys.modules[kind.__module__], kind.kind)


def _explained(schema: Mapping[str, Any], meanings: Mapping[str, str]) -> _Schema:
    """A check's schema, in which arguments say what they are."""
    made = dict(schema)
    if "properties" in made:
        made["properties"] = {
            name: {"description": meanings[name], **each} if name in meanings else each
            for name, each in made["properties"].items()
        }
    if "anyOf" in made:
        made["anyOf"] = [_explained(each, meanings) for each in made["anyOf"]]
    return made


# --- from classes -----------------------------------------------------------------------------


def _options(options: type, params: type) -> dict[str, _Schema]:
    """The keys of a ``TypedDict``, with what its parameter class says of them."""
    meant = _meanings(params)
    return {
        name: {"description": meant[name], **_of_type(name, kind)}
        if name in meant
        else _of_type(name, kind)
        for name, kind in typing.get_type_hints(options).items()
    }


def _of_type(name: str, kind: Any) -> _Schema:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return {}
    if name == "logit_bias":  # JSON has neither whole numbers as keys nor infinity
        bias = {"anyOf": [{"type": "number"}, {"const": "-inf"}]}
        token = {"description": "the id of a token", "pattern": "^[0-9]+$"}
        return {"type": "object", "propertyNames": token, "additionalProperties": bias}
    if origin in (typing.Union, types.UnionType):
        return _union([_of_type(name, each) for each in inner])
    if origin is tuple:
        return _list(_of_type(name, inner[0]), least=len(inner), most=len(inner))
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object"}
    if origin is not None and issubclass(origin, Sequence):
        return _list(_of_type(name, inner[0]))
    if kind is str:
        return {"type": "string"} | ({"enum": [*_NAMES[name]]} if name in _NAMES else {})
    made: _Schema = {"type": _PLAIN[kind]}
    if kind in (int, float) and name in _RANGES:
        least, most = _RANGES[name]
        made |= {"minimum": least} | ({} if most is None else {"maximum": most})
    return made


def _union(parts: Sequence[_Schema]) -> _Schema:
    """One schema of a type and null, which editors show better than two."""
    null = {"type": "null"}
    rest = [part for part in parts if part != null]
    if len(rest) == 1 and len(parts) == 2 and "type" in rest[0]:
        names = {"enum": [*rest[0]["enum"], None]} if "enum" in rest[0] else {}
        return rest[0] | {"type": [rest[0]["type"], "null"]} | names
    return {"anyOf": [*parts]}


def _meanings(kind: Any) -> dict[str, str]:
    """What the docstring of a class or function says of its parameters."""
    section = (inspect.getdoc(kind) or "").partition("Parameters\n----------\n")[2]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.partition("\n\n")[0].splitlines():
        if not line.startswith(" "):
            names = line.partition(" : ")[0].split(", ")
            shared = f"{', '.join(names)}:\n" if len(names) > 1 else ""
            found |= dict.fromkeys(names, shared)
        else:
            found |= {name: f"{found[name]}{line.strip()} " for name in names}
    return {name: _plain(text) for name, text in found.items() if text.endswith(" ")}


def _plain(text: str) -> str:
    return re.sub(r"\bNone\b", "null", " ".join(text.replace("``", "").split()))


def _summary(made: Any) -> str:
    return _plain((inspect.getdoc(made) or "").partition("\n\n")[0].replace("\n", " "))


# --- pieces -----------------------------------------------------------------------------------


def _said(description: str, **schema: Any) -> _Schema:
    return {"description": description, **schema}


def _mapping(properties: Mapping[str, _Schema], required: Sequence[str] = ()) -> _Schema:
    needed = {"required": [*required]} if required else {}
    return {"type": "object", "additionalProperties": False, **needed, "properties": properties}


def _list(items: _Schema, least: int = 0, most: int | None = None) -> _Schema:
    bounds = ({"minItems": least} if least else {}) | ({} if most is None else {"maxItems": most})
    return {"type": "array", "items": items, **bounds}
