"""What is wrong with a suite in a file, in words, by line and field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NoReturn

from ...checks import did_you_mean
from ...errors import MullamaError, SuiteError, shown
from .document import Document, named
from .plain import Place

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

__all__ = ["blaming", "check_document", "refuse"]

_MOST_TOLD = 8
_MOST_FOUND = 1000
_MOST_SAID = 300
_MOST_NAMES = 24
_KINDS = {
    "string": "a text",
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_LIKE_SWITCHES = ("yes", "no", "on", "off", "y", "n")


def refuse(document: Document, place: Place, what: str) -> NoReturn:
    """Raise the error of a mistake at a place."""
    raise SuiteError(f"{shown(document.name, 200)}, {_told(document, place, what)}")


@contextmanager
def blaming(document: Document, place: Place) -> Iterator[None]:
    """Give an error from within its line and field."""
    try:
        yield
    except SuiteError:
        raise
    except (MullamaError, TypeError) as error:
        what = str(error)
        # Most messages begin with the name of the value that is wrong.
        first = re.match(r"[a-z_]\w*", what)
        inner = (*place, first[0]) if first is not None else place
        refuse(document, inner if document.holds(inner) else place, what)


def check_document(document: Document, schema: Mapping[str, Any]) -> None:
    """Check a document against a schema.

    Raises
    ------
    SuiteError
        With all mistakes, the first ones in words.
    """
    from jsonschema import Draft202012Validator  # 100 ms that no other use of the package needs

    errors = Draft202012Validator(schema).iter_errors(document.value)
    found = chain.from_iterable(_mistakes(error, (), _Elsewhere(schema)) for error in errors)
    told = dict.fromkeys(islice(found, _MOST_FOUND))
    if not told:
        return
    in_order = sorted(told, key=lambda each: document.line(each[0]))
    lines = [_told(document, place, what) for place, what in in_order[:_MOST_TOLD]]
    if len(in_order) > _MOST_TOLD:
        lines.append(f"and {len(in_order) - _MOST_TOLD:,} more")
    raise SuiteError(f"{shown(document.name, 200)}, " + "\n".join(lines))


class _Elsewhere:
    """Where else in a suite a name can stand."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._names = {
            "each of settings": schema["$defs"]["setting"]["properties"],
            "each of cases": schema["$defs"]["case"]["properties"],
            "the suite itself": schema["properties"],
        }

    def words(self, name: str) -> str:
        places = [place for place, names in self._names.items() if name in names]
        return f"it can stand in {' or '.join(places)}" if places else ""


def _told(document: Document, place: Place, what: str) -> str:
    field = f", {shown(named(place), 120)}" if place else ""
    return f"line {document.line(place)}{field}: {shown(what, _MOST_SAID)}"


def _mistakes(
    error: ValidationError, above: Place, elsewhere: _Elsewhere
) -> Iterator[tuple[Place, str]]:
    """Where and what: one error of the validator may be several of the writer's."""
    place: Place = (*above, *error.relative_path)
    value, given = error.instance, error.validator_value
    match error.validator:
        case "type":
            yield place, _of_type([given] if isinstance(given, str) else [*given], value)
        case "additionalProperties":
            known = [*error.schema.get("properties", ())]
            for name in value:
                if name not in known:
                    yield (*place, name), _unknown(name, known, elsewhere)
        case "required":
            # The validator has an error for each name, and says which in its message alone.
            missing = next(name for name in given if error.message.startswith(repr(name)))
            yield place, f"{missing} is missing"
        case "enum" | "const":
            yield place, _not_among(value, [given] if error.validator == "const" else [*given])
        case "anyOf" | "oneOf":
            yield from _of_several(error, place, elsewhere)
        case "pattern" if "propertyNames" in error.relative_schema_path:
            about = error.schema.get("description", f"a key like {given}")
            yield (*place, value), f"{shown(repr(value))} is not {about}"
        case _:
            yield place, _in_words(error, is_check="checks" in place)


