"""The active path: its tokens with their rows in the cells, and the logits of the next token.

Everything here runs under the context's lock, one call at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from ..errors import ContextError, ContextFullError, ParameterError
from ..state.segment import Segment
from .adapters.loaded import NONE, AdapterRuns, LoadedAdapters
from .decoder import Logits, sealed
from .memory import Memory
from .path_state import PathState, ReplayLog

__all__ = ["ActivePath", "Progress"]

Progress: TypeAlias = Callable[[int, int], object]
"""Called with tokens evaluated so far and tokens to evaluate."""


class ActivePath:
    """Tokens, their rows, and the next token's logits, kept in step.

    Evaluations are *sealed*: their last token is decoded alone, in a batch of one. Decoded again
    over the same rows it gives the same row and the same logits, to the bit; so tokens and rows are
    the complete state, and the logits can be dropped at any time.

    Parameters
    ----------
    memory : Memory
    n_ctx : int
        Cells.
    n_chunk : int
        Number of tokens decoded in one call.

    Attributes
    ----------
    adapters : AdapterRuns
        What the tokens were evaluated with, and what is on; llama.cpp has the latter on, except
        while something is evaluated again.
    """

    def __init__(self, memory: Memory, n_ctx: int, n_chunk: int) -> None:
        self.memory = memory
        self.n_ctx = n_ctx
        self.tokens: list[int] = []
        # How many leading tokens have kept their rows since mark(): so a tree notices that the
        # path was moved.
        self.watermark = 0
        self._n_chunk = n_chunk
        self.adapters = AdapterRuns()
        self._logits: Logits | None = None
        self._replay = ReplayLog()  # for memory that cannot be cut

    @property
    def n_tokens(self) -> int:
        """The number of tokens evaluated."""
        return len(self.tokens)

    @property
    def logits(self) -> Logits:
        """Logits of the next token; a view that the next evaluation overwrites.

        Raises
        ------
        ContextError
            When nothing has been evaluated.
        """
        if self._logits is None:
            if not self.tokens:
                raise ContextError(
                    "the context is empty, so there is no next token; evaluate some text first"
                )
            if not self.memory.kind.can_cut:
                self._go_back(self.n_tokens)
                assert self._logits is not None
            else:
                with self._evaluating_with(self.adapters.at(self.n_tokens - 1)):
                    self._logits = self.memory.logits_of_last(self.tokens[-1], self.n_tokens)
        return self._logits

    @property
    def replay(self) -> ReplayLog:
        """How the path came about, where its memory cannot be cut."""
        return self._replay

    def hold_logits(self) -> Logits:
        """Return the next token's logits in an array that no later evaluation overwrites."""
        self._logits = np.array(self.logits)
        return self._logits

    def logits_at(self, n_tokens: int) -> Logits:
        """Return the logits after the first ``n_tokens``, as a copy; the path is unchanged.

        Memory that can be cut puts the rows behind aside and decodes one token. Other memory goes
        back as far as :meth:`rewind` would, and takes its present state again.

        Raises
        ------
        ParameterError
            When there are not so many tokens, or none.
        """
        self._check_held(n_tokens)
        if n_tokens == self.n_tokens:
            return np.array(self.logits)
        if self._logits is not None:
            self.hold_logits()
        if self._can_cut_before(n_tokens):
            token = self.tokens[n_tokens - 1]
            with self._evaluating_with(self.adapters.at(n_tokens - 1)):
                return self.memory.logits_of_last(token, n_tokens, self.n_tokens)
        with self._gone_back(n_tokens):
            return np.array(self.logits)

    @contextlib.contextmanager
    def as_of(self, n_tokens: int) -> Iterator[Logits]:
        """Let the cells hold the first tokens only, then all of them again, to the bit.

        What is evaluated in the block is evaluated with what was on for the next token then.

        Parameters
        ----------
        n_tokens : int

        Yields
        ------
        ndarray of float32
            The logits after those tokens; a copy.

        Raises
        ------
        ParameterError
            When there are not so many tokens, or none.
        """
        if n_tokens == self.n_tokens:
            yield self.hold_logits()
            return
        self._check_held(n_tokens)
        were_on = self.adapters.at(n_tokens)
        if self._can_cut_before(n_tokens):
            logits = self.logits_at(n_tokens)
            rows = self.memory.rows(n_tokens, self.n_tokens)
            self.memory.cut(n_tokens)
            try:
                with self._evaluating_with(were_on):
                    yield logits
            finally:
                self.memory.append(rows)
        else:
            if self._logits is not None:
                self.hold_logits()
            with self._gone_back(n_tokens), self._evaluating_with(were_on):
                yield self.hold_logits()

    def _check_held(self, n_tokens: int) -> None:
        """Check that the path holds so many tokens, and that logits follow them."""
        if not 0 < n_tokens <= self.n_tokens:
            raise ParameterError(
                f"there are no logits at {n_tokens} tokens: the context holds {self.n_tokens}"
            )

    def _can_cut_before(self, n_tokens: int) -> bool:
        """Return whether the last of the first tokens can be decoded again by itself."""
        return self.memory.kind.can_cut and self.memory.can_cut(n_tokens - 1)

    @contextlib.contextmanager
    def _gone_back(self, n_tokens: int) -> Iterator[None]:
        """Go back, and take the present state again afterwards; its logits must be held."""
        before = dataclasses.replace(self.whole_state(include_logits=False), logits=self._logits)
        kept = self._replay, self.watermark
        try:
            self._go_back(n_tokens)
            yield
        finally:
            self._take(before)
            self._replay, self.watermark = kept

    def looks_back_exactly(self, n_tokens: int) -> bool:
        """Return whether :meth:`logits_at` is exact there, and leaves the path exact."""
        exact = self.memory.kind.can_cut or self.repeats(n_tokens)
        return exact and self.is_left_exactly(n_tokens)

    def is_left_exactly(self, n_tokens: int) -> bool:
        """Return whether a look at what follows the first tokens leaves the path exact."""
        if n_tokens == self.n_tokens:
            return True
        if self.memory.kind.can_cut:
            return n_tokens > self.memory.floor
        return self.is_put_back_exactly

    @property
    def is_put_back_exactly(self) -> bool:
        """Whether a whole state of the path, put back, takes the cells that it has now."""
        kind, has_all_rows = self.memory.kind, self.memory.floor == 0
        return not kind.exceeds_window(self.n_tokens) or (kind.has_readable_window and has_all_rows)

    def switch_adapters(self, adapters: LoadedAdapters) -> None:
        """Evaluate what follows with adapters; rows and logits up to here stay as they are."""
        self._use(self.adapters.switched(self.n_tokens, adapters))

    def _use(self, runs: AdapterRuns) -> None:
        self.memory.decoder.adapters.use(runs.on)
        self.adapters = runs

    @contextlib.contextmanager
    def _evaluating_with(self, adapters: LoadedAdapters) -> Iterator[None]:
        """Evaluate with what some tokens were evaluated with."""
        switch = self.memory.decoder.adapters
        switch.use(adapters)
        try:
            yield
        finally:
            switch.use(self.adapters.on)

    def mark(self) -> None:
        """Let the watermark count from here."""
        self.watermark = self.n_tokens

    def room(self, n_tokens: int) -> None:
        """Check that a number of further tokens fits.

        Raises
        ------
        ContextFullError
            When they do not.
        """
        free = self.n_ctx - self.n_tokens
        if n_tokens > free:
            raise ContextFullError(
                f"{n_tokens:,} tokens do not fit: {self.n_tokens:,} of {self.n_ctx:,} cells are "
                f"taken, {n_tokens - free:,} too many. Nothing was evaluated. Use a larger "
                "n_ctx, rewind, or shorten the text",
                needed=n_tokens,
                free=free,
            )

    def evaluate(self, tokens: Sequence[int], progress: Progress | None = None) -> None:
        """Evaluate tokens after the path, the last one alone; all of them or none.

        Raises
        ------
        Aborted
            When the stop flag was set.
        ContextFullError, DecodeError
            Nothing was evaluated.
        """
        if not tokens:
            return
        self.room(len(tokens))
        start = self.n_tokens
        self._keep_snapshot()
        try:
            self._decode_sealed(list(tokens), progress, stoppable=True)
        except BaseException:  # a callback may raise anything
            self._return_to(start)
            raise
        self._keep_snapshot()

    def switch(self, keep: int, tokens: Sequence[int], progress: Progress | None = None) -> None:
        """Keep ``keep`` tokens and evaluate others after them; all of it or nothing.

        Raises
        ------
        Aborted, ContextFullError, DecodeError
            The path is as it was, what lay behind ``keep`` included.
        """
        dropped, kept = self.n_tokens - keep, (self._replay, self.watermark, self.adapters)
        if dropped == 0:
            return self.evaluate(tokens, progress)
        self.room(len(tokens) - dropped)
        tail = self.capture(keep, "", None)
        try:
            self.rewind(keep)
            self.evaluate(tokens, progress)
        except BaseException:
            self.restore([tail], keep)
            self._replay, self.watermark, self.adapters = kept
            raise

    def append(self, token: int) -> None:
        """Evaluate one sampled token."""
        start = self.n_tokens
        try:
            self._logits = self.memory.decoder.decode_one(token, start)
        except BaseException:
            self._return_to(start)
            raise
        self.tokens.append(token)

    def _decode_sealed(
        self, tokens: list[int], progress: Progress | None, *, stoppable: bool
    ) -> None:
        start, n = self.n_tokens, len(tokens)
        if n > 1 and not self.memory.kind.can_cut:
            self._replay = self._replay.with_batch(start, start + n)
        for chunk in sealed(tokens, self._n_chunk):
            self._logits = self.memory.decoder.decode(chunk, self.n_tokens, stoppable=stoppable)
            self.tokens += chunk
            if progress is not None:
                progress(self.n_tokens - start, n)

    # -- going back --------------------------------------------------------------------------

    def repeats(self, n_tokens: int) -> bool:
        """Return whether rewinding there restores rows and logits, to the bit."""
        if n_tokens == self.n_tokens or self.memory.can_cut(n_tokens):
            return True
        kind = self.memory.kind
        if kind.can_cut or not self._replay.reaches(n_tokens):
            return False
        # A window that is put back alone lies elsewhere, which shows in last bits.
        return kind.repeats_in_place or n_tokens <= kind.window

    def rewind(self, n_tokens: int, progress: Progress | None = None) -> int:
        """Keep the first ``n_tokens``.

        Returns
        -------
        int
            Tokens that had to be evaluated again: 0 for memory that can be cut.
        """
        if not 0 <= n_tokens <= self.n_tokens:
            raise ParameterError(
                f"cannot rewind to {n_tokens} tokens: the context holds {self.n_tokens}"
            )
        if n_tokens == self.n_tokens:
            return 0
        self.watermark = min(self.watermark, n_tokens)
        return self._return_to(n_tokens, progress)

    def _return_to(self, n_tokens: int, progress: Progress | None = None) -> int:
        if not self.memory.can_cut(n_tokens):
            return self._go_back(n_tokens, progress)
        self.memory.cut(n_tokens)
        del self.tokens[n_tokens:]
        self.adapters = self.adapters.up_to(n_tokens)
        self._logits = None
        self._replay = self._replay.up_to(n_tokens)
        return 0

    def _go_back(self, n_tokens: int, progress: Progress | None = None) -> int:
        """Return to the nearest snapshot and repeat from there what was evaluated."""
        wanted = self.tokens[:n_tokens]
        log = self._replay.up_to(n_tokens)
        self._replay = log.restarted()
        snapshot = log.last
        if snapshot is not None:
            self.memory.roll_back(snapshot)
            self.tokens = wanted[: snapshot.n_tokens]
            self._logits = snapshot.logits
        else:
            self.memory.clear()
            self.tokens, self._logits = [], None
        start = self.n_tokens
        failure: BaseException | None = None
        for at, stop in log.steps(start, n_tokens):
            with self._evaluating_with(self.adapters.at(at)):
                self._decode_sealed(wanted[at:stop], None, stoppable=False)
            if progress is not None and failure is None:
                try:
                    progress(self.n_tokens - start, n_tokens - start)
                except BaseException as error:  # there is no way back: first arrive
                    failure = error
        self.adapters = self.adapters.up_to(n_tokens)
        self._keep_snapshot()
        if failure is not None:
            raise failure
        return n_tokens - start

    def _keep_snapshot(self) -> None:
        if self.memory.kind.can_cut or not self.tokens or self._logits is None:
            return
        last = self._replay.last
        if last is None or last.n_tokens < self.n_tokens:
            snapshot = self.memory.snapshot(self.n_tokens, self._logits)
            self._replay = self._replay.with_snapshot(snapshot)

    def clear(self) -> None:
        """Drop everything."""
        self.memory.clear()
        self.watermark = 0
        self.tokens, self._logits = [], None
        self.adapters = self.adapters.up_to(0)
        self._replay = ReplayLog()

    # -- rest --------------------------------------------------------------------------------

    @property
    def can_rest(self) -> bool:
        """Whether the rows can be put back elsewhere, so that everything goes on exactly."""
        return self.memory.kind.can_cut or self.is_put_back_exactly

    def set_aside(self) -> PathState | Segment | None:
        """Return the state for :meth:`put_back`; until then there are tokens but no memory."""
        kept: PathState | Segment | None = None
        if self.tokens:
            can_cut = self.memory.kind.can_cut
            kept = self.capture(0, "", None) if can_cut else self.whole_state()
        self._logits = None
        return kept

    def put_back(self, memory: Memory, kept: PathState | Segment | None) -> None:
        """Restore the path in other, empty memory."""
        if isinstance(kept, PathState):
            memory.replace(kept.data)
            self._logits = kept.logits
        elif kept is not None:
            memory.append(kept.data)
        memory.floor = self.memory.floor
        memory.decoder.adapters.use(self.adapters.on)
        self.memory = memory

    # -- states ------------------------------------------------------------------------------

    def capture(self, start: int, settings: str, parent: str | None) -> Segment:
        """Return the rows of the tokens from ``start`` to the end as one segment."""
        if not self.memory.kind.can_cut:
            data, whole = self.memory.whole(self.n_tokens), True
        else:
            data, whole = self.memory.rows(start, self.n_tokens), False
        # Rows can work their logits out again; a recurrent state cannot.
        logits = np.array(self.logits) if whole else None
        adapters = self.adapters.between(start, self.n_tokens)
        tokens = tuple(self.tokens[start:])
        return Segment(start, tokens, data, settings, parent, whole, logits, adapters)

    def restore(
        self,
        segments: Sequence[Segment],
        keep: int,
        adapters: Callable[[str], LoadedAdapters] = lambda _: NONE,
    ) -> int:
        """Keep ``keep`` tokens and put the rows of segments behind them; what is on stays on.

        Parameters
        ----------
        segments : sequence of Segment
        keep : int
        adapters : callable
            Gives the adapters that segments name.

        Returns
        -------
        int
            Tokens that had to be evaluated again, as for :meth:`rewind`.
        """
        runs = self.adapters.up_to(segments[0].start if segments else keep)
        for segment in segments:
            runs = runs.switched(segment.start, NONE)
            for first, text in segment.adapters:
                runs = runs.switched(first, adapters(text))
        on = self.adapters.on
        if segments and segments[-1].whole:
            last = segments[-1]
            tokens = self.tokens[: segments[0].start]
            for segment in segments:
                tokens[segment.start :] = segment.tokens
            floor = self.memory.floor_of(last.data, len(tokens))
            runs = runs.switched(len(tokens), on)
            self.replace(PathState(tuple(tokens), last.data, last.logits, floor, runs))
            return 0
        self._logits = None
        n_evaluated = self.rewind(keep)
        for segment in segments:
            self.memory.append(segment.data)
            self.tokens += segment.tokens
        if segments:
            self.adapters = runs.switched(self.n_tokens, on)
        if segments and segments[-1].logits is not None:
            self._logits = segments[-1].logits
        return n_evaluated

    def replace(self, state: PathState) -> None:
        """Make a whole state the path's; should llama.cpp refuse it, the old one is put back."""
        before = self.whole_state(include_logits=False) if self.tokens else None
        if before is not None and self._logits is not None:
            before = dataclasses.replace(before, logits=np.array(self._logits))
        kept = self._replay, self.watermark
        try:
            self._take(state)
        except BaseException:
            self.clear()
            if before is not None:
                self._take(before)
                self._replay, self.watermark = kept
            raise
        self._replay = ReplayLog(origin=self.n_tokens)
        self._keep_snapshot()

    def _take(self, state: PathState) -> None:
        self.watermark = 0
        self.memory.replace(state.data)
        self.memory.floor = state.floor
        self.tokens, self._logits = list(state.tokens), state.logits
        self._use(state.adapters)

    def whole_state(self, *, include_logits: bool = True, window_only: bool = False) -> PathState:
        """Return the whole state of the path.

        Parameters
        ----------
        include_logits : bool
            Memory that cannot be cut has them in any case: it could not work them out again.
        window_only : bool
            Whether to leave out what a sliding window does not see any more.

        Raises
        ------
        ContextError
            When the path is empty.
        """
        if not self.tokens:
            raise ContextError("the context is empty: there is nothing to save")
        include_logits = include_logits or not self.memory.kind.can_cut
        logits = np.array(self.logits) if include_logits else None
        data = self.memory.whole(self.n_tokens, window_only=window_only)
        floor = self.memory.floor_of(data, self.n_tokens)
        return PathState(tuple(self.tokens), data, logits, floor, self.adapters)
