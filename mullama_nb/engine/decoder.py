"""Decoding: from batches of tokens to the logits of the next token.

Every call must be made under the context's lock.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn, TypeAlias

import llama_cpp
import numpy as np
import numpy.typing as npt

from ..errors import DecodeError
from .adapters.loaded import AdapterSwitch
from .memory_kind import MemoryKind
from .model import Model
from .native import StopFlag
from .tally import Tally
from .threads.contention import watched
from .threads.worker import decoding

__all__ = ["MOST_OUTPUTS", "PATH", "Aborted", "Decoder", "Logits", "sealed"]

Logits: TypeAlias = npt.NDArray[np.float32]

MOST_OUTPUTS = 64
"""Rows of logits that one batch may ask for."""

PATH = 0
"""The sequence of the active path."""

# The address alone: to make a pointer of it takes longer than to choose a token.
_logits_address = ctypes.cast(
    llama_cpp.llama_get_logits_ith,
    ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32),
)


class Aborted(Exception):  # noqa: N818 - it is not an error
    """A decode was stopped; the memory is unchanged."""


def sealed(tokens: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Split tokens into batches of at most ``size``, with the last token in its own."""
    last = len(tokens) - 1
    for at in range(0, last, size):
        yield tokens[at : min(at + size, last)]
    yield tokens[last:]


