"""The chat panel: the messages, an input box, and actions on every answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import traitlets

from ..errors import ChatTemplateError, ContextFullError, HistoryError
from ..history.chat import Chat
from ..history.display import messages_html
from ..history.events import (
    AdaptersChanged,
    Committed,
    Event,
    Moved,
    Progress,
    Pruned,
    SettingsChanged,
    Split,
    TokenAdded,
)
from ..history.turn import Turn
from .actions import keeps_error, leaves_error, stops_first
from .answer_cards import AnswerCards, KeepsAnswers, answers_to
from .enlarging import enlarge
from .esm import front_end
from .footer import Pace, Remedy, footer_of, in_force, remedies, set_option
from .funnel import funnel_message
from .live_answer import LiveAnswer, begin_answer, head_after
from .markdown import render_markdown
from .message_list import MessageList
from .pictures import formulas_or_tex
from .standing import standing_on, with_text
from .token_list import alternatives_to, entropies, token_list
from .visited import VisitedWays

__all__ = ["ChatPanel"]

_MOVES = (Committed, Moved, Split, Pruned)
_AT_ONCE = ("count", "dismiss", "set")


class ChatPanel(KeepsAnswers):
    """The messages up to the head, with actions on each, and cards of what answers the last one.

    Parameters
    ----------
    chat : Chat

    Attributes
    ----------
    pending : str
        The question from the panel that is being answered.
    detail : dict
        The tokens of the message inspected last.
    alternatives : dict
        The alternatives to the token inspected last, and how it was chosen if that was asked for.
    entropy : dict
        The entropy at each token of the message inspected last, if that was asked for.
    failures : int
        Number of actions that failed: the same error may come again.
    remedies : list
        Actions that help where the last one failed; see ``footer.Remedy``.
    notice : str
        What the last action has to tell, if it is no error.
    pace : float
        Tokens a second, of the answer that is coming or came last; 0 while it is not known.
    """

    _esm, _css = front_end("chat_panel", "funnel", "composer", "footer", "standing", "answer_cards")
    can_turn = True

    # All are written by the thread for actions alone.
    pending = traitlets.Unicode("").tag(sync=True)
    detail = traitlets.Dict().tag(sync=True)
    alternatives = traitlets.Dict().tag(sync=True)
    entropy = traitlets.Dict().tag(sync=True)

    # Written by the publishing thread alone.
    remedies = traitlets.List[Remedy]().tag(sync=True)
    failures = traitlets.Int(0).tag(sync=True)
    notice = traitlets.Unicode("").tag(sync=True)
    pace = traitlets.Float(0.0).tag(sync=True)

    def __init__(self, chat: Chat) -> None:
        self._live: LiveAnswer | None = None
        self._at = chat.head.id  # the head, as far as events have told
        self._progress: list[int] | None = None
        self._messages = MessageList()
        self._visited = VisitedWays()
        self._settings: list[str] = []
        self._footer: dict[str, Any] = {}
        self._pace = Pace()
        self._n_failures = 0
        self._advice: tuple[list[Remedy], str] | None = None  # until it is published
        self.cards = AnswerCards(chat, answers_to(chat, chat.head))  # of a question at the head
        super().__init__(chat)

    def take_snapshot(self) -> dict[str, Any]:
        """Return the messages, and the running answer so far."""
        if not self._messages.is_told:  # what the first view begins with
            self._settings, self._footer = in_force(self.chat), footer_of(self.chat)
        return {
            "messages": self._messages.snapshot(self.chat),
            "settings": self._settings,
            "footer": self._footer,
            "standing": standing_on(self.chat),
            "live": None if self._live is None else self._live.snapshot(),
            "progress": self._progress,
            "cards": self.cards.snapshot(),
        }

    def changes(self, events: Sequence[Event]) -> Iterable[dict[str, Any]]:
        """Return the changes of the messages, the streaming answer and an evaluation."""
        change = self.cards.changes_at_head(events)
        moves = [i for i, event in enumerate(events) if isinstance(event, _MOVES)]
        if moves:
            self._follow(events)
            self._visited.remember(self.tree.head)
            change |= self._messages.changes(self.chat) | self._setting_changes()
            change["standing"] = standing_on(self.chat)
            events = events[moves[-1] + 1 :]
            self._live = change["live"] = None
        if any(isinstance(event, AdaptersChanged | SettingsChanged) for event in events):
            change |= self._setting_changes()
        tokens = [e for e in events if isinstance(e, TokenAdded) and e.branch is None]
        grows = any(token.text or token.part != "text" for token in tokens)
        if grows:
            if self._live is None:
                self._live = begin_answer(self.chat, self.tree[self._at], tokens[0].position)
            change["live"] = self._live.add(tokens)
        progress = None if moves or grows else self._progress
        for event in events:
            if isinstance(event, Progress):
                going = event.evaluated < event.total and not grows
                progress = [event.evaluated, event.total] if going else None
        if progress != self._progress:
            self._progress = change["progress"] = progress
        change |= self._footer_changes()
        self.pace = self._pace.per_second
        if change:
            yield change

    def begin_anew(self) -> None:
        """Show a streaming answer with its next token; what there is of it is in the context."""
        self._live = self._progress = None
        self._at = self.tree.head.id
        self.cards.show(answers_to(self.chat, self.tree.head))
        self._messages, self._visited = MessageList(), VisitedWays()

    def gather(self, event: Event) -> None:
        """Count tokens as they come, and keep the event until the next message."""
        if isinstance(event, TokenAdded):
            if not event.is_elsewhere:
                self._pace.add(time.monotonic())
        elif isinstance(event, _MOVES):
            self._pace.end()
        super().gather(event)

    def queue_of(self, action: str) -> object:
        """Have what changes no tree wait for no answer."""
        return self if action in _AT_ONCE else super().queue_of(action)

    def handle(self, action: str, arguments: dict[str, Any]) -> None:
        """Call an action; where it fails, say what helps."""
        if not keeps_error(self, action):
            self._advice = [], ""
        try:
            super().handle(action, arguments)
        except BaseException as error:
            if isinstance(error, ContextFullError):
                self._advice = remedies(self.chat, error), ""
            self._n_failures += 1
            raise

    def publish(self) -> None:
        """Send the gathered changes, after what helps with an error among them."""
        advice, self._advice = self._advice, None
        if advice is not None:
            self.remedies, self.notice = advice
        super().publish()
        self.failures = self._n_failures

    def _follow(self, events: Sequence[Event]) -> None:
        for event in events:
            self._at = head_after(event) or self._at

    @stops_first
    def do_show(self, checkpoint: str) -> None:
        """Show another version of a message, with what followed it before."""
        self.chat.checkout(self._visited.end_from(self.tree[checkpoint]))

    def do_ask(self, text: str) -> None:
        """Send a message, and generate the answer."""
        with self._answering(pending=text):
            self.chat.ask(text, echo=False)

    def do_answer(self, n: int) -> None:
        """Answer the message at the head, or give several answers to it, of which none is kept."""
        with self._answering():
            if n == 1:
                self.chat.regenerate(echo=False)
            else:
                self.chat.explore(n=n)

    def do_edit(self, checkpoint: str, text: str) -> None:
        """Replace a message by a sibling with another text; an answer keeps its thought."""
        turn = self._turn(checkpoint)
        with self._answering():
            said = with_text(turn, text) if turn.role == "assistant" else text
            self.chat.edit(said, turn, echo=False)

    def do_instruct(self, text: str) -> None:
        """Say another system message, under which the first question is asked again."""
        with self._answering():
            self.chat.edit(text, self.tree.root, echo=False)

    def do_regenerate(self, checkpoint: str) -> None:
        """Generate another answer in place of one."""
        with self._answering():
            self.chat.regenerate(self._turn(checkpoint), echo=False)

    def do_resume(self) -> None:
        """Continue an unfinished answer."""
        with self._answering():
            self.chat.resume(echo=False)

    def do_fork(self, checkpoint: str, token: int, choose: int | None = None) -> None:
        """Branch off inside an answer."""
        with self._answering():
            self.chat.fork(self._turn(checkpoint), token=token, choose=choose, echo=False)

    def do_tokens(self, checkpoint: str) -> None:
        """Show the tokens of a message."""
        self.detail = {"id": checkpoint, "tokens": token_list(self._turn(checkpoint))}

    def do_alternatives(self, checkpoint: str, token: int) -> None:
        """Show the alternatives to a token."""
        self.alternatives = alternatives_to(self._turn(checkpoint), token)

    def do_choice(self, checkpoint: str, token: int) -> None:
        """Show how a token was chosen, below its alternatives."""
        turn = self._turn(checkpoint)
        choice = turn.choice(token)
        self.alternatives = {**alternatives_to(turn, token), "choice": funnel_message(choice)}

    def do_entropy(self, checkpoint: str) -> None:
        """Show how open the choice of each token of a message was."""
        self.entropy = entropies(self._turn(checkpoint))

    def do_trim(self) -> None:
        """Go on with the latest turns alone."""
        n_freed = self.chat.trim()
        text = f"{n_freed:,} cells are free again. The whole conversation stays in the tree."
        self._advice = [], text

    def do_enlarge(self, n_ctx: int) -> None:
        """Go on in a new chat with the same tree and more cells."""
        self._advice = [], enlarge(self.chat, n_ctx)

    def do_set(self, name: str, value: str) -> None:
        """Set one of the chat's own options to what was typed."""
        set_option(self.chat, name, value)

    @leaves_error
    def do_count(self, text: str, key: str) -> None:
        """Tell how many cells would be used after a message, before its answer."""
        n_tokens = None
        if not self.tree.is_held:  # else its end, and so the beginning of this, is not known yet
            with contextlib.suppress(ChatTemplateError):
                n_tokens = self.chat.count_tokens(text)
        self.queue_change({"typed": {"key": key, "used": n_tokens}})

    def do_dismiss(self) -> None:
        """Close the error and the notice."""

    def do_close(self) -> None:
        """Hide the tokens."""
        self.detail = self.alternatives = self.entropy = {}

    @contextmanager
    def _answering(self, pending: str = "") -> Iterator[None]:
        with self.answering():
            self.pending = pending
            self.detail = self.alternatives = self.entropy = {}
            try:
                yield
            finally:
                self.pending = ""

    def draw_html(self) -> str:
        """Return the messages, one below the other."""
        messages = [turn.message for turn in self.chat.turns]
        return formulas_or_tex(messages_html(messages, render_markdown))

    def _setting_changes(self) -> dict[str, Any]:
        """The adapters and template options that are on, if they are others than before."""
        before, self._settings = self._settings, in_force(self.chat)
        return {} if self._settings == before else {"settings": self._settings}

    def _footer_changes(self) -> dict[str, Any]:
        before, self._footer = self._footer, footer_of(self.chat)
        changed = {n: value for n, value in self._footer.items() if value != before.get(n)}
        return {"footer": changed} if changed else {}

    def _turn(self, identifier: str) -> Turn:
        for turn in self.chat.turns:
            if turn.id == identifier:
                return turn
        raise HistoryError("That message is no longer on the path to the head.")

    def __repr__(self) -> str:
        n = len(self.chat.turns)
        return f"ChatPanel({n} message{'s' * (n != 1)})"
