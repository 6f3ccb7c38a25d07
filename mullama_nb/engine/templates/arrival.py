"""Noticing what a chat template leaves out of the prompt: messages, calls, tools, options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...checks import did_you_mean
from ...errors import ChatTemplateError, ParameterWarning, shown
from ..warn import warn
from .form import MARK, Render, rendered
from .messages import THOUGHTS

__all__ = ["Arrival"]

_ALWAYS = {"tools", "messages", "add_generation_prompt", "documents"}
_SYSTEM = {"role": "system", "content": f"{MARK}system"}
_USER = {"role": "user", "content": f"{MARK}user"}


class Arrival:
    """Checks that what a template is given is in the prompt.

    Whether something arrives depends on its kind: the role, the neighbours. Each kind is looked at
    once, in the conversation where it first appears, with marks in place of the texts.

    Parameters
    ----------
    render : callable
        The template.
    whose : str
        What messages call it.
    variables : frozenset of str
        The names that it looks up.
    """

    def __init__(self, render: Render, whose: str, variables: frozenset[str]) -> None:
        self._render = render
        self._whose = whose
        self._variables = variables
        self._arrived: set[object] = set()
        self._tools: dict[tuple[object, ...], bool] = {}

    def check(
        self,
        said: Sequence[Mapping[str, Any]],
        shaped: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
    ) -> None:
        """Check a conversation.

        Parameters
        ----------
        said, shaped : sequence of mapping
            The messages, normalised, and in the template's form.
        variables : mapping

        Raises
        ------
        ChatTemplateError
            When a message does not arrive.

        Warns
        -----
        ParameterWarning
            When a leading system message, the text beside a call, the tools or a variable does not.
        """
        tools = variables.get("tools")
        self._check_variables(variables)
        if tools and not self.reads_tools(tools, after_system=said[0]["role"] == "system"):
            self._warn("the tools, so that the model does not know them")
        if all(message["role"] == "system" for message in said):
            return  # a template may put it into the question that follows
        kinds = [*_kinds(said, has_tools=bool(tools))]
        if self._arrived.issuperset(kind for kind, _ in kinds):
            return
        marked = [
            _Marked(message, index, keeps_thoughts=keeps)
            for index, (message, (_, keeps)) in enumerate(zip(shaped, kinds, strict=True))
        ]
        text = rendered(self._render, [each.message for each in marked], **variables)
        if text is None:  # what it takes depends on what is said, so there is no telling
            return
        for index, each in enumerate(marked):
            if missing := each.missing(text):
                self._tell(shaped, index, missing)
            else:
                self._arrived.add(kinds[index][0])

    def _check_variables(self, variables: Mapping[str, Any]) -> None:
        for name in variables:
            if name not in self._variables and name not in _ALWAYS:
                hint = did_you_mean(name, self._variables)
                self._warn(f"the option {shown(repr(name))}{f': {hint}' if hint else ''}")

    def reads_tools(
        self, tools: Sequence[Mapping[str, Any]], *, after_system: bool = False
    ) -> bool:
        """Return whether tools arrive in the prompt, behind a system message or without one."""
        functions = [tool.get("function", tool) for tool in tools]
        names = tuple(str(function["name"]) for function in functions if "name" in function)
        key = (after_system, *names)
        if key not in self._tools:
            probe = [_SYSTEM, _USER] if after_system else [_USER]
            text = rendered(self._render, probe, tools=[*tools])
            without = rendered(self._render, probe) or ""
            self._tools[key] = text is None or _tells(text, without, names)
        return self._tools[key]

    def _tell(self, shaped: Sequence[Mapping[str, Any]], index: int, missing: str) -> None:
        role = shown(repr(shaped[index]["role"]))
        if index == 0 and shaped[0]["role"] == "system":
            self._warn("the system message; put the text into the first question")
        elif missing == "thoughts" or (missing == "content" and "tool_calls" in shaped[index]):
            self._warn(f"the {missing} beside the tool calls of message {index}")
        else:
            raise ChatTemplateError(
                f"{self._whose} leaves out the {missing} of message {index}, whose role is {role}: "
                "nothing of it would reach the model"
            )

    def _warn(self, what: str) -> None:
        warn(f"{self._whose} leaves out {what}", ParameterWarning)


def _tells(text: str, without: str, names: Sequence[str]) -> bool:
    """Whether a text tells of all tools: by their names, or in another way."""
    arrived = [text.count(name) > without.count(name) for name in names]
    return all(arrived) if any(arrived) else text != without


def _kinds(said: Sequence[Mapping[str, Any]], *, has_tools: bool) -> Iterator[tuple[object, bool]]:
    """Yield for each message what decides whether it arrives, and whether its thoughts have to."""
    roles = ["", *(message["role"] for message in said), ""]
    n_results = 0  # at the end: what a model thought before its call is still of use then
    while roles[-2 - n_results] == "tool":
        n_results += 1
    after_system = False
    for index, message in enumerate(said):
        keeps = bool(n_results) and index == len(said) - n_results - 1
        keeps = keeps and "reasoning_content" in message
        yield (
            (
                *roles[index : index + 3],
                after_system,
                bool(message["content"]),
                len(message.get("tool_calls", ())) > 1,
                "tool_calls" in message,
                keeps,
                has_tools,
            ),
            keeps,
        )
        after_system = after_system or message["role"] == "system"


class _Marked:
    """A message in a template's form, with marks in place of texts and of the names of calls."""

    def __init__(self, message: Mapping[str, Any], index: int, *, keeps_thoughts: bool) -> None:
        self._begin = f"{MARK}{index}"
        self._marks: dict[str, str] = {}
        self._keeps_thoughts = keeps_thoughts
        self.message = dict(message)
        content = message["content"]
        if content and isinstance(content, str):
            self.message["content"] = self._mark("content")
        elif content:
            self.message["content"] = [self._part(part) for part in content]
        for key in THOUGHTS:
            if keeps_thoughts and message.get(key):
                self.message[key] = self._mark("thoughts")
        if "tool_calls" in message:
            calls = enumerate(message["tool_calls"])
            self.message["tool_calls"] = [self._call(call, number) for number, call in calls]

    def _mark(self, what: str, number: int = 0) -> str:
        mark = f"{self._begin}{what.replace(' ', '')}{number}x"
        self._marks[mark] = what
        return mark

    def _part(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        if "text" in part:
            return {**part, "text": self._mark("content")}
        return {**part, "thinking": self._mark("thoughts")} if self._keeps_thoughts else part

    def _call(self, call: Mapping[str, Any], number: int) -> dict[str, Any]:
        name = self._mark("tool calls", number)
        if "function" in call:
            return {**call, "function": {**call["function"], "name": name}}
        return {**call, "name": name}

    def missing(self, text: str) -> str:
        """Return what of the message is not in a text; empty if nothing is missing."""
        return next((what for mark, what in self._marks.items() if mark not in text), "")
