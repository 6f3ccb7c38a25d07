"""The form in which a chat template reads messages, found by rendering probes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...cached import cached
from ...errors import ChatTemplateError
from ..answers.generated_text import GeneratedText
from .messages import THOUGHTS

__all__ = ["MARK", "Render", "TemplateForm", "rendered"]

MARK = "mzq"
"""Begins the words of probes: letters that no template has, and that no escaping changes."""

_CONTENT, _NAME, _KEY = f"{MARK}content", f"{MARK}name", f"{MARK}key"
_VALUE, _RESULT = f"{MARK}value", f"{MARK}result"
_SHORT_ID = re.compile("[a-zA-Z0-9]{9}")
_PARTS = "parts"
_USER = {"role": "user", "content": f"{MARK}user"}


class Render(Protocol):
    """The template itself, with messages as it takes them."""

    def __call__(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """Return the rendered text, or raise a ``ChatTemplateError``."""


def rendered(render: Render, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str | None:
    """Return a rendered probe; None if the template refuses it."""
    try:
        return render(messages, **variables)
    except ChatTemplateError:
        return None


@dataclass(frozen=True)
class _CallForm:
    """A way to write calls of tools."""

    has_short_ids: bool  # nine letters and digits
    is_wrapped: bool  # the function in a mapping of its own
    empty_content: str | None  # what stands beside a call that is said alone
    takes_text: bool  # arguments as JSON, not as a mapping

    def message(self, message: Mapping[str, Any], calls: Sequence[Any]) -> dict[str, Any]:
        """Return a message with calls."""
        content = message["content"]
        return {
            **message,
            "content": content if content != "" else self.empty_content,
            "tool_calls": [self._call(call) for call in calls],
        }

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = dict(call["function"])
        if self.takes_text:
            function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
        if self.is_wrapped:
            return {**call, "function": function}
        return {key: value for key, value in call.items() if key != "function"} | function


_CALL_FORMS = [
    _CallForm(*form)
    for form in itertools.product((False, True), (True, False), ("", None), (False, True))
]


class TemplateForm:
    """What a template reads; each is found once, when a message needs it.

    Parameters
    ----------
    render : callable
        The template.
    source : str
        Its text.
    """

    def __init__(self, render: Render, source: str) -> None:
        self._render = render
        self._source = source

    def of(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return normalised messages in the form that the template reads."""
        ids = _Ids()
        return [self._message(message, ids) for message in messages]

    def _message(self, message: Mapping[str, Any], ids: _Ids) -> dict[str, Any]:
        made = dict(message)
        raw, thoughts = made.pop("raw", None), made.pop("reasoning_content", None)
        calls = made.pop("tool_calls", None)
        if made["role"] == "developer" and not self.knows_developer:
            made["role"] = "system"
        if isinstance(raw, str) and self._needs_raw(made["content"], thoughts, calls):
            made["content"], thoughts, calls = raw, None, None
        if thoughts and self.thoughts is None:
            made["content"] = self._with_marks(thoughts, made["content"])
        elif thoughts and self.thoughts != _PARTS:
            made[str(self.thoughts)] = thoughts
        if (thoughts and self.thoughts == _PARTS) or (made["content"] and self.reads_parts):
            made["content"] = _parts(thoughts, made["content"])
        if calls:
            form = self.calls or _CALL_FORMS[0]
            return form.message(made, ids.named(calls, short=form.has_short_ids))
        if made["role"] == "tool":
            ids.answer(made)
        return made

    def _needs_raw(self, content: str, thoughts: object, calls: object) -> bool:
        """Whether the template has no place for what was read from an answer's text."""
        if thoughts and self.thoughts is None:
            return True
        return bool(calls) and (self.calls is None or bool(content and not self.keeps_text))

    def within_thoughts(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message whose thoughts stand in its text and go on, as if that were all."""
        made = dict(message)
        thoughts = made.pop("reasoning_content")
        runs = thoughts.runs if isinstance(thoughts, GeneratedText) else ((thoughts, False),)
        return {**made, "content": GeneratedText([(self._thought_marks[0], True), *runs])}

    @property
    def _thought_marks(self) -> tuple[str, str]:
        return ("[THINK]", "[/THINK]") if "[/THINK]" in self._source else _THINK

    def _with_marks(self, thoughts: str, content: str) -> str:
        """Thoughts in the text itself, for a template that knows no field for them."""
        begin, end = self._thought_marks
        text = content.runs if isinstance(content, GeneratedText) else ((content, False),)
        return GeneratedText([(begin, True), (thoughts, False), (end, True), *text])

    @cached
    def reads_parts(self) -> bool:
        """Whether contents have to be lists of parts."""
        if _CONTENT in self._probe({"role": "user", "content": _CONTENT}):
            return False
        return _CONTENT in self._probe({"role": "user", "content": _parts(None, _CONTENT)})

    @cached
    def knows_developer(self) -> bool:
        """Whether there is a role ``developer`` beside ``system``."""
        said = {"role": "developer", "content": self._content(_CONTENT)}
        return _CONTENT in self._probe(said, self._user)

    @cached
    def thoughts(self) -> str | None:
        """The key of thoughts, ``"parts"`` for parts of the content, or None."""
        words = {key: f"{MARK}{key}" for key in THOUGHTS}
        said = {"role": "assistant", "content": self._content(_CONTENT), **words}
        texts = [self._probe(self._user, said)]
        if self.calls is not None:
            texts.append(self._with_call({"role": "assistant", "content": "", **words}, self.calls))
        for key, word in words.items():
            if any(word in text for text in texts):
                return key
        said = {"role": "assistant", "content": _parts(_VALUE, _CONTENT)}
        text = self._probe(self._user, said)
        return _PARTS if _VALUE in text and _CONTENT in text and "'" + _VALUE not in text else None

    @cached
    def calls(self) -> _CallForm | None:
        """How calls are written; None if the template leaves them out."""
        best, fewest = None, 1 << 30
        for form in _CALL_FORMS:
            text = self._with_call({"role": "assistant", "content": ""}, form)
            if _NAME not in text:
                continue
            is_complete = _KEY in text and _VALUE in text
            n_wrong = text.count("None") + 100 * (f"'{_KEY}'" in text or f'\\"{_KEY}' in text)
            n_wrong += 1000 * (not is_complete)
            if n_wrong < fewest:
                best, fewest = form, n_wrong
            if not n_wrong:
                break
        return best

    @cached
    def keeps_text(self) -> bool:
        """Whether a text may stand beside calls."""
        said = {"role": "assistant", "content": self._content(_CONTENT)}
        return self.calls is not None and _CONTENT in self._with_call(said, self.calls)

    def _with_call(self, message: Mapping[str, Any], form: _CallForm) -> str:
        """A probe with a call and its result, or with the call alone if that is refused."""
        ids = _Ids()
        function = {"name": _NAME, "arguments": {_KEY: _VALUE}}
        call = {"type": "function", "function": function}
        if not form.has_short_ids:
            call["id"] = f"call_{MARK}"
        said = form.message(message, ids.named([call], short=form.has_short_ids))
        result: dict[str, Any] = {"role": "tool", "name": _NAME, "content": self._content(_RESULT)}
        ids.answer(result)
        for probe in ([self._user, said, result], [self._user, said], [said]):
            text = self._probe(*probe)
            if _NAME in text:
                return text
        return ""

    def _probe(self, *messages: Mapping[str, Any]) -> str:
        return rendered(self._render, messages) or ""

    @property
    def _user(self) -> dict[str, Any]:
        return {**_USER, "content": self._content(_USER["content"])}

    def _content(self, text: str) -> Any:
        return _parts(None, text) if self.reads_parts else text


_THINK = ("<think>\n", "\n</think>\n\n")


def _parts(thoughts: str | None, text: str) -> list[dict[str, str]]:
    parts = [{"type": "thinking", "thinking": thoughts}] if thoughts else []
    return [*parts, {"type": "text", "text": text}] if text else parts


class _Ids:
    """The ids of calls, which results repeat; given ones stay if the template takes them."""

    def __init__(self) -> None:
        self._n_calls = 0
        self._now: dict[str, str] = {}
        self._open: list[str] = []

    def named(self, calls: Sequence[Mapping[str, Any]], *, short: bool) -> list[dict[str, Any]]:
        """Return calls, each with an id."""
        return [{**call, "id": self._id(call.get("id"), short=short)} for call in calls]

    def _id(self, given: object, *, short: bool) -> str:
        made = f"call{self._n_calls:05}"
        self._n_calls += 1
        if isinstance(given, str) and given:
            made = made if short and not _SHORT_ID.fullmatch(given) else given
            self._now[given] = made
        self._open.append(made)
        return made

    def answer(self, result: dict[str, Any]) -> None:
        """Give a tool's result the id of its call."""
        given = result.get("tool_call_id")
        made = self._now.get(given, given) if isinstance(given, str) else None
        if made is None and self._open:
            made = self._open[0]
        if made in self._open:
            self._open.remove(made)
        if made is not None:
            result["tool_call_id"] = made
