"""Several answers to one question, decoded by the workers of an executor.

The question is put here. Its answers are divided into batches, each a task of its own, and become
siblings here when all of them have come, or no more will.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, replace

from ..engine.adapters.loaded import text_of
from ..engine.branches import Branch, BranchRequest
from ..engine.compatibility import ADAPTERS, differences_between
from ..engine.completion import Token
from ..engine.threads.lock import CancelToken
from ..errors import (
    MullamaError,
    SessionFormatError,
    SessionWriteError,
    TaskError,
    shown,
)
from ..state.segment import Segment
from ..state.segment_file import segment_bytes, write_segment
from ..state.spill_folder import SpillFolder
from ..tasks.adapters import AdapterRecipe
from ..tasks.executors import check_executor
from ..tasks.exploring import (
    Evaluation,
    Explored,
    ExploringTask,
    Prefix,
    RowsNeeded,
    explore,
)
from ..tasks.received import branches_of
from ..tasks.recipe import ModelRecipe
from ..tasks.running import run_all
from ..tasks.shipping import ships_rows
from .answering import Answer, check_request
from .events import TokenAdded
from .exploring import Put, Setting, branch_notes
from .kv_rows import ForeignRows
from .message import tokens_said
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["ExploringElsewhere"]


class ExploringElsewhere:
    """Answers to one question, checked on creation, before anything is evaluated or sent.

    Parameters
    ----------
    workspace : Workspace
    settings : sequence of Setting
        Of each answer.
    on_token : callable, optional
        Called with the index of an answer and each of its tokens, once the answer has come.
    executor : Executor
    exact : bool
        As for ``Context.explore``: each answer is a task. Otherwise ``n_parallel`` are.
    """

    def __init__(
        self,
        workspace: Workspace[Checkpoint],
        settings: Sequence[Setting],
        on_token: Callable[[int, Token], object] | None,
        executor: Executor,
        *,
        exact: bool,
    ) -> None:
        check_executor(executor)
        context = workspace.context
        self._workspace = workspace
        self._on_token = on_token
        self._executor = executor
        self._questions: list[_Question] = []
        self._failures: list[tuple[_Batch, Exception]] = []
        self._committed: list[tuple[Answer, Setting]] = []
        self._n_told = 0
        size, first = 1 if exact else context.params.n_parallel, 0
        for _, group in itertools.groupby(settings, key=lambda setting: setting.variables):
            alike, batches = [*group], []
            request = context.exploration(
                len(alike),
                each=[(setting.sampling, setting.limits) for setting in alike],
                exact=exact,
                answer_format=workspace.readings.calling_format,
            ).request
            for sampling, limits in request.each:
                check_request(context.model, sampling, limits)
            for begin in range(0, len(alike), size):
                part = slice(begin, begin + size)
                each = request.each[part]
                of_batch = replace(request, n=len(each), each=each)
                batches.append(_Batch(alike[part], of_batch, first, begin))
                first += len(each)
            self._questions.append(_Question(batches))

    def answer(self, put: Put) -> list[tuple[Answer, Setting]]:
        """Generate answers, each a sibling checkpoint of its question's others.

        Parameters
        ----------
        put : callable
            Puts the question, which is the head then.

        Returns
        -------
        list of (Answer, Setting)
            Of those that came, in order; the head is the question, as it was put first.

        Raises
        ------
        TaskError
            When some are missing, as their worker was lost twice or could not make them. It says
            which; the others are there.
        """
        workspace, folder = self._workspace, _Folder()
        try:
            for question in self._questions:
                variables = question.batches[0].settings[0].variables
                put(variables, is_first=question is self._questions[0])
                with workspace.operation() as cancel:
                    if cancel.is_cancelled:
                        break
                    question.take(workspace, folder)
            with workspace.operation() as cancel:
                try:
                    self._run(cancel)
                finally:
                    self._commit()  # before an interrupt is raised
        finally:
            folder.remove()
            self._commit()
        self._raise()
        return self._committed

    # -- send and receive --------------------------------------------------------------------

    def _run(self, cancel: CancelToken) -> None:
        waiting = [batch for question in self._questions for batch in question.batches]
        n_askers = 0
        while waiting and not cancel.is_cancelled:
            # As many as workers asked for rows get them, and with them those workers.
            tasks = (batch.told(with_rows=n < n_askers) for n, batch in enumerate(waiting))
            asking: list[_Batch] = []
            askers: set[tuple[str, int]] = set()
            coming = {*waiting}
            try:
                with closing(run_all(explore, tasks, self._executor, cancel=cancel)) as results:
                    for n, outcome in results:
                        coming.remove(waiting[n])
                        if isinstance(outcome, RowsNeeded) and n >= n_askers:
                            asking.append(waiting[n])
                            askers.add(outcome.asker)
                        else:
                            self._take(waiting[n], outcome)
            except TaskError as error:  # the executor takes no more
                self._failures += [(batch, error) for batch in (*coming, *asking)]
                return
            waiting = sorted(asking, key=lambda batch: batch.first)
            n_askers = len(askers)

    def _take(self, batch: _Batch, outcome: object) -> None:
        """Take in what came of a batch, and tell of its tokens."""
        if isinstance(outcome, Exception):
            self._failures.append((batch, outcome))
            return
        assert batch.task is not None
        try:
            branches = [*branches_of(batch.task, outcome, self._workspace.context)]
        except SessionFormatError as error:
            self._failures.append((batch, error))
            return
        assert isinstance(outcome, Explored)
        answers = tuple(replace(answer, rows=None) for answer in outcome.answers)  # branches do
        batch.explored, batch.branches = replace(outcome, answers=answers), branches
        if outcome.error is not None:
            self._failures.append((batch, outcome.error))
        for branch in branches:
            for token in branch.completion.tokens:
                self._tell(batch, branch.index, token)
            self._n_told += bool(branch.completion.tokens)

    def _tell(self, batch: _Batch, index: int, token: Token) -> None:
        # Numbered as they come: some may never come, and views have no place for those.
        place = self._n_told, token.part
        told = TokenAdded(*token[:3], *place, is_elsewhere=True, question=batch.follows)
        self._workspace.notify(told)
        if self._on_token is not None:
            with self._workspace.lock.callback():
                self._on_token(batch.first + index, token)

    # -- commit ------------------------------------------------------------------------------

    def _commit(self) -> None:
        """Commit what came, if that was not done, and go back to the first question.

        It gets the names that it would have if all had come.
        """
        workspace, questions = self._workspace, self._questions
        if not questions:
            return
        self._questions = []
        with workspace.operation():
            self._commit_to(questions)
            first = questions[0].head
            if first is not None and first is not workspace.head:
                workspace.checkout(first)

    def _commit_to(self, questions: Sequence[_Question]) -> None:
        workspace = self._workspace
        for question in questions:
            if question.head is None or not any(batch.branches for batch in question.batches):
                continue
            if workspace.head is not question.head:
                workspace.checkout(question.head)
            begin = workspace.graph.next_ordinal(question.head)
            for batch in question.batches:
                for branch, setting in zip(batch.branches, batch.settings, strict=False):
                    place = begin + batch.begin + branch.index
                    made = workspace.graph.next_ordinal(question.head)
                    workspace.graph.leave_out(question.head, place - made)
                    self._committed.append((self._commit_one(batch, branch), setting))

    def _commit_one(self, batch: _Batch, branch: Branch) -> Answer:
        workspace, explored, task = self._workspace, batch.explored, batch.task
        assert explored is not None
        assert task is not None
        tokens = branch.completion.tokens
        logprobs = [token.logprob for token in tokens]
        differs = differences_between(explored.metadata, workspace.context.session_metadata)
        noted = {"worker": shown(explored.worker), "differs": differs} if differs else None
        notes = branch_notes(workspace, branch, batch.request, noted)
        address = explored.answers[branch.index].address
        if not differs or address is None:
            checkpoint = workspace.commit_beside(branch.segment, notes, logprobs=logprobs)
        else:
            why = f"they were decoded elsewhere ({'; '.join(differs)})"
            checkpoint = workspace.commit_decoded_elsewhere(
                tuple(token.id for token in tokens),
                ForeignRows(address, task.adapters_on, why),
                notes,
                logprobs=logprobs,
            )
        return Answer(checkpoint, branch.completion.seconds)

    def _raise(self) -> None:
        """Raise what went wrong, if anything did."""
        if not self._failures:
            return
        missing = [batch for batch, _ in self._failures if not batch.branches]
        _, error = self._failures[0]
        if not missing:
            raise error  # of answers that are there, as far as they came
        n = sum(len(batch.settings) for batch in missing)
        which = ", ".join(batch.in_words for batch in sorted(missing, key=lambda b: b.first))
        why = str(error) if isinstance(error, MullamaError) else f"{type(error).__name__}: {error}"
        there = f"The other {len(self._committed)} are siblings there" if self._committed else ""
        raise TaskError(
            f"{n} answer{'s are' if n != 1 else ' is'} missing: {which}. {shown(why, 1_000)}. "
            f"{there or 'None came'}"
        ) from error


# -- what is sent ----------------------------------------------------------------------------


@dataclass(eq=False)
class _Batch:
    """Answers that are decoded together, and what came of them."""

    settings: Sequence[Setting]
    request: BranchRequest
    first: int  # among all answers
    begin: int  # among those to one question
    follows: str | None = None  # the question's checkpoint, once it is put
    task: ExploringTask | None = None
    rows: Segment | None = None  # of the prefix
    explored: Explored | None = None
    branches: Sequence[Branch] = ()

    def told(self, *, with_rows: bool) -> ExploringTask:
        assert self.task is not None
        assert self.rows is not None
        return self.task.with_rows(segment_bytes(self.rows)) if with_rows else self.task

    @property
    def in_words(self) -> str:
        n = len(self.settings)
        return f"{self.first} to {self.first + n - 1}" if n > 1 else f"{self.first}"


class _Question:
    """A question that is put in one way, and its answers."""

    def __init__(self, batches: Sequence[_Batch]) -> None:
        self.batches = batches
        self.head: Checkpoint | None = None

    def take(self, workspace: Workspace[Checkpoint], folder: _Folder) -> None:
        """Make the tasks of its answers; the head is the question."""
        context, head = workspace.context, workspace.head
        self.head = head
        context.logits  # noqa: B018 - an empty context has none, which this says
        rows = context.capture()
        path = [node for node in workspace.graph.path(head) if node.tokens]
        n_parameters = context.model.n_parameters
        is_evaluated = not ships_rows(rows.n_bytes, rows.stop, n_parameters)
        metadata = context.session_metadata
        prefix = Prefix(
            rows.address,
            tuple(
                Evaluation(node.tokens, bool(node.logprobs), text_of(node.metadata.adapters))
                for node in path
            ),
            metadata,
            None if is_evaluated else folder.file(rows),
            is_evaluated=is_evaluated,
        )
        used = {note["fingerprint"] for note in metadata["settings"].get(ADAPTERS, [])}
        at_hand = context.known_adapters.at_hand
        first = workspace.graph.next_ordinal(head)
        for batch in self.batches:
            batch.follows = head.id
            each = tuple(batch.request.each)
            if not batch.request.answer_format.has_thoughts:  # that was warned of here
                each = tuple((s, replace(limits, reasoning_budget=None)) for s, limits in each)
            batch.rows = rows
            batch.task = ExploringTask(
                ModelRecipe.of(context.model),
                context.params,
                prefix,
                head.address,
                each,
                first + batch.begin,
                tokens_said(head),
                workspace.readings.template,
                tuple(AdapterRecipe.of(each) for each in at_hand if each.fingerprint in used),
                text_of(each.note() for each in context.adapters),
                batch.request.exact,
            )


class _Folder:
    """Where rows lie for workers that see the same files, until all have answered."""

    def __init__(self) -> None:
        self._folder: SpillFolder | None = None

    def file(self, rows: Segment) -> str | None:
        """Return the path of a file with rows; None if it cannot be written."""
        try:
            if self._folder is None:
                self._folder = SpillFolder(None)
            path = self._folder.file(f"{rows.address}.segment")
            if not path.exists():
                write_segment(path, rows, durable=False)
        except SessionWriteError:  # then they are asked for
            return None
        return str(path)

    def remove(self) -> None:
        """Remove it."""
        if self._folder is not None:
            self._folder.remove()
