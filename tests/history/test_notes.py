"""Notes: what their keys say, and what of it follows."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb.errors import ParameterError
from mullama_nb.history.message import conversation_at
from mullama_nb.history.notes import (
    Notes,
    answer_notes,
    check_notes,
    choice_notes,
    message_notes,
)
from mullama_nb.sessions.entries import check_notes_kept

KEYS = [name for name, value in vars(Notes).items() if type(value).__name__ == "_Key"]


def test_every_key_is_documented() -> None:
    assert len(KEYS) == 21
    assert Notes.__doc__ is not None
    for key in KEYS:
        assert key in Notes.__doc__


def test_a_missing_key_reads_as_its_default() -> None:
    notes = Notes({})
    assert {key: getattr(notes, key) for key in KEYS if getattr(notes, key)} == {}
    assert not any((notes.is_message, notes.is_answer, notes.begins_turn, notes.was_cut_short))
    assert Notes({"role": "user"}).role == "user"
    assert Notes.of(notes) is notes


@pytest.mark.parametrize("bad", [{"a": object()}, {"a": float("nan")}, {"a": "\ud800"}])
def test_what_json_cannot_hold_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=r"plain values|unpaired surrogate"):
        check_notes(bad)


def test_notes_of_messages_and_answers() -> None:
    said = Notes(message_notes({"role": "user", "content": "?"}, came_from="ab", topic=1))
    assert said.begins_turn
    assert (said.message, said.came_from, said["topic"]) == (
        {"role": "user", "content": "?"},
        "ab",
        1,
    )
    assert "history" not in said
    given_ = {"sampling": {"seed": 1}, "sibling": 2, "limits": {}}
    answer = Notes(answer_notes("length", **given_))
    assert answer.is_answer
    assert answer.is_generated
    assert answer.is_said_by_tokens
    assert answer.was_cut_short
    assert not {"hidden", "continues", "explored"} & answer.keys()
    part = Notes(choice_notes("assistant", continues=True))
    assert (part.role, part.finish_reason, part.continues) == ("assistant", "length", True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "n"]), inner, max_size=3)
    ),
    max_leaves=6,
)
EXPECTED = {
    "role": str,
    "came_from": (str, type(None)),
    "taken_from": (str, type(None)),
    "finish_reason": (str, type(None)),
    "hidden": int,
    "message": (Mapping, type(None)),
    "history": (list, type(None)),
}


@given(st.dictionaries(st.sampled_from([*EXPECTED, "own"]), JSON, max_size=4))
def test_what_a_store_takes_is_what_the_keys_promise(values: dict[str, Any]) -> None:
    """The check at the border and the types here are two; they must agree."""
    try:
        check_notes_kept(values)
    except ParameterError:
        return
    notes = Notes(values)
    for key, kind in EXPECTED.items():
        if key in values:
            assert isinstance(getattr(notes, key), typing.cast(Any, kind)), key


PARTS = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool"]),
        "continues": st.just(True),
        "cut": st.just(True),
        "message": st.just({"role": "user", "content": "m"}),
        "history": st.just([{"role": "user", "content": "h"}]),
    },
)


class Saved:
    """Something with notes that is not a checkpoint."""

    def __init__(self, notes: dict[str, Any]) -> None:
        self.metadata = notes


@given(st.lists(PARTS, max_size=6))
def test_messages_end_where_their_last_parts_are(path: list[dict[str, Any]]) -> None:
    saved = [Saved(notes) for notes in [{}, *path]]

    def before(at: Saved) -> Saved | None:
        index = saved.index(at)
        return saved[index - 1] if index else None

    def message_of(at: Saved) -> dict[str, Any]:
        return at.metadata.get("message") or {"role": at.metadata["role"], "content": "text"}

    lines = conversation_at(saved[-1], before, message_of, "sys")
    ends = [saved.index(line.end) - 1 for line in lines if line.index is None]
    assert ends == sorted(ends)
    begin = max((i for i, notes in enumerate(path) if "history" in notes), default=0)
    while begin and path[begin].get("continues"):  # what was before is in the history
        begin -= 1
    for index, notes in enumerate(path):
        if index < begin:
            continue
        following = path[index + 1] if index + 1 < len(path) else {}
        is_end = "role" in notes and not following.get("continues")
        if notes.get("cut") and (notes.get("role") != "assistant" or "history" in following):
            is_end = False
        assert (index in ends) == is_end
    assert lines[0].message["role"] == "system"


@given(PARTS, st.sampled_from([None, "stop", "length"]))
def test_what_survives_a_cut(values: dict[str, Any], reason: str | None) -> None:
    whole = Notes(values | ({} if reason is None else {"finish_reason": reason}) | {"own": 1})
    first, rest = Notes(whole.of_beginning(1)), Notes(whole)
    rest.begin_later(1)
    assert first.cut
    assert not {"message", "hidden"} & first.keys()
    assert first.finish_reason == (None if reason is None else "stopped")
    assert rest.continues
    assert rest.came_from is None
    assert first["own"] == rest["own"] == 1
    elsewhere = whole.of_another_place("abc")
    assert not {"came_from", "cut", "history"} & elsewhere.keys()
    assert elsewhere.get("taken_from") == ("abc" if whole.is_generated else None)
