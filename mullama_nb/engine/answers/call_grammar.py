"""The grammar that calls of tools follow, from their opening mark to the closing one."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...cached import cached
from ...errors import GrammarError
from ..grammars.grammar import check_grammar
from ..grammars.json_schema import gbnf
from ..grammars.schema_strings import quoted
from ..vocabulary import Vocabulary
from .formats.call_form import CallForm

__all__ = ["CallGrammar"]

_ANYTHING = '{"type": "object"}'
_NAME = re.compile(r"[\w.-]{1,200}")
_RECIPIENT = re.compile(r"\bto=functions\.([\w.-]+)")
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|([a-zA-Z][a-zA-Z0-9-]*)')


class CallGrammar:
    """What may be said in a call: the name of a tool, and arguments that fit its schema.

    Parameters
    ----------
    form : CallForm
    tools : sequence of mapping
        In OpenAI's form. A schema that no grammar follows leaves the arguments any JSON object.
    vocabulary : Vocabulary
    """

    def __init__(
        self, form: CallForm, tools: Sequence[Mapping[str, Any]], vocabulary: Vocabulary
    ) -> None:
        self.opens = form.opens
        self._form = form
        self._tools = tuple(tools)
        self._vocabulary = vocabulary

    @cached
    def _arguments(self) -> dict[str, str]:
        """The grammar of each tool's arguments; most answers need none."""
        found = {}
        for tool in self._tools:
            function = tool.get("function", tool)
            if isinstance(function, Mapping) and _NAME.fullmatch(str(function.get("name"))):
                found[str(function["name"])] = _grammar(function.get("parameters"))
        return found

    def text(self, mark: str, head: str = "") -> str | None:
        """Return the grammar of what follows an opening mark; None where anything may.

        Parameters
        ----------
        mark : str
            The mark, or the header.
        head : str
            What is read before that: the end of a mark, where a token has more than that.
        """
        arguments = self._arguments
        if not self._form.opens:
            found = _RECIPIENT.search(mark)
            name = "" if found is None else found.group(1)
            arguments = {name: arguments[name]} if name in arguments else {}
        for tried in (arguments, dict.fromkeys(arguments, gbnf(_ANYTHING))):
            try:
                text = self._of(tried, head)
                check_grammar(text)
            except GrammarError:  # all of them together are too much
                continue
            return text
        return None

    def _of(self, arguments: Mapping[str, str], head: str) -> str:
        if not arguments:
            raise GrammarError("there is nothing to call")
        form, rules, ways = self._form, [], []
        between = self._spelled(form.between)
        for n, (name, grammar) in enumerate(arguments.items()):
            rules.append(_renamed(grammar, f"t{n}-"))
            ways.append(f"{quoted(name) if form.opens else ''} {between} t{n}-root".strip())
        more = "" if form.joint is None else f"({self._spelled(form.joint)} call)*"
        parts = [self._spelled(head), self._spelled(form.before), "call", more]
        root = " ".join(filter(None, [*parts, self._spelled(form.after)]))
        return "\n".join([f"root ::= {root}", f"call ::= {' | '.join(ways)}", *rules])

    def _spelled(self, text: str) -> str:
        """The grammar of a text, in which control tokens stand for themselves alone."""
        found: dict[str, int] = {}
        for token in self._vocabulary.tokenize(text, special=True):
            if self._vocabulary.is_control(token):
                found.setdefault(self._vocabulary.text(token), token)
        marks = [re.escape(mark) for mark in sorted(found, key=len, reverse=True) if mark]
        parts: list[str] = []
        for part in re.split(f"({'|'.join(marks)})", text) if marks else [text]:
            control = found.get(part)
            if control is not None and self._vocabulary.is_end(control):
                break  # it ends the answer, and what is complete may end
            if part:
                parts.append(self._plain(part) if control is None else f"<[{control}]>")
        return " ".join(parts)

    def _plain(self, text: str) -> str:
        call_id = self._form.call_id
        if not call_id or call_id not in text:
            return quoted(text)
        parts = (quoted(part) if part else "" for part in text.split(call_id))
        return " [a-zA-Z0-9]{9} ".join(parts).strip()


def _grammar(parameters: Any) -> str:
    """The grammar of arguments; of any, where none follows their schema."""
    if isinstance(parameters, Mapping):
        with contextlib.suppress(GrammarError, TypeError, ValueError, RecursionError):
            return gbnf(json.dumps({**parameters, "type": "object"}))
    return gbnf(_ANYTHING)


def _renamed(grammar: str, prefix: str) -> str:
    """A grammar whose rules have other names."""
    return _WORD.sub(lambda word: f"{prefix}{word[1]}" if word[1] else word[0], grammar)
