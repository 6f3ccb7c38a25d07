"""A chat's own limits: the default of every call, kept wherever the chat goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from history.conftest import ChatMaker
from hypothesis import given, settings
from hypothesis import strategies as st

from mullama_nb import Chat, SamplingParams
from mullama_nb.engine.completion import Limits
from mullama_nb.errors import ParameterError, ParameterWarning, SessionFormatError
from mullama_nb.history.events import Event, SettingsChanged
from mullama_nb.history.turn import Turn

LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.none() | st.integers(0, 5),
        "stop": st.lists(st.sampled_from(["zz", "é", "\n"]), max_size=2),
        "stop_tokens": st.lists(st.integers(0, 40), max_size=2),
        "reasoning_budget": st.none() | st.integers(0, 9),
    },
)

CALLS: dict[str, Callable[..., Any]] = {
    "ask": lambda chat, **o: chat.ask("Two?", **o),
    "regenerate": lambda chat, **o: chat.regenerate(**o),
    "edit": lambda chat, **o: chat.edit("Other?", **o),
    "resume": lambda chat, **o: chat.resume(**o),
    "fork": lambda chat, **o: chat.fork(chat.turns[-1], token=1, **o),
    "explore": lambda chat, **o: chat.explore("Two?", 1, **o)[0],
    "steps": lambda chat, **o: chat.steps("Two?", **o).finish(),
}


@given(LIMITS, LIMITS)
def test_what_a_call_is_given_counts_alone(own: dict[str, Any], given: dict[str, Any]) -> None:
    assert Limits(**own).with_changes(**given) == Limits(**{**own, **given})


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_every_call_takes_the_chat_s(new_chat: ChatMaker, name: str) -> None:
    chat = new_chat(max_tokens=3)
    chat.ask("One?", max_tokens=7)
    assert len(chat.head.tokens) == 7
    turn: Turn = CALLS[name](chat)
    assert len(turn.tokens) - 7 * (name == "resume") <= 3 + (name == "fork")
    assert turn.checkpoint.metadata["limits"] == {"max_tokens": 3}
    without: Turn = CALLS[name](almost_full(new_chat), max_tokens=None)
    assert without.checkpoint.metadata["limits"] == {}


def almost_full(new_chat: ChatMaker) -> Chat:
    """A chat whose answers end by themselves, as no cell is left."""
    chat = new_chat(n_ctx=96, max_tokens=2)
    chat.ask("One?", max_tokens=2)
    return chat


def test_explore_varies_them_too(new_chat: ChatMaker) -> None:
    chat = new_chat(max_tokens=2)
    answers = chat.explore("Hi", vary={"max_tokens": [1, 3]})
    assert [len(turn.tokens) for turn in answers] == [1, 3]


@settings(max_examples=8)
@given(own=LIMITS)
def test_they_are_saved_and_opened(
    new_chat: ChatMaker, own: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    chat = new_chat(**own)
    chat.save("a", folder)
    again = Chat.open("a", chat.model, folder)
    assert again.limits.changed() == chat.limits.changed() == Limits(**own).changed()
    other = Chat.open("a", chat.model, folder, max_tokens=4)
    assert other.limits == chat.limits.with_changes(max_tokens=4)
    for each in (chat, again, other):
        each.context.close()


def test_they_are_saved_after_every_turn_and_when_they_change(
    new_chat: ChatMaker, tmp_path: Path
) -> None:
    chat = new_chat(max_tokens=2)
    chat.autosave("a", tmp_path)
    chat.limits = chat.limits.with_changes(max_tokens=3, stop="zz")
    chat.ask("Hi")
    chat.autosave(None)
    assert Chat.open("a", chat.model, tmp_path).limits.changed() == chat.limits.changed()
    with pytest.warns(ParameterWarning, match="max_tokens=3, now 9"):
        again = Chat.open_or_create("a", chat.model, tmp_path, max_tokens=9)
    assert again.limits == Limits(9, stop=["zz"])
    again.autosave(None)


def test_a_chat_from_a_transcript_or_messages_has_them(new_chat: ChatMaker, tmp_path: Path) -> None:
    chat = new_chat()
    chat.ask("Hi", max_tokens=2)
    chat.export(tmp_path / "chat.json")
    options: dict[str, Any] = {"n_ctx": 512, "max_tokens": 5}
    assert Chat.from_transcript(chat.model, tmp_path / "chat.json", **options).limits == Limits(5)
    assert Chat.from_messages(chat.model, chat.messages, **options).limits == Limits(5)


@pytest.mark.parametrize("name", ["max_tokens", "reasoning_budget", "stop", "stop_tokens"])
def test_bad_ones_are_refused_when_they_are_given(new_chat: ChatMaker, name: str) -> None:
    with pytest.raises(ParameterError, match=name):
        new_chat(**{name: -1})
    chat = new_chat()
    with pytest.raises(ParameterError, match=name):
        chat.limits = chat.limits.with_changes(**{name: -1})  # type: ignore[arg-type]
    assert chat.limits == Limits()


@pytest.mark.parametrize(("name", "kind"), [("limits", Limits), ("sampling", SamplingParams)])
def test_setting_them_is_told_and_checked(chat: Chat, name: str, kind: type) -> None:
    heard: list[Event] = []
    chat.tree.on_change(heard.append)
    setattr(chat, name, kind())
    chat.tree._workspace.observers.flush()
    assert heard == [SettingsChanged()]
    with pytest.raises(ParameterError, match=f"{name}=.*must be {kind.__name__}"):
        setattr(chat, name, {"max_tokens": 3})


@pytest.mark.parametrize("limits", [{"max_tokens": -3}, {"most_tokens": 3}, [3]])
def test_damaged_ones_are_named(
    new_chat: ChatMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: object
) -> None:
    chat = new_chat(max_tokens=3)
    written = chat._settings()
    monkeypatch.setattr(chat._saves, "_settings_now", lambda: {**written, "limits": limits})
    chat.save("a", tmp_path)
    with pytest.raises(SessionFormatError, match=r"max_tokens|most_tokens|limits"):
        Chat.open("a", chat.model, tmp_path)
