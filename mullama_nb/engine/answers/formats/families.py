"""Common families: marks that a template does not show of itself, and answers in channels."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ...completion import Part
from .call_form import CallForm
from .calls import SYNTAXES, Syntax
from .marks import ANYTHING, Gap, Mark, Rule, opens, until

__all__ = ["CALLS", "CHANNELS", "TEXTS", "THOUGHTS", "CallMarks", "Channels", "ThoughtMarks"]


@dataclass(frozen=True)
class ThoughtMarks:
    """The marks around a thought.

    Attributes
    ----------
    opens, closes : str
    closing : str
        What ends a thought and begins the text, with the whitespace that belongs to it.
    """

    opens: str
    closes: str
    closing: str


@dataclass(frozen=True)
class CallMarks:
    """The marks around calls.

    Attributes
    ----------
    opens : str
        Empty if an answer that calls is nothing but JSON.
    closes : str
        Empty if calls end with the answer.
    syntaxes : tuple of Syntax
        What stands between them, in order of preference.
    """

    opens: str
    closes: str
    syntaxes: tuple[Syntax, ...]


@dataclass(frozen=True)
class Channels:
    """A family whose answers are messages with headers, which say what each is.

    Attributes
    ----------
    signs : tuple of str
        What all its templates have.
    rules : tuple of Rule
    syntaxes : tuple of Syntax
    opens : str
        What a prompt that opens a thought ends with; empty if none does.
    closing : str
        What ends a thought and begins the text.
    opening, reopening : str
        What begins a text where the prompt ends, and behind another message.
    call_form : CallForm, optional
        Of calls in JSON.
    """

    signs: tuple[str, ...]
    rules: tuple[Rule, ...]
    syntaxes: tuple[Syntax, ...]
    opens: str = ""
    closing: str = ""
    opening: str = ""
    reopening: str = ""
    call_form: CallForm | None = None


def _syntaxes(*names: str) -> tuple[Syntax, ...]:
    return tuple(SYNTAXES[name] for name in names)


THOUGHTS = tuple(
    ThoughtMarks(*marks)
    for marks in (
        ("<think>", "</think>", "\n</think>\n\n"),
        ("[THINK]", "[/THINK]", "[/THINK]"),
        ("<|START_THINKING|>", "<|END_THINKING|>", "<|END_THINKING|>"),
        ("<|channel>thought", "<channel|>", "\n<channel|>"),
        ("<seed:think>", "</seed:think>", "</seed:think>"),
        ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", "\n[BEGIN FINAL RESPONSE]\n"),
        ("<thinking>", "</thinking>", "\n</thinking>\n\n"),
        ("<|inner_prefix|>", "<|inner_suffix|>", "<|inner_suffix|>"),
    )
)

CALLS = tuple(
    CallMarks(opens, closes, _syntaxes(*names))
    for opens, closes, *names in (
        ("]<]minimax[>[<tool_call>", "]<]minimax[>[</tool_call>", "xml"),
        ("<tool_call>", "</tool_call>", "objects", "xml"),
        ("[TOOL_CALLS]", "", "named", "objects"),
        ("<\uff5ctool▁calls▁begin\uff5c>", "<\uff5ctool▁calls▁end\uff5c>", "named"),
        ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "named"),
        ("<|tool_call_start|>", "<|tool_call_end|>", "python", "objects"),
        ("<|tool_call>", "<tool_call|>", "gemma"),
        ("<|START_ACTION|>", "<|END_ACTION|>", "objects"),
        ("<|python_tag|>", "", "objects", "python"),
        ("<TOOLCALL>", "</TOOLCALL>", "objects"),
        ("<tool_calls>", "</tool_calls>", "objects"),
        ("functools[", "", "objects"),
    )
)

TEXTS = (
    ("<response></response>", ("<response>", "</response>")),
    ("[END FINAL RESPONSE]", ("[END FINAL RESPONSE]",)),
)
"""What a template has, and the marks around texts that it teaches then."""

# -- channels --------------------------------------------------------------------------------

_TO = re.compile(r"\bto=(\S+?)(?=<|\s|$)")
_TOOL = re.compile(r"[\w.-]+")


def _harmony(header: str) -> Part:
    """gpt-oss: a recipient other than people makes it a call, ``analysis`` a thought."""
    recipient = _TO.search(header)
    if recipient is not None and recipient.group(1) not in ("assistant", "user"):
        return "tool_call"
    return "reasoning" if "analysis" in header else "text"


def _by_recipient(header: str) -> Part:
    """What is said to oneself is a thought, what is said to a tool a call."""
    recipient = _TO.search(header)
    name = "user" if recipient is None else recipient.group(1)
    return "reasoning" if name == "self" else "text" if name == "user" else "tool_call"


def _functionary(header: str) -> Part | None:
    """Functionary 3.2: the name of a tool or ``all`` on a line of its own."""
    name = header.strip().removeprefix(">>>")
    if name == "all":
        return "text"
    return "tool_call" if _TOOL.fullmatch(name) else None


def _headed(
    *elements: str | Gap, says: Callable[[str], Part | None], at_start: bool = False
) -> Rule:
    return Rule("text", Mark(elements), says, at_start=at_start, opens_text=True)


def _ends(*marks: str) -> tuple[Rule, ...]:
    parts: tuple[Part, ...] = ("text", "reasoning", "tool_call")
    return tuple(until(part, mark) for mark in marks for part in parts)


CHANNELS = (
    Channels(
        ("<|channel|>", "<|message|>"),
        (
            _headed("<|channel|>", ANYTHING, "<|message|>", says=_harmony),
            _headed("<|start|>", ANYTHING, "<|message|>", says=_harmony),
            _headed(" to=", ANYTHING, "<|message|>", says=_harmony, at_start=True),
            *_ends("<|end|>", "<|call|>", "<|return|>"),
        ),
        _syntaxes("named"),
        closing="<|end|><|start|>assistant<|channel|>final<|message|>",
        opening="<|channel|>final<|message|>",
        reopening="<|start|>assistant<|channel|>final<|message|>",
        call_form=CallForm("", after="<|call|>"),
    ),
    Channels(
        (" to=self<|message|>", "<|eom|>"),
        (
            _headed("<|start|>", ANYTHING, "<|message|>", says=_by_recipient),
            _headed(" to=", ANYTHING, "<|message|>", says=_by_recipient, at_start=True),
            *_ends("<|eom|>", "<|eot|>"),
        ),
        _syntaxes("xml"),
        closing="<|eom|><|start|>assistant to=user<|message|>",
        opening=" to=user<|message|>",
        reopening="<|start|>assistant to=user<|message|>",
    ),
    Channels(
        (">>>", "all\\n"),
        (
            _headed("", ANYTHING, "\n", says=_functionary, at_start=True),
            _headed(">>>", ANYTHING, "\n", says=_functionary),
            Rule("tool_call", Mark((">>>", ANYTHING, "\n")), _functionary, outside_strings=True),
        ),
        _syntaxes("named"),
        opening="all\n",
        reopening=">>>all\n",
    ),
    Channels(
        ("<|open|>", "<|sep|>", "think"),
        (
            opens("reasoning", "<|open|>think<|sep|>"),
            until("reasoning", "<|close|>think<|sep|>"),
            Rule("text", Mark(("<|open|>response<|sep|>",)), "text", opens_text=True),
            opens("text", "<|close|>response<|sep|>"),
            opens("tool_call", "<|open|>tools<|sep|>"),
            until("tool_call", "<|close|>tools<|sep|>"),
            opens("text", "<|close|>message<|sep|>"),
        ),
        _syntaxes("xml"),
        opens="<|open|>think<|sep|>",
        closing="<|close|>think<|sep|><|open|>response<|sep|>",
        opening="<|open|>response<|sep|>",
        reopening="<|open|>response<|sep|>",
    ),
)
