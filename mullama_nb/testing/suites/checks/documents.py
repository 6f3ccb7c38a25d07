"""A check of an answer that is a JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from ....errors import ParameterError, shown
from .check import Check, Finding
from .searching import found_in, may_run_away
from .subject import Subject

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["JSONSchema", "json_schema"]

_MOST_REFERENCES = 20_000  # followed for one answer: a few lines of schema can ask for 2**100
_MOST_SHOWN = 120


@dataclass(frozen=True, slots=True, repr=False)
class JSONSchema(Check):
    """See :func:`json_schema`.

    Attributes
    ----------
    text : str
        The schema, as JSON with sorted keys.
    """

    kind: ClassVar[str] = "json_schema"
    file_schema: ClassVar[Mapping[str, Any]] = {"type": "object"}

    text: str

    def __post_init__(self) -> None:
        _check_schema(json.loads(self.text))

    def judge(self, subject: Subject) -> Finding:
        """Read the answer as JSON, and hold it against the schema."""
        try:
            document = json.loads(subject.text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            why = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
            answer = shown(repr(subject.text), _MOST_SHOWN)
            return self._found(passed=False, detail=f"the answer is not JSON: {why}, in {answer}")
        problem = _problem(json.loads(self.text), document)
        if problem is not None:
            return self._found(passed=False, detail=problem)
        return self._found(passed=True, detail="the answer is JSON that the schema allows")

    @classmethod
    def from_value(cls, value: Any) -> Self:
        """Return the check of a schema in a file."""
        return cls(_as_text(value))

    def _arguments(self) -> dict[str, Any]:
        return {"schema": json.loads(self.text)}

    def _file_value(self) -> Any:
        return json.loads(self.text)


def json_schema(schema: Mapping[str, Any]) -> Check:
    """Demand that the answer is JSON, and as a schema says.

    To make a model answer so, give the schema to the case, too, as a sampling parameter of the same
    name.

    Parameters
    ----------
    schema : mapping
        A JSON schema of any draft; ``$schema`` names another than 2020-12. Its references lead to
        places within it: nothing is read or fetched for it. ``format`` is not checked.

    Raises
    ------
    ParameterError
        When it is not a JSON schema, or refers to something outside.
    """
    return JSONSchema(_as_text(schema))


def _as_text(schema: object) -> str:
    if not isinstance(schema, Mapping):
        raise ParameterError(f"schema must be a mapping, a JSON schema, not {shown(schema)}")
    try:
        return json.dumps(schema, sort_keys=True, allow_nan=False, default=_refuse_value)
    except (TypeError, ValueError, RecursionError) as error:
        why = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
        raise ParameterError(f"schema cannot be written as JSON: {why}") from None


def _refuse_value(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{shown(value)} is no value of JSON")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")


def _check_schema(schema: dict[str, Any]) -> None:
    from jsonschema import SchemaError
    from referencing.exceptions import Unresolvable

    try:
        _validator_class(schema).check_schema(schema)
        found = [*_mappings(schema)]
    except SchemaError as error:
        raise ParameterError(
            f"schema is not a JSON schema: at {shown(error.json_path)}, {shown(error.message, 200)}"
        ) from None
    except RecursionError:
        raise ParameterError("schema nests too deeply") from None
    for each in found[1:]:
        if isinstance(each.get("$schema"), str):
            raise ParameterError("schema names its draft within it: only the outermost $schema may")
    for each in found:
        patterns = each.get("patternProperties")
        for pattern in patterns if isinstance(patterns, dict) else ():
            if may_run_away(pattern):
                raise ParameterError(
                    f"schema has patternProperties {shown(repr(pattern))}, which may take for ever "
                    "on some text: give a pattern with one repetition or alternative at most"
                )
    if any(isinstance(each.get(key), str) for each in found for key in ("$id", "id")):
        return  # where a reference leads depends on where it stands: seen when it is followed
    resolver = _resolver(schema)
    for each in found:
        for key in ("$ref", "$dynamicRef"):
            if isinstance(reference := each.get(key), str):
                try:
                    resolver.lookup(reference)
                except Unresolvable:
                    raise _leads_nowhere(reference) from None


def _mappings(value: object) -> Iterator[dict[str, Any]]:
    """Yield all mappings in a document, the outermost first."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _mappings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _mappings(each)


def _leads_nowhere(reference: str) -> ParameterError:
    return ParameterError(
        f"schema refers to {shown(repr(reference))}, which is not in it: nothing is read or "
        "fetched for a schema, so put it under $defs"
    )


def _validator_class(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    name = schema.get("$schema")
    found = validator_for(schema, default=None)
    if name is not None and found is None:
        raise ParameterError(f"schema is of {shown(repr(name))}, which is no draft of JSON schema")
    return found or Draft202012Validator


def _resolver(schema: dict[str, Any]) -> Any:
    import referencing
    from referencing.jsonschema import specification_with

    specification = specification_with(_validator_class(schema).META_SCHEMA["$schema"])
    resource = specification.create_resource(schema)
    return referencing.Registry().resolver_with_root(resource)


def _problem(schema: dict[str, Any], document: object) -> str | None:
    """What the schema does not allow, in words; None if it allows all."""
    from jsonschema import validators
    from jsonschema.exceptions import ValidationError, best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    stock = _validator_class(schema)
    schema.pop("$schema", None)  # a reference to the outermost schema would lead out of ours
    n_followed = 0

    def counted(follow: Any) -> Any:
        def function(*arguments: Any) -> Any:
            nonlocal n_followed
            n_followed += 1
            if n_followed > _MOST_REFERENCES:
                raise ParameterError(
                    f"schema follows more than {_MOST_REFERENCES:,} references for one answer: "
                    "some of its $defs refer to each other too often"
                )
            return follow(*arguments)

        return function

    def pattern(_validator: Any, wanted: str, instance: object, _schema: Any) -> Any:
        if isinstance(instance, str) and found_in(wanted, instance) is None:
            yield ValidationError(f"{instance!r} does not match {wanted!r}")

    references = ("$ref", "$dynamicRef", "$recursiveRef")
    changed = {key: counted(stock.VALIDATORS[key]) for key in references if key in stock.VALIDATORS}
    if "pattern" in stock.VALIDATORS:
        changed["pattern"] = pattern
    ours = validators.extend(stock, changed)
    try:
        error = best_match(ours(schema, registry=Registry()).iter_errors(document))
    except Unresolvable as unresolvable:
        raise _leads_nowhere(unresolvable.ref) from None
    except RecursionError:
        return "the answer nests too deeply for the schema, or the schema refers to itself"
    except OverflowError as overflow:
        return f"the answer has a number that is too large: {overflow}"
    if error is None:
        return None
    return f"at {shown(error.json_path)}, {shown(error.message, 200)}"
