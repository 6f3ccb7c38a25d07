"""Reading recordings, which are not trusted: every value is checked before use."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
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
from .said import in_order_said
from .sealing import broken
from .walk import Entry, Step

__all__ = ["read", "read_edited"]

_MOST_BYTES = 64 * 2**20
_MOST_ENTRIES = 100_000
_MOST_CELLS = 2**20
_MOST_TOP = 64
_NOTE_CHARACTERS = 2**20
_NOTE_DEPTH = 32
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


class _Unsound(Exception):  # noqa: N818 - becomes a RecordingError that names the file
    remedy = "record it anew"


class _Edited(_Unsound):
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
        body = _parsed(path)
        recording = _checked(body)
        if not may_be_edited:
            _check_seals(body)
            _check_places(recording.entries)
        return recording
    except _Unsound as error:
        raise RecordingError(f"{path.name}: {shown(str(error), 400)}; {error.remedy}") from None


def _parsed(path: Path) -> Any:
    try:
        with open_regular(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        _refuse("there is no such file")
    except (OSError, ValueError, SessionFormatError) as error:
        _refuse(f"it cannot be read ({error})")
    if len(data) > _MOST_BYTES:
        _refuse(f"it is larger than {_MOST_BYTES:,} bytes")
    try:
        text = data.decode("utf-8")
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        _refuse(f"it is not JSON, or was cut short ({error})")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which each key stands once: people read the first, and JSON the last."""
    if len(values := dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return values


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
        _refuse(f"the id of checkpoint {wrong.id[:7]} cannot be right in its place")
    parents = {entry.parent for entry in entries}
    has_tokens: dict[str | None, bool] = {None: False}
    for entry in entries:
        has_tokens[entry.id] = has_tokens[entry.parent] or bool(entry.tokens)
        is_last = entry.id not in parents and not entry.steps and has_tokens[entry.id]
        _need(bool(entry.after) == is_last, f"what comes after checkpoint {entry.id[:7]}")


def _refuse(what: str) -> NoReturn:
    raise _Unsound(what)


def _need(holds: bool, what: str) -> None:
    if not holds:
        _refuse(f"{what} cannot be right")


def _checked(body: Any) -> Recording:
    is_ours = isinstance(body, dict) and "mullama_recording" in body
    if not is_ours:
        _refuse("it is not a recording")
    if body["mullama_recording"] != VERSION:
        _refuse(f"it is a recording of version {body['mullama_recording']!r:.20}, not {VERSION}")
    _check_keys(body, _HEAD, _HEAD | {"template"}, "the head")
    _need(_is_line(body["model"]) and _is_line(body["vocabulary"]), "the model's name")
    _need(_is_line(body["checksum"]), "the checksum")
    _need(type(body["checkpoints"]) is int, "the number of checkpoints")
    for key in ("params", "settings", "environment", "tags"):
        _need(isinstance(body[key], dict), key)
        _check_plain(body[key], key, is_shown=True)
    _need(body["system"] is None or isinstance(body["system"], str), "the system message")
    tools = body["tools"]
    _need(
        tools is None or (isinstance(tools, list) and all(isinstance(t, dict) for t in tools)),
        "tools",
    )
    _check_plain([body["system"], tools], "the system message or tools")
    template = body.get("template", {})
    _need(isinstance(template, dict) and template.keys() <= _OF_A_TEMPLATE, "the chat template")
    _check_plain(template, "the chat template")
    params = _checked_params(body["params"])
    entries = _checked_entries(body["entries"], params.n_ctx or _MOST_CELLS)
    ids = {entry.id for entry in entries}
    _need(all(isinstance(i, str) and i in ids for i in body["tags"].values()), "tags")
    named = [field.name for field in fields(Recording) if field.name in body]
    head = {name: body[name] for name in named} | {"entries": entries}
    recording = Recording(**(head | {"params": dict(vars(params))}))
    try:
        recording.template_options  # noqa: B018 - it checks
    except MullamaError as error:
        _refuse(f"its chat template cannot be right ({error})")
    return recording


def _checked_params(values: Mapping[str, Any]) -> ContextParams:
    try:
        params_from_file(values)
        params = ContextParams(**values)
    except MullamaError as error:
        _refuse(f"its context parameters cannot be right ({error})")
    _need((params.n_ctx or 0) <= _MOST_CELLS, f"n_ctx={params.n_ctx}")
    return params


def _checked_entries(rows: Any, n_ctx: int) -> tuple[Entry, ...]:
    _need(isinstance(rows, list) and len(rows) <= _MOST_ENTRIES, "entries")
    stops: dict[str | None, int] = {None: 0}
    entries = []
    for row in rows:
        entry = _checked_entry(row)
        name = f"checkpoint {entry.id[:7]}"
        _need(entry.id not in stops and entry.parent in stops, f"the place of {name}")
        is_behind = stops[entry.parent] > 0
        _need(not entry.steps or is_behind, f"the beginning of {name}")
        is_measured = len(entry.steps) == len(entry.said)
        _need(is_measured or not (entry.is_generated and is_behind), f"the lack of steps in {name}")
        stops[entry.id] = stops[entry.parent] + len(entry.tokens)
        _need(stops[entry.id] <= n_ctx, f"{stops[entry.id]:,} tokens in {n_ctx:,} cells")
        entries.append(entry)
    _need(len([*in_order_said(entries)]) == len(entries), "the order in which things were said")
    return tuple(entries)


def _checked_entry(row: Any) -> Entry:
    _need(isinstance(row, dict), "a checkpoint")
    _check_keys(row, _ENTRY, _ENTRY | _PERHAPS, "a checkpoint")
    _need(_is_identifier(row["id"]), "a checkpoint's id")
    name = f"checkpoint {row['id'][:7]}"
    _need(_is_line(row["checksum"]), f"the checksum of {name}")
    _need(row["parent"] is None or _is_identifier(row["parent"]), f"the parent of {name}")
    _need(isinstance(row["text"], str), f"the text of {name}")
    _check_plain(row["text"], f"the text of {name}")
    _need(isinstance(row["notes"], dict), f"the notes of {name}")
    _check_plain(row["notes"], f"the notes of {name}")
    _need(type(row["generated"]) is bool, f"{name}'s being generated")
    end = row.get("end")
    _need(end is None or _is_token(end), f"the end of {name}")
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
    _need("after" not in row or bool(entry.after), f"what comes after {name}")
    has_message = type(entry.is_rendered) is bool
    _need(has_message == ("rendered" in row) == ("message" in entry.notes), f"rendering {name}")
    is_generated = bool(entry.steps) or "sampling" in entry.notes
    _need(entry.is_generated == is_generated, f"{name}'s being generated, or its probabilities")
    _need(len(entry.steps) in (0, len(entry.said)), f"the number of probabilities of {name}")
    _need(len(entry.drawn) in (0, len(entry.said)), f"the number of draws of {name}")
    _need(end is None or bool(entry.steps), f"the end of {name}")
    _check_notes(entry, name)
    return entry


def _check_notes(entry: Entry, name: str) -> None:
    """What replaying uses of the notes."""
    notes = entry.notes
    for key in ("sampling", "limits"):
        _need(isinstance(notes.get(key, {}), dict), f"the {key} of {name}")
        try:
            getattr(entry, key)
        except (MullamaError, TypeError, ValueError, AttributeError) as error:
            _refuse(f"the {key} of {name} cannot be right ({error})")
    is_answer = not _OF_AN_ANSWER.isdisjoint(notes)
    _need("sampling" in notes or not is_answer, f"the lack of sampling in {name}")
    is_ended = notes.get("finish_reason") == "stop"
    _need(entry.end is None or is_ended, f"the finish reason of {name}")
    sampling = entry.sampling
    if sampling is not None:
        _need(sampling.penalty_window <= _MOST_CELLS, f"the penalty window of {name}")
        states = notes.get("sampler_states", [])
        _need(isinstance(states, list), f"the sampler states of {name}")
        for state in states:
            try:
                check_state(sampling, state)
            except ParameterError as error:
                _refuse(f"the sampler states of {name} cannot be right ({error})")
    _need(isinstance(notes.get("call_grammar", False), bool), f"the grammar of calls of {name}")
    adapters = notes.get("adapters", [])
    _need(isinstance(adapters, list), f"the adapters of {name}")
    for each in adapters:
        _need(isinstance(each, dict) and _is_line(each.get("name", "")), f"an adapter of {name}")
        try:
            key_of(each)
        except MullamaError as error:
            _refuse(f"an adapter of {name} cannot be right ({error})")
    sibling = notes.get("sibling", 0)
    _need(type(sibling) is int and 0 <= sibling < 2**63, f"the sibling of {name}")
    for key in ("role", "came_from", "taken_from", "finish_reason"):
        _need(_is_line(notes.get(key, "")), f"the {key} of {name}")
    again = notes.get("evaluated_again", {})
    _need(isinstance(again, dict), f"what was evaluated again for {name}")
    message = notes.get("message", {})
    history = notes.get("history", [])
    _need(isinstance(history, list), f"the history of {name}")
    for each in (message, *history):
        _need(isinstance(each, dict) and _is_line(each.get("role", "")), f"a message of {name}")


def _tokens(value: Any, what: str) -> tuple[int, ...]:
    _need(isinstance(value, list) and all(map(_is_token, value)), what)
    return tuple(value)


def _steps(rows: Any, name: str) -> tuple[Step, ...]:
    what = f"a probability of {name}"
    _need(isinstance(rows, list), what)
    steps = []
    for row in rows:
        _need(isinstance(row, list) and len(row) > 0 and _is_log(row[0]), what)
        steps.append(Step(_float32(row[0]), _top(row[1:], what)))
    return tuple(steps)


def _top(rows: Any, what: str) -> tuple[tuple[int, float], ...]:
    _need(isinstance(rows, list) and len(rows) <= _MOST_TOP, what)
    for pair in rows:
        _need(isinstance(pair, list) and len(pair) == 2, what)
        _need(_is_token(pair[0]) and _is_log(pair[1]), what)
    return tuple((token, _float32(value)) for token, value in rows)


def _check_keys(row: Mapping[str, Any], needed: set[str], known: set[str], what: str) -> None:
    if missing := needed - row.keys():
        _refuse(f"{what} lacks {', '.join(sorted(missing))}")
    if unknown := row.keys() - known:
        _refuse(f"{what} has {', '.join(repr(key)[:40] for key in sorted(unknown))}, unknown here")


def _check_plain(value: Any, what: str, *, is_shown: bool = False) -> None:
    """Check that a JSON value is small, shallow and made of whole characters, or of lines."""
    room = _NOTE_CHARACTERS
    stack = [(value, 0)]
    while stack:
        each, depth = stack.pop()
        room -= 1
        _need(depth <= _NOTE_DEPTH, f"the depth of {what}")
        if isinstance(each, dict):
            stack += [(v, depth + 1) for pair in each.items() for v in pair]
        elif isinstance(each, list):
            stack += [(v, depth + 1) for v in each]
        elif isinstance(each, str):
            room -= len(each)
            _need(not any("\ud800" <= c <= "\udfff" for c in each), f"a lone surrogate in {what}")
            _need(each.isprintable() or not is_shown, f"a text in {what}")
        elif isinstance(each, float):
            _need(math.isfinite(each), f"a number in {what}")
        _need(room >= 0, f"the size of {what}")


def _is_identifier(value: Any) -> bool:
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 200 and value.isprintable()


def _is_token(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_log(value: Any) -> bool:
    return type(value) in (int, float) and -1e30 < value <= 1e-3


def _float32(value: float) -> float:
    """The number that was written, in a few digits."""
    return float(np.float32(value))
