"""A model's chat template: from messages to a prompt, with typed control tokens kept as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from ..checks import close_names
from ..errors import ChatTemplateError, shown
from .vocabulary import Vocabulary

__all__ = ["ChatPrompt", "ChatTemplate", "Message"]

Message = Mapping[str, Any]

# Noncharacters: no text uses them, and no vocabulary has a control token with one.
_ESCAPES = [chr(code) for code in range(0xFDD0, 0xFDF0)]


class ChatPrompt(str):
    """A rendered conversation that also carries its messages.

    ``Context.generate`` treats it as the whole conversation, not as more text.

    Attributes
    ----------
    messages : tuple of mapping
    tokens : tuple of int
        Of the template's control tokens and, as plain text, of the messages' contents.
    """

    messages: tuple[Message, ...]
    tokens: tuple[int, ...]

    def __new__(cls, text: str, messages: Sequence[Message], tokens: Sequence[int]) -> ChatPrompt:
        """Attach messages and tokens to a text."""
        prompt = super().__new__(cls, text)
        prompt.messages = tuple(dict(message) for message in messages)
        prompt.tokens = tuple(tokens)
        return prompt

    def __getnewargs__(self) -> tuple[str, tuple[Message, ...], tuple[int, ...]]:  # type: ignore[override]
        """Let it be copied and pickled."""
        return str(self), self.messages, self.tokens


class ChatTemplate:
    """The Jinja template of a GGUF file, run in Jinja's sandbox.

    Parameters
    ----------
    source : str
        The template.
    vocabulary : Vocabulary

    Raises
    ------
    ChatTemplateError
        When the template cannot be parsed.
    """

    def __init__(self, source: str, vocabulary: Vocabulary) -> None:
        self.source = source
        self._vocabulary = vocabulary
        bos, eos = vocabulary.text(vocabulary.bos), vocabulary.text(vocabulary.eos)
        try:
            self._with_prompt = Jinja2ChatFormatter(source, eos, bos, add_generation_prompt=True)
            self._without = Jinja2ChatFormatter(source, eos, bos, add_generation_prompt=False)
        except Exception as error:
            raise ChatTemplateError(
                f"the model's chat template cannot be read: {shown(str(error), 300)}"
            ) from None

    def render(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: Any
    ) -> ChatPrompt:
        """Render a conversation.

        Parameters
        ----------
        messages : sequence of mapping
            Each with ``role`` and, as a rule, ``content``.
        add_generation_prompt : bool
            Whether to end with the beginning of an answer.
        **variables
            Further variables for the template, such as ``tools``.

        Raises
        ------
        ChatTemplateError
            When a message has no role, or the template rejects the conversation.
        """
        _check(messages)
        formatter = self._with_prompt if add_generation_prompt else self._without
        escape = _unused_escape(messages, variables)
        escaped = [self._escape(dict(message), escape) for message in messages]
        variables = self._escape(variables, escape)
        try:
            text = formatter(messages=escaped, **variables).prompt
        except Exception as error:  # a template's code may fail in any way
            raise ChatTemplateError(
                f"the model's chat template refuses this conversation: {shown(str(error), 300)}"
            ) from None
        tokens = self._vocabulary.tokenize_escaped(text, escape)
        if self._vocabulary.adds_bos and tokens[:1] != [self._vocabulary.bos]:
            assert self._vocabulary.bos is not None
            tokens.insert(0, self._vocabulary.bos)
        return ChatPrompt(text.replace(escape, ""), messages, tokens)

    def _escape(self, value: Any, escape: str) -> Any:
        if isinstance(value, str):
            return self._vocabulary.escaped(value, escape)
        if isinstance(value, Mapping):
            return {key: self._escape(item, escape) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._escape(item, escape) for item in value]
        return value


def _check(messages: Sequence[Message]) -> None:
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence):
        raise ChatTemplateError(
            'messages must be a list such as [{"role": "user", "content": "Hello"}], '
            f"not {type(messages).__name__}"
        )
    if not messages:
        raise ChatTemplateError("there are no messages to render; give at least one")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ChatTemplateError(f'message {index} has no "role": {shown(repr(message))}')
        if "content" not in message and "tool_calls" not in message:
            close = close_names("content", map(str, message), 1)
            hint = f" (there is {shown(repr(close[0]))})" if close else ""
            raise ChatTemplateError(f'message {index} has no "content"{hint}: {shown(message)}')


def _unused_escape(messages: Sequence[Message], variables: Mapping[str, Any]) -> str:
    spoken = _all_text([list(messages), dict(variables)])
    for escape in _ESCAPES:
        if escape not in spoken:
            return escape
    raise ChatTemplateError("the messages use every one of Unicode's 32 noncharacters")


def _all_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "".join(_all_text(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return "".join(_all_text(item) for item in value)
    return ""
