"""Branches: several continuations of one path, decoded together.

A step evaluates one token of each living branch in one batch. Every branch has a sequence of its
own that shares the path's cells, so that only its own tokens take cells. When it ends, its rows are
captured, and its sequence and cells go to the next one. When cells run out, branches are set aside
as bytes until others have ended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import check_bool, check_integer, check_list
from ..errors import DecodeError, ParameterError, shown
from ..state.layout import ByteArray, SequenceState, join
from ..state.segment import Segment
from .answers.answer import Answer
from .answers.chooser import Chooser
from .answers.format import PLAIN, AnswerFormat
from .completion import Completion, Limits, Token
from .decoder import MOST_OUTPUTS, Logits, sealed
from .path import ActivePath
from .request import seeded
from .sampling.params import SamplingParams
from .vocabulary import Vocabulary

__all__ = ["Branch", "BranchRequest", "Branches"]


@dataclass(frozen=True, eq=False)
class Branch:
    """One of several answers to the same prompt.

    Attributes
    ----------
    index : int
        Its index among the branches requested together.
    sibling : int
        Its ordinal among all answers to the prompt, which determines its draws.
    completion : Completion
    segment : Segment, optional
        The rows of its tokens, for ``Context.restore``; None if it has no tokens.
    n_parallel : int
        The most branches that shared a batch: its last bits depend on that, and on the number
        requested together. 1: it equals the result of ``generate``.
    """

    index: int
    sibling: int
    completion: Completion
    segment: Segment | None
    n_parallel: int = 1


@dataclass(frozen=True)
class BranchRequest:
    """One call of ``explore``, checked on creation.

    Attributes
    ----------
    n : int
        Number of branches.
    limits : Limits
        Of each branch.
    sampling : SamplingParams
    first_sibling : int
    settings : str
        Digest of the settings that rows depend on, for the segments.
    exact : bool
        Whether branches are decoded one by one, each as if it were alone.
    answer_format : AnswerFormat
    each : sequence of (SamplingParams, Limits)
        Those of each branch. By default they are the same.
    n_said : int
        How many tokens at the path's end are the beginning of every branch's answer.
    on_logits : callable, optional
        Called with a branch's index, the number of tokens in front, and the logits that its next
        token is chosen from.
    """

    n: int
    limits: Limits
    sampling: SamplingParams
    first_sibling: int
    settings: str
    exact: bool = False
    answer_format: AnswerFormat = PLAIN
    each: Sequence[tuple[SamplingParams, Limits]] = ()
    n_said: int = 0
    on_logits: Callable[[int, int, Logits], object] | None = None

    def __post_init__(self) -> None:
        for name, low in (("n", 1), ("first_sibling", 0), ("n_said", 0)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), low))
        check_bool("exact", self.exact)
        object.__setattr__(self, "sampling", seeded(self.sampling))
        each = check_list("each", self.each, "pairs of SamplingParams and Limits")
        for pair in each:
            match pair:
                case [SamplingParams(), Limits()]:
                    continue
            raise ParameterError(f"each has {shown(pair)}: give SamplingParams with Limits")
        each = each or [(self.sampling, self.limits)] * self.n
        if len(each) != self.n:
            raise ParameterError(f"each has {len(each)} settings, for n={self.n} branches")
        object.__setattr__(self, "each", tuple((seeded(s), limits) for s, limits in each))


class _Growing:
    """A branch that has begun and not ended."""

    def __init__(self, index: int, answer: Answer, start: int, logits: Logits) -> None:
        self.index = index
        self.answer = answer
        self.n_tokens = start  # evaluated, the path's among them
        self.logits = logits  # of its next token; a view, except for memory that cannot be cut
        self.sequence = -1  # where its cells are; none while it is set aside
        self.rows: list[ByteArray] = []  # of the tokens up to `n_captured`
        self.n_captured = start


class Branches:
    """The steps of several branches after a path, which does not change.

    Parameters
    ----------
    path : ActivePath
        With at least one token.
    vocabulary : Vocabulary
    request : BranchRequest
    """

    def __init__(self, path: ActivePath, vocabulary: Vocabulary, request: BranchRequest) -> None:
        self._path = path
        self._memory = path.memory
        self._vocabulary = vocabulary
        self._request = request
        self._began = time.perf_counter()
        self._start = path.n_tokens
        self._logits = path.hold_logits()
        self._new = deque(range(request.n))
        self._living: list[_Growing] = []
        self._aside: list[_Growing] = []
        self._ended: dict[int, Branch] = {}
        sequences = self._memory.branch_sequences
        self._sequences = list(reversed(sequences[:1] if request.exact else sequences))
        self._n_parallel = min(len(self._sequences), request.n)
        self._memory.pin()

    @property
    def branches(self) -> list[Branch]:
        """The branches, once :meth:`step` has returned None or :meth:`close` was called.

        Branches that were not begun have no tokens.
        """
        return [
            self._ended[index] if index in self._ended else self._branch(index, None, None)
            for index in range(self._request.n)
        ]

    @property
    def n_handed_out(self) -> int:
        """The number of tokens of the path as seen by callers."""
        return self._start

    @property
    def handed_out(self) -> tuple[int, ...]:
        """The tokens of the path as seen by callers."""
        return tuple(self._path.tokens)

    def synchronise(self) -> None:
        """Do nothing: the path never changes."""

    def evaluate_ahead(self) -> None:
        """Do nothing: a step evaluates all branches' chosen tokens in one batch."""

    def step(self) -> list[tuple[int, Token]] | None:
        """Generate a token of every live branch; return those handed out by index, None at the end.

        Raises
        ------
        GrammarError
            When no token continues the grammar of a branch.
        DecodeError
            When llama.cpp could not evaluate a batch; its tokens are taken back.
        """
        self._admit()
        if not self._living:
            self._memory.unpin()
            return None
        self._evaluate()
        handed_out: list[tuple[int, Token]] = []
        for branch in self._living:
            answer = branch.answer
            if answer.finish_reason is None and answer.may_go_on(branch.n_tokens):
                if self._request.on_logits is not None:
                    self._request.on_logits(branch.index, branch.n_tokens, branch.logits)
                answer.choose(branch.logits, branch.n_tokens, self._memory.decoder)
            while (token := answer.hand_out()) is not None:
                handed_out.append((branch.index, token))
        for branch in list(self._living):  # no logits are looked at any more: a replay may decode
            if branch.answer.finish_reason is not None and branch.answer.unevaluated is None:
                self._end(branch)
        return handed_out

    def close(self) -> None:
        """End every branch here, with exactly the tokens that it handed out."""
        self._new.clear()
        for branch in (*self._living, *self._aside):
            branch.answer.end("stopped")
        try:
            while self.step() is not None:
                pass
        finally:
            while self._living:
                self._release(self._living[-1])
            self._aside.clear()
            self._memory.unpin()

    def abandon(self) -> None:
        """End as :meth:`close` does: the branches' tokens are captured."""
        self.close()

    # -- cells -------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Let those that wait go on or begin, lowest number first, while there is room."""
        while self._sequences and (self._aside or self._new):
            n_rows = self._aside[0].n_tokens - self._start if self._aside else 0
            if self._living and n_rows + len(self._living) + 1 > self._n_free():
                return
            branch = self._aside.pop(0) if self._aside else self._begin(self._new.popleft())
            branch.sequence = self._sequences.pop()
            self._living.append(branch)
            self._memory.share(branch.sequence)
            for rows in branch.rows:
                self._memory.append(rows, branch.sequence)

    def _begin(self, index: int) -> _Growing:
        request, path = self._request, self._path
        sibling = request.first_sibling + index
        sampling, limits = request.each[index]
        chooser = Chooser(
            *(self._vocabulary, sampling, sibling, limits),
            *(path.tokens, path.n_ctx, None, request.answer_format),
            min(request.n_said, path.n_tokens),
        )
        answer = Answer(self._vocabulary, chooser, limits, path.n_ctx)
        return _Growing(index, answer, self._start, self._logits)

    def _n_free(self) -> int:
        taken = sum(branch.n_tokens - self._start for branch in self._living)
        return self._path.n_ctx - self._start - taken

    def _evaluate(self) -> None:
        """Evaluate what the living branches have chosen, in one batch."""
        while True:
            chosen = [b for b in self._living if b.answer.unevaluated is not None]
            if len(chosen) <= self._n_free():
                break
            self._set_aside(max(chosen, key=lambda branch: branch.index))
        if not chosen:
            return
        whole = not self._memory.kind.can_cut
        try:
            rows = self._memory.decoder.decode_rows(
                [b.answer.unevaluated for b in chosen if b.answer.unevaluated is not None],
                [b.n_tokens for b in chosen],
                [b.sequence for b in chosen],
                n_outputs=len(chosen),
            )
        except DecodeError:
            for branch in chosen:
                branch.answer.take_back()
                branch.n_tokens += whole  # a state that may have gone on is replayed
            raise
        for branch, logits in zip(chosen, rows, strict=True):
            branch.answer.unevaluated = None
            branch.n_tokens += 1
            branch.logits = np.array(logits) if whole else logits
            # From now on llama.cpp may reuse cells that the branch's window has left.
            self._capture_behind_window(branch)

    def _capture_behind_window(self, branch: _Growing) -> None:
        kind = self._memory.kind
        if kind.has_readable_window and branch.n_tokens - branch.n_captured >= kind.window:
            self._capture(branch)

    def _set_aside(self, branch: _Growing) -> None:
        self._capture(branch)
        self._release(branch)
        self._aside.append(branch)
        self._aside.sort(key=lambda branch: branch.index)

    def _release(self, branch: _Growing) -> None:
        """Give up a branch's cells."""
        self._living.remove(branch)
        self._sequences.append(branch.sequence)
        self._memory.drop(branch.sequence)

    # -- what a branch has -------------------------------------------------------------------

    def _capture(self, branch: _Growing) -> None:
        """Read the rows that were not read before."""
        kind = self._memory.kind
        if branch.n_captured < branch.n_tokens:
            if not kind.can_cut and not kind.has_readable_window:
                branch.rows, branch.n_captured = [], self._start
            branch.rows.append(
                self._memory.rows(branch.n_captured, branch.n_tokens, branch.sequence)
            )
            branch.n_captured = branch.n_tokens

    def _end(self, branch: _Growing) -> None:
        segment = self._segment(branch) if branch.answer.tokens else None
        self._ended[branch.index] = self._branch(branch.index, branch.answer, segment)
        self._release(branch)

    def _segment(self, branch: _Growing) -> Segment:
        """The rows of what was handed out, in order of position: cells are taken as they fall."""
        tokens = tuple(token.id for token in branch.answer.tokens)
        stop = self._start + len(tokens)
        structure, _ = self._memory.description
        logits: Logits | None
        if not self._memory.kind.can_cut:
            if branch.n_tokens > stop:
                self._replay(branch, tokens)
            if self._memory.kind.has_readable_window:
                self._capture(branch)
                rows = [self._memory.whole(self._start), *branch.rows]
                data = join([SequenceState(each, structure) for each in rows], whole=True)
            else:
                state = self._memory.branch_state(branch.sequence)
                data = _in_order(SequenceState(state, structure))
            # Equal rows are equal bytes, whichever sequence they were read from.
            SequenceState(data, structure).mark_cells(0)
            logits, whole = branch.logits, True
        else:
            self._capture(branch)
            states = [SequenceState(rows, structure) for rows in branch.rows]
            data, logits, whole = join(states, self._start, stop), None, False
        adapters = self._path.adapters.between(self._start, stop)
        settings = self._request.settings
        return Segment(self._start, tokens, data, settings, None, whole, logits, adapters)

    def _replay(self, branch: _Growing, tokens: tuple[int, ...]) -> None:
        """Return to fewer tokens where memory cannot be cut; the last one is evaluated alone."""
        memory, start = self._memory, self._start
        # Alone, its tokens would be evaluated again one by one.
        size = 1 if self._request.exact else min(MOST_OUTPUTS, memory.decoder.n_batch)
        if memory.kind.has_readable_window:
            size = min(size, memory.kind.window)
        memory.drop(branch.sequence)
        memory.share(branch.sequence)
        branch.rows, branch.n_captured, branch.n_tokens = [], start, start
        for chunk in sealed(tokens, size):
            positions = range(branch.n_tokens, branch.n_tokens + len(chunk))
            (logits,) = memory.decoder.decode_rows(chunk, positions, [branch.sequence] * len(chunk))
            branch.n_tokens += len(chunk)
            if memory.kind.has_readable_window:
                self._capture(branch)
        branch.logits = np.array(logits)

    def _branch(self, index: int, answer: Answer | None, segment: Segment | None) -> Branch:
        completion = Completion(
            "" if answer is None else answer.text,
            finish_reason=(answer and answer.finish_reason) or "stopped",
            tokens=() if answer is None else answer.tokens,
            reused=self._start,
            evaluated=0,
            seconds=0.0 if answer is None else time.perf_counter() - self._began,
            sampling=self._request.each[index][0],
            sampler_states=() if answer is None else answer.sampler_states,
        )
        sibling = self._request.first_sibling + index
        return Branch(index, sibling, completion, segment, self._n_parallel)


def _in_order(state: SequenceState) -> ByteArray:
    """A whole state with the cells of every cache in order of position; changed in place."""
    data, cell_bytes = state.data, state.structure.cell_bytes
    for block in state.blocks:
        order = np.argsort(block.positions, kind="stable")
        if block.kind != "kv" or (np.diff(order) == 1).all():
            continue
        places = [(block.cells, cell_bytes, 1)]
        for tensor, offset in zip(block.tensors, block.offsets, strict=True):
            # Where V is transposed, there is a run of all cells for each element of a row.
            places.append((offset, tensor.row_bytes, tensor.n_embd or 1))
        for offset, row_bytes, n_runs in places:
            table = data[offset : offset + block.n_cells * row_bytes]
            table = table.reshape(n_runs, block.n_cells, row_bytes // n_runs)
            table[:] = table[:, order]
    return data
