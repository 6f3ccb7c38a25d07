"""The cell map's messages give every page the strips of the tree, whatever happened to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import ModelMaker
from hypothesis import given, settings
from hypothesis import strategies as st
from javascript import JavaScript
from template_models import make_template_model
from tiny_models import CHATML
from waiting import wait_until

from mullama_nb import Chat, CheckpointTree, Context, ContextParams, Model
from mullama_nb.errors import ParameterError
from mullama_nb.history.cell_map.live import cell_map
from mullama_nb.history.events import Event, Tagged, TokenAdded
from mullama_nb.signs import signs
from mullama_nb.widgets import CellMap

from .cell_messages import as_json, many_cells, n_bytes, seen
from .test_states import STEP, change_chat

PROBE = Path(__file__).with_name("cells.js")


@pytest.fixture
def chat(tiny: ModelMaker) -> Chat:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=512, n_threads=1)
    chat.ask("a", max_tokens=4, temperature=2.0, seed=1)
    chat.regenerate(max_tokens=4, temperature=2.0, seed=2)
    return chat


class Heard:
    """A cell map that is given by hand what happened, and what it sends."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.widget = CellMap(chat)
        self.widget.listen(False)
        self.events: list[Event] = []
        self.subscription = chat.tree.on_change(self.events.append)
        self.messages: list[dict[str, Any]] = [self.widget.take_snapshot()]

    def look(self, cut: int = 0) -> None:
        """Send what happened since, in two parts."""
        mark = Tagged(f"mark {len(self.messages)}", self.chat.tree.root.id)
        self.chat.tree.tag(mark.tag, self.chat.tree.root, force=True)
        wait_until(lambda: mark in self.events)
        heard, self.events[:] = self.events[:], []
        for part in (heard[:cut], heard[cut:]):
            self.messages += self.widget.changes(part) if part else ()

    def sent(self) -> list[dict[str, Any]]:
        return [as_json(message) for message in self.messages]

    def close(self) -> None:
        self.subscription.cancel()
        self.widget.close()


@pytest.mark.slow
@settings(max_examples=40)
@given(steps=st.lists(STEP, min_size=4, max_size=8))
def test_pages_have_the_strips_of_the_tree(
    javascript: JavaScript, tiny: ModelMaker, steps: list[tuple[str, int, int]]
) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=1024, n_threads=1)
    heard = Heard(chat)
    for step, which, cut in steps:
        change_chat(chat, step, which)
        heard.look(cut)
    expected = seen(cell_map(chat))
    for messages in (heard.sent(), [as_json(heard.widget.take_snapshot())]):
        found = javascript.call(PROBE, "stripsAfter", messages)[-1]
        assert sorted(found, key=lambda strip: strip["id"]) == expected
    sums = javascript.call(PROBE, "sumsAfter", heard.sent())
    n_held = chat.context.token_count()
    assert (sums["nCtx"], sums["nUsed"]) == (1024, n_held)
    assert sums["end"] == (n_held - 1 if n_held else None)
    heard.close()
    chat.context.close()


@pytest.mark.parametrize("cut", range(4))
def test_a_change_may_repeat_what_a_page_has(javascript: JavaScript, chat: Chat, cut: int) -> None:
    """As where a page takes everything between two changes that are on their way."""
    heard = Heard(chat)
    chat.ask("more?", max_tokens=3)
    heard.look(2)
    chat.explore("which?", 2, max_tokens=2)
    heard.look(4)
    snapshot = heard.widget.take_snapshot()
    messages = [as_json(snapshot), *heard.sent()[1 + cut :]]
    found = javascript.call(PROBE, "stripsAfter", messages)[-1]
    assert sorted(found, key=lambda strip: strip["id"]) == seen(cell_map(chat))
    heard.close()


