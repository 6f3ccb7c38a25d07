"""Whose text each token is: a message's, or what the chat template writes around it.

The template shows that itself. Words that no text has are rendered in place of the messages; what
stands between them is the template's, and is looked for in the tokens, from their end backwards.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...engine.templates.form import MARK
from ...errors import ChatTemplateError
from ..message import content_text, lines_at, message_of, messages_back
from ..node import Node
from ..workspace import Workspace

__all__ = ["TEMPLATE", "TEXT", "TokenRoles"]

TEMPLATE, TEXT = "template", "text"

_NEAR = 3  # messages that are looked at first; hardly any checkpoint holds more
_MOST_REMEMBERED = 4096

Symbols = tuple[int, ...]
"""A text: its bytes, and each control token as a negative number."""


class _Written(NamedTuple):
    """What a template writes around messages.

    Attributes
    ----------
    messages : list of (int, tuple of int)
        In the order of the text: which message stands there, and what is written before it.
    behind : tuple of int
        What is written behind the last one.
    """

    messages: list[tuple[int, Symbols]]
    behind: Symbols


class TokenRoles:
    """Finds the roles of tokens.

    Parameters
    ----------
    workspace : Workspace
        Of a tree, with the template of its chat if it has one.
    """

    def __init__(self, workspace: Workspace[Any]) -> None:
        self._workspace = workspace
        self._vocabulary = workspace.context.model.vocabulary
        self._template = workspace.readings.template
        self._known: dict[object, _Written | None] = {}

    def basis(self, node: Node) -> object:
        """Return what the roles of a node's tokens depend on; equal values give equal roles."""
        notes = node.metadata
        end = _message_group(node)[-1] if notes.cut and not notes.is_generated else node
        return len(node.tokens), notes.role, end.id, end.metadata.message is None

    def of(self, node: Node) -> list[str]:
        """Return the role of each of a node's tokens."""
        notes = node.metadata
        role = str(notes.role or TEXT)
        if not node.tokens:
            return []
        if notes.is_generated or (notes.message is None and notes.is_answer and not notes.cut):
            return [role] * len(node.tokens)
        if not notes.is_message:
            return self._without_template(node.tokens, TEXT)
        group = _message_group(node)
        end = group[-1]
        if end.metadata.message is None:  # the rest of it was pruned
            return self._without_template(node.tokens, role)
        tokens = tuple(token for part in group for token in part.tokens)
        before = sum(len(part.tokens) for part in group[: group.index(node)])
        return self._of_message(end, tokens)[before : before + len(node.tokens)]

    def _without_template(self, tokens: Sequence[int], role: str) -> list[str]:
        """Roles where nothing is known but which tokens no text has."""
        is_control = self._vocabulary.is_control
        return [TEMPLATE if is_control(token) else role for token in tokens]

    def _of_message(self, end: Node, tokens: Sequence[int]) -> list[str]:
        """The roles of the tokens with which a message was given, and perhaps others before it."""
        lengths = [len(self._symbols([token])) for token in tokens]
        symbols = self._symbols(tokens)
        spans = self._spans(end, symbols)
        if spans is None:
            return self._without_template(tokens, str(end.metadata.role or TEXT))
        roles, start = [], 0
        for n in lengths:
            stop = start + n
            own = (role for first, last, role in spans if first < stop and start < last)
            roles.append(next(own, TEMPLATE))
            start = stop
        return roles

    # -- messages in the text ----------------------------------------------------------------

    def _spans(self, end: Node, symbols: Symbols) -> list[tuple[int, int, str]] | None:
        """Where messages stand in a text that ends with one of them; None if that is not seen."""
        n = _NEAR
        while True:
            said, is_all = self._said(end, n)
            spans, is_consumed = self._walk_back(end, said, symbols, is_all=is_all)
            if is_consumed or is_all:
                return spans
            n *= 4

    def _said(self, end: Node, n: int) -> tuple[list[tuple[str, Node | Mapping[str, Any]]], bool]:
        """Roles and contents of the last messages up to one, and whether these are all."""
        last = list(itertools.islice(messages_back(end), n + 1))
        system = self._workspace.system
        if any(part.metadata.history is not None for parts in last for part in parts):
            lines = lines_at(end, system)
            return [(str(line.message.get("role")), line.message) for line in lines], True
        said: list[tuple[str, Node | Mapping[str, Any]]] = [
            (str(parts[-1].metadata.role), parts[-1]) for parts in reversed(last)
        ]
        is_all = len(said) <= n
        if not is_all:  # templates want a question first
            said = next((said[i:] for i, each in enumerate(said) if each[0] == "user"), said)
        if system is not None and said[0][0] != "system":
            said.insert(0, ("system", {"role": "system", "content": system}))
        return said, is_all

    def _walk_back(
        self,
        end: Node,
        said: Sequence[tuple[str, Node | Mapping[str, Any]]],
        symbols: Symbols,
        *,
        is_all: bool,
    ) -> tuple[list[tuple[int, int, str]] | None, bool]:
        """Where messages stand, and whether the text's beginning was reached."""
        variables = end.metadata.chat_template_kwargs
        roles = tuple(role for role, _ in said)
        # An answer that was given ends with its text; the others ask for one, or are alone.
        for asks in (True, False):
            written = self._written(roles, variables, asks=asks)
            if written is None:
                continue
            behind = () if roles[-1] == "assistant" else written.behind
            if symbols[len(symbols) - len(behind) :] == behind:
                break
        else:
            return None, False
        spans, at = list[tuple[int, int, str]](), len(symbols) - len(behind)
        for n, (index, before) in reversed([*enumerate(written.messages)]):
            if n == 0 and not is_all:
                return spans, False  # what is before it here is not what was before it there
            role, content = said[index]
            begin, is_whole = self._begin(symbols[:at], before, content)
            spans.append((begin, at, role))
            at = begin - len(before)
            if not is_whole or at <= 0:
                return spans, True
        return spans, is_all

    def _begin(
        self, symbols: Symbols, before: Symbols, content: Node | Mapping[str, Any]
    ) -> tuple[int, bool]:
        """Where a message at a text's end begins, and whether all that precedes it is there."""
        whole = [at + len(before) for at in _found(symbols, before)]
        partial = [
            n for n in range(len(before) - 1, -1, -1) if symbols[:n] == before[len(before) - n :]
        ]
        message = message_of(content) if isinstance(content, Node) else content
        text = content_text(message).strip().encode("utf-8", "replace")
        for at in (*whole, *partial):
            if text and _stripped(symbols[at:]) == text:
                return at, at in whole
        begin = len(symbols) - len(text)
        if text and symbols[begin - 1 : begin] == before[-1:] and symbols[begin:] == tuple(text):
            return begin, begin > 0  # what is before it depends on what is said
        if whole:
            return whole[0], True
        return next((n for n in partial if any(symbol < 0 for symbol in symbols[:n])), 0), False

    def _written(
        self, roles: tuple[str, ...], variables: Mapping[str, Any], *, asks: bool
    ) -> _Written | None:
        """What the template writes around messages; None if it refuses them."""
        if self._template is not self._workspace.readings.template:
            self._template = self._workspace.readings.template
            self._known.clear()
        key = (roles, json.dumps(variables, sort_keys=True), asks)
        if key not in self._known:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[key] = self._probe(roles, variables, asks=asks)
        return self._known[key]

    def _probe(
        self, roles: Sequence[str], variables: Mapping[str, Any], *, asks: bool
    ) -> _Written | None:
        words = [f"{MARK}{index}x" for index in range(len(roles))]
        pairs = zip(roles, words, strict=True)
        messages = [{"role": role, "content": word} for role, word in pairs]
        template = self._template.with_changes(variables)
        try:
            prompt = template.render(
                self._workspace.context.model, messages, add_generation_prompt=asks, is_probe=True
            )
        except ChatTemplateError:
            return None
        text = self._symbols(prompt.tokens)
        marks = [tuple(word.encode()) for word in words]
        # A template may leave a message out, move it, or say it twice.
        places = sorted(
            (at, index) for index, mark in enumerate(marks) for at in _found(text, mark)
        )
        found, start = list[tuple[int, Symbols]](), 0
        for at, index in places:
            found.append((index, text[start:at]))
            start = at + len(marks[index])
        return _Written(found, text[start:]) if found else None

    def _symbols(self, tokens: Sequence[int]) -> Symbols:
        vocabulary, symbols = self._vocabulary, list[int]()
        for token in tokens:
            if vocabulary.is_control(token):
                symbols.append(-1 - token)
            else:
                symbols += vocabulary.piece(token)
        return tuple(symbols)


def _message_group(node: Node) -> list[Node]:
    """The checkpoints with the tokens of a message that was given: several if it was cut."""
    end = node
    while end.metadata.message is None:
        following = [child for child in end.children if child.metadata.continues]
        if not following or end.metadata.is_generated:
            break
        end = following[0]
    group = [end]
    while group[0].metadata.continues and group[0].parent is not None:
        before = group[0].parent
        if before.metadata.message is not None or before.metadata.is_generated:
            break
        group.insert(0, before)
    return group if node in group else [node]


def _found(text: Symbols, part: Symbols) -> list[int]:
    """Where a part stands in a text, last first."""
    if not part:
        return []
    n, first = len(part), part[0]
    places, at = list[int](), -1
    while True:
        try:
            at = text.index(first, at + 1)
        except ValueError:
            return places[::-1]
        if text[at : at + n] == part:
            places.append(at)


def _stripped(symbols: Symbols) -> bytes | None:
    """A text without spaces around it; None if it has control tokens."""
    return None if any(symbol < 0 for symbol in symbols) else bytes(symbols).strip()
