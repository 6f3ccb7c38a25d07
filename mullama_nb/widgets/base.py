"""What all widgets share: they publish on one thread, act on another, and most observe a tree."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..errors import MullamaError, ParameterError, RefError
from ..history.chat import Chat
from ..history.events import Event, Subscription
from ..history.tree import CheckpointTree
from .pages import HeldWeakly, Showing

__all__ = ["ActingWidget", "TreeWidget", "front_end"]

_SECONDS_BETWEEN_MESSAGES = 1 / 25
# Actions that go elsewhere do not wait until an answer is whole, no more than chat.undo() does.
_LEAVING = frozenset({"undo", "checkout", "sibling", "show", "keep", "drop_others"})
_VIEW = "application/vnd.jupyter.widget-view+json"


def front_end(*names: str) -> tuple[str, str]:
    """The script and the style sheet of a widget, each behind the part that all share."""
    folder = Path(__file__).parent
    script, style = (
        "\n".join(
            path.read_text("utf-8")
            for path in (folder / f"{part}.{kind}" for part in ("shared", *names))
            if path.exists()
        )
        for kind in ("js", "css")
    )
    return script, style


class _Publisher:
    """The one thread that writes traits and sends messages, at most 25 times a second."""

    def __init__(self) -> None:
        self._waiting: list[weakref.ref[ActingWidget]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, widget: weakref.ref[ActingWidget]) -> None:
        """Have a widget publish what it has gathered."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="mullama-widgets", daemon=True
                )
                self._thread.start()
            if widget not in self._waiting:
                self._waiting.append(widget)
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                waiting, self._waiting = self._waiting, []
            began = time.monotonic()
            for reference in waiting:
                widget = reference()
                if widget is not None:
                    widget.publish()
                del widget  # waiting keeps no widget alive
            took = time.monotonic() - began  # at most a fifth of the time: generation needs it
            time.sleep(max(_SECONDS_BETWEEN_MESSAGES, 4 * took))


