"""Rows of a common beginning: kept from one chat to the next on one context.

A chat begins with an empty tree. What it evaluates first is often what the chat before it on the
same context did: a system message, a long document, examples. The rows of one path are kept, in the
pieces in which they were evaluated, and put back in their place.

Last bits of a row depend on the tokens that were evaluated with it. So where it is known in advance
after which tokens other prompts part from this one, each evaluation pauses there, whether it finds
rows or not, and takes only pieces that it would have evaluated itself. Then the bits are the same
whatever ran before.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ..engine.adapters.values import Adapter
from ..engine.context import Context
from ..engine.path import Progress
from ..state.segment import Segment

__all__ = ["KeptRows", "SharedRows"]


@dataclass(frozen=True, eq=False)
class _Piece:
    """Rows that were evaluated together.

    Attributes
    ----------
    rows : Segment
        With the logits behind the last token.
    is_whole : bool
        Whether these and those in front are the pieces as they were evaluated, and not cut.
    """

    rows: Segment
    is_whole: bool

    @property
    def start(self) -> int:
        return self.rows.start

    @property
    def stop(self) -> int:
        return self.rows.stop


class KeptRows:
    """The rows of the beginning of one path of a context, from its first token on."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self._adapters: tuple[Adapter, ...] = ()

    @property
    def n_tokens(self) -> int:
        """The number of tokens whose rows are kept."""
        return self._pieces[-1].stop if self._pieces else 0

    def follow(self, path: Sequence[int], context: Context, *, may_cut: bool) -> None:
        """Drop what is not on a path, or was evaluated with other adapters.

        Parameters
        ----------
        path : sequence of int
        context : Context
        may_cut : bool
            Whether a piece is cut where the path parts from it, or ends; otherwise it is all or
            nothing. States that cannot be cut are.
        """
        if context.adapters != self._adapters:
            self._pieces, self._adapters = [], context.adapters
        held = itertools.chain.from_iterable(piece.rows.tokens for piece in self._pieces)
        same = [a == b for a, b in zip(path, held, strict=False)]
        n = same.index(False) if False in same else len(same)
        if may_cut:
            self._cut(n, context)
        if n < len(same):
            self.drop(n)

    def _cut(self, n_tokens: int, context: Context) -> None:
        for at, piece in enumerate(self._pieces):
            if piece.start < n_tokens < piece.stop and not piece.rows.whole:
                structure, _ = context.layout
                parts = piece.rows.split(n_tokens - piece.start, structure)
                cut = [_Piece(part, is_whole=False) for part in parts]
                behind = [dataclasses.replace(p, is_whole=False) for p in self._pieces[at + 1 :]]
                self._pieces[at:] = [*cut, *behind]
                return

    def between(self, start: int, stop: int, *, as_evaluated: bool) -> list[Segment]:
        """Return the rows from one token to another, if a piece begins and one ends there.

        Parameters
        ----------
        start, stop : int
        as_evaluated : bool
            Whether they must have been evaluated together, and not be cut.
        """
        found = [p for p in self._pieces if start <= p.start and p.stop <= stop]
        if not found or found[0].start != start or found[-1].stop != stop:
            return []
        if as_evaluated and not (len(found) == 1 and found[0].is_whole):
            return []
        return [piece.rows for piece in found]

    def end_of(self, start: int, stop: int) -> int:
        """Return where the last piece before ``stop`` ends that goes on from ``start``."""
        ends = [p.stop for p in self._pieces if start <= p.start and p.stop <= stop]
        begins = any(piece.start == start for piece in self._pieces)
        return max(ends, default=start) if begins else start

    def drop(self, start: int) -> None:
        """Drop the pieces that hold tokens after the first ``start``."""
        self._pieces = [piece for piece in self._pieces if piece.stop <= start]

    def keep(self, rows: Segment) -> None:
        """Keep rows that go on from those that there are."""
        if rows.start == self.n_tokens:
            is_whole = not self._pieces or self._pieces[-1].is_whole
            self._pieces.append(_Piece(rows, is_whole))


class SharedRows:
    """How one chat uses the rows that others have evaluated, and leaves some for the next.

    Parameters
    ----------
    context : Context
    kept : KeptRows
        Of this context.
    forks : sequence of int, optional
        After how many tokens other prompts part from this one, in order. None: it is not known, and
        the longest beginning that there is will do.
    n_prompt : int
        Tokens of the prompt, as far as known: what ends before that is worth keeping.

    Attributes
    ----------
    n_taken : int
        Tokens that were not evaluated.
    """

    def __init__(
        self,
        context: Context,
        kept: KeptRows,
        forks: Sequence[int] | None = None,
        n_prompt: int = 0,
    ) -> None:
        self.n_taken = 0
        self._context = context
        self._kept = kept
        self._forks = forks
        self._n_prompt = n_prompt

    def evaluate(self, tokens: Sequence[int], progress: Progress | None = None) -> int:
        """Evaluate tokens behind the context's, those whose rows are not kept; all or none.

        Returns
        -------
        int
            The number of tokens, or 0 if it was stopped.
        """
        context, kept = self._context, self._kept
        start = context.token_count()
        path = (*context.tokens, *tokens)
        kept.follow(path, context, may_cut=self._forks is None)
        n_taken = 0
        try:
            for first, stop in itertools.pairwise(self._stops(start, len(path))):
                rows = kept.between(first, stop, as_evaluated=self._forks is not None)
                if rows:
                    context.restore(rows, keep=first)
                    if rows[-1].whole:  # what stood in front has not moved
                        context.mark()
                    n_taken += stop - first
                elif not self._evaluate(path[first:stop], first - start, len(tokens), progress):
                    context.rewind(start)
                    return 0
        except BaseException:
            context.rewind(start)
            raise
        self.n_taken += n_taken
        return len(tokens)

    def _stops(self, start: int, stop: int) -> list[int]:
        """Where the evaluation pauses."""
        if self._forks is None:
            return sorted({start, self._kept.end_of(start, stop), stop})
        return [start, *(fork for fork in self._forks if start < fork < stop), stop]

    def _evaluate(
        self, tokens: Sequence[int], n_before: int, n: int, progress: Progress | None
    ) -> bool:
        context, kept = self._context, self._kept
        first = context.token_count()

        def tell(done: int, _: int) -> None:
            if progress is not None:
                progress(n_before + done, n)

        if not context.evaluate(tokens, progress=None if progress is None else tell):
            return False
        stop = context.token_count()
        is_needed = self._forks is None or stop in self._forks or stop < self._n_prompt
        if is_needed:
            kept.drop(first)
            if kept.n_tokens == first:
                rows = context.capture(first)
                kept.keep(dataclasses.replace(rows, logits=context.logits))
        return True
