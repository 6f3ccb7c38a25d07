"""Several answers to one question, alike or under different settings.

Answers whose question is put the same way are decoded together. With other variables of the chat
template the question is another one, and its answers have a batch of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ..checks import check_integer, check_names
from ..engine.branches import Branch, BranchRequest
from ..engine.completion import Limits, Token
from ..engine.decoder import Logits
from ..engine.exploration import Exploration
from ..engine.sampling.params import SamplingParams
from ..engine.templates.options import checked_variables
from ..errors import ParameterError, shown
from .answering import Answer, check_request, completion_notes
from .events import TokenAdded
from .message import tokens_said
from .notes import check_notes
from .options import LIMIT_OPTIONS, SAMPLING_OPTIONS, pick
from .tree import Checkpoint
from .workspace import Workspace

__all__ = [
    "Explores",
    "Exploring",
    "Put",
    "Setting",
    "branch_notes",
    "settings_for",
]

OnLogits: TypeAlias = Callable[[int, int, Logits], object]

_TEMPLATE = "chat_template_kwargs"
_N = 8


class Put(Protocol):
    """Puts the question, or once more with other variables of the chat template."""

    def __call__(self, variables: Mapping[str, Any] | None, *, is_first: bool) -> None:
        """Make it the head."""


class Explores(Protocol):
    """Makes the answers to one question."""

    def answer(self, put: Put) -> list[tuple[Answer, Setting]]:
        """Generate answers to what `put` puts, which is the head afterwards."""


@dataclass(frozen=True)
class Setting:
    """How one answer is made.

    Attributes
    ----------
    sampling : SamplingParams
    limits : Limits
    variables : mapping, optional
        Of the chat template; None leaves the question as it is put.
    varied : mapping
        What of this is not the same for all answers.
    """

    sampling: SamplingParams
    limits: Limits
    variables: Mapping[str, Any] | None
    varied: Mapping[str, Any]


def settings_for(
    n: int | None,
    vary: Mapping[str, Iterable[Any]] | None,
    sampling: SamplingParams,
    limits: Limits,
    options: Mapping[str, Any],
) -> list[Setting]:
    """Return the setting of each answer.

    Parameters
    ----------
    n : int, optional
        Number of answers under each setting. None: 8, or one where something varies.
    vary : mapping, optional
        Values of options; several give all combinations. The template's come first.
    sampling : SamplingParams
    limits : Limits
        Of all answers.
    options : mapping
        Changes to the sampling and to the limits, and ``chat_template_kwargs``.

    Raises
    ------
    TypeError
        When there is no option of a name.
    ParameterError
        When a value is out of range, or there are none.
    """
    varied = {} if vary is None else vary
    if not isinstance(varied, Mapping):
        raise ParameterError(
            f'vary={shown(repr(vary))} must map names to values, such as {{"temperature": [0, 1]}}'
        )
    names = [*SAMPLING_OPTIONS, *LIMIT_OPTIONS, _TEMPLATE]
    check_names("an answer", options, names)
    check_names("vary", varied, names)
    lists: dict[str, list[Any]] = {}
    for name, values in varied.items():
        is_list = isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))
        lists[name] = list(values) if is_list else []
        if not lists[name]:
            raise ParameterError(f"vary has {name}={shown(repr(values))}; give a list of values")
        if options.get(name) not in (None, ()):
            raise ParameterError(f"{name} is given and varied; leave one of the two out")
    n = check_integer("n", (1 if varied else _N) if n is None else n, 1)
    names = sorted(lists, key=lambda name: name != _TEMPLATE)
    settings = []
    for values in itertools.product(*(lists[name] for name in names)):
        chosen = dict(zip(names, values, strict=True))
        made = {**options, **chosen}
        variables = made.get(_TEMPLATE)
        if _TEMPLATE in chosen and variables is None:
            variables = {}  # as the chat has it
        if variables is not None:
            variables = checked_variables(variables)
            check_notes({"": variables}, _TEMPLATE)
        setting = Setting(
            sampling.with_changes(**pick(made, SAMPLING_OPTIONS)),
            limits.with_changes(**pick(made, LIMIT_OPTIONS)),
            variables,
            {name: chosen[name] for name in varied},
        )
        settings += [setting] * n
    return settings


class Exploring:
    """Answers to one question, checked on creation, before anything is evaluated.

    Parameters
    ----------
    workspace : Workspace
    settings : sequence of Setting
        Of each answer.
    on_token : callable, optional
        Called with the index of the answer and the token, on another thread.
    exact : bool
        As for ``Context.explore``.
    on_logits : callable, optional
        As for ``Context.exploration``.
    """

    def __init__(
        self,
        workspace: Workspace[Checkpoint],
        settings: Sequence[Setting],
        on_token: Callable[[int, Token], object] | None,
        *,
        exact: bool,
        on_logits: OnLogits | None = None,
    ) -> None:
        self._workspace = workspace
        self._batches: list[_Batch] = []
        self._committed: list[tuple[Answer, Setting]] = []
        first = 0
        for _, alike in itertools.groupby(settings, key=lambda setting: setting.variables):
            batch = _Batch(workspace, list(alike), first, on_token, on_logits, exact=exact)
            self._batches.append(batch)
            first += len(batch.settings)

    def answer(self, put: Put) -> list[tuple[Answer, Setting]]:
        """Generate answers, each a sibling checkpoint of its question's others.

        Parameters
        ----------
        put : callable
            Puts the question, which is the head then.

        Returns
        -------
        list of (Answer, Setting)
            The head is the question, as it was put first.
        """
        workspace, last = self._workspace, self._batches[-1]
        is_stopped = False
        try:
            for batch in [*self._batches]:
                if is_stopped:
                    break
                put(batch.settings[0].variables, is_first=batch is self._batches[0])
                batch.question = workspace.head
                with workspace.operation() as cancel:
                    try:
                        if not cancel.is_cancelled:
                            batch.run()
                    finally:
                        is_stopped = cancel.is_cancelled
                        if batch is last:  # before an interrupt is raised
                            self._commit()
        finally:
            self._commit()
        return self._committed

    def _commit(self) -> None:
        """Commit what there is, if that was not done, and go back to the first question."""
        if not self._batches:
            return
        workspace, first = self._workspace, self._batches[0].question
        with workspace.operation():
            while self._batches:
                self._committed += self._batches.pop(0).commit()
            if first is not None and first is not workspace.head:
                workspace.checkout(first)


class _Batch:
    """Answers to a question that is put in one way."""

    def __init__(
        self,
        workspace: Workspace[Checkpoint],
        settings: Sequence[Setting],
        first: int,
        on_token: Callable[[int, Token], object] | None,
        on_logits: OnLogits | None,
        *,
        exact: bool,
    ) -> None:
        def tell(branch: int, token: Token) -> None:
            follows = workspace.head.id  # it stays there while its answers are decoded
            added = TokenAdded(*token[:3], first + branch, token.part, question=follows)
            workspace.notify(added)
            if on_token is not None:
                on_token(first + branch, token)

        def look(branch: int, n_tokens: int, logits: Logits) -> None:
            if on_logits is not None:
                on_logits(first + branch, n_tokens, logits)

        context = workspace.context
        self._workspace = workspace
        self.settings = settings
        self.question: Checkpoint | None = None
        self._run: Exploration = context.exploration(
            len(settings),
            each=[(setting.sampling, setting.limits) for setting in settings],
            exact=exact,
            on_token=tell,
            answer_format=workspace.readings.calling_format,
            on_logits=None if on_logits is None else look,
        )
        for sampling, limits in self._run.request.each:
            check_request(context.model, sampling, limits)

    def run(self) -> None:
        """Decode the answers."""
        head = self._workspace.head
        self._run.run(self._workspace.graph.next_ordinal(head), n_said=tokens_said(head))

    def commit(self) -> list[tuple[Answer, Setting]]:
        """Commit what there is of each answer."""
        branches = self._run.branches
        if not branches or self.question is None:
            return []
        if self._workspace.head is not self.question:
            self._workspace.checkout(self.question)
        pairs = zip(branches, self.settings, strict=True)
        return [(self._commit(branch), setting) for branch, setting in pairs]

    def _commit(self, branch: Branch) -> Answer:
        workspace, request = self._workspace, self._run.request
        notes = branch_notes(workspace, branch, request)
        logprobs = [token.logprob for token in branch.completion.tokens]
        checkpoint = workspace.commit_beside(branch.segment, notes, logprobs=logprobs)
        return Answer(checkpoint, branch.completion.seconds)


def branch_notes(
    workspace: Workspace[Checkpoint],
    branch: Branch,
    request: BranchRequest,
    decoded_elsewhere: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the notes of an answer that follows the head.

    Parameters
    ----------
    workspace : Workspace
    branch : Branch
    request : BranchRequest
        What it was asked for with.
    decoded_elsewhere : mapping, optional
        As for ``Notes``.
    """
    # The last bits of what was decoded in one batch depend on how many there were.
    explored = {"n": request.n, "n_parallel": branch.n_parallel}
    return completion_notes(
        workspace.context.model,
        branch.completion,
        branch.sibling,
        request.each[branch.index][1],
        continues=workspace.head.metadata.is_answer,  # behind a beginning that was given
        explored=None if branch.n_parallel == 1 else explored,
        decoded_elsewhere=decoded_elsewhere,
        before=workspace.head.tokens[-4:],
        answer_format=request.answer_format,
    )
