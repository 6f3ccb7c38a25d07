"""Cards of the answers to one question: those that are whole, and those that grow side by side."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import HistoryError
from ..history.chat import Chat
from ..history.display import message_html
from ..history.events import Committed, Event, Moved, Pruned, Split, TokenAdded
from ..history.message import chain, message_parts, message_versions
from ..history.shown import ShownMessage
from ..history.surprise import mean_surprisal
from ..history.tree import Checkpoint
from ..history.turn import Answers, Turn
from .actions import stops_first
from .base import ChatWidget
from .differing import mark_html
from .live_answer import LiveAnswer, begin_answer
from .markdown import render_markdown
from .pictures import formulas_or_tex

__all__ = ["AnswerCards", "KeepsAnswers", "answers_to"]

_MOVES = (Committed, Moved, Split, Pruned)
_MOST_CHARACTERS = 40  # of a setting above an answer
_DIGITS = 2  # of a mean surprisal
_ENDS = {"stop": "", "length": "cut off", None: ""}


class AnswerCards:
    """The answers to one question, oldest first.

    All changes are made by the publishing thread alone.

    Parameters
    ----------
    chat : Chat
    turns : sequence of Turn
        Answers that are there.

    Attributes
    ----------
    found : list of Turn
        The answers that are whole.
    """

    def __init__(self, chat: Chat, turns: Sequence[Turn] = ()) -> None:
        self.chat = chat
        self.found: list[Turn] = []
        self._n_before = 0  # answers in front of those of the latest exploration
        self._questions: set[str] = set()  # of the latest exploration
        self._explored: list[Turn] = []  # by it, whatever is shown now
        self._live: list[LiveAnswer] = []
        self._logprobs: list[list[float]] = []
        self._fixed: dict[tuple[str, int, str], dict[str, Any]] = {}  # what stays as it is
        self._told: list[dict[str, Any]] = []
        self.show(turns)

    @property
    def is_growing(self) -> bool:
        """Whether answers are coming."""
        return len(self._live) > len(self.found)

    def show(self, turns: Sequence[Turn]) -> None:
        """Show these answers, and no others."""
        self.found = [*turns]
        self._n_before = len(self.found)
        self._questions, self._explored = set(), []
        self._live = [LiveAnswer.whole(turn) for turn in turns]
        self._logprobs = [[] for _ in turns]
        self._told = self._answers()

    def snapshot(self) -> dict[str, Any]:
        """Return what each answer says so far, and the state of the whole ones."""
        live = [each.snapshot() for each in self._live]
        return {"live": live, "growing": self._growing(), "answers": self._answers()}

    def changes_at_head(self, events: Sequence[Event]) -> dict[str, Any]:
        """Return what has changed, as ``cards``; empty for nothing.

        Answers are shown that grow, or else those to a question at the head.

        Parameters
        ----------
        events : sequence of Event
        """
        change = self.changes(events, keeps=True)
        if any(isinstance(event, _MOVES) for event in events):
            change = self._follow(self.chat.tree.head) or change
        return {"cards": change} if change else {}

    def _follow(self, head: Checkpoint) -> dict[str, Any]:
        """Show the answers to a question at the head, unless others grow; return what changes."""
        is_explored = head.id in self._questions
        if self.is_growing and (is_explored or not head.metadata.is_answer):
            return {}
        turns = answers_to(self.chat, head)
        if is_explored:  # the question may have been put in other ways, too
            known = {turn.checkpoint for turn in turns}
            turns += [turn for turn in self._explored if turn.checkpoint not in known]
        turns = [turn for turn in turns if turn.checkpoint in self.chat.tree]
        if [turn.checkpoint for turn in turns] == [turn.checkpoint for turn in self.found]:
            return {}
        latest = self._questions, self._explored
        self.show(turns)
        self._questions, self._explored = latest
        return {"begins": self.snapshot()}

    def changes(self, events: Iterable[Event], *, keeps: bool = False) -> dict[str, Any]:
        """Return what has changed of the cards; empty for nothing.

        Parameters
        ----------
        events : iterable of Event
        keeps : bool
            Whether earlier answers to the question stay in front of those that grow.
        """
        change: dict[str, Any] = {}
        tokens: dict[int, list[TokenAdded]] = {}
        n_told = len(self.found)
        for event in events:
            if isinstance(event, TokenAdded) and event.branch is not None:
                if len(self.found) > self._n_before or not self.is_growing:
                    asked = event.question  # another exploration has begun
                    self.show([t for t in self.found if keeps and _question_of(t) == asked])
                    n_told, tokens, change = len(self.found), {}, {"begins": self.snapshot()}
                if event.question is not None:
                    self._questions.add(event.question)
                index = self._n_before + event.branch
                self._begin(index + 1, event.question)
                tokens.setdefault(index, []).append(event)
            elif isinstance(event, Committed) and not event.is_head:
                self._explored.append(Turn(self.chat, self.chat.tree[event.checkpoint]))
                self.found.append(self._explored[-1])
        self._begin(len(self.found), None)
        live = []
        for index, added in tokens.items():
            self._logprobs[index] += [token.logprob for token in added]
            live.append((index, self._live[index].add(added)))
        for index in range(n_told, len(self.found)):  # it may end before words that stop it
            self._live[index] = LiveAnswer.whole(self.found[index])
            live.append((index, {"whole": self._live[index].snapshot()}))
        if live:
            change |= {"live": live, "growing": self._growing()}
        if (answers := self._answers()) != self._told:
            self._told = change["answers"] = answers
        return change

    def turn(self, identifier: str) -> Turn:
        """Return the answer that ends at a checkpoint.

        Raises
        ------
        HistoryError
            When it is none of these, or no longer there.
        """
        for turn in self.found:
            if turn.checkpoint.id == identifier and turn.checkpoint in self.chat.tree:
                return turn
        raise HistoryError("That answer no longer exists; explore again.")

    def draw_html(self) -> str:
        """Return the answers, one below the other; what the first does not say is marked."""
        shown = [ShownMessage.of(turn.message) for turn in self.found]
        if not shown:
            return "<p>Nothing has been explored yet.</p>"
        first, parts = render_markdown(shown[0].text), []
        for n, (each, card) in enumerate(zip(shown, self._answers(), strict=True), 1):
            about = html.escape(_joined(card["settings"], card["note"]))
            said = message_html(each, lambda text: mark_html(render_markdown(text), first))
            parts.append(f"<p><strong>Answer {n}</strong> {about}</p>{said}")
        return formulas_or_tex("<hr>".join(parts))

    def _begin(self, n: int, question: str | None) -> None:
        """Have ``n`` answers that stream, or did."""
        while len(self._live) < n:
            tree = self.chat.tree
            at = tree[question] if question is not None else tree.head
            self._live.append(begin_answer(self.chat, at))
            self._logprobs.append([])

    def _growing(self) -> list[str]:
        """What is said below those that grow."""
        growing = self._logprobs[len(self.found) :]
        return [_note(len(each), _rounded(mean_surprisal(each))) for each in growing]

    def _answers(self) -> list[dict[str, Any]]:
        found = list(self.found)
        if not found:
            return []
        tree = self.chat.tree
        said = {*chain(tree.head)}
        behind = _behind(self.chat, found)
        varying = _varying(found)
        return [
            {
                **self._fixed_of(turn, found[0]),
                "settings": settings,
                "is_there": turn.checkpoint in tree,
                "is_kept": turn.checkpoint in said,
                **further,
            }
            for turn, settings, further in zip(found, varying, behind, strict=True)
        ]

    def _fixed_of(self, turn: Turn, first: Turn) -> dict[str, Any]:
        """What does not change of an answer while it is shown."""
        n_tokens = len(turn.tokens)
        key = turn.checkpoint.id, n_tokens, first.checkpoint.id
        known = self._fixed.get(key)
        if known is None:
            text, other = (render_markdown(each.text) for each in (turn, first))
            marked = text if turn is first else mark_html(text, other)
            is_same = turn is not first and turn.message == first.message
            surprise = _rounded(mean_surprisal(turn.logprobs))
            end = _ENDS.get(turn.finish_reason, turn.finish_reason) or ""
            known = self._fixed[key] = {
                "id": turn.checkpoint.id,
                "tokens": n_tokens,
                "surprise": surprise,
                "note": _note(n_tokens, surprise, end, "the same as the first" if is_same else ""),
                "marked": "" if marked == text else marked,
            }
        return known


class KeepsAnswers(ChatWidget):
    """A widget with cards of answers, and the actions on them."""

    cards: AnswerCards

    def turn_to(self, chat: Chat) -> None:
        """Show another chat with the same tree, whose turns are others."""
        self.cards = AnswerCards(chat, answers_to(chat, chat.head))
        super().turn_to(chat)

    def do_explore(self, text: str, n: int) -> None:
        """Generate several answers; without a text, to the question at the head."""
        with self.answering():
            self.chat.explore(text or None, n)

    @stops_first
    def do_keep(self, checkpoint: str) -> None:
        """Make an answer the head."""
        self.cards.turn(checkpoint).keep()

    @stops_first
    def do_drop_others(self, checkpoint: str, force: bool = False) -> None:
        """Keep an answer and remove the others; ``force`` also removes their tags."""
        kept = self.cards.turn(checkpoint)
        Answers(self.chat, self.cards.found).drop_others(kept, force=force)


def answers_to(chat: Chat, question: Checkpoint) -> list[Turn]:
    """Return the answers to a question, oldest first; none where a checkpoint is no question.

    Parameters
    ----------
    chat : Chat
    question : Checkpoint
    """
    if question.metadata.is_answer:
        return []
    begin = next((each for each in question.followers if each.metadata.is_answer), None)
    if begin is None:
        return []
    while (rest := next((c for c in begin.children if c.metadata.continues), None)) is not None:
        begin = rest
    return [Turn(chat, end) for end in message_versions(begin)]


def _question_of(turn: Turn) -> str | None:
    question = message_parts(turn.checkpoint)[0].previous
    return None if question is None else question.id


def _behind(chat: Chat, turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """What goes with each answer when it is dropped: whether more was said, and the tags."""
    parts = [turn.parts for turn in turns]
    own = {part for each in parts for part in each}
    tags: dict[Checkpoint, list[str]] = {}
    for name, at in chat.tree.tags.items() if own else ():
        last = next((each for each in at.lineage() if each in own), None)
        if last is not None:
            tags.setdefault(last, []).append(name)
    return [
        {
            "goes_on": any(child not in own for part in each for child in part.children),
            "tags": [name for part in each for name in tags.get(part, ())],
        }
        for each in parts
    ]


def _varying(turns: Sequence[Turn]) -> list[str]:
    """How each answer was made, as far as that is not the same for all."""
    made = [_settings(turn) for turn in turns]
    names = {name: None for each in made for name in each}  # in their order
    varying = [name for name in names if len({repr(each.get(name)) for each in made}) > 1]
    return [" · ".join(f"{name} {_short(each.get(name))}" for name in varying) for each in made]


def _settings(turn: Turn) -> dict[str, Any]:
    notes, asked = turn.checkpoint.metadata, message_parts(turn.checkpoint)[0].parent
    variables = {} if asked is None else asked.metadata.chat_template_kwargs
    return {**vars(type(turn.chat.sampling)()), **notes.sampling, **notes.limits, **variables}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _rounded(nats: float | None) -> float | None:
    return None if nats is None else round(nats, _DIGITS)


def _note(n_tokens: int, surprise: float | None, *others: str) -> str:
    """How long an answer is, how surprising its tokens are on average, and what else there is."""
    tokens = f"{n_tokens:,} token{'s' * (n_tokens != 1)}"
    nats = "" if surprise is None else f"surprise {surprise:.{_DIGITS}f} nats per token"
    return _joined(tokens, nats, *others)


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))
