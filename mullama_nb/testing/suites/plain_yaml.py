"""YAML as plain values with their lines, read without trust.

There is what JSON has, too: mappings with texts as keys, lists, texts, numbers, ``true``, ``false``
and ``null``, written as YAML 1.2 has them: ``yes``, ``on``, ``12:30`` and ``2026-01-01`` are texts.
An anchor may be repeated, within bounds.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import shown
from .plain import (
    JSON_LINES,
    LINE_END,
    MOST_DEPTH,
    TOO_DEEP,
    Mistake,
    Place,
    not_finite,
    whole,
)

if TYPE_CHECKING:
    from yaml.events import Event, ScalarEvent

__all__ = ["plain_yaml"]

_MOST_VALUES = 50_000  # keys and values, and again after anchors were repeated
_MOST_CHARACTERS = 2**24  # of its texts
_MOST_DIGITS = 400

# The core schema of YAML 1.2, https://yaml.org/spec/1.2.2/#103-core-schema
_NULL = {"", "~", "null", "Null", "NULL"}
_SWITCH = dict.fromkeys(("true", "True", "TRUE"), True)
_SWITCH |= dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(slots=True)
class _Node:
    """A value in YAML; aliases share one."""

    line: int
    value: Any = None  # of a scalar
    items: list[tuple[str | int, _Node]] | None = None
    is_mapping: bool = False
    key: str | None = None  # waits for its value
    keys: dict[str, int] = field(default_factory=dict)

    def add(self, child: _Node) -> None:
        assert self.items is not None
        if self.is_mapping:
            assert self.key is not None
            self.items.append((self.key, child))
            self.key = None
        else:
            self.items.append((len(self.items), child))


def plain_yaml(text: str) -> tuple[Any, dict[Place, int]]:
    """Return what the only document of a text says, and the lines of its values.

    Raises
    ------
    Mistake
        When it is not YAML, or holds what is not plain.
    """
    root = _composed(text)
    if root is None:
        raise Mistake(1, "the file is empty")
    return _repeated(root)


def _composed(text: str) -> _Node | None:
    """The values of the only document, from the events of PyYAML's parser.

    Its composer calls itself for each level, and loads what tags ask for; events do neither.
    """
    import yaml  # 20 ms that no other use of the package needs

    begins = [0, *(end.end() for end in LINE_END.finditer(text))]
    anchors: dict[str, _Node] = {}
    open_nodes: list[_Node] = []
    root: _Node | None = None
    n_values = 0
    for event, line in _events(text, begins):
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise Mistake(line, "a second document begins here; a suite is one document")
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            open_nodes.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        n_values += 1
        _check_size(line, n_values, 0)
        around = open_nodes[-1] if open_nodes else None
        if around is not None and around.is_mapping and around.key is None:
            around.key = _key(event, line, around)
            continue
        node = _node(event, line, anchors, open_nodes)
        if around is None:
            root = node
        else:
            around.add(node)
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append(node)
            if len(open_nodes) > MOST_DEPTH:
                raise Mistake(line, TOO_DEEP)
    return root


def _events(text: str, begins: list[int]) -> Iterator[tuple[Event, int]]:
    """Events with their lines: PyYAML counts those that U+2028 begins, and editors do not."""
    import yaml

    last = 0
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            last = event.end_mark.index
            yield event, bisect_right(begins, event.start_mark.index)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = bisect_right(begins, last if mark is None else mark.index)
        problem = error.problem or error.context or "it cannot be read"
        hints = {
            "'\\t'": "; indent with spaces",
            "got '?'": "; write texts with a ? between quotes",
        }
        hint = next((words for part, words in hints.items() if part in problem), "")
        raise Mistake(line, f"it is not YAML: {problem}{hint}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as "\UFFFFFFFF"
        raise Mistake(bisect_right(begins, last), f"it is not YAML: {error}") from None


def _key(event: Event, line: int, around: _Node) -> str:
    import yaml

    if not isinstance(event, yaml.ScalarEvent) or event.tag is not None or event.anchor is not None:
        raise Mistake(line, "a key must be a text")
    key = whole(line, event.value)
    if key == "<<" and event.implicit[0]:
        raise Mistake(line, "<< does not merge here; repeat the keys")
    if key in around.keys:
        raise Mistake(line, f"{shown(repr(key))} stands in line {around.keys[key]}, too")
    around.keys[key] = line
    return key


def _node(event: Event, line: int, anchors: dict[str, _Node], open_nodes: Iterable[_Node]) -> _Node:
    import yaml

    if isinstance(event, yaml.AliasEvent):
        known = anchors.get(event.anchor)
        if known is None:
            raise Mistake(
                line, f"*{shown(event.anchor)} repeats what has no &{shown(event.anchor)}"
            )
        if any(known is each for each in open_nodes):
            raise Mistake(line, f"*{shown(event.anchor)} repeats what it is in")
        return known
    if event.tag is not None:
        raise Mistake(line, f"the tag {shown(event.tag)} is not read; leave it out")
    if isinstance(event, yaml.ScalarEvent):
        node = _Node(line, _scalar(event, line))
    else:
        node = _Node(line, items=[], is_mapping=isinstance(event, yaml.MappingStartEvent))
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _scalar(event: ScalarEvent, line: int) -> Any:
    text: str = event.value
    if not event.implicit[0]:  # it has quotes, or is a block
        return whole(line, text)
    if text in _NULL:
        return None
    if text in _SWITCH:
        return _SWITCH[text]
    if _NO_NUMBER.fullmatch(text):
        raise Mistake(line, not_finite(text))
    if len(text) > _MOST_DIGITS:  # which Python would refuse, or take its time for
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _NUMBER.fullmatch(text):
        if not math.isfinite(number := float(text)):
            raise Mistake(line, f"{shown(text)} is too large")
        return number
    return text


def _repeated(root: _Node) -> tuple[Any, dict[Place, int]]:
    """Values with their lines, and what is repeated as often as it is."""
    lines: dict[Place, int] = {}
    result: list[Any] = []
    stack: list[tuple[_Node, Place, Any, str | int]] = [(root, (), result, 0)]
    n_characters = 0
    while stack:
        node, place, around, key = stack.pop()
        lines[place] = node.line
        n_characters += len(node.value) if isinstance(node.value, str) else 0
        _check_size(node.line, len(lines), n_characters)
        if len(place) > MOST_DEPTH:
            raise Mistake(node.line, TOO_DEEP)
        value: Any = node.value
        if node.items is not None:
            value = {} if node.is_mapping else []
            # The last one is taken from the stack first, so that lists are filled in order.
            stack += [(child, (*place, name), value, name) for name, child in reversed(node.items)]
        if isinstance(around, list):
            around.append(value)
        else:
            around[key] = value
    return result[0], lines


def _check_size(line: int, n_values: int, n_characters: int) -> None:
    if n_values > _MOST_VALUES or n_characters > _MOST_CHARACTERS:
        what = f"{_MOST_VALUES:,} keys and values, or {_MOST_CHARACTERS:,} characters"
        raise Mistake(line, f"there are more than {what}; write many cases as NAME{JSON_LINES}")
