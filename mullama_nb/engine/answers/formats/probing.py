"""What a chat template shows of itself: probes are rendered, and what stands around them read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ....cached import cached
from ...templates.form import TemplateForm
from .call_form import CallForm
from .calls import SYNTAXES
from .families import CallMarks, ThoughtMarks

__all__ = ["Shown", "Template"]

_USER, _AGAIN, _CONTENT = "quzuser", "quzagain", "conzcontent"
_THOUGHT, _NAME, _KEY, _VALUE = "thozthought", "namzname", "kezkey", "valzvalue"
_CALL_ID = "call00000"
_JSON = rf'\{{\s*"{_KEY}"\s*:\s*"{_VALUE}"\s*\}}'
_TAG = re.compile(r"<[^<>\n\[\]]{1,60}>|\[[^\[\]{}\n]{1,40}\]")
_LONGEST = 80  # characters of a mark
_LIKE_A_THOUGHT = re.compile("think|thought|reason", re.IGNORECASE)
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "?",
        "parameters": {
            "type": "object",
            "properties": {_KEY: {"type": "string", "description": "?"}},
            "required": [_KEY],
        },
    },
}


class Template(Protocol):
    """A chat template, as far as it is asked what it shows."""

    source: str

    @property
    def form(self) -> TemplateForm:
        """The form in which it reads messages."""

    def probe(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """Return a conversation as it is rendered; empty if it refuses it."""


@dataclass(frozen=True)
class _Answer:
    """A rendered answer, behind the question.

    Attributes
    ----------
    text : str
    begin : int
        Where it is the answer's own, behind what begins every answer.
    """

    text: str
    begin: int


class Shown:
    """The marks that a template shows.

    Parameters
    ----------
    template : Template, optional
    """

    def __init__(self, template: Template | None) -> None:
        self._template = template

    def _probe(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        return "" if self._template is None else self._template.probe(messages, **options)

    # -- thoughts ----------------------------------------------------------------------------

    @cached
    def thought(self) -> ThoughtMarks | None:
        """The marks around a thought."""
        if self._template is None or self._template.form.thoughts is None:
            return None
        for said in (self._thought, self._thought_and_call):
            at = said.text.find(_THOUGHT)
            if at < 0:
                continue
            opened = self._opening_of_thought(said.text[:at], said.begin)
            rest = said.text[at + len(_THOUGHT) :]
            end = min((n for n in (rest.find(_CONTENT), rest.find(_NAME)) if n >= 0), default=-1)
            closed = _TAG.match(rest, len(rest) - len(rest.lstrip()), max(end, 0))
            if opened is None or closed is None:
                continue
            closing = rest[:end] if _CONTENT in rest else rest[: closed.end()]
            return ThoughtMarks(opened, closed.group(), closing)
        return None

    def _opening_of_thought(self, before: str, begin: int) -> str | None:
        tags = list(_TAG.finditer(before))
        own = before[begin:].strip()
        if own and tags and begin <= tags[-1].start():
            return own if len(own) <= _LONGEST else tags[-1].group()
        if tags:  # every answer begins with it
            last = before[tags[-1].start() :].rstrip()
            if _LIKE_A_THOUGHT.search(last) and len(last) <= _LONGEST:
                return last
        asked = (
            self._asked[len(before.rstrip()) :] if self._asked.startswith(before.rstrip()) else ""
        )
        return asked.strip() or None

    def prompt_ends_with(self, mark: str) -> bool:
        """Return whether a prompt may end with a mark, such as that of a thought."""
        asked = (
            self._probe([_user()], add_generation_prompt=True, **variables)
            for variables in ({}, {"enable_thinking": True, "thinking": True})
        )
        return any(text.rstrip().endswith(mark) for text in asked)

    # -- texts -------------------------------------------------------------------------------

    @cached
    def text_marks(self) -> tuple[str, ...]:
        """The marks in front of texts and behind them, beside those of thoughts."""
        said, begin = self._said.text, self._said.begin
        at = said.find(_CONTENT)
        if at < 0:
            return ()
        own = self._without_thought(said[begin:at])
        opening = [own] if _is_mark(own) else []
        closing = [mark for mark in _mirrors(own) if opening and mark in said[at:]][:1]
        if self.thought is not None and opening:
            between = self.thought.closing.strip().removeprefix(self.thought.closes)
            before = between.strip().removesuffix(own).strip()
            opening += [before] if _is_mark(before) else []
        return (*opening, *closing)

    def _without_thought(self, text: str) -> str:
        if self.thought is not None:
            text = text.replace(self.thought.opens, "").replace(self.thought.closes, "")
        return text.strip()

    # -- calls -------------------------------------------------------------------------------

    @cached
    def call(self) -> CallMarks | None:
        """The marks around calls, and what stands between them."""
        said = self._call
        at = said.text.find(_NAME, said.begin)
        value = said.text.find(_VALUE, max(at, 0))
        if at < 0 or value < 0:
            return None
        rest = said.text[value + len(_VALUE) :]
        own = rest[: len(rest) - self._n_ending(said.text)]
        whole = said.text[said.begin : value + len(_VALUE)] + own
        found = [name for name, syntax in SYNTAXES.items() if _reads(syntax, whole)]
        if not found:
            return None
        opened = self._opening_of_call(said.text, said.begin, at)
        if opened is None:
            return None
        closed = self._closing_of_call(opened, rest, own) if opened else ""
        return CallMarks(opened, closed, tuple(SYNTAXES[name] for name in found))

    @cached
    def call_form(self) -> CallForm | None:
        """The form of calls in JSON behind an opening mark; None for others."""
        marks = self.call
        if marks is None or not marks.opens:
            return None
        twice = self._rendered(_assistant("", tool_calls=[_call(), _call()]))
        once, call = self._called, (_NAME, _JSON, _CALL_ID)
        once, twice = (text[self._call.begin :] for text in (once, twice))
        end = len(once) - self._n_ending(once)
        cut = (tag.end() for tag in _TAG.finditer(once) if tag.start() < end < tag.end())
        once = once[: next(cut, end)]
        return CallForm.read(once, twice, call, marks.opens, marks.closes)

    def _n_ending(self, text: str) -> int:
        """How many characters at the end of a call are those of every answer."""
        ending = self._said.text[self._said.text.find(_CONTENT) + len(_CONTENT) :]
        return len(_common_prefix([text[::-1], ending[::-1]]))

    def _opening_of_call(self, text: str, begin: int, at: int) -> str | None:
        begin = self._behind_thought(text, begin, at)
        own = text[begin:at]
        if not own or own[0] == "{" or own.startswith("[{"):
            return "" if own else None
        tag = _TAG.match(text, begin)
        if tag is not None and tag.end() <= at:
            end = tag.end()
            while text[begin:end] in self._between:  # other messages have it, too
                tag = _TAG.search(text, end, at)
                if tag is None:
                    return None
                end = tag.end()
            return text[begin:end]
        tag = _TAG.search(own)
        if tag is not None:
            return own[: tag.end()]
        brackets = [n for n in (own.find("{"), own.find("[")) if n > 0]
        opened = own[: min(brackets)] if brackets else own
        return opened.rstrip()[:_LONGEST] or None

    def _behind_thought(self, text: str, begin: int, end: int) -> int:
        """Where an answer goes on behind a thought that is empty."""
        marks = () if self.thought is None else (self.thought.opens, self.thought.closes)
        while True:
            begin += len(text[begin:end]) - len(text[begin:end].lstrip())
            mark = next((mark for mark in marks if mark and text.startswith(mark, begin)), None)
            if mark is None:
                return begin
            begin += len(mark)

    def _closing_of_call(self, opened: str, rest: str, own: str) -> str:
        for mark in _mirrors(opened):
            if mark in rest and self._closes_once(opened, mark):
                return mark
        if "```" in opened and "```" in rest:
            return "```"
        tags = [tag.group() for tag in _TAG.finditer(own) if tag.group() not in self._between]
        return tags[-1] if tags and self._closes_once(opened, tags[-1]) else ""

    def _closes_once(self, opened: str, closed: str) -> bool:
        """Whether a mark does not come between calls that were opened together."""
        twice = self._rendered(_assistant("", tool_calls=[_call(), _call()]))
        return twice.count(closed) <= twice.count(opened)

    # -- what is rendered --------------------------------------------------------------------

    @cached
    def _asked(self) -> str:
        return self._after(self._probe([_user()], add_generation_prompt=True), _USER)

    @cached
    def _between(self) -> str:
        """What stands between two messages, and in front of a user's."""
        rendered = self._probe([_user(), _assistant(), _user(_AGAIN)])
        return self._after(rendered, _CONTENT)

    @cached
    def _said(self) -> _Answer:
        return self._answer(self._plain)

    @cached
    def _thought(self) -> _Answer:
        return self._answer(self._rendered(_assistant(reasoning_content=_THOUGHT)))

    @cached
    def _call(self) -> _Answer:
        return self._answer(self._called)

    @cached
    def _thought_and_call(self) -> _Answer:
        return self._answer(
            self._rendered(_assistant("", reasoning_content=_THOUGHT, tool_calls=[_call()]))
        )

    @cached
    def _plain(self) -> str:
        return self._rendered(_assistant())

    @cached
    def _called(self) -> str:
        return self._rendered(_assistant("", tool_calls=[_call()]))

    def _rendered(self, answer: Mapping[str, Any]) -> str:
        tools: dict[str, Any] = {"tools": [_TOOL]} if "tool_calls" in answer else {}
        return self._after(self._probe([_user(), answer], **tools), _USER)

    def _answer(self, text: str) -> _Answer:
        """An answer, with what all have in common told from its own."""
        others = [self._plain, self._called or self._asked]
        common = _common_prefix([text, *(other for other in others if other)])
        begin = len(common)
        for tag in _TAG.finditer(text):
            if tag.start() < begin < tag.end():
                begin = tag.start()
        return _Answer(text, begin)

    def _after(self, text: str, word: str) -> str:
        at = text.find(word)
        return "" if at < 0 else text[at + len(word) :]


