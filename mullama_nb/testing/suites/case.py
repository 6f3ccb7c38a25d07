"""A case of a suite: what is said, and what is demanded of the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ...checks import check_names
from ...engine.completion import Limits
from ...engine.sampling.params import SamplingParams
from ...errors import ParameterError, shown
from ...history.given import checked_messages
from ...history.message import content_text
from ...history.notes import Message
from ...history.options import LIMIT_OPTIONS, SAMPLING_OPTIONS, lists_generation, pick
from .checks.check import Check
from .checks.forms import as_checks
from .labels import check_label

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...history.chat import Chat
    from ...history.options import GenerationOptions


__all__ = ["Case", "Said"]

Said: TypeAlias = "str | Sequence[Message] | Path | Callable[[Chat], object]"
"""A question, messages, a recording, or a function that leads a chat."""

_LONGEST = 48  # of a name that is made from a text
_ENDINGS = (".mullama.json", ".json")


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Case:
    """What is said to a model, and what is demanded of its answer.

    Parameters
    ----------
    said : str, sequence of mapping, Path or callable
        A question, or for a model without a chat template a text that it completes. Messages, of
        which the last may be the beginning of the answer. A recording, whose conversation is
        replayed. Or a function that is given an empty :class:`~mullama_nb.Chat` and leads it.
    checks : sequence of Check and callable
        A function is called with the answer's text, and returns whether it is right, or asserts.
        Where no check needs an answer, none is generated.
    name : str, optional
        Unique in its suite. None: the beginning of the text, or the name of the file or function.
    **options
        Limits and sampling of its answers, such as ``max_tokens=100, temperature=0``. They take
        precedence over those of a setting.

    Attributes
    ----------
    options : mapping

    Raises
    ------
    ParameterError
        When a value is out of range, or does not apply to such a case.
    """

    said: Said
    checks: tuple[Check, ...]
    name: str
    has_own_name: bool
    options: Mapping[str, Any]

    @lists_generation
    def __init__(
        self,
        said: Said,
        checks: Sequence[Check | Callable[[str], object]] = (),
        *,
        name: str | None = None,
        **options: Unpack[GenerationOptions],
    ) -> None:
        given: dict[str, Any] = dict(options)
        check_names("a case", given, (*LIMIT_OPTIONS, *SAMPLING_OPTIONS))
        if given.get("seed", 0) is None:
            raise ParameterError("seed=None draws another one each time: give a suite a number")
        limits = Limits(**pick(given, LIMIT_OPTIONS))
        SamplingParams(**pick(given, SAMPLING_OPTIONS))
        said = _checked(said)
        if isinstance(said, Path) and given:
            raise ParameterError(
                f"{', '.join(given)}: a recording is replayed with the sampling and limits that it "
                "was recorded with; give none"
            )
        if callable(said) and limits != Limits():
            raise ParameterError(
                f"{', '.join(pick(given, LIMIT_OPTIONS))}: a function says itself where its "
                "answers end, as in chat.ask(..., max_tokens=100)"
            )
        for field, value in (
            ("said", said),
            ("checks", as_checks(checks)),
            ("name", _name_of(said) if name is None else check_label("name", name)),
            ("has_own_name", name is not None),
            ("options", given),
        ):
            object.__setattr__(self, field, value)

    @property
    def kind(self) -> str:
        """``"question"``, ``"messages"``, ``"recording"`` or ``"function"``."""
        if isinstance(self.said, str):
            return "question"
        if isinstance(self.said, Path):
            return "recording"
        return "function" if callable(self.said) else "messages"

    def __repr__(self) -> str:
        checks = f", {len(self.checks)} check{'s' * (len(self.checks) != 1)}" if self.checks else ""
        return f"Case({self.name!r}, {self.kind}{checks})"


def _checked(said: object) -> Said:
    if isinstance(said, (str, Path)) or callable(said):
        if isinstance(said, str) and not said.strip():
            raise ParameterError("a case says something: its text is empty")
        return said
    if isinstance(said, Mapping) or not isinstance(said, Sequence):
        raise ParameterError(
            "a case is a question, a list of messages, the Path of a recording, or a function that "
            f"leads a chat, not {shown(said)}"
        )
    messages = checked_messages(said)
    if not messages:
        raise ParameterError("a case says something: there is no message in it")
    for message in messages:
        if not isinstance(message.get("role"), str):
            raise ParameterError(f"each message of a case has a role, not {shown(message)}")
    if all(message["role"] == "system" for message in messages):
        raise ParameterError(
            "a case of messages ends with a question, or with the beginning of the answer to one; "
            f"there is nothing but a system message: {shown(messages[-1])}"
        )
    return tuple(messages)


def _name_of(said: Said) -> str:
    """A name that is made from what is said."""
    if isinstance(said, Path):
        ending = next((each for each in _ENDINGS if said.name.endswith(each)), said.suffix)
        text = said.name.removesuffix(ending)
    elif isinstance(said, str):
        text = said
    elif callable(said):
        text = getattr(said, "__name__", type(said).__name__)
    else:
        asked = [message for message in said if message["role"] not in ("system", "assistant")]
        text = content_text((asked or said)[-1])
    # What would part an id such as "name[model,setting]" in another way is left out.
    line = " ".join(text[: 4 * _LONGEST].split())
    words = re.sub(r"[\[\],:\\/<>]+", " ", shown(line, 4 * _LONGEST)).split()
    name = " ".join(words)
    if len(name) > _LONGEST:
        name = name[:_LONGEST].rpartition(" ")[0] or name[:_LONGEST]
    return name.strip() or "case"
