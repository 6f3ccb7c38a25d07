"""Cases that are recordings: replayed as a whole, and led up to their last answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...engine.context import Context
from ...history.chat import Chat
from ...history.message import content_text
from ...history.shared_rows import SharedRows
from ..adapters import adapters_beside
from ..recording import Recording
from ..replaying import check_vocabulary
from ..walk import Entry
from .checks.check import Check
from .checks.same_as import SameAs, same_as
from .leading import Led
from .task import CellTask

__all__ = ["checks_of", "led_by_recording", "planned_of"]


def checks_of(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Return the checks of a case that is a recording: that it holds here is always one."""
    return tuple(checks) if any(map(_is_own, checks)) else (same_as(), *checks)


def planned_of(recording: Recording) -> tuple[int, ...]:
    """Return the tokens that a recording begins with, up to the first that was generated."""
    tokens: list[int] = []
    for entry in _way(recording)[0]:
        if entry.is_generated:
            break
        tokens += entry.tokens
    return tuple(tokens)


def led_by_recording(task: CellTask, context: Context, shared: SharedRows) -> Led:
    """Lead a recorded conversation up to its last answer, which may be generated anew.

    Where all that is asked is whether the recording holds, nothing is evaluated here: it is
    replayed in a context of its own.

    Raises
    ------
    ParameterError
        When the model has another vocabulary.
    AdapterError
        When an adapter that it was made with is not at hand.
    """
    there, source = task.recording, task.case.said
    assert there is not None
    assert isinstance(source, Path)
    check_vocabulary(there, context.model)
    template = there.template_options
    template.check(context.model)
    adapters = task.setting.adapters
    context.known_adapters.offer([*adapters, *adapters_beside(source, there.entries)])
    chat = Chat(
        context,
        there.system,
        tools=there.tools,
        chat_template=template.chat_template,
        chat_template_kwargs=template.chat_template_kwargs,
    )
    chat._conversation.template = template
    chat._workspace.rows.shared = shared
    way, answer = _way(there)
    if not all(map(_is_own, checks_of(task.case.checks))):
        for entry in way:
            chat.adapters = adapters or context.known_adapters.of(entry.noted.adapters)
            _evaluate(chat, entry)
    chat.adapters = adapters or context.known_adapters.of(there.entries[-1].noted.adapters)
    led = Led(chat, chat.head, shared, task.limits, source=source, recording=there)
    if answer is not None and answer.sampling is not None:
        chat.sampling, led.limits = answer.sampling, answer.limits
    messages = (entry.notes.get("message") for entry in reversed(way))
    led.asked = next((content_text(m) for m in messages if isinstance(m, dict)), "")
    return led


def _evaluate(chat: Chat, entry: Entry) -> None:
    """Force an entry's tokens; those that were generated one by one, as then."""
    logprobs: Sequence[float] = ()
    if entry.is_generated:
        logprobs = [step.logprob for step in entry.steps[: len(entry.tokens)]]
        for token in entry.tokens:
            chat.context.evaluate([token])
    else:
        chat._workspace.evaluate(entry.tokens)
    chat.tree.commit(logprobs=logprobs, allow_empty=True, **entry.notes)


def _way(recording: Recording) -> tuple[list[Entry], Entry | None]:
    """The entries in front of the last answer, and that answer; all of them if there is none."""
    by_id = {entry.id: entry for entry in recording.entries}
    answers = [e for e in recording.entries if e.sampling is not None and not e.noted.continues]
    last = answers[-1] if answers else None
    at = last.parent if last is not None else next((e.id for e in recording.entries[-1:]), None)
    way: list[Entry] = []
    while at is not None:
        way.append(by_id[at])
        at = by_id[at].parent
    return way[::-1], last


def _is_own(check: Check) -> bool:
    """Whether a check asks if the case, which is a recording, holds."""
    return isinstance(check, SameAs) and check.recording is None
