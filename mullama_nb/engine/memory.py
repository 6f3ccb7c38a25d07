"""A context's memory: cells that are decoded into, cut, read and written.

The only place that calls llama.cpp's memory and state functions. It keeps the active path in
sequence 0, in contiguous cells from 0 in order of position, moves rows through sequence 1, and
gives the sequences behind it to branches. Every call must be made under the context's lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeAlias

import llama_cpp
import numpy as np
import numpy.typing as npt

from ..errors import DecodeError
from ..state.buffer import empty_bytes
from ..state.file import page_offset
from ..state.layout import HEADER, ByteArray, SequenceState, Shape, Structure, join
from ..state.shape import BlockKind
from .contention import watched
from .memory_kind import MemoryKind, has_readable_window, memory_kind, n_swa, structures
from .model import Model
from .native import StopFlag
from .worker import decoding

__all__ = [
    "MOST_OUTPUTS",
    "Aborted",
    "Logits",
    "Memory",
    "Snapshot",
    "n_sequences",
]

Logits: TypeAlias = npt.NDArray[np.float32]

MOST_OUTPUTS = 64
"""Rows of logits that one batch may ask for."""

_PATH = 0
_SCRATCH = 1
_PIN = 2  # only for models with a window
_MOST_SEQUENCES = 256  # llama.cpp's LLAMA_MAX_SEQ
_PARTIAL_ONLY = 1  # LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY


# The address alone: to make a pointer of it takes longer than to choose a token.
_logits_address = ctypes.cast(
    llama_cpp.llama_get_logits_ith,
    ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32),
)


class Aborted(Exception):  # noqa: N818 - it is no error
    """A decode was stopped; the memory is as it was before it."""


@dataclass(frozen=True)
class Snapshot:
    """A state that cannot be cut, bound to the tokens that it stands for.

    Attributes
    ----------
    n_tokens : int
        Tokens that were evaluated.
    data : ndarray of uint8
        The whole sequence, or the recurrent part alone where the rest can be cut.
    logits : ndarray of float32
        Of the next token: a recurrent state cannot work them out again.
    """

    n_tokens: int
    data: ByteArray
    logits: Logits


def n_sequences(model: Model, n_parallel: int) -> int:
    """How many sequences a context needs for so many branches beside its own."""
    own = _PIN + int(n_swa(model) > 0)
    return min(own + n_parallel, _MOST_SEQUENCES)


class Memory:
    """The cells of one llama.cpp context.

    Parameters
    ----------
    handle : llama_context pointer
    model : Model
    flag : StopFlag
        Stops a decode where the memory can be cut afterwards.
    """

    def __init__(self, handle: Any, model: Model, flag: StopFlag) -> None:
        self._handle = handle
        self._memory = llama_cpp.llama_get_memory(handle)
        self._model = model
        self._flag = flag
        self.kind: MemoryKind = memory_kind(model)
        self.window = n_swa(model)
        self.has_readable_window = has_readable_window(model)
        self._hybrid = bool(llama_cpp.llama_model_is_hybrid(model.handle))
        self._n_vocab = model.n_vocab
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
        self._one.n_seq_id[0], self._one.seq_id[0][0], self._one.logits[0] = 1, _PATH, True
        self._one_token, self._one_position = self._one.token, self._one.pos
        self._decode_one = watched(n_threads, partial(llama_cpp.llama_decode, handle, self._one))
        first = _PIN + int(self.window > 0)
        n_branches = min(int(llama_cpp.llama_n_seq_max(handle)) - first, self.n_batch)
        self.branch_sequences = range(first, first + n_branches)
        self._described: tuple[Structure, Shape] | None = None
        # Below this position a sliding window that was loaded alone has no cells to go back to.
        self.floor = 0

    def close(self) -> None:
        """Free the batch; llama.cpp's context frees the cells."""
        if self._batch is not None:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_batch_free(self._one)
            self._batch = self._one = None

    # -- evaluate ---------------------------------------------------------------------------

    def decode(self, tokens: Sequence[int], start: int, *, stoppable: bool = False) -> Logits:
        """Evaluate tokens in one batch behind the cells of ``start`` earlier ones.

        Parameters
        ----------
        tokens : sequence of int
            At most ``n_batch``.
        start : int
        stoppable : bool
            Whether the stop flag ends it; otherwise it runs to its end all the same.

        Returns
        -------
        ndarray of float32
            Logits after the last token; a view that is valid until the next decode.

        Raises
        ------
        Aborted
            When the stop flag was set.
        DecodeError
            When llama.cpp refused; the cells are as before.
        """
        n = len(tokens)
        positions = range(start, start + n)
        return self.decode_rows(tokens, positions, [_PATH] * n, stoppable=stoppable)[0]

    def decode_one(self, token: int, start: int) -> Logits:
        """:meth:`decode` of a single token."""
        self._one_token[0], self._one_position[0] = token, start
        status = decoding(self._decode_one)
        if status:
            self._take_back(status, [start], [_PATH])
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
            For how many of the last tokens logits are worked out.
        stoppable : bool
            As for :meth:`decode`, which also says what is raised.

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
        with self._stopped_by_flag() if stoppable else contextlib.nullcontext():
            status = decoding(self._decode_many if n > 1 else self._decode_single)
        if status:
            self._take_back(status, positions, sequences)
        self._held_from = n - n_outputs
        self._held = [self._logits_row(i) for i in range(n - n_outputs, n)]
        return self._held

    def sample(self, chain: Any, logits: Logits) -> int | None:
        """Have llama.cpp sample from logits that it still holds.

        Parameters
        ----------
        chain : llama_sampler pointer
        logits : ndarray of float32
            As a decode gave them.

        Returns
        -------
        int or None
            The token; None where the logits are those of an earlier decode, or a copy.
        """
        for index, row in enumerate(self._held, self._held_from):
            if row is logits:
                return int(llama_cpp.llama_sampler_sample(chain, self._handle, index))
        return None

    @contextlib.contextmanager
    def _stopped_by_flag(self) -> Iterator[None]:
        """Have llama.cpp ask the flag between two nodes: one per cent of a token's time."""
        if self.kind == "snapshot":
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
        if self.kind != "snapshot":
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

    def logits_of_last(self, token: int, n_tokens: int, stop: int | None = None) -> Logits:
        """The logits after the last of ``n_tokens``, by decoding it alone beside its stored row.

        A row that was computed in a batch of one comes out the same to the bit, and so do its
        logits. Another row would change, so the stored one is put back, and with it the rows
        behind it, up to ``stop``.
        """
        row = self.rows(n_tokens - 1, n_tokens if stop is None else stop)
        self.cut(n_tokens - 1)
        try:
            logits = self.decode([token], n_tokens - 1).copy()
            self.cut(n_tokens - 1)
        finally:
            self.append(row)
        return logits

    # -- cut, read and write rows ------------------------------------------------------------

    def cut(self, n_tokens: int) -> None:
        """Drop the cells behind the first ``n_tokens``."""
        if not llama_cpp.llama_memory_seq_rm(self._memory, _PATH, n_tokens, -1):
            raise DecodeError(f"this model's memory cannot be cut at {n_tokens}")
        if n_tokens == 0:
            self.floor = 0

    def can_cut(self, n_tokens: int) -> bool:
        """Whether dropping all but the first ``n_tokens`` leaves cells that are right to go on."""
        return n_tokens == 0 or (self.kind != "snapshot" and n_tokens >= self.floor)

    def clear(self) -> None:
        """Drop all cells."""
        # Recurrent memory begins anew by multiplying what is left in a cell by zero, which an
        # infinity outlives: there the bytes are zeroed, too.
        llama_cpp.llama_memory_clear(self._memory, self.kind == "snapshot")
        self.floor = 0

    def rows(self, start: int, stop: int, sequence: int = _PATH) -> ByteArray:
        """The rows of the tokens ``start`` to ``stop - 1``, sorted by position as the path is.

        A branch's rows come in the order of its cells, and with all of its recurrent state.
        """
        if not self.has_readable_window:
            return self._piece(start, stop, sequence)
        # A sliding-window cache writes its last rows only: read it in pieces that fit.
        width = self.window
        pieces = [
            self._piece(at, min(at + width, stop), sequence) for at in range(start, stop, width)
        ]
        if len(pieces) == 1:
            return pieces[0]
        structure, _ = self.description
        return join([SequenceState(piece, structure) for piece in pieces], whole=True)

    def _piece(self, start: int, stop: int, sequence: int) -> ByteArray:
        llama_cpp.llama_memory_seq_cp(self._memory, sequence, _SCRATCH, start, stop)
        try:
            return self._read(_SCRATCH)
        finally:
            self.drop(_SCRATCH)

    def append(self, rows: ByteArray, sequence: int = _PATH) -> None:
        """Put rows into free cells behind the path, or behind what a branch holds."""
        self._write(rows, _SCRATCH)
        llama_cpp.llama_memory_seq_cp(self._memory, _SCRATCH, sequence, -1, -1)
        self.drop(_SCRATCH)

    # -- branches ----------------------------------------------------------------------------

    def share(self, sequence: int) -> None:
        """Let a sequence go on from the path; nothing is copied."""
        llama_cpp.llama_memory_seq_cp(self._memory, _PATH, sequence, -1, -1)

    def drop(self, sequence: int) -> None:
        """End a sequence: cells that only it had become free."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def pin(self) -> None:
        """Keep the path's cells from being reused while branches are decoded.

        llama.cpp takes cells out of a sliding window's cache that their sequence cannot see any
        more, unless another sequence has them too.
        """
        if self.window:
            self.share(_PIN)

    def unpin(self) -> None:
        """Let the path's cells be as they were."""
        if self.window:
            self.drop(_PIN)

    def branch_state(self, sequence: int) -> ByteArray:
        """The complete state of a branch, in the order of its cells."""
        return self._read(sequence)

    # -- whole states ------------------------------------------------------------------------

    def whole(self, n_tokens: int, *, window_only: bool = False) -> ByteArray:
        """The complete state of the path, sliding windows with all their rows if they are there."""
        has_more = self.has_readable_window and n_tokens > self.window and self.floor == 0
        if has_more and not window_only:
            data = self.rows(0, n_tokens)
            if self._hybrid:
                SequenceState(data, self.description[0]).mark_cells(_PATH)
            return data
        return self._read(_PATH, page_offset(n_tokens))

    def floor_of(self, data: ByteArray, n_tokens: int) -> int:
        """Below which position a whole state has no rows of a sliding window to go back to.

        Where that is not 0, they would be put elsewhere than they were, which shows in last bits.
        """
        if n_tokens <= self.window or not self.window:
            return 0
        structure, _ = self.description
        return 0 if SequenceState(data, structure).covers(0, n_tokens) else n_tokens

    def replace(self, data: ByteArray) -> None:
        """Make a whole state the path's."""
        self.clear()
        self._write(data, _PATH)

    def snapshot(self, n_tokens: int, logits: Logits) -> Snapshot:
        """Keep what cannot be cut."""
        flags = _PARTIAL_ONLY if self._hybrid else 0
        size = int(llama_cpp.llama_state_seq_get_size_ext(self._handle, _PATH, flags))
        data = np.empty(size, np.uint8)
        if self._get(data, _PATH, flags) != size:
            raise DecodeError("llama.cpp did not write the whole snapshot")
        if self._hybrid and self.window:
            data = self._without_window(data)
        return Snapshot(n_tokens, data, logits.copy())

    def _without_window(self, data: ByteArray) -> ByteArray:
        """A hybrid's part without the window's rows: those let themselves be cut where they lie."""
        structure, _ = self.description
        kinds: tuple[BlockKind, ...] = ("kv", "recurrent")
        state = SequenceState(data, dataclasses.replace(structure, blocks=kinds))
        no_cells = np.array([1, 0], "<u4").view(np.uint8)
        return np.concatenate([np.frombuffer(HEADER, np.uint8), no_cells, state.block_bytes(1)])

    def roll_back(self, snapshot: Snapshot) -> None:
        """Return to a snapshot of this path."""
        if not self._hybrid:
            self.replace(snapshot.data)
            return
        # The recurrent part first: only then does the attention part let itself be cut.
        data = snapshot.data
        n = llama_cpp.llama_state_seq_set_data_ext(
            self._handle, _pointer(data), data.size, _PATH, _PARTIAL_ONLY
        )
        if n != data.size or not llama_cpp.llama_memory_seq_rm(
            self._memory, _PATH, snapshot.n_tokens, -1
        ):
            raise DecodeError(f"llama.cpp refused a snapshot at {snapshot.n_tokens} tokens")

    @property
    def repeats_in_place(self) -> bool:
        """Whether what is evaluated behind a snapshot again takes the cells that it took."""
        return self._hybrid or not self.window

    @property
    def is_described(self) -> bool:
        """Whether the layout is known without a look at the cells."""
        return self._described is not None

    @property
    def description(self) -> tuple[Structure, Shape]:
        """How the memory's state is laid out.

        Learnt from a state that llama.cpp writes: the path's, or that of one token in a scratch
        sequence, whose logits nobody sees.
        """
        if self._described is None:
            probe = self._probe()
            state = SequenceState.infer(probe, structures(self._model))
            if state is None:
                raise DecodeError(
                    f"the memory of the architecture {self._model.architecture!r} has a layout "
                    "that is not known here; its sessions cannot be checked, so not be loaded"
                )
            self._described = (state.structure, state.shape)
        return self._described

    def _probe(self) -> ByteArray:
        if llama_cpp.llama_memory_seq_pos_max(self._memory, _PATH) >= 0:
            return self._read(_PATH)
        try:
            self.decode([0], 0)
            return self._read(_PATH)
        finally:
            llama_cpp.llama_memory_clear(self._memory, False)

    def _read(self, sequence: int, offset: int = 0) -> ByteArray:
        size = int(llama_cpp.llama_state_seq_get_size(self._handle, sequence))
        data = empty_bytes(size, offset)
        n = self._get(data, sequence, 0)
        if n != size:
            raise DecodeError(f"llama.cpp wrote {n} bytes of state and announced {size}")
        data[: len(HEADER)] = np.frombuffer(HEADER, np.uint8)  # equal rows are equal bytes
        return data

    def _get(self, data: ByteArray, sequence: int, flags: int) -> int:
        return int(
            llama_cpp.llama_state_seq_get_data_ext(
                self._handle, _pointer(data), data.size, sequence, flags
            )
        )

    def _write(self, data: ByteArray, sequence: int) -> None:
        n = llama_cpp.llama_state_seq_set_data(self._handle, _pointer(data), data.size, sequence)
        if n != data.size:
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
            raise DecodeError(f"llama.cpp took {n} of {data.size} bytes of state")


def _pointer(data: ByteArray) -> Any:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