def _user(text: str = _USER) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _assistant(content: str = _CONTENT, **others: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **others}


def _call() -> dict[str, Any]:
    function = {"name": _NAME, "arguments": {_KEY: _VALUE}}
    return {"id": _CALL_ID, "type": "function", "function": function}


def _reads(syntax: Any, text: str) -> bool:
    try:
        found = syntax(text, {})
    except (ValueError, RecursionError):
        return False
    return [(name, arguments) for name, arguments, _ in found] == [(_NAME, {_KEY: _VALUE})]


def _common_prefix(texts: Sequence[str]) -> str:
    shortest, longest = min(texts), max(texts)
    pairs = enumerate(zip(shortest, longest, strict=False))
    n = next((at for at, (one, other) in pairs if one != other), min(len(shortest), len(longest)))
    return shortest[:n]


def _is_mark(text: str) -> bool:
    return bool(text) and len(text) <= _LONGEST and _TAG.match(text) is not None


def _mirrors(mark: str) -> list[str]:
    """The marks that may end what a mark begins."""
    found = []
    if mark.startswith("<|") and mark.endswith("|>"):
        for one, other in (("begin", "end"), ("start", "end"), ("START", "END"), ("open", "close")):
            if one in mark:
                found.append(mark.replace(one, other))
        found.append(f"<|/{mark[2:]}")
    elif mark.startswith("<|"):
        found.append(f"<{mark[2:-1]}|>")
    if mark.startswith("<"):
        name = re.split(r"[=\s>]", mark[1:])[0]
        found += [f"</{mark[1:]}", f"</{name}>"]
        found.append(re.sub("begin|start", "end", mark))
    elif mark.startswith("["):
        found.append(f"[/{mark[1:]}")
    return [each for each in found if each != mark]
