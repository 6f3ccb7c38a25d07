"""Leading a case on a context: its prompt is said, its answers are generated as they are asked for.

A chat of its own, with an empty tree, stands on a context that many cases use one after another.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ...engine.completion import Limits
from ...engine.context import Context
from ...engine.decoder import Logits
from ...engine.model import Model
from ...engine.sampling.params import SamplingParams
from ...errors import HistoryError
from ...history.chat import Chat
from ...history.exploring import Exploring, settings_for
from ...history.options import recalled
from ...history.shared_rows import SharedRows
from ...history.tree import Checkpoint
from ...history.turn import Turn
from ..recording import Recording
from ..walk import step_at
from .cell import SuiteAnswer
from .checks.subject import Subject
from .prompts import Prompt, put, template_of
from .task import CellTask

__all__ = ["Led", "led"]

Tops: TypeAlias = list[tuple[tuple[int, float], ...]]
"""For each token the likeliest ones in its place, with their log-probabilities."""


@dataclass(slots=True)
class Led:
    """One leading of a case.

    Attributes
    ----------
    chat : Chat
    question : Checkpoint
        Behind which the model answers.
    shared : SharedRows
        What the chat did not have to evaluate.
    limits : Limits
    n_draws : int
        How many answers are drawn, in one batch.
    asked : str
        The question's text, where it is known by now only.
    answer : Turn or None
        The answer, where it is there already.
    source : Path or None
        The recording that the case is.
    recording : Recording or None
        What it holds.
    """

    chat: Chat
    question: Checkpoint
    shared: SharedRows
    limits: Limits
    n_draws: int = 1
    asked: str = ""
    answer: Turn | None = None
    source: Path | None = None
    recording: Recording | None = None

    def answers(self) -> Iterator[tuple[Turn, Tops]]:
        """Generate the answers, and note what was likely in the place of each token.

        A single one is what ``ask`` would give, to the bit. The head is each in turn.
        """
        if self.answer is not None:
            yield self.answer, []
            return
        chat, tops = self.chat, [Tops() for _ in range(self.n_draws)]

        def look(branch: int, _: int, logits: Logits) -> None:
            tops[branch].append(step_at(np.array(logits), 0).top)

        settings = settings_for(self.n_draws, None, chat.sampling, self.limits, {})
        exploring = Exploring(
            chat._workspace, settings, None, exact=self.n_draws == 1, on_logits=look
        )
        with chat.tree.turn():
            found = exploring.answer(_stay)
        for (answer, _), each in zip(found, tops, strict=True):
            yield Turn(chat, answer.checkpoint, seconds=answer.seconds).keep(), each

    def subject(self, turn: Turn | None) -> Subject:
        """Return what a check judges: the question, or an answer to it."""
        text = "" if turn is None else turn.text
        return Subject(self.chat, self.question, turn, text, self.source, self.recording)

    def stand_on(self, turn: Turn | None) -> None:
        """Go back to the question or to an answer, should a check have left it."""
        place = self.question if turn is None else turn.checkpoint
        if self.chat.head is not place:
            self.chat.tree.checkout(place)

    def answer_of(self, turn: Turn, tops: Tops) -> SuiteAnswer:
        """Return an answer as a value."""
        before = {*self.question.lineage()}
        parts = [part for part in turn.parts if part not in before]
        tokens = tuple(token for part in parts for token in part.tokens)
        logprobs = tuple(value for part in parts for value in part.logprobs)
        notes = turn.checkpoint.metadata
        sampling = recalled(notes.sampling)
        is_drawn = notes.is_generated and sampling.temperature > 0
        return SuiteAnswer(
            turn.text,
            tokens,
            pieces_of(self.chat.model, tokens),
            logprobs if len(logprobs) == len(tokens) else (),
            sampling.seed if is_drawn else None,
            notes.sibling,
            turn.finish_reason or "stop",
            tuple(tops[: len(tokens)]),
        )


def _stay(variables: Mapping[str, Any] | None, *, is_first: bool) -> None:
    """Put no question: it is the head."""


def pieces_of(model: Model, tokens: tuple[int, ...]) -> tuple[str, ...]:
    """Return the text that each token adds; a character stands with the token that ends it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(model.vocabulary.piece(token, special=True)) for token in tokens]
    if pieces:
        pieces[-1] += decoder.decode(b"", final=True)
    return tuple(pieces)


def led(
    task: CellTask, context: Context, prompt: Prompt, shared: Callable[[], SharedRows]
) -> Iterator[Led]:
    """Lead a case, and again where that is how it is repeated.

    Parameters
    ----------
    task : CellTask
    context : Context
    prompt : Prompt
    shared : callable
        Gives what the rows are shared with, for each leading.

    Raises
    ------
    HistoryError
        When a function said nothing.
    """
    if task.case.kind == "function":
        yield from _led_by_function(task, context, prompt, shared)
        return
    chat, rows = _chat(task, context, prompt.system, task.sampling, shared)
    put(chat, prompt)
    n_draws = task.repeat if task.sampling.temperature > 0 else 1  # else they are all the same
    yield Led(chat, chat.head, rows, task.limits, n_draws)


def _chat(
    task: CellTask,
    context: Context,
    system: str | None,
    sampling: SamplingParams,
    shared: Callable[[], SharedRows],
) -> tuple[Chat, SharedRows]:
    template = template_of(task.setting, context.model)
    chat = Chat(
        context,
        system,
        chat_template=template.chat_template,
        chat_template_kwargs=template.chat_template_kwargs,
    )
    chat._conversation.template = template
    chat.sampling = sampling
    rows = shared()
    chat._workspace.rows.shared = rows
    return chat, rows


def _led_by_function(
    task: CellTask, context: Context, prompt: Prompt, shared: Callable[[], SharedRows]
) -> Iterator[Led]:
    function = task.case.said
    assert callable(function)
    sampling = task.sampling
    for n in range(task.repeat):
        context.release()
        context.clear()
        context.adapters = task.setting.adapters
        seeded = sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + n)
        chat, rows = _chat(task, context, prompt.system, seeded, shared)
        function(chat)
        turns = chat.turns
        if not turns or turns[-1].role == "system":
            raise HistoryError(
                f"{task.case.name} led the chat nowhere: a case's function says something, as in "
                "chat.ask('...')"
            )
        last = turns[-1]
        asked = next((turn.text for turn in reversed(turns) if turn.role != "assistant"), "")
        if last.role == "assistant" and last.parts:
            before = last.parts[0].parent
            assert before is not None
            yield Led(chat, before, rows, task.limits, asked=asked, answer=last)
        else:
            yield Led(chat, chat.head, rows, task.limits, asked=asked)
