"""Planning a prompt on a path: the tokens to keep, and those to evaluate after them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import ParameterError, PromptWarning
from .model import Model
from .templates.messages import normalized
from .templates.template import ChatPrompt, Message
from .warn import warn

__all__ = ["Plan", "Prompt", "check_prompt", "plan_prompt", "warn_of_history"]

Prompt: TypeAlias = str | Sequence[int]

_HISTORY_CHARACTERS = 16  # a shorter beginning may be a coincidence


@dataclass(frozen=True)
class Plan:
    """A plan: keep the first ``keep`` tokens of the path and evaluate ``tokens`` after them."""

    keep: int
    tokens: tuple[int, ...]


def plan_prompt(
    model: Model,
    held: Sequence[int],
    prompt: Prompt | None,
    messages: Sequence[Message] | None,
    *,
    special: bool,
) -> Plan:
    """Return the plan of a prompt on a path.

    Parameters
    ----------
    model : Model
    held : sequence of int
        The path's tokens.
    prompt : str, ChatPrompt or sequence of int, optional
        More text or tokens; a ``ChatPrompt`` is the whole conversation.
    messages : sequence of mapping, optional
        The whole conversation. An answer at its end is continued.
    special : bool
        Whether control tokens in more text count as such.
    """
    check_prompt(model, prompt, messages)
    if messages is not None:
        prompt = model.apply_chat_template(
            messages, continue_final_message=_ends_with_answer(messages)
        )
    if prompt is None:
        return Plan(len(held), ())
    if isinstance(prompt, ChatPrompt):
        keep, used = model.vocabulary.common_prefix(held, prompt.tokens)
        return Plan(keep, prompt.tokens[used:])
    if isinstance(prompt, str):
        return Plan(len(held), tuple(model.tokenize(prompt, add_bos=not held, special=special)))
    return Plan(len(held), model.vocabulary.checked(prompt))


def warn_of_history(model: Model, held: Sequence[int], text: Prompt | None) -> None:
    """Warn if the new text repeats everything held so far, which is hardly ever intended."""
    if not isinstance(text, str) or isinstance(text, ChatPrompt):
        return
    if len(text) < _HISTORY_CHARACTERS or not held:
        return
    history = model.detokenize(held, special=True)
    if len(history) >= _HISTORY_CHARACTERS and text.startswith(history):
        warn(
            "this text begins with all that the context already holds, and text is appended: the "
            "model will read it twice. For a whole conversation give messages=[...] or what "
            "apply_chat_template() returns; for a fresh start call clear() first",
            PromptWarning,
        )


def _ends_with_answer(messages: Sequence[Message]) -> bool:
    last = messages[-1] if isinstance(messages, Sequence) and messages else None
    return isinstance(last, Mapping) and last.get("role") == "assistant"


def check_prompt(model: Model, prompt: Prompt | None, messages: Sequence[Message] | None) -> None:
    """Check that a prompt is a text or tokens, or else that there are messages.

    Raises
    ------
    ParameterError
    ChatTemplateError
        When the messages are none.
    """
    if prompt is not None and messages is not None:
        raise ParameterError("prompt and messages exclude each other; give one of them")
    if messages is not None:
        normalized(messages)
    if prompt is None or isinstance(prompt, str):
        return
    if not isinstance(prompt, Iterable) or isinstance(prompt, (bytes, bytearray, Mapping)):
        raise ParameterError(f"a prompt is a text or a list of tokens, not {type(prompt).__name__}")
    if not isinstance(prompt, Iterator):
        model.vocabulary.checked(prompt)