class Decoder:
    """Evaluates batches in one llama.cpp context.

    Parameters
    ----------
    handle : llama_context pointer
    model : Model
    kind : MemoryKind
    flag : StopFlag
        Stops a decode where the memory can be cut afterwards.
    tally : Tally
        Counts the tokens.

    Attributes
    ----------
    n_batch : int
        Maximum number of tokens in one batch.
    adapters : AdapterSwitch
        What it evaluates with.
    """

    def __init__(
        self, handle: Any, model: Model, kind: MemoryKind, flag: StopFlag, tally: Tally
    ) -> None:
        self._handle = handle
        self._memory = llama_cpp.llama_get_memory(handle)
        self._can_cut = kind.can_cut
        self._flag = flag
        self._tally = tally
        self._n_vocab = model.n_vocab
        self.adapters = AdapterSwitch(handle, model)
        self._logits_rows: dict[int, Logits] = {}
        self._held: list[Logits] = []  # of the last decode's last tokens
        self._held_from = 0
        self.n_batch = int(llama_cpp.llama_n_batch(handle))
        self._batch = llama_cpp.llama_batch_init(self.n_batch, 0, 1)
        n_threads = int(llama_cpp.llama_n_threads(handle))
        decode = partial(llama_cpp.llama_decode, handle, self._batch)
        self._decode_single = watched(n_threads, decode)
        self._decode_many = watched(int(llama_cpp.llama_n_threads_batch(handle)), decode)
        # A generation decodes one token at a time, when the caches hold weights and every line of
        # anything else is missing: what stays the same is written once.
        self._one = llama_cpp.llama_batch_init(1, 0, 1)
        self._one.n_tokens = 1
        self._one.n_seq_id[0], self._one.seq_id[0][0], self._one.logits[0] = 1, PATH, True
        self._one_token, self._one_position = self._one.token, self._one.pos
        self._decode_one = watched(n_threads, partial(llama_cpp.llama_decode, handle, self._one))

    def close(self) -> None:
        """Free the batches; llama.cpp's context frees the cells."""
        if self._batch is not None:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_batch_free(self._one)
            self._batch = self._one = None

    def decode(self, tokens: Sequence[int], start: int, *, stoppable: bool = False) -> Logits:
        """Evaluate tokens in one batch after the cells of ``start`` earlier ones.

        Parameters
        ----------
        tokens : sequence of int
            At most ``n_batch``.
        start : int
        stoppable : bool
            Whether the stop flag ends the decode; otherwise it runs to its end.

        Returns
        -------
        ndarray of float32
            Logits after the last token; a view that is valid until the next decode.

        Raises
        ------
        Aborted
            When the stop flag was set.
        DecodeError
            When llama.cpp failed; the cells are unchanged.
        """
        n = len(tokens)
        positions = range(start, start + n)
        return self.decode_rows(tokens, positions, [PATH] * n, stoppable=stoppable)[0]

    def decode_one(self, token: int, start: int) -> Logits:
        """:meth:`decode` of a single token."""
        self._one_token[0], self._one_position[0] = token, start
        self._tally.n_tokens += 1
        status = self._run(self._decode_one)
        if status:
            self._take_back(status, [start], [PATH])
        row = self._logits_row(0)
        self._held, self._held_from = [row], 0
        return row

    def decode_rows(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        *,
        n_outputs: int = 1,
        stoppable: bool = False,
    ) -> list[Logits]:
        """Evaluate tokens of several sequences in one batch.

        Parameters
        ----------
        tokens, positions, sequences : sequence of int
            Token by token; each sequence's in order, behind what it holds.
        n_outputs : int
            Number of last tokens to compute logits for.
        stoppable : bool
            As for :meth:`decode`, which also lists the errors.

        Returns
        -------
        list of ndarray of float32
            Logits after each of the last tokens; views that are valid until the next decode.
        """
        if stoppable and self._flag.is_set():
            raise Aborted
        batch, n = self._batch, len(tokens)
        batch.n_tokens = n
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = positions[i]
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequences[i]
            batch.logits[i] = i >= n - n_outputs
        self._tally.n_tokens += n
        with self._stopped_by_flag() if stoppable else contextlib.nullcontext():
            status = self._run(self._decode_many if n > 1 else self._decode_single)
        if status:
            self._take_back(status, positions, sequences)
        self._held_from = n - n_outputs
        self._held = [self._logits_row(i) for i in range(n - n_outputs, n)]
        return self._held

    def _run(self, decode: Callable[[], int]) -> int:
        reserving = self.adapters.reserving
        if reserving is None:
            return decoding(decode)
        with reserving:
            self.adapters.reserving = None
            return decoding(decode)

    def sample(self, chain: Any, logits: Logits) -> int | None:
        """Have llama.cpp sample from logits that it still holds.

        Parameters
        ----------
        chain : llama_sampler pointer
        logits : ndarray of float32
            As returned by a decode.

        Returns
        -------
        int or None
            The token; None if the logits are of an earlier decode, or a copy.
        """
        for index, row in enumerate(self._held, self._held_from):
            if row is logits:
                return int(llama_cpp.llama_sampler_sample(chain, self._handle, index))
        return None

    @contextlib.contextmanager
    def _stopped_by_flag(self) -> Iterator[None]:
        """Have llama.cpp ask the flag between two nodes: one per cent of a token's time."""
        if not self._can_cut:
            yield
            return
        flag, handle = self._flag, self._handle
        llama_cpp.llama_set_abort_callback(handle, flag.callback, flag.data)
        try:
            yield
        finally:
            llama_cpp.llama_set_abort_callback(handle, llama_cpp.ggml_abort_callback(), None)

    def _take_back(
        self, status: int, positions: Sequence[int], sequences: Sequence[int]
    ) -> NoReturn:
        """Drop the rows of a batch that failed, and say why."""
        if self._can_cut:
            for sequence in set(sequences):
                first = positions[sequences.index(sequence)]
                llama_cpp.llama_memory_seq_rm(self._memory, sequence, first, -1)
        if status == 2:
            raise Aborted
        reason = "no free cells" if status == 1 else f"status {status}"
        raise DecodeError(
            f"llama.cpp could not evaluate {len(positions)} tokens at position {positions[0]} "
            f"({reason}); the context is as it was before"
        )

    def _logits_row(self, index: int) -> Logits:
        address = _logits_address(self._handle, index)
        row = self._logits_rows.get(address)
        if row is None:  # to make an array takes longer than to choose a token
            array = (ctypes.c_float * self._n_vocab).from_address(address)
            row = self._logits_rows[address] = np.ctypeslib.as_array(array)
        return row
