"""What pages show is held, and what they let go is let go."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import ipywidgets
import pytest
from conftest import ModelMaker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.widgets import (
    ChatPanel,
    ChatView,
    Explorer,
    KVPlot,
    Lens,
    SessionBrowser,
    Timeline,
    UndoRedo,
    pages,
)
from mullama_nb.widgets.base import ActingWidget
from mullama_nb.widgets.chat_view import chat_view, view_bundle

KINDS: dict[str, Callable[[Chat], ActingWidget]] = {
    "panel": ChatPanel,
    "view": ChatView,
    "explorer": Explorer,
    "plot": KVPlot,
    "lens": Lens,
    "timeline": Timeline,
    "steps": UndoRedo,
    "browser": lambda chat: SessionBrowser("sessions", chat),
}


@pytest.fixture
def chat(tiny: ModelMaker, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Chat:
    monkeypatch.chdir(tmp_path)
    return Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1, n_threads_batch=1)


def say(widget: Any, page: str, n: int) -> None:
    """Have a page say how many views it has."""
    widget._handle_custom_msg({"kind": "views", "page": page, "n": n}, [])


def n_listening(chat: Chat) -> int:
    return len(chat.tree._workspace.observers._subscriptions)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_widget_is_gone_at_once(chat: Chat, kind: str) -> None:
    known = len(ipywidgets.widgets.widget._instances)
    widget = KINDS[kind](chat)
    n_widgets = 1 + len(getattr(widget, "children", ()))
    gone = weakref.ref(widget)
    del widget
    assert gone() is None
    assert n_listening(chat) == 0
    # A layout has a cycle of its own.
    assert len(ipywidgets.widgets.widget._instances) <= known + n_widgets


@pytest.mark.slow
def test_300_dropped_widgets_hear_nothing(chat: Chat) -> None:
    for _ in range(60):
        for make in KINDS.values():
            make(chat)
    assert n_listening(chat) == 0


def test_a_chat_goes_with_the_widget_that_held_it(tiny: ModelMaker) -> None:
    model = tiny("llama", chat_template=CHATML)
    panel = ChatPanel(Chat(model, n_ctx=256, n_threads=1, n_threads_batch=1))
    context = weakref.ref(panel.tree.context)
    assert context() is not None
    del panel
    assert context() is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_page_shows_is_held_until_it_says_so_twice(chat: Chat, kind: str) -> None:
    widget = KINDS[kind](chat)
    held = weakref.ref(widget)
    widget._repr_mimebundle_()
    say(widget, "a page", 1)
    del widget
    assert held() is not None
    say(held(), "a page", 0)
    assert held() is not None, "it may be on its way to another place"
    pages._ask_pages()
    assert held() is not None
    say(held(), "a page", 0)
    assert held() is None


def test_a_page_that_was_left_finds_what_it_showed(chat: Chat) -> None:
    panel = ChatPanel(chat)
    held = weakref.ref(panel)
    say(panel, "a page", 2)
    panel._handle_custom_msg({"kind": "away", "page": "a page"}, [])
    del panel
    pages._ask_pages()
    assert held() is not None
    say(held(), "the page again", 1)
    say(held(), "the page again", 0)
    pages._ask_pages()
    say(held(), "the page again", 0)
    assert held() is None


def test_the_view_of_a_chat_is_held_with_its_parts(chat: Chat) -> None:
    view_bundle(chat)
    view = weakref.ref(chat_view(chat))
    parts = [weakref.ref(part) for part in view().children]  # type: ignore[union-attr]
    for widget in (view, *parts):
        say(widget(), "a page", 1)
    for n in range(2):
        for widget in (*parts, view):
            say(widget(), "a page", 0)
        pages._ask_pages()
        assert (view() is None) == (n == 1)
    assert [part() for part in parts] == [None, None, None]


STEPS = st.lists(
    st.sampled_from(
        ["display", "a+", "a-", "b+", "b-", "cell", "a answers", "b answers", "a away"]
    ),
    max_size=24,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_nothing_goes_that_a_page_still_shows(tiny: ModelMaker, steps: list[str]) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1, n_threads_batch=1)
    widget = UndoRedo(chat)
    widget._repr_mimebundle_()
    held = weakref.ref(widget)
    del widget
    shows = {"a": 0, "b": 0}
    for step in steps:
        now = held()
        if now is None:
            break
        page = step[0]
        if step == "display":
            now._repr_mimebundle_()
        elif step == "cell":
            pages._ask_pages()
        elif step.endswith("away"):
            now._handle_custom_msg({"kind": "away", "page": page}, [])
            shows[page] = 0
        elif step.endswith("answers"):
            say(now, page, shows[page])
        else:
            shows[page] = max(0, shows[page] + (1 if step.endswith("+") else -1))
            say(now, page, shows[page])
        del now
        if any(shows.values()):
            assert held() is not None
    if held() is not None:
        held().close()  # type: ignore[union-attr]


def test_only_the_latest_that_no_page_shows_listen(chat: Chat) -> None:
    kept = [Timeline(chat) for _ in range(40)]
    assert n_listening(chat) == pages._MOST_UNSEEN
    first = kept[0]
    chat.tag("here")
    sent: list[dict[str, Any]] = []
    first.send = lambda content, _buffers=None: sent.append(content)
    say(first, "a page", 1)  # it is told all that it missed
    while not sent:
        chat.tree.flush()
    assert sent[0]["kind"] == "snapshot"
    assert sent[0]["snapshot"]["tags"] == {"here": chat.head.id}
    assert n_listening(chat) == pages._MOST_UNSEEN + 1
    for widget in kept:
        widget.close()
    assert n_listening(chat) == 0
