"""Base classes of the widgets: publishing on one thread, actions on another, observing a tree."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import anywidget
import traitlets
from ipywidgets.widgets.widget import _remove_buffers

from ..errors import MullamaError, ParameterError, RefError
from ..history.chat import Chat
from ..history.events import Event, Subscription
from ..history.tree import CheckpointTree
from .actions import call_action, ends_generation, keeps_error, stops_first
from .pages import HeldWeakly, Showing
from .publishing import publish_soon, run_in_turn

__all__ = ["ActingWidget", "ChatWidget", "TreeWidget", "widgets_on"]

_VIEW = "application/vnd.jupyter.widget-view+json"


class ActingWidget(HeldWeakly, anywidget.AnyWidget):
    """A widget that runs the actions of its views, and shows their errors.

    An action is a method ``do_<action>``. Its parameters are declared as `str`, `int`, `bool` or
    ``float | int``, as pages write whole numbers without a point, or one of them or None. The
    arguments from a view are checked against them.

    Parameters
    ----------
    acts_on : object
        Actions on the same object run one at a time.

    Attributes
    ----------
    error : str
        The error message of the last action; empty if it succeeded.
    snapshot : dict
        Everything that a new view needs, taken on request; in between, views receive single
        changes, which may repeat part of a snapshot. Bytes anywhere in them arrive as binary.
    """

    error = traitlets.Unicode("").tag(sync=True)
    snapshot = traitlets.Dict().tag(sync=True)

    # By which a page sees whether the kernel that it is connected to has the widget.
    _comm_id = traitlets.Unicode().tag(sync=True)

    def __init__(self, acts_on: object, **traits: Any) -> None:
        self._acts_on = acts_on
        self._number = 0
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._queued: list[dict[str, Any] | Callable[[Any], dict[str, Any]]] = []
        self._outcome: str | None = None  # of the last action, until it is published
        self._needs_snapshot = False
        self._reference = weakref.ref(self)
        self.showing = Showing(self._reference)
        channel = uuid4().hex
        super().__init__(model_id=channel, _comm_id=channel, **traits)
        self.on_msg(ActingWidget._receive)

    def take_snapshot(self) -> dict[str, Any]:
        """Return everything that a new view needs."""
        return {}

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:  # noqa: ARG002 - for subclasses
        """Return the changes for views that follow from events; called on the publishing thread."""
        return ()

    def handle(self, action: str, arguments: dict[str, Any]) -> None:
        """Call ``do_<action>`` with checked arguments; runs on the thread for actions.

        Raises
        ------
        ParameterError
            When there is no such action, or it does not take these arguments.
        """
        call_action(self, action, arguments)

    def queue_of(self, action: str) -> object:  # noqa: ARG002 - for subclasses
        """Return the object whose actions run one at a time, this among them."""
        return self._acts_on

    def stop_generation(self) -> None:
        """Stop the running answer, if this widget is concerned with one."""

    def draw_html(self) -> str:
        """Return static HTML for readers without a kernel; equal states give equal text."""
        return ""

    def to_html(self) -> str:
        """Return an HTML fragment that needs no kernel and no script, for reports."""
        return f'<div class="mullama">{self.draw_html()}</div>'

    def as_view(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a page shows the widget by, with its metadata, which Colab needs."""
        self.showing.display()
        shown = super()._repr_mimebundle_()
        assert shown is not None  # as it would be without a view
        bundle, metadata = shown
        return {_VIEW: bundle[_VIEW]}, metadata

    def listen(self, does: bool = True) -> None:
        """Start to observe changes, or stop while no page shows the widget."""

    def close(self) -> None:
        """Remove the widget from every page."""
        if self.comm is not None:  # else it was not even made
            self.showing.release()
        super().close()

    def refresh(self) -> None:
        """Make all views take a new snapshot."""
        with self._lock:
            self._needs_snapshot = True
        publish_soon(self._reference)

    def queue_change(self, change: dict[str, Any] | Callable[[Any], dict[str, Any]]) -> None:
        """Send a change to all views, after those from events.

        Parameters
        ----------
        change : dict or function
            A function is called with the widget, when the change is sent. (A bound method would
            keep the widget alive until then.)
        """
        with self._lock:
            self._queued.append(change)
        publish_soon(self._reference)

    def publish(self) -> None:
        """Send the gathered changes; called only on the publishing thread."""
        with self._lock:
            events, self._events = self._events, []
            queued, self._queued = self._queued, []
            outcome, self._outcome = self._outcome, None
            needs_snapshot, self._needs_snapshot = self._needs_snapshot, False
        try:
            try:
                changes = list(self.changes(events)) if events else []
            except RefError:  # a checkpoint was pruned since: a snapshot has what is left
                changes, needs_snapshot = [], True
            if needs_snapshot:
                self._say({"kind": "snapshot", "snapshot": self._numbered_snapshot()})
            for change in (*changes, *queued):
                told = change(self) if callable(change) else change
                self._number += 1
                self._say({"kind": "change", "number": self._number, **told})
        except Exception as error:  # it would be shown nowhere else
            outcome = _message(error)
        if outcome is not None:
            self.error = outcome

    def _say(self, content: dict[str, Any]) -> None:
        """Send a message whose bytes travel beside the JSON, as those of traits do."""
        content, paths, buffers = _remove_buffers(content)
        self.send({**content, "buffer_paths": paths} if paths else content, buffers or None)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the traits, with a snapshot taken now."""
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
            self.stop_generation()
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
            if ends_generation(self, action):  # else it would wait until the answer is whole
                self.stop_generation()
            run_in_turn(self.queue_of(action), lambda: self._do(action, arguments))

    def _do(self, action: str, arguments: dict[str, Any]) -> None:
        outcome = None if keeps_error(self, action) else ""
        try:
            self.handle(action, arguments)
        except BaseException as error:  # it would be shown nowhere else, and the thread goes on
            outcome = _message(error)
        with self._lock:
            self._outcome = self._outcome if outcome is None else outcome
        publish_soon(self._reference)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.to_html()}
        metadata: dict[str, Any] = {}
        if self.comm is not None:
            self.listen()
            view, metadata = self.as_view()
            bundle |= view
        return bundle, metadata


class TreeWidget(ActingWidget):
    """A widget on one tree.

    Parameters
    ----------
    source : Chat or CheckpointTree
        The tree to show, or its chat.

    Attributes
    ----------
    tree : CheckpointTree
    chat : Chat or None
        None for a tree without a chat.
    in_cell : bool
        Whether a running cell is changing the tree: to stop it, a view has to interrupt the kernel,
        as messages may wait until the cell has ended.
    """

    in_cell = traitlets.Bool(False).tag(sync=True)

    can_turn = False
    """Whether another chat with the same tree may take the place of what it shows."""

    _subscription: Subscription | None = None
    _has_missed = False

    def __init__(self, source: Chat | CheckpointTree, **traits: Any) -> None:
        self.chat: Chat | None = None
        self.tree: CheckpointTree
        if isinstance(source, Chat):
            self.chat, self.tree = source, source.tree
        elif isinstance(source, CheckpointTree):
            self.tree = source
        else:
            raise ParameterError(
                f"{type(self).__name__} shows a Chat or a CheckpointTree, not a "
                f"{type(source).__name__}. Pass the chat, or its tree."
            )
        super().__init__(self.tree, **traits)
        _widgets.add(self)
        self.listen()
        self.showing.wait()

    def listen(self, does: bool = True) -> None:
        """Observe the tree, or stop while no page shows the widget; send missed changes."""
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

    def turn_to(self, chat: Chat) -> None:
        """Show another chat from now on, with the same tree as the one before."""
        self.listen(False)
        self.chat, self.tree, self._acts_on = chat, chat.tree, chat.tree
        self.listen()

    def stop_generation(self) -> None:
        """Stop the answer that the chat is generating."""
        if self.chat is not None:
            self.chat.stop()

    def begin_anew(self) -> None:
        """Discard what was gathered of a streaming answer, as some of it was missed."""

    def gather(self, event: Event) -> None:
        """Keep an event until the next message."""
        with self._lock:
            self._events.append(event)
        publish_soon(self._reference)

    def publish(self) -> None:
        """Send whether a cell is running, and the gathered changes; repeat while one is."""
        self.in_cell = self.tree.is_held_by_cell  # first: a view can stop what it shows
        super().publish()
        if self.in_cell:
            publish_soon(self._reference)

    def close(self) -> None:
        """Stop observing, and remove the widget from every page."""
        self.listen(False)
        super().close()

    def __repr__(self) -> str:
        n = len(self.tree)
        return f"{type(self).__name__}({n} checkpoint{'s' * (n != 1)})"


class ChatWidget(TreeWidget):
    """A widget on one chat that can make the model answer.

    Parameters
    ----------
    chat : Chat

    Attributes
    ----------
    chat : Chat
    is_busy : bool
        Whether the model is answering for this widget.
    """

    # Written by the thread for actions alone.
    is_busy = traitlets.Bool(False).tag(sync=True)

    chat: Chat

    def __init__(self, chat: Chat, **traits: Any) -> None:
        if not isinstance(chat, Chat):
            raise ParameterError(
                f"{type(self).__name__} shows a Chat, not a {type(chat).__name__}. Pass the chat."
            )
        super().__init__(chat, **traits)

    @stops_first
    def do_undo(self) -> None:
        """Move the head to before the last message."""
        self.chat.undo()

    def do_redo(self) -> None:
        """Take the last undo back."""
        self.chat.redo()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Mark the widget as busy while the model answers."""
        self.is_busy = True
        try:
            yield
        finally:
            self.is_busy = False


_widgets: weakref.WeakSet[TreeWidget] = weakref.WeakSet()


def widgets_on(tree: CheckpointTree) -> list[TreeWidget]:
    """Return the widgets that show a tree."""
    return [widget for widget in [*_widgets] if widget.tree is tree]


def _observer(reference: weakref.ref[TreeWidget]) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        widget = reference()
        if widget is not None:
            widget.gather(event)

    return observe


def _subshell_of_page(_data: object, subshell: str | None) -> str | None:
    return subshell


def _message(error: BaseException) -> str:
    return str(error) if isinstance(error, MullamaError) else f"{type(error).__name__}: {error}"