def test_tokens_are_sent_once_while_they_come(javascript: JavaScript, chat: Chat) -> None:
    heard, said = Heard(chat), [0]
    n_before = cell_map(chat).n_tokens

    def look(_: object) -> None:
        """Send each five tokens, while the tree is held by the answer."""
        said[0] += 1
        if said[0] % 5 == 0:
            chat.tree.flush()
            events, heard.events[:] = heard.events[:], []
            heard.messages += heard.widget.changes(events)

    chat.ask("count", max_tokens=60, temperature=2.0, seed=3, on_token=look)
    live = heard.messages[2:]  # behind the question
    assert len(live) > 4
    assert sum(map(n_bytes, live)) < 100 * 5 * len(live)
    heard.look()
    n_new = cell_map(chat).n_tokens - n_before
    sent = [len(message.get("tokens", b"")) // 4 for message in heard.messages[1:]]
    assert sum(sent) < 1.5 * n_new
    found = javascript.call(PROBE, "stripsAfter", heard.sent())[-1]
    assert sorted(found, key=lambda strip: strip["id"]) == seen(cell_map(chat))
    heard.close()


def test_pages_show_what_a_template_had_evaluated_again(
    javascript: JavaScript, tmp_path: Path
) -> None:
    source = (Path(__file__).parents[1] / "templates" / "qwen3_thoughts.jinja").read_text("utf-8")
    model = Model.load(make_template_model(tmp_path / "m.gguf", source))
    chat = Chat(model, n_ctx=1024, n_threads=1)
    heard = Heard(chat)
    chat.ask("Why?", max_tokens=2)
    chat.edit("<think>\nLook.\n</think>\n\nSo.", chat.turns[-1])
    heard.look()
    turn = chat.ask("And then?", max_tokens=2)
    heard.look()
    spans = [span for strip in cell_map(chat).strips for span in strip.again]
    assert sum(stop - start for start, stop in spans) == turn.evaluated_again > 0
    for messages in (heard.sent(), [as_json(heard.widget.take_snapshot())]):
        found = javascript.call(PROBE, "stripsAfter", messages)[-1]
        assert sorted(found, key=lambda strip: strip["id"]) == seen(cell_map(chat))
    words = javascript.call(PROBE, "wordsAfter", heard.sent(), spans[0][0])
    assert "evaluated again" in words
    heard.close()
    chat.context.close()


def test_what_was_missed_is_looked_at_again(javascript: JavaScript, chat: Chat) -> None:
    heard = Heard(chat)
    chat.ask("unheard", max_tokens=2)
    heard.widget.begin_anew()
    found = javascript.call(PROBE, "stripsAfter", [as_json(heard.widget.take_snapshot())])[-1]
    assert sorted(found, key=lambda strip: strip["id"]) == seen(cell_map(chat))
    heard.close()


def test_actions_move_the_head_and_branch_off(chat: Chat) -> None:
    widget = CellMap(chat)
    first, second = chat.head.siblings
    widget.handle("checkout", {"checkpoint": first.id})
    assert chat.head is first
    wanted = chat.tree.tokens(second)[: second.start + 2]
    widget.handle("fork", {"checkpoint": second.id, "token": 2})
    assert chat.context.tokens == wanted
    assert chat.tree.head.stop == second.start  # which was cut in two, as its end goes on
    with pytest.raises(ParameterError, match="token as int"):
        widget.handle("fork", {"checkpoint": first.id, "token": "2"})
    widget.handle("undo", {})
    assert chat.turns == []


def test_a_page_hears_that_the_head_moved(chat: Chat) -> None:
    heard = Heard(chat)
    chat.tree.checkout(chat.head.siblings[0])
    heard.look()
    assert heard.messages[-1]["moved"] is True
    n = len(heard.messages)
    heard.look()  # a tag is nothing to a cell
    assert len(heard.messages) == n
    heard.close()


def test_a_question_is_asked_step_by_step(chat: Chat) -> None:
    widget, sent = CellMap(chat), list[dict[str, Any]]()
    widget.queue_change = sent.append  # type: ignore[method-assign]
    n_turns = len(chat.turns)
    for _ in range(3):
        widget.handle("step", {"question": "why?"})
    names = [name for name, _, _ in sent[-1]["steps"]["made"]]
    assert names == ["tokenize", "prefix", "evaluate"]
    assert sent[-1]["steps"]["question"] == "why?"
    assert not sent[-1]["steps"]["is_over"]
    assert widget.take_snapshot()["steps"] == sent[-1]["steps"]
    widget.stop_generation()
    wait_until(lambda: sent[-1]["steps"]["is_over"])

    widget.handle("step", {"question": "and so?"})
    assert [name for name, _, _ in sent[-1]["steps"]["made"]] == ["tokenize"]
    widget.stop_generation()
    wait_until(lambda: sent[-1]["steps"]["is_over"])
    assert len(chat.turns) >= n_turns
    with pytest.raises(ParameterError, match="without a chat"):
        CellMap(chat.tree).handle("step", {"question": "why?"})


def test_steps_may_go_on_to_the_end(tiny: ModelMaker) -> None:
    chat = Chat(tiny("llama", chat_template=CHATML), n_ctx=64, n_threads=1, seed=1)
    widget, sent = CellMap(chat), list[dict[str, Any]]()
    widget.queue_change = sent.append  # type: ignore[method-assign]
    widget.handle("step", {"question": "why?"})
    widget.handle("finish", {})
    assert chat.turns[-1].role == "assistant"
    last = sent[-1]["steps"]
    assert last["is_over"]
    assert last["made"][-1][0] == "capture"
    assert len(last["made"]) == min(40, last["n_made"])


def test_what_was_sent_last_waits_for_no_other(chat: Chat) -> None:
    """Tokens that come fast are sent together, and none is left behind."""
    widget, told = CellMap(chat), [0]
    widget.send = lambda content, *_: told.append(content["n_used"])  # type: ignore[method-assign]
    widget.listen()
    for _ in range(30):
        chat.tree._workspace.notify(TokenAdded(5, "x", -1.0, 0))
    n_held = chat.context.token_count()
    wait_until(lambda: told[-1] == n_held + 30)
    widget.close()


# -- keys, and what is painted ---------------------------------------------------------------------


def test_keys_go_to_cells_of_every_branch(javascript: JavaScript, chat: Chat) -> None:
    message = as_json(CellMap(chat).take_snapshot())
    cells = cell_map(chat)
    trunk, *answers = cells.strips
    lanes = sorted(strip.lane for strip in answers)
    keys = ["End", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "ArrowLeft", "ArrowRight", "x"]
    places = javascript.call(PROBE, "walk", message, keys)
    active = next(strip for strip in answers if strip.is_active)
    assert places[0] == [active.lane, active.stop - 1]
    assert places[1] == [active.lane, active.stop - 2]
    assert [places[2][0], places[3][0]] == lanes
    assert places[4:6] == [[trunk.lane, 0]] * 2
    assert places[6:] == [[trunk.lane, 1], None]


@pytest.mark.slow
@given(
    st.data(),
    st.lists(
        st.sampled_from(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"]),
        max_size=60,
    ),
)
def test_keys_never_leave_the_cells(
    javascript: JavaScript, tiny: ModelMaker, data: st.DataObject, keys: list[str]
) -> None:
    with Context(tiny("llama"), ContextParams(n_ctx=256, n_threads=1)) as context:
        tree = CheckpointTree(context)
        for _ in range(data.draw(st.integers(1, 6))):
            context.evaluate(data.draw(st.sampled_from(["a", "some words", "b c d"])))
            tree.commit()
            tree.checkout(data.draw(st.sampled_from([tree.root, *tree])))
        tree.checkout(tree.leaves()[0])
        widget = CellMap(tree)
        places = javascript.call(PROBE, "walk", as_json(widget.take_snapshot()), keys)
        cells = {(s.lane, c.position) for s in cell_map(tree).strips for c in s.cells}
        assert {tuple(place) for place in places} <= cells
        widget.close()


@pytest.mark.slow
@pytest.mark.parametrize("level", range(13))
def test_only_what_is_in_sight_is_painted(javascript: JavaScript, level: int) -> None:
    messages = [as_json(many_cells(1000, 100_000))]
    sight = {"level": level, "position": 110, "lane": 500, "width": 900, "height": 350}
    painted = javascript.call(PROBE, "painted", messages, sight)
    scale = painted["scale"]
    lanes, columns = 350 / scale["pitch"] + 2, 900 / scale["width"] + 3
    assert 0 < painted["boxes"] <= 2 * lanes * columns + 2
    assert painted["strokes"] < 20  # one for each look of a cell, however many have it
    assert painted["texts"] <= 3 * lanes * columns + 40
    if level >= 9:
        assert {"word", "␣and"} <= {*painted["said"]}


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 1000)), max_size=20))
def test_a_point_shows_the_cell_that_was_painted_there(
    javascript: JavaScript, places: list[tuple[int, int]]
) -> None:
    assert javascript.call(PROBE, "placesFound", places)


