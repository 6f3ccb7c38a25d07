"""A lens shows a look's own numbers, follows the chat, and does not look while that answers."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from hypothesis import given
from hypothesis import strategies as st
from javascript import FRONT_END, JavaScript
from tiny_models import CHATML
from waiting import wait_until

from mullama_nb import Chat, Look, plots
from mullama_nb.errors import ContextClosedError, ContextError, ParameterError
from mullama_nb.history.events import Event, TokenAdded
from mullama_nb.plots.weights import attention_weights
from mullama_nb.signs import signs
from mullama_nb.widgets import Lens

SECTIONS = FRONT_END / "token_sections.js"


def talk(model: Any, n_ctx: int = 256) -> Chat:
    chat = Chat(model, n_ctx=n_ctx, n_threads=1, n_threads_batch=1)
    chat.ask("<b>tide</b>?", max_tokens=4, temperature=2.0, seed=1)
    return chat


@pytest.fixture
def chat(tiny: ModelMaker) -> Chat:
    return talk(tiny("llama", chat_template=CHATML))


@pytest.fixture
def lens(chat: Chat) -> Iterator[Lens]:
    """A lens that hears of the chat only what a test tells it."""
    made = Lens(chat)
    assert made._subscription is not None
    made._subscription.cancel()
    yield made
    made.close()


def heard(chat: Chat, *calls: Any) -> list[Event]:
    """What the tree tells while something is done."""
    events: list[Event] = []
    subscription = chat.tree.on_change(events.append)
    for call in calls:
        call()
    assert chat.tree.flush()
    subscription.cancel()
    return events


def shares(part: dict[str, Any]) -> Any:
    return np.frombuffer(part["weights"]["shares"], "<f4")


# -- what is shown ------------------------------------------------------------------------------


def test_nothing_is_looked_at_before_somebody_asks(lens: Lens, chat: Chat) -> None:
    snapshot = lens.take_snapshot()
    assert snapshot["look"] is snapshot["weights"] is lens.look is None
    assert (snapshot["chosen"], snapshot["stale"] > 0) == (chat.head.stop - 1, True)
    texts = [chat.model.detokenize([token], special=True) for token in chat.tree.tokens()]
    assert snapshot["pieces"] == [signs(text, spaces=False) for text in texts]
    assert snapshot["sections"] == [(0, "user"), (chat.tree.path()[0].stop, "assistant")]


def test_the_numbers_are_the_looks(lens: Lens, chat: Chat) -> None:
    lens.handle("look", {})
    look = lens.look
    assert look is not None
    assert look.position == chat.head.stop - 1
    snapshot = lens.take_snapshot()
    assert snapshot["stale"] == 0
    expected = [[[g.id, signs(g.text), g.probability] for g in row] for row in look.guesses()]
    assert snapshot["look"]["guesses"] == expected
    assert snapshot["look"]["layers"] == [0, 1, 2, 3]
    np.testing.assert_array_equal(
        shares(snapshot), attention_weights(look, leave_out_sinks=True).shares
    )
    for picked in ({"layer": 1}, {"head": 2}, {"layer": 3, "head": 0}, {}):
        lens.handle("pick", picked)
        lens.handle("sinks", {"leave_out": False})
        np.testing.assert_array_equal(
            shares(lens.take_snapshot()), attention_weights(look, **picked).shares
        )
        lens.handle("sinks", {"leave_out": True})
        assert lens.take_snapshot()["weights"]["left_out"] == [0]


def test_another_token_is_asked(lens: Lens, chat: Chat) -> None:
    lens.handle("choose", {"token": 3})
    assert lens.take_snapshot()["chosen"] == 3
    assert lens.take_snapshot()["stale"]
    lens.handle("look", {})
    assert lens.look is not None
    np.testing.assert_array_equal(lens.look.logits, chat.context.logits_at(4))
    first = lens.look
    lens.handle("look", {})  # which was done
    assert lens.look is first
    lens.handle("choose", {})
    assert lens.take_snapshot()["chosen"] == chat.head.stop - 1


@pytest.mark.parametrize(
    ("action", "arguments", "words"),
    [
        ("choose", {"token": -1}, "no token -1"),
        ("choose", {"token": 10_000}, "no token 10,?000"),
        ("pick", {"layer": 4}, "layer"),
        ("pick", {"head": -1}, "head"),
        ("pick", {"head": "all"}, "head"),
        ("sinks", {}, "leave_out"),
    ],
)
def test_what_is_not_there_is_refused(
    lens: Lens, action: str, arguments: dict[str, Any], words: str
) -> None:
    lens.handle("look", {})
    before = lens.take_snapshot()
    with pytest.raises(ParameterError, match=words):
        lens.handle(action, arguments)
    assert lens.take_snapshot() == before


@pytest.mark.parametrize("architecture", ["mamba", "jamba"])
def test_layers_without_attention_say_so(tiny: ModelMaker, architecture: str) -> None:
    chat = talk(tiny(architecture, chat_template=CHATML))
    lens = Lens(chat)
    shown = lens.to_html()
    snapshot = lens.take_snapshot()
    assert len(snapshot["look"]["guesses"]) == 5
    if architecture == "mamba":
        assert snapshot["weights"] is None
        assert "no attention" in shown
    else:
        assert snapshot["look"]["layers"] == [1, 3]
        assert "looked most at" in shown
        with pytest.raises(ParameterError, match="layer=0 has no attention"):
            lens.handle("pick", {"layer": 0})
    lens.close()


def test_a_failed_look_is_shown(chat: Chat, lens: Lens) -> None:
    chat.context.close()
    with pytest.raises(ContextClosedError):
        lens.handle("look", {})
    assert "closed" in lens.to_html()


def test_layers_that_say_nothing_by_themselves_say_why(
    lens: Lens, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_look: Look, _n: int = 5) -> None:
        raise ContextError("the logits depend on <b>more</b>")

    monkeypatch.setattr(Look, "guesses", refuse)
    shown = lens.to_html()
    assert "depend on &lt;b&gt;more" in shown
    assert "<table" not in shown
    look = lens.take_snapshot()["look"]
    assert (look["guesses"], look["fault"]) == ([], "the logits depend on <b>more</b>")
    assert lens.take_snapshot()["weights"]  # attention there is


# -- following the chat -------------------------------------------------------------------------


def test_it_follows_the_chat(lens: Lens, chat: Chat) -> None:
    lens.handle("choose", {"token": 3})
    lens.handle("look", {})
    n = chat.head.stop
    events = heard(chat, lambda: chat.ask("more", max_tokens=3))
    (change,) = lens.changes(events)
    assert (change["keep"], change["chosen"]) == (n, chat.head.stop - 1)
    assert change["stale"]
    assert "look" not in change  # what was seen is still on the path
    (change,) = lens.changes(heard(chat, chat.undo, chat.undo))
    assert change["chosen"] is None
    assert change["look"] is change["weights"] is None
    (change,) = lens.changes(heard(chat, chat.redo, chat.redo))
    assert change["look"]["position"] == 3
    assert change["weights"]


def test_an_answer_grows_and_changes_nothing_that_was_seen(lens: Lens, chat: Chat) -> None:
    lens.handle("look", {})
    n = chat.head.stop
    for count in (1, 2):
        added = [TokenAdded(token, "", -1.0) for token in (5, 6)]
        (change,) = lens.changes([*added, TokenAdded(7, "", -1.0, branch=1)])
        assert change["keep"] == n + 2 * (count - 1)
        assert len(change["pieces"]) == 2
        assert "stale" not in change
    snapshot = lens.take_snapshot()
    assert (snapshot["chosen"], len(snapshot["pieces"])) == (n - 1, n + 4)
    with pytest.raises(ParameterError, match="no token"):
        lens.handle("choose", {"token": n})  # it has no rows yet


def test_it_waits_for_an_answer_and_picks_do_not(lens: Lens, chat: Chat) -> None:
    """As a page asks for it, while another thread holds the tree."""
    lens.handle("look", {})
    first = lens.look
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with chat.tree.turn():
            holding.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    lens._handle_custom_msg({"kind": "do", "action": "choose", "token": 2}, [])
    wait_until(lambda: lens.take_snapshot()["chosen"] == 2)
    lens._handle_custom_msg({"kind": "do", "action": "look"}, [])
    lens._handle_custom_msg({"kind": "do", "action": "pick", "layer": 2}, [])
    wait_until(lambda: lens.take_snapshot()["picked"]["layer"] == 2)
    assert "looked most at" in lens.to_html()  # which does not wait
    assert lens.look is first
    done.set()
    thread.join()
    wait_until(lambda: lens.look is not first)
    assert lens.look is not None
    assert lens.look.position == 2


def test_a_missed_change_is_made_up_for(tiny: ModelMaker) -> None:
    chat = talk(tiny("llama", chat_template=CHATML))
    lens = Lens(chat)
    lens.listen(False)
    chat.ask("more", max_tokens=2)
    lens.listen()
    snapshot = lens.take_snapshot()
    assert len(snapshot["pieces"]) == chat.head.stop
    assert snapshot["stale"]
    lens.close()


# -- without a page -----------------------------------------------------------------------------


def test_its_html_shows_the_present_and_is_stable(lens: Lens, chat: Chat) -> None:
    chat.ask("more", max_tokens=3)  # of which it has not heard
    shown = lens.to_html()
    assert shown == lens.to_html() == Lens(chat).to_html()
    assert f"Token {chat.head.stop - 1} " in shown
    assert "&lt;b&gt;tide" in shown or "&lt;" in shown
    assert "<b>tide" not in shown
    plain = html.unescape(shown)
    assert "<|im_start|>" in plain
    assert "looked most at" in plain
    assert "after layers" in plain


def test_an_empty_chat_has_a_picture(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=64, n_threads=1)
    lens = Lens(chat)
    lens.handle("look", {})
    assert lens.take_snapshot()["chosen"] is None
    assert lens.take_snapshot()["stale"] == 0
    assert lens.to_html().startswith('<div class="mullama">')
    lens.close()


def test_other_things_are_refused() -> None:
    with pytest.raises(ParameterError, match="Chat or a CheckpointTree"):
        Lens("chat")  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_is_sent_is_small(tiny: ModelMaker) -> None:
    """A picked layer of 2,048 tokens is sent as 8 kB beside the JSON, and a click is less."""
    model = tiny("llama", chat_template=CHATML, n_ctx=4096)
    messages = [{"role": "user", "content": "tide " * 1100}]
    chat = Chat.from_messages(model, messages, n_ctx=4096, n_threads=2)
    lens = Lens(chat)
    lens.listen(False)
    lens.handle("look", {})
    n = chat.head.stop
    assert n > 2048
    part = lens._weights()
    assert len(part["weights"].pop("shares")) == 4 * n
    assert len(json.dumps(part)) < 200
    (change,) = lens.changes(heard(chat, lambda: chat.ask("a", max_tokens=1)))
    assert len(json.dumps(change)) < 1000
    lens.close()


# -- in the page --------------------------------------------------------------------------------


@given(st.integers(0, 9000), st.none() | st.integers(0, 8999), st.integers(0, 9000))
def test_the_window_has_the_chosen_token(
    javascript: JavaScript, n: int, chosen: int | None, before: int
) -> None:
    if chosen is not None and chosen >= n:
        chosen = None
    start = javascript.call(SECTIONS, "windowStart", n, chosen, before)
    assert 0 <= start <= max(0, n - 2048)
    if chosen is not None:
        assert start <= chosen < start + 2048
    assert javascript.call(SECTIONS, "windowStart", n, chosen, start) == start  # it rests


@given(st.lists(st.integers(1, 40), max_size=6), st.integers(0, 120), st.integers(0, 120))
def test_sections_within_the_window_cover_it(
    javascript: JavaScript, sizes: list[int], start: int, size: int
) -> None:
    begins = [sum(sizes[:n]) for n in range(len(sizes))]
    total = sum(sizes)
    start, end = min(start, total), min(start + size, total)
    clipped = javascript.call(SECTIONS, "clip", [[b, "r"] for b in begins], start, end)
    covered = [n for each in clipped for n in range(each["start"], each["end"])]
    assert covered == [*range(start, end)]


@given(st.lists(st.integers(0, 4).map(lambda n: n / 4), max_size=12))
def test_what_is_named_is_what_python_names(javascript: JavaScript, values: list[float]) -> None:
    found = javascript.call(FRONT_END / "lens_words.js", "most", values, 5)
    order = np.argsort(-np.array(values), kind="stable")[:5]
    assert found == [int(n) for n in order if values[n] > 0]


def test_figures_and_the_widget_agree(lens: Lens) -> None:
    lens.handle("look", {})
    lens.handle("pick", {"layer": 1, "head": 1})
    assert lens.look is not None
    figure: Any = plots.attention(lens.look, layer=1, head=1)
    heights = [bar.get_height() for bar in figure.axes[0].containers[0]]
    np.testing.assert_allclose(heights, 100 * shares(lens.take_snapshot()), rtol=1e-5)
