"""Rendering messages: what the chat template writes for them, in tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from ..engine.model import Model
from ..engine.templates.options import TemplateOptions
from ..engine.templates.template import ChatPrompt, Message
from ..engine.warn import warn
from ..errors import ChatTemplateError, ParameterWarning
from .message import content_text

__all__ = ["Holds", "Rendering", "Variables", "is_answer"]

Variables: TypeAlias = Mapping[str, Any] | None

_BESIDE_TEXT = ("reasoning_content", "reasoning", "thinking")


_WORD = "qzanswerzq"  # stands for an answer in what is rendered to see what follows it
_TAIL = 64  # tokens of a prompt that tell whether it opened a thought


class Holds(Protocol):
    """What tokens stand behind: a context."""

    @property
    def model(self) -> Model:
        """The model."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens that there are."""


class Rendering:
    """The tokens of messages behind those in a context.

    Parameters
    ----------
    context : Context
    template : TemplateOptions
        How messages are rendered; it can be replaced.
    """

    def __init__(self, context: Holds, template: TemplateOptions) -> None:
        self.template = template
        self._context = context
        self._model = context.model

    def render(
        self,
        messages: Sequence[Message],
        variables: Mapping[str, Any] | None = None,
        **options: bool,
    ) -> ChatPrompt:
        """Return messages as rendered by the chat template, with its options.

        Parameters
        ----------
        messages : sequence of mapping
        variables : mapping, optional
            Variables of the template, beside those of the chat.
        **options
            ``add_generation_prompt``, ``continue_final_message`` and ``is_probe``.
        """
        return self.template.with_changes(variables).render(self._model, messages, **options)

    def probe(
        self, messages: Sequence[Message], variables: Variables = None, *, asks: bool = False
    ) -> ChatPrompt:
        """Return what the template writes, whatever it leaves out."""
        return self.render(messages, variables, add_generation_prompt=asks, is_probe=True)

    def common_prefix(self, tokens: Sequence[int]) -> tuple[int, int]:
        """Return the length of the common prefix of context and prompt, in the tokens of each."""
        return self._model.vocabulary.common_prefix(self._context.tokens, tokens)

    def n_tokens(self, messages: Sequence[Message]) -> int:
        """Return the number of tokens of messages; 0 if they cannot stand without what follows."""
        try:
            return len(self.probe(messages).tokens)
        except ChatTemplateError:
            return 0

    def addition(
        self,
        before: Sequence[Message],
        message: Message,
        rest: Sequence[Message],
        variables: Variables,
        answered: Sequence[int] | None = None,
    ) -> tuple[int, tuple[int, ...]]:
        """Return how many tokens of the context stay, and those that a message adds.

        Parameters
        ----------
        before : sequence of mapping
            What was said.
        message : mapping
            What is said now.
        rest : sequence of mapping
            What is said behind it.
        variables : mapping, optional
            Variables of the template: the message's, or where it is an answer the question's.
        answered : sequence of int, optional
            As for :meth:`prompt`.

        Raises
        ------
        ChatTemplateError
            When the message cannot stand last.
        """
        if is_answer(message):
            tokens = self.with_answer(before, message, variables)
        elif rest and message.get("role") == "system":
            tokens = self.alone(before, message, rest, variables)
        else:
            tokens = self.prompt(before, [message], variables, answered=answered)
        keep, used = self.common_prefix(tokens)
        return keep, tokens[used:]

    def prompt(
        self,
        before: Sequence[Message],
        messages: Sequence[Message],
        variables: Variables,
        *,
        checks: bool = False,
        answered: Sequence[int] | None = None,
    ) -> tuple[int, ...]:
        """Return the tokens that an answer follows; they end with an assistant's last message.

        Parameters
        ----------
        before, messages : sequence of mapping
            What was said, and what is said now.
        variables : mapping, optional
            Variables of the template, beside those of the chat.
        checks : bool
            Whether to check that nothing is left out.
        answered : sequence of int, optional
            The tokens up to the end of the last answer, where they stay as they are.

        Raises
        ------
        ChatTemplateError
        """
        *earlier, last = messages
        if answered is not None and not is_answer(last):
            if checks:
                self.render([*before, *messages], variables)
            behind = self._behind_answer(before, messages, variables)
            if behind is not None:
                return (*answered, *behind)
        if not is_answer(last):
            return self.render([*before, *messages], variables, is_probe=not checks).tokens
        begun = self._model.tokenize(content_text(last))
        if not before and not earlier:
            return tuple(begun)
        asked = self.render([*before, *earlier], variables, is_probe=not checks)
        return (*asked.tokens, *begun)

    def _behind_answer(
        self, before: Sequence[Message], messages: Sequence[Message], variables: Variables
    ) -> tuple[int, ...] | None:
        """The tokens that the template writes behind the last answer; None if it does not show."""
        at = max((n for n, message in enumerate(before) if is_answer(message)), default=None)
        if at is None:
            return None
        earlier, since = before[:at], [*before[at + 1 :], *messages]
        answer: Message = {"role": "assistant", "content": _WORD}
        if before[at].get("tool_calls"):
            answer = before[at]
        whole = self.probe([*earlier, answer, *since], variables, asks=True)
        if answer is before[at]:
            alone = self.probe([*earlier, answer], variables)
            plain = [{"role": "assistant", "content": content} for content in "01"]
            end = _common_end(*(self.probe([*earlier, each], variables) for each in plain))
            if not whole.startswith(alone):
                return None
            text = end * alone.endswith(end) + whole[len(alone) :]
        elif _WORD not in whole:
            return None
        else:
            text = whole.rpartition(_WORD)[2]
        return self._end_of(whole.tokens, len(text.encode()))

    def _end_of(self, tokens: Sequence[int], n_bytes: int) -> tuple[int, ...]:
        """The tokens of the last bytes of a text."""
        vocabulary, n, left, piece = self._model.vocabulary, len(tokens), n_bytes, b""
        while left > 0 and n > 0:
            n -= 1
            piece = vocabulary.piece(tokens[n], special=True)
            left -= len(piece)
        if left >= 0:
            return tuple(tokens[n:])
        rest = self._model.tokenize(piece[-left:].decode("utf-8", "ignore"))
        return (*rest, *tokens[n + 1 :])

    def _kept_answer(self, message: Message) -> tuple[int, ...]:
        """The tokens up to the end of an answer that was given, behind those that there are."""
        held, text = self._context.tokens, content_text(message)
        answer_format = self.template.answer_format(self._model)
        prompt = self._model.detokenize(held[-_TAIL:], special=True)
        opens = answer_format.prompt_opens_thought(prompt)
        if not opens or answer_format.closes in text:
            return (*held, *self._model.tokenize(text))
        thought = str(message.get("reasoning_content") or "")
        closing = self._model.tokenize(answer_format.closing, special=True)
        return (*held, *self._model.tokenize(thought), *closing, *self._model.tokenize(text))

    def with_answer(
        self, before: Sequence[Message], message: Message, variables: Variables
    ) -> tuple[int, ...]:
        """Return the tokens up to the end of an answer that was given.

        They are those of the question and its own, except where the prompt begins what no given
        answer has, such as a thought: there the answer stands as the template writes it.
        """
        if message.get("tool_calls"):
            return self._with_calls(before, message, variables)
        if self.template.keep_reasoning and before:
            return self._kept_answer(message)
        text, held = content_text(message), self._context.tokens
        own, asked = self._model.tokenize(text), ChatPrompt("", [], [])
        thought = next((message[field] for field in _BESIDE_TEXT if message.get(field)), "")
        try:
            if before:
                asked = self.probe(before, variables, asks=True)
            is_asked = self.common_prefix(asked.tokens) == (len(held), len(asked.tokens))
            plain = (*(held if is_asked else asked.tokens), *own)
            if in_thought := self._begins_in_thought(asked, text):
                plain = self._with_thought(asked, "", text)
            elif not thought and self._begins_in_thought(asked, ""):
                return plain  # it ends the thought itself, as if it had been generated
            said = self.probe([*before, message], variables)
            if is_asked and not (thought or in_thought) and said.startswith(asked + text):
                return plain  # as most templates have it
            probes = [{"role": "assistant", "content": content} for content in "01"]
            end = _common_end(*(self.probe([*before, probe], variables) for probe in probes))
        except ChatTemplateError:
            if thought or self._begins_in_thought(asked, text):
                return self._with_thought(asked, thought, text)
            return (*(asked.tokens or held), *own)
        up_to_end = said.removesuffix(end)
        end = said[len(up_to_end) :]
        if thought and thought.strip() not in up_to_end:
            return self._with_thought(asked, thought, text)
        if not thought:
            shown = text if up_to_end.endswith(text) else text.strip()
            if not end or not shown or not up_to_end.endswith(shown):
                return plain  # the template shows it in another way
            question = content_text(before[-1]).strip() if before else ""
            head = up_to_end[: -len(shown)]
            heads = {_tail(asked, question), _tail(head, question)}
            is_longer = max(heads, key=len).startswith(min(heads, key=len)) and len(heads) > 1
            if self._begins_in_thought(head, text) or not (is_longer or in_thought or not is_asked):
                return plain
        return self._without_end(said.tokens, len(end.encode()))

    def _begins_in_thought(self, prompt: str, text: str) -> bool:
        """Whether a text behind a prompt would stand in a thought that it does not end itself."""
        answers = self.template.answer_format(self._model)
        ends = bool(answers.closes) and answers.closes in text
        return answers.prompt_opens_thought(prompt) and not ends

    def _with_thought(self, asked: ChatPrompt, thought: str, text: str) -> tuple[int, ...]:
        """The tokens of a thought and a text behind a question, as if they had been generated.

        An empty thought ends one that the prompt opens. The template writes no thoughts of its own.
        Where the prompt says that there is none, or nothing is known of thoughts, that is said.
        """
        before = asked.tokens or self._context.tokens
        answers, tokenize = self.template.answer_format(self._model), self._model.tokenize
        if not answers.has_thoughts or answers.prompt_closes_thought(asked):
            warn(
                f"the chat template of {self._model.name!r} leaves out the thought of the answer",
                ParameterWarning,
            )
            return (*before, *tokenize(text))
        begin = "" if answers.prompt_opens_thought(asked) else answers.opens
        return (
            *before,
            *tokenize(begin, special=True),
            *tokenize(thought.strip()),
            *tokenize(answers.closing, special=True),
            *tokenize(text),
        )

    def _with_calls(
        self, before: Sequence[Message], message: Message, variables: Variables
    ) -> tuple[int, ...]:
        """The tokens up to the end of an answer that calls tools, as the template writes them."""
        said = self.render([*before, message], variables, add_generation_prompt=False)
        plain = (
            self.probe([*before, {"role": "assistant", "content": text}], variables)
            for text in "01"
        )
        end = _common_end(*plain)
        return self._without_end(said.tokens, len(end.encode()) * said.endswith(end))

    def _without_end(self, tokens: Sequence[int], n_bytes: int) -> tuple[int, ...]:
        """Tokens without the last bytes of their text."""
        vocabulary, n, left = self._model.vocabulary, len(tokens), n_bytes
        while left > 0 and n > 0:
            n -= 1
            piece = vocabulary.piece(tokens[n], special=True)
            left -= len(piece)
        kept = piece[: -(len(piece) + left)] if left < 0 else b""
        return (*tokens[:n], *self._model.tokenize(kept.decode("utf-8", "ignore")))

    def alone(
        self,
        before: Sequence[Message],
        system: Message,
        rest: Sequence[Message],
        variables: Variables,
    ) -> tuple[int, ...]:
        """Return the tokens up to a system message, if what follows comes behind them.

        Raises
        ------
        ChatTemplateError
            When the template does not let it stand alone.
        """
        alone = self.probe([*before, system], variables)
        whole = self.probe([*before, system, *rest], variables).tokens
        if content_text(system).strip() not in alone or whole[: len(alone.tokens)] != alone.tokens:
            raise ChatTemplateError("a system message that does not stand alone")
        return alone.tokens


def is_answer(message: Message) -> bool:
    """Return whether a message is the assistant's."""
    return message.get("role") == "assistant"


def _common_end(a: str, b: str) -> str:
    pairs = zip(reversed(a), reversed(b), strict=False)
    n = next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))
    return a[len(a) - n :]


def _tail(text: str, question: str) -> str:
    """What stands behind a question."""
    return text[text.rfind(question) + len(question) :] if question else text
