"""Building a grammar from a JSON schema: all that it generates is valid.

Not all that is valid is generated: properties come in the order of the schema, numbers have at most
16 digits, a schema without a type generates what its keywords speak of. A keyword that is neither
followed nor a mere note is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...checks import did_you_mean
from ...errors import shown
from .schema_keywords import (
    NOTES,
    NUMBER_FORMATS,
    OF_TYPES,
    TYPES,
    check_known,
    counts,
    is_of_type,
    looked_up,
    refused,
)
from .schema_merging import are_disjoint, merged
from .schema_numbers import ANY_INTEGER, ANY_NUMBER, number
from .schema_pattern import pattern_string
from .schema_strings import CHARACTER, FORMATS, literal, other_than, plain_set

__all__ = ["Builder"]

_ANY_STRING = ("binary", "password")  # notes on how it is shown
_BASIC = {
    "space": '" "?',
    "hex": "[0-9a-fA-F]",
    "char": CHARACTER,
    "plain": plain_set([(0, 0x10FFFF)]) or "",
    "string": '"\\"" char* "\\"" space',
    "number": f"{ANY_NUMBER} space",
    "integer": f"{ANY_INTEGER} space",
    "boolean": '("true" | "false") space',
    "null": '"null" space',
    "value": "object | array | string | number | boolean | null",
    "object": '"{" space (member ("," space member)*)? "}" space',
    "member": 'string ":" space value',
    "array": '"[" space (value ("," space value)*)? "]" space',
}


class Builder:
    """The rules of one schema.

    Parameters
    ----------
    schema : mapping or bool
        The whole schema, in which references are looked up.
    """

    def __init__(self, schema: Any) -> None:
        self._root = schema
        self._rules = dict(_BASIC)
        self._of_refs: dict[str, str] = {}

    def grammar(self) -> str:
        """Return the grammar.

        Raises
        ------
        GrammarError
            When the schema has a keyword that no grammar follows; it is named with its place.
        """
        self._rules["root"] = self._visit(self._root, "#")
        return "\n".join(f"{name} ::= {text}" for name, text in self._used().items())

    def _used(self) -> dict[str, str]:
        found: dict[str, str] = {}
        names = ["root"]
        while names:
            name = names.pop()
            if name not in found:
                found[name] = self._rules[name]
                plain = re.sub(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]', " ", found[name])
                names += re.findall(r"[a-zA-Z][a-zA-Z0-9-]*", plain)
        return dict(sorted(found.items(), key=lambda rule: rule[0] != "root"))

    def _rule(self, place: str, text: str) -> str:
        """Make a rule and return its name; one with the same text is used again."""
        words = re.sub(r"[^a-zA-Z0-9]+", "-", place).lower()
        base = f"x-{words[-60:].strip('-')}".strip("-")
        name, n = base, 1
        while name in self._rules and self._rules[name] != text:
            n += 1
            name = f"{base}-{n}"
        self._rules[name] = text
        return name

    # -- what holds together -----------------------------------------------------------------

    def _visit(self, schema: Any, place: str) -> str:
        """The rule of a schema."""
        if schema is True or schema == {}:
            return "value"
        if not isinstance(schema, Mapping):
            why = "allows nothing" if schema is False else "is not a schema"
            raise refused(place.rpartition("/")[2], place, why)
        check_known(schema, place)
        rest = {key: value for key, value in schema.items() if key not in NOTES}
        if "$ref" in rest:
            if len(rest) == 1:
                return self._referred(rest["$ref"], place)
            rest = self._without_references(rest, place, ())
        if "allOf" in rest:
            rest = self._without_references(rest, place, ())
        for keyword in ("anyOf", "oneOf"):
            if keyword in rest:
                return self._union(keyword, rest, place)
        if not rest:
            return "value"
        if "const" in rest or "enum" in rest:
            return self._constants(rest, place)
        types = rest.get("type", self._spoken_of(rest, place))
        if isinstance(types, list):
            if not types:
                raise refused("type", place, "leaves no type")
            ways = [self._of_type({**rest, "type": kind}, kind, place) for kind in types]
            return ways[0] if len(ways) == 1 else self._rule(place, " | ".join(dict.fromkeys(ways)))
        return self._of_type({**rest, "type": types}, types, place)

    def _spoken_of(self, schema: Mapping[str, Any], place: str) -> list[str] | str:
        """The types whose keywords a schema without a type has."""
        kinds = [k for k in ("object", "array", "string", "number") if OF_TYPES[k] & {*schema}]
        if schema.get("format") in NUMBER_FORMATS:
            kinds = ["number"]
        if len(kinds) > 1:
            names = sorted(OF_TYPES[kinds[0]] & {*schema})
            raise refused(names[0], place, f"speaks of {kinds[0]}s: give a type")
        return kinds[0] if kinds else [k for k in TYPES if k != "integer"]

    def _referred(self, ref: Any, place: str) -> str:
        """The rule of a reference, which may lead back to where it stands."""
        schema = looked_up(self._root, ref, place)
        if ref not in self._of_refs:
            name = self._rule(f"{ref}-ref{len(self._of_refs)}", '""')
            self._of_refs[ref] = name
            self._rules[name] = self._visit(schema, str(ref))
        return self._of_refs[ref]

    def _without_references(self, schema: Any, place: str, seen: tuple[str, ...]) -> dict[str, Any]:
        """A schema with what it refers to, and with all of ``allOf``, as one."""
        if not isinstance(schema, Mapping):
            return self._plain_bool(schema, place)
        check_known(schema, place)
        rest = {k: v for k, v in schema.items() if k not in ("$ref", "allOf") and k not in NOTES}
        parts: list[tuple[Any, str, tuple[str, ...]]] = []
        if "$ref" in schema:
            ref = schema["$ref"]
            if ref in seen:
                raise refused("$ref", place, "refers to itself beside other keywords")
            parts.append((looked_up(self._root, ref, place), str(ref), (*seen, ref)))
        together = schema.get("allOf", [])
        if not isinstance(together, list):
            raise refused("allOf", place, "is not a list")
        parts += [(each, f"{place}/allOf/{i}", seen) for i, each in enumerate(together)]
        for part, where, refs in parts:
            more = self._without_references(part, where, refs)
            rest = merged(rest, more, place, NOTES.__contains__)
        return rest

    def _plain_bool(self, schema: Any, place: str) -> dict[str, Any]:
        if schema is True:
            return {}
        raise refused(place.rpartition("/")[2], place, "allows nothing, or is not a schema")

    def _union(self, keyword: str, schema: dict[str, Any], place: str) -> str:
        ways = schema.pop(keyword)
        if not isinstance(ways, list) or not ways:
            raise refused(keyword, place, "is not a list of schemas")
        places = [f"{place}/{keyword}/{i}" for i in range(len(ways))]
        if schema:
            pairs = zip(ways, places, strict=True)
            whole = [self._without_references(way, at, ()) for way, at in pairs]
            ways = [merged(schema, way, place, NOTES.__contains__) for way in whole]
        if keyword == "oneOf":
            self._check_apart(ways, places, place)
        rules = [self._visit(way, at) for way, at in zip(ways, places, strict=True)]
        return self._rule(place, " | ".join(dict.fromkeys(rules)))

    def _check_apart(self, ways: Sequence[Any], places: Sequence[str], place: str) -> None:
        whole = [self._without_references(w, p, ()) for w, p in zip(ways, places, strict=True)]
        for i, own in enumerate(whole):
            mine = own
            if not {"type", "const", "enum", "anyOf", "oneOf"} & {*own}:
                mine = {**own, "type": self._spoken_of(own, places[i])}
            for j, other in enumerate(whole):
                if i != j and not are_disjoint(mine, other):
                    raise refused(
                        "oneOf",
                        place,
                        f"has alternatives {min(i, j)} and {max(i, j)} that one value may fit; "
                        "use anyOf, or give them a required property with other constants",
                    )

    def _constants(self, schema: Mapping[str, Any], place: str) -> str:
        values = schema.get("enum", [schema.get("const")])
        if not isinstance(values, list):
            raise refused("enum", place, "is not a list")
        if "const" in schema and "enum" in schema:
            values = [value for value in values if value == schema["const"]]
        if others := sorted({*schema} - {"enum", "const", "type"}):
            raise refused(others[0], place, "beside constants is not supported")
        kinds = schema.get("type", list(TYPES))
        kinds = [kinds] if isinstance(kinds, str) else kinds
        texts = [
            f"{literal(v)} space" for v in values if any(is_of_type(v, kind) for kind in kinds)
        ]
        if not texts:
            raise refused("enum", place, "leaves no value")
        return self._rule(place, " | ".join(dict.fromkeys(texts)))

    # -- types -------------------------------------------------------------------------------

    def _of_type(self, schema: Mapping[str, Any], kind: Any, place: str) -> str:
        if kind not in TYPES:
            hint = did_you_mean(str(kind), TYPES)
            why = f"is {shown(repr(kind))}, which is not a type{hint and f' ({hint})'}"
            raise refused("type", place, why)
        spoken = OF_TYPES.get(kind, set()) & {*schema}
        if kind == "integer" and schema.get("format") in NUMBER_FORMATS:
            spoken.add("format")
        if kind in ("boolean", "null") or not spoken:
            return str(kind)
        build = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._number,
        }
        return build[kind](schema, place)

    def _string(self, schema: Mapping[str, Any], place: str) -> str:
        low, high = counts(schema, "minLength", "maxLength", place)
        kind = schema.get("format")
        if kind in _ANY_STRING or kind in NUMBER_FORMATS:
            kind = None
        if kind is not None:
            if kind not in FORMATS:
                names = ", ".join(FORMATS)
                raise refused("format", place, f"is {shown(repr(kind))}; there is {names}")
            if others := sorted({"pattern", "minLength", "maxLength"} & {*schema}):
                raise refused(others[0], place, "beside a format is not supported")
            text = FORMATS[kind]
        elif "pattern" in schema:
            if not isinstance(schema["pattern"], str):
                raise refused("pattern", place, "is not a text")
            text = pattern_string(schema["pattern"], low, high, place)
        elif (low, high) == (0, None):
            return "string"
        else:
            text = f"char{_times(low, high)}" if high != 0 else ""
        return self._rule(place, f'"\\"" {text} "\\"" space')

    def _number(self, schema: Mapping[str, Any], place: str) -> str:
        return self._rule(place, f"{number(schema, place)} space")

    # -- arrays ------------------------------------------------------------------------------

    def _array(self, schema: Mapping[str, Any], place: str) -> str:
        low, high = counts(schema, "minItems", "maxItems", place)
        if schema.get("uniqueItems") not in (None, False) and (high is None or high > 1):
            raise refused("uniqueItems", place, "is not supported")
        items, first = schema.get("items", True), schema.get("prefixItems", [])
        first_name = "prefixItems"
        if isinstance(items, list):  # up to draft 2019-09
            first, items, first_name = items, schema.get("additionalItems", True), "items"
        if not isinstance(first, list):
            raise refused("prefixItems", place, "is not a list")
        first = first[:high]
        fixed = [self._visit(each, f"{place}/{first_name}/{i}") for i, each in enumerate(first)]
        if items is False and len(fixed) < low:
            raise refused("minItems", place, "asks for more items than there are")
        low, high = max(0, low - len(fixed)), None if high is None else high - len(fixed)
        is_open = "items" in schema or not fixed or low > 0
        if items is False or not is_open or high == 0:
            return self._rule(place, f'"[" space {_listed(fixed)} "]" space')
        item = self._visit(items, f"{place}/items")
        then = self._rule(f"{place}-then", f'"," space {item}')
        if fixed:
            more = f"{then}{_times(low, high)}"
            return self._rule(place, f'"[" space {_listed(fixed)} {more} "]" space')
        behind = _times(max(0, low - 1), None if high is None else high - 1)
        # A rule of its own: llama.cpp counts what is in parentheses once more.
        some = self._rule(f"{place}-items", f"{item} {then}{behind}" if behind else item)
        return self._rule(place, f'"[" space {some}{"" if low else "?"} "]" space')

    # -- objects -----------------------------------------------------------------------------

    def _object(self, schema: Mapping[str, Any], place: str) -> str:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, Mapping):
            raise refused("properties", place, "is not a mapping")
        if not isinstance(required, list) or not all(isinstance(n, str) for n in required):
            raise refused("required", place, "is not a list of names")
        named = {name: (each, f"{place}/properties/{name}") for name, each in properties.items()}
        more, more_place = schema.get("additionalProperties"), f"{place}/additionalProperties"
        key, more, more_place = self._keys(schema, more, more_place, place)
        for name in required:
            if name not in named:
                if more is False or key is not None:
                    why = f"names {shown(repr(name))}, which is not allowed"
                    raise refused("required", place, why)
                named[name] = True if more is None else more, more_place
        low, high = counts(schema, "minProperties", "maxProperties", place)
        if low > len(required):
            raise refused("minProperties", place, "beyond the required ones is not supported")
        members = {
            name: self._rule(
                f"{where}-kv", f'{literal(name)} space ":" space {self._visit(each, where)}'
            )
            for name, (each, where) in named.items()
            if each is not False or name in required
        }
        free = None
        if more not in (None, False):
            key = key or self._free_key(list(named), place)
            value = self._visit(more, more_place)
            free = self._rule(f"{more_place}-kv", f'{key} ":" space {value}')
        if high is not None and (len(members) > high or free is not None):
            if members:
                raise refused("maxProperties", place, "beside optional ones is not supported")
            return self._rule(place, f'"{{" space {_counted(free, high)} "}}" space')
        musts = [members[name] for name in members if name in required]
        mays = [members[name] for name in members if name not in required]
        return self._rule(place, f'"{{" space {self._members(musts, mays, free, place)} "}}" space')

    def _keys(
        self, schema: Mapping[str, Any], more: Any, more_place: str, place: str
    ) -> tuple[str | None, Any, str]:
        """The rule of keys that are not named, if it is said, with the schema of their values."""
        patterns, names = schema.get("patternProperties"), schema.get("propertyNames")
        if patterns:
            alone = isinstance(patterns, Mapping) and len(patterns) == 1
            if not alone or schema.get("properties") or more not in (None, True, False) or names:
                raise refused("patternProperties", place, "beside others is not supported")
            ((pattern, more),) = patterns.items()
            more_place = f"{place}/patternProperties/{pattern}"
            keys = self._visit({"type": "string", "pattern": pattern}, more_place)
            return keys, more, more_place
        if names is not None and names is not True:
            if schema.get("properties") or not isinstance(names, Mapping):
                raise refused("propertyNames", place, "beside properties is not supported")
            keys = self._visit({"type": "string", **names}, f"{place}/propertyNames")
            return keys, True if more is None else more, more_place
        return None, more, more_place

    def _free_key(self, names: Sequence[str], place: str) -> str:
        """The rule of keys that are none of some names; none of its characters is escaped."""
        if not names:
            return "string"
        return self._rule(f"{place}-key", f'"\\"" {other_than(names)} "\\"" space')

    def _members(
        self, musts: Sequence[str], mays: Sequence[str], free: str | None, place: str
    ) -> str:
        """What is in the braces: the required members, then any of the others, in order."""
        tail = f'("," space {free})*' if free else ""
        rests = [tail]  # what may follow behind each of those that may be left out
        for may in reversed(mays):
            text = f'("," space {may})? {rests[0]}'.strip()
            rests.insert(0, self._rule(f"{place}-rest", text))
        if musts:
            return f"{_listed(musts)} {rests[0]}".strip()
        ways = [f"{may} {rest}".strip() for may, rest in zip(mays, rests[1:], strict=True)]
        if free:
            ways.append(f"{free} {tail}")
        return f"({' | '.join(ways)})?" if ways else ""


def _listed(rules: Sequence[str]) -> str:
    return ' "," space '.join(rules)


def _times(low: int, high: int | None) -> str:
    """The repetitions of a rule; empty for none."""
    if high == 0:
        return ""
    return f"{{{low},{'' if high is None else high}}}"


def _counted(rule: str | None, high: int) -> str:
    """At most so many members of one kind."""
    if rule is None or high == 0:
        return ""
    return f'({rule} ("," space {rule}){{0,{high - 1}}})?'
