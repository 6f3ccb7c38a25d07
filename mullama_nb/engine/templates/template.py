"""A model's chat template: from messages to a prompt, with typed control tokens kept as text."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ...cached import cached
from ...errors import ChatTemplateError
from ..answers.format import AnswerFormat
from ..answers.generated_text import GeneratedText
from ..vocabulary import Vocabulary
from .arrival import Arrival
from .date import Clock
from .form import TemplateForm
from .messages import Message, normalized
from .sandbox import GivenList, SandboxedTemplate, to_json

__all__ = ["ChatPrompt", "ChatTemplate", "GeneratedText", "Message"]

# Noncharacters: no text uses them, and no vocabulary has a control token with one.
_ESCAPES = [chr(code) for code in range(0xFDD0, 0xFDF0)]


_PROBED = datetime(2000, 1, 1)


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
    """A Jinja template, run in Jinja's sandbox.

    Messages may have any of the usual shapes: a template gets them in the form that it reads, which
    is found by rendering probes.

    Parameters
    ----------
    source : str
        The template.
    vocabulary : Vocabulary
    whose : str
        What messages call it.

    Raises
    ------
    ChatTemplateError
        When the template cannot be parsed.
    """

    def __init__(
        self, source: str, vocabulary: Vocabulary, whose: str = "the model's chat template"
    ) -> None:
        self.source = source
        self._vocabulary = vocabulary
        self._whose = whose
        self._template = SandboxedTemplate(source, whose)
        self._arrival = Arrival(self._probe, whose, self._template.variables)

    @cached
    def form(self) -> TemplateForm:
        """The form in which the template reads messages."""
        return TemplateForm(self._probe, self.source)

    @cached
    def answer_format(self) -> AnswerFormat:
        """How answers are read: the marks of thoughts and calls that the template teaches."""
        return AnswerFormat.of(self, self._vocabulary)

    def probe(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        **variables: Any,
    ) -> str:
        """Return a conversation as it is rendered, unchecked; empty if the template refuses it."""
        try:
            shaped = self.form.of(normalized(messages))
            return self._probe(shaped, **variables, add_generation_prompt=add_generation_prompt)
        except ChatTemplateError:
            return ""

    @property
    def tells_date(self) -> bool:
        """Whether the prompt may depend on the date."""
        return "strftime_now" in self._template.variables

    def reads_tools(self, tools: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether tools arrive in the prompt."""
        return self._arrival.reads_tools(tools)

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        is_probe: bool = False,
        date: Clock | None = None,
        **variables: Any,
    ) -> ChatPrompt:
        """Render a conversation.

        Parameters
        ----------
        messages : sequence of mapping
            Each with ``role`` and, as a rule, ``content``.
        add_generation_prompt : bool
            Whether to end with the beginning of an answer.
        continue_final_message : bool
            Whether to end within the last message, which is the assistant's; nothing is added then.
        is_probe : bool
            Whether it is only to see what the template writes, so that it may leave things out.
        date : datetime, optional
            What the template is told when it asks for the time. None: now.
        **variables
            Further variables for the template, such as ``tools``.

        Raises
        ------
        ChatTemplateError
            When a message has no role, the template rejects the conversation, or leaves out what a
            message says.

        Warns
        -----
        ParameterWarning
            When the template leaves out the tools, the first system message, or a variable.
        """
        said = normalized(messages)
        escape, mark = _unused_escapes(said, variables)
        told = {
            **self._escape(variables, escape),
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
        }
        clock = datetime.now() if date is None else date

        def render() -> tuple[list[dict[str, Any]], str]:
            shaped = self.form.of(said)
            return shaped, self._render(self._escape(shaped, escape), told, clock)

        if continue_final_message:
            said[-1] = _marked(said[-1], mark)
            shaped, text = render()
            if mark not in text and not said[-1]["content"]:  # thoughts that are left out
                said[-1] = self.form.within_thoughts(said[-1])
                shaped, text = render()
            text = self._until(text, mark)
        else:
            shaped, text = render()
        if not is_probe:
            self._arrival.check(said, shaped, variables)
        tokens = self._vocabulary.tokenize_escaped(text, escape)
        if self._vocabulary.adds_bos and tokens[:1] != [self._vocabulary.bos]:
            assert self._vocabulary.bos is not None
            tokens.insert(0, self._vocabulary.bos)
        return ChatPrompt(text.replace(escape, ""), messages, tokens)

    def _render(
        self, messages: Sequence[Message], variables: Mapping[str, Any], date: Clock
    ) -> str:
        told = {**self._nothing, **variables, "messages": GivenList(messages)}
        if "functions" in self._nothing:  # as llama.cpp tells them
            told["functions"] = to_json(told["tools"] or [], indent=4)
            told["datetime"] = date.strftime("%b %d %Y")
        return self._template.render(told, date)

    @cached
    def _nothing(self) -> dict[str, Any]:
        """What a template is told beside the messages where nothing else is given."""
        vocabulary = self._vocabulary
        told = {
            "bos_token": vocabulary.text(vocabulary.bos),
            "eos_token": vocabulary.text(vocabulary.eos),
        }
        ways: list[dict[str, Any]] = [
            {"tools": None, "documents": None},  # as transformers has it
            {"tools": [], "documents": []},
            {"tools": None, "functions": "", "datetime": ""},
        ]
        probe = {"messages": [{"role": "user", "content": "?"}], "add_generation_prompt": True}
        for way in ways:
            with contextlib.suppress(ChatTemplateError):
                self._template.render({**told, **way, **probe}, _PROBED)
                return told | way
        return told | ways[0]

    def _probe(self, messages: Sequence[Message], **variables: Any) -> str:
        return self._render(messages, {"add_generation_prompt": False, **variables}, _PROBED)

    def _until(self, rendered: str, mark: str) -> str:
        if mark not in rendered:
            raise ChatTemplateError(
                f"{self._whose} leaves out an answer at the end of a conversation, so that it "
                "cannot be continued: end with a question"
            )
        return rendered[: rendered.rindex(mark)]

    def _escape(self, value: Any, escape: str) -> Any:
        if isinstance(value, GeneratedText):
            return self._vocabulary.escaped_runs(value.runs, escape)
        if isinstance(value, str):
            return self._vocabulary.escaped(value, escape)
        if isinstance(value, Mapping):
            return {key: self._escape(item, escape) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return GivenList(self._escape(item, escape) for item in value)
        return value


def _marked(message: dict[str, Any], mark: str) -> dict[str, Any]:
    """A message of the assistant with a mark where it is to go on."""
    if message["role"] != "assistant":
        raise ChatTemplateError(
            "only an answer can be continued, and the last message is the "
            f"{message['role']}'s: end with a message of the assistant"
        )
    if "tool_calls" in message:
        raise ChatTemplateError(
            "an answer that calls tools is complete: add the results as messages with the role "
            '"tool"'
        )
    key = (
        "content"
        if message["content"] or "reasoning_content" not in message
        else "reasoning_content"
    )
    text = message[key]
    runs = text.runs if isinstance(text, GeneratedText) else ((text, False),)
    return {**message, key: GeneratedText((*runs, (mark, False)))}


def _unused_escapes(messages: Sequence[Message], variables: Mapping[str, Any]) -> tuple[str, str]:
    spoken = _all_text([list(messages), dict(variables)])
    unused = [escape for escape in _ESCAPES if escape not in spoken]
    if not unused:
        raise ChatTemplateError("the messages use every one of Unicode's 32 noncharacters")
    return unused[0], unused[-1]


def _all_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "".join(_all_text(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return "".join(_all_text(item) for item in value)
    return ""
