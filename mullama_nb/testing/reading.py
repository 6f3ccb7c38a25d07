"""Reading recordings, whose contents nobody vouches for: every value is checked before use."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..engine.params import ContextParams
from ..engine.stored import params_from_file
from ..errors import MullamaError, RecordingError, SessionFormatError, shown
from ..state.reading import open_regular
from .recording import VERSION, Recording
from .walk import Entry, Step

__all__ = ["read"]

_MOST_BYTES = 64 * 2**20
_MOST_ENTRIES = 100_000
_MOST_CELLS = 2**20
_MOST_TOP = 64
_NOTE_CHARACTERS = 2**20
_NOTE_DEPTH = 32
_HEAD = {
    "mullama_recording",
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
_ENTRY = {"id", "parent", "notes", "text", "tokens", "generated", "end", "drawn", "steps"}
_OF_AN_ANSWER = {"finish_reason", "limits", "hidden"}  # noted with how it was drawn
_IDENTIFIER = re.compile(r"[0-9a-f]{4,64}")


class _Unsound(Exception):  # noqa: N818 - becomes a RecordingError that names the file
    pass


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
        When the file is missing, too large, cut short, no recording, or holds anything that
        cannot be right.
    """
    path = Path(path)
    try:
        return _checked(_parsed(path))
    except _Unsound as error:
        raise RecordingError(f"{path.name}: {shown(str(error), 400)}; record it anew") from None


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
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        _refuse(f"it is no JSON, or was cut short ({error})")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _refuse(what: str) -> NoReturn:
    raise _Unsound(what)


def _need(holds: bool, what: str) -> None:
    if not holds:
        _refuse(f"{what} cannot be right")


def _checked(body: Any) -> Recording:
    is_ours = isinstance(body, dict) and "mullama_recording" in body
    if not is_ours:
        _refuse("it is no recording")
    if body["mullama_recording"] != VERSION:
        _refuse(f"it is a recording of version {body['mullama_recording']!r:.20}, not {VERSION}")
    _check_keys(body, _HEAD, _HEAD, "the head")
    _need(_is_line(body["model"]) and _is_line(body["vocabulary"]), "the model's name")
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
    params = _checked_params(body["params"])
    entries = _checked_entries(body["entries"], params.n_ctx or _MOST_CELLS)
    ids = {entry.id for entry in entries}
    _need(all(isinstance(i, str) and i in ids for i in body["tags"].values()), "tags")
    head = {key: body[key] for key in _HEAD - {"mullama_recording", "params", "entries"}}
    return Recording(params=dict(vars(params)), entries=entries, **head)


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
    return tuple(entries)


def _checked_entry(row: Any) -> Entry:
    _need(isinstance(row, dict), "a checkpoint")
    _check_keys(row, _ENTRY - {"end", "drawn"}, _ENTRY, "a checkpoint")
    _need(_is_identifier(row["id"]), "a checkpoint's id")
    name = f"checkpoint {row['id'][:7]}"
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
    )
    _need(not entry.steps or entry.is_generated, f"the probabilities of {name}")
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
    _need(entry.is_generated or "sampling" not in notes, f"{name}'s not being generated")
    sampling = entry.sampling
    if sampling is not None:
        _need(sampling.penalty_window <= _MOST_CELLS, f"the penalty window of {name}")
    sibling = notes.get("sibling", 0)
    _need(type(sibling) is int and 0 <= sibling < 2**63, f"the sibling of {name}")
    for key in ("role", "came_from", "finish_reason"):
        _need(_is_line(notes.get(key, "")), f"the {key} of {name}")
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
        _need(isinstance(row, list) and 0 < len(row) <= 1 + _MOST_TOP and _is_log(row[0]), what)
        for pair in row[1:]:
            _need(isinstance(pair, list) and len(pair) == 2, what)
            _need(_is_token(pair[0]) and _is_log(pair[1]), what)
        top = tuple((token, _float32(value)) for token, value in row[1:])
        steps.append(Step(_float32(row[0]), top))
    return tuple(steps)


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
            _need(not any("\ud800" <= c <= "\udfff" for c in each), f"half a character in {what}")
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
