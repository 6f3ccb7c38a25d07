"""Scratch sequences: evaluating behind the first tokens of a path, which stays as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from ..errors import ContextFullError
from ..state.layout import ByteArray
from .decoder import MOST_OUTPUTS, Logits
from .memory import Memory
from .path import ActivePath

__all__ = ["Scratch", "beside"]


class Scratch:
    """The free sequences of a memory, each of which may go on from the path; see :func:`beside`.

    Parameters
    ----------
    memory : Memory
    n_tokens : int
        Tokens of the path that they go on from.
    n_ctx : int
        Cells.
    logits : ndarray of float32
        After those tokens.

    Attributes
    ----------
    n_tokens : int
    logits : ndarray of float32
    n_free : int
        Cells for tokens of all sequences together.
    n_sequences : int
        How many can be decoded in one batch.
    """

    def __init__(self, memory: Memory, n_tokens: int, n_ctx: int, logits: Logits) -> None:
        self.n_tokens = n_tokens
        self.logits = logits
        self.n_free = n_ctx - n_tokens
        self.n_sequences = min(len(memory.branch_sequences), MOST_OUTPUTS)
        self._memory = memory
        self._used: list[int] = []

    def check_room(self, n_tokens: int) -> None:
        """Check that a number of tokens fits behind the path.

        Raises
        ------
        ContextFullError
            When they do not.
        """
        if n_tokens > self.n_free:
            raise ContextFullError(
                f"{n_tokens:,} tokens cannot be evaluated here: {self.n_free:,} cells are free "
                f"behind {self.n_tokens:,} tokens, {n_tokens - self.n_free:,} too many. Nothing "
                "was changed. Look less far ahead, or use a larger n_ctx",
                needed=n_tokens,
                free=self.n_free,
            )

    def decode(
        self, tokens: Sequence[int], behind: Sequence[ByteArray | None], n_before: int
    ) -> list[Logits]:
        """Evaluate one token in each of several sequences, as one batch.

        Parameters
        ----------
        tokens : sequence of int
            At most ``n_sequences``.
        behind : sequence of ndarray of uint8, or None
            The rows between the path and each token, as :meth:`rows` gave them; None without any.
        n_before : int
            How many tokens those are, in every sequence.

        Returns
        -------
        list of ndarray of float32
            Logits after each; views that are valid until the next decode.

        Raises
        ------
        Aborted
            When the stop flag was set.
        """
        self.drop()
        for sequence, rows in zip(self._memory.branch_sequences, behind, strict=False):
            self._begin(sequence)
            if rows is not None:
                self._memory.append(rows, sequence)
        return self._memory.decoder.decode_rows(
            tokens,
            [self.n_tokens + n_before] * len(tokens),
            self._used,
            n_outputs=len(tokens),
            stoppable=True,
        )

    def rows(self, index: int, n_tokens: int) -> ByteArray:
        """Return the rows behind the path in a sequence that was decoded last.

        Parameters
        ----------
        index : int
        n_tokens : int
            How many they are.
        """
        return self._memory.rows(self.n_tokens, self.n_tokens + n_tokens, self._used[index])

    def follow(self, tokens: Sequence[int]) -> Iterator[Logits]:
        """Evaluate tokens in one sequence, and yield the logits after each.

        They are views, valid until the next is asked for.

        Raises
        ------
        Aborted
            When the stop flag was set.
        """
        self.drop()
        decoder, sequence = self._memory.decoder, self._memory.branch_sequences[0]
        size = min(MOST_OUTPUTS, decoder.n_batch)
        self._begin(sequence)
        for at in range(0, len(tokens), size):
            chunk, first = tokens[at : at + size], self.n_tokens + at
            yield from decoder.decode_rows(
                chunk,
                range(first, first + len(chunk)),
                [sequence] * len(chunk),
                n_outputs=len(chunk),
                stoppable=True,
            )

    def _begin(self, sequence: int) -> None:
        # Cells that two sequences have are not reused when a window has left them.
        self._used.append(sequence)
        self._memory.share(sequence)

    def drop(self) -> None:
        """Free the cells that the sequences took."""
        while self._used:
            self._memory.drop(self._used.pop())


@contextlib.contextmanager
def beside(path: ActivePath, n_tokens: int | None = None) -> Iterator[Scratch]:
    """Evaluate behind the first tokens of a path; its cells and logits do not change by a bit.

    Parameters
    ----------
    path : ActivePath
    n_tokens : int, optional
        None: all.

    Raises
    ------
    ContextError
        When the path is empty.
    ParameterError
        When it has not so many tokens.
    """
    n_tokens = path.n_tokens if n_tokens is None else n_tokens
    with path.as_of(n_tokens) as logits:
        scratch = Scratch(path.memory, n_tokens, path.n_ctx, logits)
        try:
            yield scratch
        finally:
            scratch.drop()
