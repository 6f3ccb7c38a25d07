"""A widget observes its tree, acts on a thread, and shows what went wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from tiny_models import CHATML

from mullama_nb import Chat
from mullama_nb.errors import ParameterError
from mullama_nb.history.events import Event, TokenAdded
from mullama_nb.widgets.base import TreeWidget


class Counter(TreeWidget):
    """Sends how many events it heard, and keeps what it sent."""

    def __init__(self, source: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.arrived = threading.Event()
        super().__init__(source)
        self.observe(lambda _: self.arrived.set(), "error")

    def send(self, content: Any, buffers: Any = None) -> None:
        self.sent.append(content)
        self.arrived.set()
        super().send(content, buffers)

    def take_snapshot(self) -> dict[str, Any]:
        return {"checkpoints": len(self.tree)}

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        yield {"events": len(events)}

    def do_tag(self, name: str) -> None:
        self.tree.tag(name)


@pytest.fixture
def chat(tiny: Callable[..., Any]) -> Chat:
    return Chat(tiny("llama", chat_template=CHATML), n_ctx=256, n_threads=1)


def receive(widget: Counter, message: dict[str, Any]) -> None:
    widget.arrived.clear()
    widget._handle_custom_msg(message, [])
    widget.arrived.wait()


def test_it_hears_the_tree_and_numbers_what_it_sends(chat: Chat) -> None:
    widget = Counter(chat)
    receive(widget, {"kind": "do", "action": "tag", "name": "here"})
    assert chat.tree.tags["here"] is chat.head
    assert widget.sent[0] == {"kind": "change", "number": 1, "events": 1}
    receive(widget, {"kind": "resync"})
    assert widget.sent[-1]["snapshot"] == {"number": 1, "checkpoints": len(chat.tree)}
    widget.close()


def test_a_failure_is_shown_until_an_action_goes_well(chat: Chat) -> None:
    widget = Counter(chat)
    receive(widget, {"kind": "do", "action": "dance"})
    assert "'dance'" in widget.error
    done = threading.Event()
    widget.observe(lambda change: done.set() if not change["new"] else None, "error")
    receive(widget, {"kind": "do", "action": "tag", "name": "good"})
    done.wait()
    widget.close()


def test_state_asked_for_holds_a_snapshot_made_now(chat: Chat) -> None:
    widget = Counter(chat)
    chat.ask("a", max_tokens=2)
    assert widget.get_state()["snapshot"]["checkpoints"] == len(chat.tree)
    assert "snapshot" not in widget.get_state("error")
    widget.close()


def test_another_source_is_refused() -> None:
    with pytest.raises(ParameterError, match="not a int"):
        Counter(3)


def test_its_bundle_has_the_view_and_a_stable_fallback(chat: Chat) -> None:
    widget = Counter(chat)
    bundle, _ = widget._repr_mimebundle_()
    assert bundle["text/plain"] == repr(widget) == f"Counter({len(chat.tree)} checkpoints)"
    assert bundle["text/html"] == widget.to_html()
    widget.close()


def test_what_was_pruned_before_it_was_told_brings_a_snapshot(chat: Chat) -> None:
    class Looker(Counter):
        def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
            yield {
                "n": len(events),
                "text": self.tree["0" * 20].text,
            }  # as that of a checkpoint that is gone

    widget = Looker(chat)
    widget.arrived.clear()
    chat.tag("here")
    widget.arrived.wait()
    assert widget.sent == [{"kind": "snapshot", "snapshot": {"number": 0, "checkpoints": 0}}]
    assert widget.error == ""
    widget.close()


def test_it_sends_no_more_than_30_messages_a_second(chat: Chat) -> None:
    widget = Counter(chat)
    began = time.monotonic()
    for n in range(200):
        chat.tree._workspace.notify(TokenAdded(n, "x", -1.0))
        time.sleep(0.002)
    while sum(message["events"] for message in widget.sent) < 200:
        time.sleep(0.01)
    assert len(widget.sent) <= 1 + 30 * (time.monotonic() - began)
    widget.close()


def test_it_says_whether_a_cell_moves_the_tree(chat: Chat) -> None:
    widget = Counter(chat)
    heard: list[bool] = []
    changed = threading.Event()

    def listen(change: dict[str, Any]) -> None:
        heard.append(change["new"])
        changed.set()

    widget.observe(listen, "in_cell")
    with chat.tree.turn():  # this is the main thread, as in a cell
        chat.tag("here")
        changed.wait()
        changed.clear()
    changed.wait()
    assert heard == [True, False]
    widget.close()
