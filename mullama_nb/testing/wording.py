"""Checking that the messages noted in a tree match its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.answers.generated_text import GeneratedText
from ..engine.model import Model
from ..engine.templates.messages import AnswerMessage
from ..engine.templates.options import TemplateOptions
from ..errors import ChatTemplateError, ParameterError
from ..history.message import conversation_at
from .said import previous_in
from .walk import Entry

__all__ = ["rendered"]


@dataclass(frozen=True)
class _Noted:
    """An entry as the history looks at it."""

    entry: Entry

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The notes."""
        return self.entry.notes


def rendered(
    entries: Sequence[Entry],
    model: Model,
    system: str | None,
    template: TemplateOptions,
) -> dict[str, bool]:
    """Return for each entry with a message whether its tokens are the rendered message.

    A message is rendered with all messages before it, as when it was said. An edited answer is its
    text and nothing else.

    Parameters
    ----------
    entries : sequence of Entry
        Parents first.
    model : Model
    system, template
        The chat's.

    Returns
    -------
    dict
        By id.
    """
    answer_format = template.answer_format(model)
    by_id, previous = {entry.id: entry for entry in entries}, previous_in(entries)

    def is_said(entry: Entry) -> bool:
        try:
            return is_rendered(entry, entry.notes["message"])
        except (ChatTemplateError, AttributeError, KeyError, TypeError, ValueError):
            return False  # notes of one's own may be anything

    def is_rendered(entry: Entry, message: Mapping[str, Any]) -> bool:
        role = message.get("role")
        if role != entry.notes.get("role"):
            return False
        path = _path(entry, by_id)
        if role == "assistant":
            content = model.tokenize(str(message.get("content") or ""))
            if tuple(content) == _tokens(_parts(path)):
                return True
        lines = conversation_at(_Noted(entry), before, message_of, system)
        messages = [line.message for line in lines]
        return any(renders(messages, path, asks) for asks in (True, False))

    def before(noted: _Noted) -> _Noted | None:
        found = previous(noted.entry)
        return None if found is None else _Noted(found)

    def message_of(noted: _Noted) -> dict[str, Any]:
        notes = noted.entry.noted
        if notes.message is not None and not (notes.edited and notes.is_answer):
            return dict(notes.message)
        raw = text_of(noted)
        if not notes.is_answer:
            return {"role": notes.role, "content": raw}
        path = _path(noted.entry, by_id)
        n_before = len(_tokens(path)) - len(_tokens(_parts(path)))
        tail = model.detokenize(_tokens(path)[max(0, n_before - 64) : n_before], special=True)
        in_thought = answer_format.prompt_opens_thought(tail)
        read = answer_format.parse(raw, begins_in_thought=in_thought, tools=template.tools)
        return AnswerMessage({**(notes.message or {}), **read.as_message()}, raw)

    def text_of(noted: _Noted) -> str:
        before, tokens = "", list[int]()
        for part in _parts(_path(noted.entry, by_id)):
            given = part.notes.get("message")
            if given is None:
                tokens += part.tokens
            else:  # all of the message up to there
                before, tokens = str(given.get("content") or ""), []
        text = GeneratedText.behind(before, model.vocabulary.generated_text(tokens))
        return text[: len(text) - noted.entry.noted.hidden]

    def renders(messages: Sequence[Mapping[str, Any]], path: Sequence[Entry], asks: bool) -> bool:
        held, own = _tokens(path), path[-1].tokens
        try:
            variables = path[-1].noted.chat_template_kwargs
            said = template.with_changes(variables)
            prompt = said.render(model, messages, add_generation_prompt=asks)
        except (ChatTemplateError, ParameterError):  # it may take them in the other way
            return False
        wanted = prompt.tokens
        if path[-1].noted.is_answer:
            keep, used = model.vocabulary.common_prefix(held, wanted)
            rest = model.detokenize(wanted[used:], special=True)
            return not asks and keep == len(held) and ends(said, messages, rest)
        if wanted[len(wanted) - len(own) :] != own:
            return False  # answers before it may be spelt by other tokens; it may not
        return model.vocabulary.common_prefix(held, wanted) == (len(held), len(wanted))

    def ends(template: TemplateOptions, messages: Sequence[Mapping[str, Any]], rest: str) -> bool:
        """Whether the template writes the rest behind any answer, so that it is not part of one."""
        *before, last = messages
        text = str(last.get("content") or "").rstrip()
        other = {"role": "assistant", "content": "1" if text.endswith("0") else "0"}
        try:
            prompt = template.render(
                model, [*before, other], add_generation_prompt=False, is_probe=True
            )
        except (ChatTemplateError, ParameterError):  # it takes no such answer there
            return True
        return prompt.endswith(rest)

    return {entry.id: is_said(entry) for entry in entries if "message" in entry.notes}


def _path(entry: Entry, by_id: Mapping[str, Entry]) -> list[Entry]:
    path, at = [entry], entry.parent
    while at is not None:
        path.append(by_id[at])
        at = path[-1].parent
    return path[::-1]


def _parts(path: Sequence[Entry]) -> list[Entry]:
    """The entries of the message that ends with a path."""
    begin = len(path) - 1
    while begin and path[begin].noted.continues:
        begin -= 1
    return [*path[begin:]]


def _tokens(entries: Sequence[Entry]) -> tuple[int, ...]:
    return tuple(token for entry in entries for token in entry.tokens)