class _Actions:
    """Runs jobs one after the other, on a thread that lives while there are any."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._is_running = False

    def add(self, job: Callable[[], None]) -> None:
        with self._lock:
            self._jobs.append(job)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="mullama-actions", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._is_running = False
                    return
                job = self._jobs.popleft()
            job()


_publisher = _Publisher()
_actions: weakref.WeakKeyDictionary[object, _Actions] = weakref.WeakKeyDictionary()


class ActingWidget(HeldWeakly, anywidget.AnyWidget):
    """A widget that does what a view asks for, and shows what went wrong.

    Parameters
    ----------
    acts_on : object
        Actions on the same one are done one after the other.

    Attributes
    ----------
    chat : Chat or None
    error : str
        What the last action that failed said; empty after one that went well.
    snapshot : dict
        Everything a new view has to know. It is computed when it is asked for; in between, views
        hear of single changes, which may repeat what a snapshot said already.
    """

    error = traitlets.Unicode("").tag(sync=True)
    snapshot = traitlets.Dict().tag(sync=True)

    chat: Chat | None = None

    def __init__(self, acts_on: object, **traits: Any) -> None:
        self._acts_on = acts_on
        self._number = 0
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._replies: list[dict[str, Any]] = []
        self._said: str | None = None
        self._is_asked = False
        self._reference = weakref.ref(self)
        self.showing = Showing(self._reference)
        super().__init__(**traits)
        self.on_msg(ActingWidget._receive)

    def take_snapshot(self) -> dict[str, Any]:
        """Everything a new view has to know."""
        return {}

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:  # noqa: ARG002 - for subclasses
        """What views have to hear of some events; called on the publishing thread."""
        return ()

    def handle(self, action: str, arguments: dict[str, Any]) -> None:  # noqa: ARG002 - for subclasses
        """Do what a view asks for; called on the thread for actions."""
        raise ParameterError(f"{type(self).__name__} knows no action {action!r}.")

    def draw_html(self) -> str:
        """What a reader without a kernel sees; the same state gives the same text."""
        return ""

    def to_html(self) -> str:
        """A piece of HTML that needs no kernel and no script, for reports."""
        return f'<div class="mullama">{self.draw_html()}</div>'

    def listen(self, does: bool = True) -> None:
        """Hear of changes, or not while no page shows it."""

    def close(self) -> None:
        """Vanish from every page."""
        if self.comm is not None:  # else it was not even made
            self.showing.release()
        super().close()

    def refresh(self) -> None:
        """Have all views take a new snapshot."""
        with self._lock:
            self._is_asked = True
        _publisher.add(self._reference)

    def answer(self, change: dict[str, Any]) -> None:
        """Have views hear of something that an action found out."""
        with self._lock:
            self._replies.append(change)
        _publisher.add(self._reference)

    def publish(self) -> None:
        """Send what has been gathered; called on the publishing thread alone."""
        with self._lock:
            events, self._events = self._events, []
            answers, self._replies = self._replies, []
            said, self._said = self._said, None
            is_asked, self._is_asked = self._is_asked, False
        try:
            try:
                changes = list(self.changes(events)) if events else []
            except RefError:  # a checkpoint was pruned since: what there is now says it all
                changes, is_asked = [], True
            if is_asked:
                self.send({"kind": "snapshot", "snapshot": self._numbered_snapshot()})
            for change in (*changes, *answers):
                self._number += 1
                self.send({"kind": "change", "number": self._number, **change})
        except Exception as error:  # an error here is seen nowhere else
            said = _words(error)
        if said is not None:
            self.error = said

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The traits, with a snapshot made now."""
        state: dict[str, Any] = super().get_state(key=key, drop_defaults=drop_defaults)
        if "snapshot" in state or key is None:
            state["snapshot"] = self._numbered_snapshot()
        return state

    @traitlets.observe("comm")
    def _keep_to_pages(self, change: Any) -> None:
        # ipykernel 7.4 hands a page's message to the subshell of whatever request was the latest
        # one when the widget last sent, and drops it if that subshell is gone, as after a reload.
        if hasattr(change.new, "_reply_subshell_for"):
            change.new._reply_subshell_for = _subshell_of_page

    def _numbered_snapshot(self) -> dict[str, Any]:
        number = self._number  # first, so that no change is missed
        return {"number": number, **self.take_snapshot()}

    def _receive(self, content: Any, _buffers: object) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind == "stop":
            if self.chat is not None:
                self.chat.stop()
        elif kind == "resync":
            self.refresh()
        elif kind == "views":
            self.listen()
            self.showing.hear(str(content.get("page")), int(content.get("n", 0)))
        elif kind == "away":
            self.showing.leave(str(content.get("page")))
        elif kind == "do":
            arguments = {k: v for k, v in content.items() if k not in ("kind", "action")}
            action = str(content.get("action"))
            if action in _LEAVING and self.chat is not None:
                self.chat.stop()
            _actions.setdefault(self._acts_on, _Actions()).add(lambda: self._do(action, arguments))

    def _do(self, action: str, arguments: dict[str, Any]) -> None:
        said = ""
        try:
            self.handle(action, arguments)
        except BaseException as error:  # nobody else would see it, and the thread goes on
            said = _words(error)
        with self._lock:
            self._said = said
        _publisher.add(self._reference)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.to_html()}
        if self.comm is not None:
            self.listen()
            self.showing.display()
            bundle[_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return bundle, {}


class TreeWidget(ActingWidget):
    """A widget on one tree.

    Parameters
    ----------
    source : Chat or CheckpointTree
        What to show.

    Attributes
    ----------
    tree : CheckpointTree
    in_cell : bool
        Whether a cell is what moves the tree just now: a view that is to stop it then has to
        interrupt the kernel, as messages may wait until the cell has ended.
    """

    in_cell = traitlets.Bool(False).tag(sync=True)

    _subscription: Subscription | None = None
    _has_missed = False

    def __init__(self, source: Chat | CheckpointTree, **traits: Any) -> None:
        if isinstance(source, Chat):
            self.chat = source
            self.tree: CheckpointTree = source.tree
        elif isinstance(source, CheckpointTree):
            self.tree = source
        else:
            raise ParameterError(
                f"{type(self).__name__} shows a Chat or a CheckpointTree, not a "
                f"{type(source).__name__}. Pass the chat, or its tree."
            )
        super().__init__(self.tree, **traits)
        self.listen()
        self.showing.wait()

    def listen(self, does: bool = True) -> None:
        """Hear of the tree's changes, or not while no page shows it; what was missed is sent."""
        if does and self._subscription is None:
            subscription = self.tree.on_change(_observer(self._reference))
            self._forget = weakref.finalize(self, subscription.cancel)
            self._subscription = subscription
            if self._has_missed:
                self._has_missed = False
                self.begin_anew()
                self.refresh()
        elif not does and self._subscription is not None:
            self._subscription, self._has_missed = None, True
            self._forget()

    def begin_anew(self) -> None:
        """Forget what was gathered of an answer that streams; some of it was missed."""

    def gather(self, event: Event) -> None:
        """Keep an event until the next message."""
        with self._lock:
            self._events.append(event)
        _publisher.add(self._reference)

    def publish(self) -> None:
        """Send whether a cell is at work, and what has been gathered; looks again while one is."""
        self.in_cell = self.tree.order.is_on_main_thread  # first: a view can stop what it shows
        super().publish()
        if self.in_cell:
            _publisher.add(self._reference)

    def close(self) -> None:
        """Observe no longer, and vanish from every page."""
        self.listen(False)
        super().close()

    def __repr__(self) -> str:
        n = len(self.tree)
        return f"{type(self).__name__}({n} checkpoint{'s' * (n != 1)})"


def _observer(reference: weakref.ref[TreeWidget]) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        widget = reference()
        if widget is not None:
            widget.gather(event)

    return observe


def _subshell_of_page(_data: object, subshell: str | None) -> str | None:
    return subshell


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, MullamaError) else f"{type(error).__name__}: {error}"
