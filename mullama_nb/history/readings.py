"""What the tokens of answers say: text, thoughts and calls, worked out once for each answer."""

from __future__ import annotations

import functools
from typing import Any

from ..engine.answers.format import AnswerFormat, ParsedAnswer
from ..engine.answers.generated_text import GeneratedText
from ..engine.model import Model
from ..engine.templates.messages import AnswerMessage
from ..engine.templates.options import TemplateOptions

__all__ = ["Readings"]

_MOST_READ = 4096  # answers that are remembered


class Readings:
    """Reads answers as the chat template teaches.

    A panel reads all messages again at each change: what tokens say is remembered.

    Parameters
    ----------
    model : Model
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._template = TemplateOptions()
        self._generated = functools.lru_cache(_MOST_READ)(model.vocabulary.generated_text)
        self._read: dict[object, ParsedAnswer] = {}  # by what they were read from

    @property
    def template(self) -> TemplateOptions:
        """The options of the chat's template."""
        return self._template

    @template.setter
    def template(self, template: TemplateOptions) -> None:
        self._template = template
        self._read.clear()  # other tools, or another template, read the same text otherwise

    @property
    def answer_format(self) -> AnswerFormat:
        """How answers are read: as the chat's template teaches."""
        return self.template.answer_format(self._model)

    @property
    def calling_format(self) -> AnswerFormat:
        """How answers are made: calls follow the schemas of the chat's tools."""
        return self.template.calling_format(self._model)

    def format_of(self, has_call_grammar: bool) -> AnswerFormat:
        """Return how an answer was made, as its notes say."""
        return self.calling_format if has_call_grammar else self.answer_format

    def text_of(self, tokens: tuple[int, ...]) -> str:
        """Return the text of tokens, including control tokens."""
        return self._model.detokenize(tokens, special=True)

    def spoken_by(self, tokens: tuple[int, ...], given: str = "") -> str:
        """Return the text of an answer, behind a beginning that was given.

        It has the control tokens that do not end it.
        """
        text = self._generated(tokens)
        return GeneratedText.behind(given, text) if given else text

    def parsed(self, raw: str, before: tuple[int, ...]) -> ParsedAnswer:
        """Return what an answer says.

        Parameters
        ----------
        raw : str
        before : tuple of int
            The tokens in front of it, as many as tell whether they open a thought.
        """
        key = (before, getattr(raw, "runs", raw))
        if key not in self._read:
            answer_format = self.answer_format
            if not answer_format.rules:
                return ParsedAnswer(None, raw)
            if len(self._read) >= _MOST_READ:
                self._read.clear()
            in_thought = answer_format.prompt_opens_thought(self.text_of(before))
            tools = self.template.tools
            self._read[key] = answer_format.parse(raw, begins_in_thought=in_thought, tools=tools)
        return self._read[key]

    def message(self, raw: str, before: tuple[int, ...]) -> dict[str, Any]:
        """Return the message that an answer is, with thoughts and calls apart from its text."""
        return AnswerMessage(self.parsed(raw, before).as_message(), raw)