def _in_words(error: ValidationError, *, is_check: bool) -> str:
    value, given = error.instance, error.validator_value
    about = error.schema.get("description")
    hint = f". {about}" if is_check and isinstance(about, str) else ""
    match error.validator:
        case "minimum":
            return f"{shown(value)} is below {given:g}{hint}"
        case "maximum":
            return f"{shown(value)} is above {given:g}{hint}"
        case "exclusiveMinimum":
            return f"{shown(value)} is not above {given:g}{hint}"
        case "exclusiveMaximum":
            return f"{shown(value)} is not below {given:g}{hint}"
        case "minLength" | "minProperties":
            return "there is nothing in it"
        case "minItems" if not value:
            return "there is nothing in it"
        case "minItems" | "maxItems":
            bound = "more" if error.validator == "minItems" else "less"
            return f"there are {_length(value)}; give {given} or {bound}"
        case "maxProperties":
            return _too_many(value)
        case "pattern":
            return f"{shown(repr(value))} does not match {shown(given)}{hint}"
        case _:
            return f"{shown(error.message, 200)}{hint}"


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, dict)) else 0


def _too_many(value: Any) -> str:
    names = " and ".join(shown(name, 40) for name in [*value][:6])
    return f"{names} stand in one item; give each an item of its own, with a hyphen"


def _of_type(kinds: Sequence[str], value: Any) -> str:
    wanted = " or ".join(_KINDS.get(kind, kind) for kind in kinds)
    what = f"it must be {wanted}, not {_shown_value(value)}"
    if isinstance(value, str):
        if "boolean" in kinds and value.lower() in _LIKE_SWITCHES:
            return f"{what}; write true or false"
        if "array" in kinds:
            return f"{what}; write [{shown(value, 40)}]"
        is_quoted = {"number", "integer"} & {*kinds} and re.fullmatch(r"[-+.\d]+", value)
        return f"{what}; write it without quotes" if is_quoted else what
    if "string" in kinds and isinstance(value, (int, float)):
        return f"{what}; write it between quotes"
    return what


def _shown_value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return shown(repr(value))


def _unknown(name: str, known: Sequence[str], elsewhere: _Elsewhere) -> str:
    hint = elsewhere.words(name) or did_you_mean(name, known)
    listed = _listed([each for each in known if not each.startswith("$")])
    return f"there is nothing of that name; {hint or f'there is {listed}'}"


def _not_among(value: Any, names: Sequence[Any]) -> str:
    texts = [name for name in names if isinstance(name, str)]
    hint = did_you_mean(value, texts) if isinstance(value, str) else ""
    return f"{_shown_value(value)} is unknown; {hint or f'there is {_listed(names)}'}"


def _listed(names: Sequence[Any]) -> str:
    words = [shown(name, 40) for name in names[:_MOST_NAMES]]
    return ", ".join([*words, "..."] if len(names) > _MOST_NAMES else words)


def _of_several(
    error: ValidationError, place: Place, elsewhere: _Elsewhere
) -> Iterator[tuple[Place, str]]:
    """The mistakes of the alternative that was meant, which is the one that gets furthest."""
    wanted = [name for each in error.validator_value for name in each.get("required", ())]
    if not error.context:  # several alternatives hold
        if isinstance(error.instance, dict):
            yield place, f"{' and '.join(wanted)} exclude each other; give one of them"
        return
    ways: dict[Any, list[ValidationError]] = {}
    for each in error.context:
        ways.setdefault(each.relative_schema_path[0], []).append(each)
    if all(map(_wants, ways.values())):
        kinds = dict.fromkeys(kind for way in ways.values() for kind in _wants(way))
        yield place, _of_type([*kinds], error.instance)
        return
    if all(_lacks(way) for way in ways.values()):
        yield place, f"{' or '.join(wanted)} is missing"
        return
    meant = [way for way in ways.values() if not _wants(way)]
    for each in max(meant, key=_how_far):
        yield from _mistakes(each, place, elsewhere)


def _wants(way: Iterable[ValidationError]) -> list[str]:
    """The kinds that an alternative is of, where the value is of none of them."""
    for each in way:
        if not each.relative_path and each.validator in ("type", "const"):
            kinds = each.validator_value
            return [kinds] if isinstance(kinds, str) else [*kinds]
    return []


def _lacks(way: Iterable[ValidationError]) -> bool:
    return all(each.validator == "required" and not each.relative_path for each in way)


def _how_far(way: Sequence[ValidationError]) -> tuple[bool, int]:
    """How likely an alternative is meant: it has what it needs, and least is wrong in it."""
    return not any(each.validator == "required" for each in way), -len(way)