KNOWN = st.characters(
    exclude_categories=["Cn", "Cs"]
)  # what is assigned later, a page may know already


@given(st.text(KNOWN, max_size=20))
def test_pages_show_the_same_signs(javascript: JavaScript, text: str) -> None:
    assert javascript.call(PROBE, "signs", text) == signs(text)


# -- without a kernel ------------------------------------------------------------------------------


def test_the_bundle_holds_the_drawing(chat: Chat) -> None:
    bundle, _ = CellMap(chat)._repr_mimebundle_()
    svg = bundle["image/svg+xml"]
    assert svg in bundle["text/html"]
    titles = [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("title")]
    assert len(titles) == cell_map(chat).n_tokens
    assert CellMap(chat).to_html() == bundle["text/html"]
    assert repr(CellMap(chat)) == "CellMap(3 checkpoints)"


def test_what_was_said_is_text(tiny: ModelMaker) -> None:
    hostile = "<script>alert(1)</script></svg>"
    messages = [{"role": "user", "content": hostile}]
    chat = Chat.from_messages(tiny("llama", chat_template=CHATML), messages, n_ctx=256)
    shown = CellMap(chat).to_html()
    assert "<script" not in shown
    assert "</svg>" in shown
    assert shown.count("</svg>") == 1
    ElementTree.fromstring(shown)


def test_an_empty_tree_and_a_long_one_have_pictures(tiny: ModelMaker) -> None:
    tree = CheckpointTree(Context(tiny("llama"), ContextParams(n_ctx=2048, n_threads=1)))
    assert "0 of 2,048 cells" in CellMap(tree).to_html()
    for _ in range(60):
        tree.context.evaluate("some more words " * 2)
        tree.commit()
        tree.checkout(tree.root)
    shown = CellMap(tree).to_html()
    assert "60 branches" in shown
    ElementTree.fromstring(shown)
    assert shown.count("<rect") < 20_000
    tree.context.close()


def test_other_things_are_refused() -> None:
    with pytest.raises(ParameterError, match="Chat or a CheckpointTree"):
        CellMap("chat")  # type: ignore[arg-type]
