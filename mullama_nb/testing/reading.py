"""Reading recordings, which are not trusted: every value is checked before use."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..engine.adapters.values import key_of
from ..engine.params import ContextParams
from ..engine.sampling.adaptive import check_state
from ..engine.stored import params_from_file
from ..errors import MullamaError, ParameterError, RecordingError, SessionFormatError, shown
from ..state.reading import open_regular
from .places import misplaced
from .recording import VERSION, Recording
from .said import in_order_said, system_said, with_system
from .sealing import broken
from .untrusted import (
    Unsound,
    check_keys,
    check_plain,
    is_line,
    is_log,
    is_token,
    need,
    parsed,
    refuse,
)
from .walk import Entry, Step

__all__ = ["read", "read_edited"]

_MOST_BYTES = 64 * 2**20
_MOST_ENTRIES = 100_000
_MOST_CELLS = 2**20
_MOST_TOP = 64
_HEAD = {
    "mullama_recording",
    "checksum",
    "checkpoints",
    "model",
    "vocabulary",
    "params",
    "settings",
    "environment",
    "system",
    "tools",
    "tags",
    "entries",
}
_ENTRY = {"id", "checksum", "parent", "notes", "text", "tokens", "generated", "steps"}
_PERHAPS = {"rendered", "end", "drawn", "after"}
_OF_A_TEMPLATE = {"chat_template", "chat_template_kwargs", "date", "keep_reasoning"}
_OF_AN_ANSWER = {"limits", "hidden", "call_grammar"}  # noted with how it was drawn
_IDENTIFIER = re.compile(r"[0-9a-f]{4,64}")


class _Edited(Unsound):
    remedy = (
        "take that back, as with git checkout, or have it led anew as it stands now, with "
        "record_again() or --mullama-update"
    )


def read(path: str | os.PathLike[str]) -> Recording:
    """Read and check a recording.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Recording

    Raises
    ------
    RecordingError
        When the file is missing, too large, truncated, not a recording, holds an invalid value, or
        was edited after it was recorded.
    """
    return _read(path, may_be_edited=False)


def read_edited(path: str | os.PathLike[str]) -> Recording:
    """Read a recording that may have been edited, as :func:`read` does, to record it again."""
    return _read(path, may_be_edited=True)


def _read(path: str | os.PathLike[str], *, may_be_edited: bool) -> Recording:
    path = Path(path)
    try:
        body = _opened(path)
        recording = _checked(body)
        if may_be_edited:
            return _with_one_system(recording, {*broken(body)})
        _check_seals(body)
        _check_places(recording.entries)
        _check_system(recording)
        return recording
    except Unsound as error:
        remedy = error.remedy if isinstance(error, _Edited) else "record it anew"
        raise RecordingError(f"{path.name}: {shown(str(error), 400)}; {remedy}") from None


def _opened(path: Path) -> Any:
    try:
        with open_regular(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        refuse("there is no such file")
    except (OSError, ValueError, SessionFormatError) as error:
        refuse(f"it cannot be read ({error})")
    if len(data) > _MOST_BYTES:
        refuse(f"it is larger than {_MOST_BYTES:,} bytes")
    return parsed(data)


def _check_seals(body: dict[str, Any]) -> None:
    n, n_here = body["checkpoints"], len(body["entries"])
    if n != n_here:
        raise _Edited(f"it was edited since it was recorded: {n_here:,} of {n:,} checkpoints here")
    if edited := [*broken(body)]:
        more = f", and {len(edited) - 3} more" if len(edited) > 3 else ""
        raise _Edited(f"it was edited since it was recorded: {', '.join(edited[:3])}{more}")


def _check_places(entries: Sequence[Entry]) -> None:
    """Check what holds for every recording, though not for one edited to be led anew."""
    if (wrong := misplaced(entries)) is not None:
        refuse(f"the id of checkpoint {wrong.id[:7]} cannot be right in its place")
    parents = {entry.parent for entry in entries}
    has_tokens: dict[str | None, bool] = {None: False}
    for entry in entries:
        has_tokens[entry.id] = has_tokens[entry.parent] or bool(entry.tokens)
        is_last = entry.id not in parents and not entry.steps and has_tokens[entry.id]
        need(bool(entry.after) == is_last, f"what comes after checkpoint {entry.id[:7]}")


def _check_system(recording: Recording) -> None:
    """Check that the head names no other system message than the one that was said."""
    said = system_said(recording.entries)
    if said is not None and said[0] != recording.system:
        _refuse_system(recording, *said)


def _with_one_system(recording: Recording, edited: Container[str]) -> Recording:
    """The recording with its system message as it was edited: in its head, or where it is said."""
    said = system_said(recording.entries)
    if said is None or said[0] == recording.system:
        return recording
    text, entry = said
    if f"checkpoint {entry.id[:7]}" in edited:
        return replace(recording, system=text)
    if recording.system is None:  # what was said behind it cannot go without it
        _refuse_system(recording, text, entry)
    return replace(recording, entries=with_system(recording.entries, text, recording.system))


def _refuse_system(recording: Recording, text: str, entry: Entry) -> NoReturn:
    named = "none" if recording.system is None else shown(repr(recording.system))
    refuse(f"its system message is {named}, and checkpoint {entry.id[:7]} says {shown(repr(text))}")


def _checked(body: Any) -> Recording:
    is_ours = isinstance(body, dict) and "mullama_recording" in body
    if not is_ours:
        refuse("it is not a recording")
    if body["mullama_recording"] != VERSION:
        refuse(f"it is a recording of version {body['mullama_recording']!r:.20}, not {VERSION}")
    check_keys(body, _HEAD, _HEAD | {"template"}, "the head")
    need(is_line(body["model"]) and is_line(body["vocabulary"]), "the model's name")
    need(is_line(body["checksum"]), "the checksum")
    need(type(body["checkpoints"]) is int, "the number of checkpoints")
    for key in ("params", "settings", "environment", "tags"):
        need(isinstance(body[key], dict), key)
        check_plain(body[key], key, is_shown=True)
    need(body["system"] is None or isinstance(body["system"], str), "the system message")
    tools = body["tools"]
    need(
        tools is None or (isinstance(tools, list) and all(isinstance(t, dict) for t in tools)),
        "tools",
    )
    check_plain([body["system"], tools], "the system message or tools")
    template = body.get("template", {})
    need(isinstance(template, dict) and template.keys() <= _OF_A_TEMPLATE, "the chat template")
    check_plain(template, "the chat template")
    params = _checked_params(body["params"])
    entries = _checked_entries(body["entries"], params.n_ctx or _MOST_CELLS)
    ids = {entry.id for entry in entries}
    need(all(isinstance(i, str) and i in ids for i in body["tags"].values()), "tags")
    named = [field.name for field in fields(Recording) if field.name in body]
    head = {name: body[name] for name in named} | {"entries": entries}
    recording = Recording(**(head | {"params": dict(vars(params))}))
    try:
        recording.template_options  # noqa: B018 - it checks
    except MullamaError as error:
        refuse(f"its chat template cannot be right ({error})")
    return recording


def _checked_params(values: Mapping[str, Any]) -> ContextParams:
    try:
        params_from_file(values)
        params = ContextParams(**values)
    except MullamaError as error:
        refuse(f"its context parameters cannot be right ({error})")
    need((params.n_ctx or 0) <= _MOST_CELLS, f"n_ctx={params.n_ctx}")
    return params


def _checked_entries(rows: Any, n_ctx: int) -> tuple[Entry, ...]:
    need(isinstance(rows, list) and len(rows) <= _MOST_ENTRIES, "entries")
    stops: dict[str | None, int] = {None: 0}
    entries = []
    for row in rows:
        entry = _checked_entry(row)
        name = f"checkpoint {entry.id[:7]}"
        need(entry.id not in stops and entry.parent in stops, f"the place of {name}")
        is_behind = stops[entry.parent] > 0
        need(not entry.steps or is_behind, f"the beginning of {name}")
        is_measured = len(entry.steps) == len(entry.said)
        need(is_measured or not (entry.is_generated and is_behind), f"the lack of steps in {name}")
        stops[entry.id] = stops[entry.parent] + len(entry.tokens)
        need(stops[entry.id] <= n_ctx, f"{stops[entry.id]:,} tokens in {n_ctx:,} cells")
        entries.append(entry)
    need(len([*in_order_said(entries)]) == len(entries), "the order in which things were said")
    return tuple(entries)


def _checked_entry(row: Any) -> Entry:
    need(isinstance(row, dict), "a checkpoint")
    check_keys(row, _ENTRY, _ENTRY | _PERHAPS, "a checkpoint")
    need(_is_identifier(row["id"]), "a checkpoint's id")
    name = f"checkpoint {row['id'][:7]}"
    need(is_line(row["checksum"]), f"the checksum of {name}")
    need(row["parent"] is None or _is_identifier(row["parent"]), f"the parent of {name}")
    need(isinstance(row["text"], str), f"the text of {name}")
    check_plain(row["text"], f"the text of {name}")
    need(isinstance(row["notes"], dict), f"the notes of {name}")
    check_plain(row["notes"], f"the notes of {name}")
    need(type(row["generated"]) is bool, f"{name}'s being generated")
    end = row.get("end")
    need(end is None or is_token(end), f"the end of {name}")
    entry = Entry(
        row["id"],
        row["parent"],
        _tokens(row["tokens"], f"the tokens of {name}"),
        row["text"],
        row["notes"],
        row["generated"],
        end,
        _tokens(row.get("drawn", []), f"what was drawn in {name}"),
        _steps(row["steps"], name),
        _top(row.get("after", []), f"what comes after {name}"),
        row.get("rendered"),
    )
    need("after" not in row or bool(entry.after), f"what comes after {name}")
    has_message = type(entry.is_rendered) is bool
    need(has_message == ("rendered" in row) == ("message" in entry.notes), f"rendering {name}")
    is_generated = bool(entry.steps) or "sampling" in entry.notes
    need(entry.is_generated == is_generated, f"{name}'s being generated, or its probabilities")
    need(len(entry.steps) in (0, len(entry.said)), f"the number of probabilities of {name}")
    need(len(entry.drawn) in (0, len(entry.said)), f"the number of draws of {name}")
    need(end is None or bool(entry.steps), f"the end of {name}")
    _check_notes(entry, name)
    return entry


def _check_notes(entry: Entry, name: str) -> None:
    """What replaying uses of the notes."""
    notes = entry.notes
    for key in ("sampling", "limits"):
        need(isinstance(notes.get(key, {}), dict), f"the {key} of {name}")
        try:
            getattr(entry, key)
        except (MullamaError, TypeError, ValueError, AttributeError) as error:
            refuse(f"the {key} of {name} cannot be right ({error})")
    is_answer = not _OF_AN_ANSWER.isdisjoint(notes)
    need("sampling" in notes or not is_answer, f"the lack of sampling in {name}")
    is_ended = notes.get("finish_reason") == "stop"
    need(entry.end is None or is_ended, f"the finish reason of {name}")
    sampling = entry.sampling
    if sampling is not None:
        need(sampling.penalty_window <= _MOST_CELLS, f"the penalty window of {name}")
        states = notes.get("sampler_states", [])
        need(isinstance(states, list), f"the sampler states of {name}")
        for state in states:
            try:
                check_state(sampling, state)
            except ParameterError as error:
                refuse(f"the sampler states of {name} cannot be right ({error})")
    need(isinstance(notes.get("call_grammar", False), bool), f"the grammar of calls of {name}")
    adapters = notes.get("adapters", [])
    need(isinstance(adapters, list), f"the adapters of {name}")
    for each in adapters:
        need(isinstance(each, dict) and is_line(each.get("name", "")), f"an adapter of {name}")
        try:
            key_of(each)
        except MullamaError as error:
            refuse(f"an adapter of {name} cannot be right ({error})")
    sibling = notes.get("sibling", 0)
    need(type(sibling) is int and 0 <= sibling < 2**63, f"the sibling of {name}")
    for key in ("role", "came_from", "taken_from", "finish_reason"):
        need(is_line(notes.get(key, "")), f"the {key} of {name}")
    again = notes.get("evaluated_again", {})
    need(isinstance(again, dict), f"what was evaluated again for {name}")
    elsewhere = notes.get("decoded_elsewhere", {})
    need(isinstance(elsewhere, dict), f"where {name} was decoded")
    message = notes.get("message", {})
    history = notes.get("history", [])
    need(isinstance(history, list), f"the history of {name}")
    for each in (message, *history):
        need(isinstance(each, dict) and is_line(each.get("role", "")), f"a message of {name}")


def _tokens(value: Any, what: str) -> tuple[int, ...]:
    need(isinstance(value, list) and all(map(is_token, value)), what)
    return tuple(value)


def _steps(rows: Any, name: str) -> tuple[Step, ...]:
    what = f"a probability of {name}"
    need(isinstance(rows, list), what)
    steps = []
    for row in rows:
        need(isinstance(row, list) and len(row) > 0 and is_log(row[0]), what)
        steps.append(Step(_float32(row[0]), _top(row[1:], what)))
    return tuple(steps)


def _top(rows: Any, what: str) -> tuple[tuple[int, float], ...]:
    need(isinstance(rows, list) and len(rows) <= _MOST_TOP, what)
    for pair in rows:
        need(isinstance(pair, list) and len(pair) == 2, what)
        need(is_token(pair[0]) and is_log(pair[1]), what)
    return tuple((token, _float32(value)) for token, value in rows)


def _is_identifier(value: Any) -> bool:
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def _float32(value: float) -> float:
    """The number that was written, in a few digits."""
    return float(np.float32(value))
