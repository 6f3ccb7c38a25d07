"""A context's memory: cutting, reading and writing cells.

The only caller of llama.cpp's memory and state functions, except for undoing a failed decode. It
keeps the active path in sequence 0, in contiguous cells from 0 in order of position, moves rows
through sequence 1, and gives the sequences behind it to branches. Every call must be made under the
context's lock.
"""

from __future__ import annotations

import ctypes
import dataclasses
from dataclasses import dataclass
from typing import Any

import llama_cpp
import numpy as np

from ..errors import DecodeError
from ..state.buffer import empty_bytes
from ..state.file import page_offset
from ..state.layout import HEADER, ByteArray, SequenceState, Shape, Structure, join
from ..state.shape import BlockKind
from .decoder import PATH, Decoder, Logits
from .memory_kind import memory_kind, structures
from .model import Model
from .native import StopFlag
from .tally import Tally

__all__ = ["Memory", "Snapshot", "n_sequences"]

_SCRATCH = 1
_PIN = 2  # only for models with a window
_MOST_SEQUENCES = 256  # llama.cpp's LLAMA_MAX_SEQ
_PARTIAL_ONLY = 1  # LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY


@dataclass(frozen=True)
class Snapshot:
    """A state that cannot be cut, with the number of its tokens.

    Attributes
    ----------
    n_tokens : int
        Number of tokens evaluated.
    data : ndarray of uint8
        The whole sequence, or the recurrent part alone where the rest can be cut.
    logits : ndarray of float32
        Of the next token: a recurrent state cannot compute them again.
    """

    n_tokens: int
    data: ByteArray
    logits: Logits


def n_sequences(model: Model, n_parallel: int) -> int:
    """Return the number of sequences that a context needs for a number of branches."""
    own = _PIN + int(memory_kind(model).has_window)
    return min(own + n_parallel, _MOST_SEQUENCES)


class Memory:
    """The cells of one llama.cpp context.

    Parameters
    ----------
    handle : llama_context pointer
    model : Model
    flag : StopFlag
        Stops a decode where the memory can be cut afterwards.
    tally : Tally
        Counts the tokens that are evaluated.

    Attributes
    ----------
    kind : MemoryKind
    decoder : Decoder
        Fills the cells.
    branch_sequences : range
        Sequences that are free for branches.
    floor : int
        Below this position a sliding window that was loaded alone has no cells to go back to.
    """

    def __init__(self, handle: Any, model: Model, flag: StopFlag, tally: Tally) -> None:
        self._handle = handle
        self._memory = llama_cpp.llama_get_memory(handle)
        self._model = model
        self.kind = memory_kind(model)
        self.decoder = Decoder(handle, model, self.kind, flag, tally)
        first = _PIN + int(self.kind.has_window)
        n_sequences = int(llama_cpp.llama_n_seq_max(handle))
        n_branches = min(n_sequences - first, self.decoder.n_batch)
        self.branch_sequences = range(first, first + n_branches)
        self._described: tuple[Structure, Shape] | None = None
        self.floor = 0

    def logits_of_last(self, token: int, n_tokens: int, stop: int | None = None) -> Logits:
        """Return the logits after the last of ``n_tokens``, by decoding it alone.

        A row that was computed in a batch of one comes out the same to the bit, and so do its
        logits. Another row would change, so the stored one is put back, and with it the rows
        behind it, up to ``stop``.
        """
        row = self.rows(n_tokens - 1, n_tokens if stop is None else stop)
        self.cut(n_tokens - 1)
        try:
            logits = self.decoder.decode([token], n_tokens - 1).copy()
            self.cut(n_tokens - 1)
        finally:
            self.append(row)
        return logits

    # -- cut, read and write rows ------------------------------------------------------------

    def cut(self, n_tokens: int) -> None:
        """Drop the cells behind the first ``n_tokens``."""
        if not llama_cpp.llama_memory_seq_rm(self._memory, PATH, n_tokens, -1):
            raise DecodeError(f"this model's memory cannot be cut at {n_tokens}")
        if n_tokens == 0:
            self.floor = 0

    def can_cut(self, n_tokens: int) -> bool:
        """Return whether dropping all but the first ``n_tokens`` leaves cells to continue from."""
        return n_tokens == 0 or (self.kind.can_cut and n_tokens >= self.floor)

    def clear(self) -> None:
        """Drop all cells."""
        # Recurrent memory begins anew by multiplying what is left in a cell by zero, which an
        # infinity outlives: there the bytes are zeroed, too.
        llama_cpp.llama_memory_clear(self._memory, not self.kind.can_cut)
        self.floor = 0

    def rows(self, start: int, stop: int, sequence: int = PATH) -> ByteArray:
        """Return the rows of the tokens ``start`` to ``stop - 1``, sorted by position.

        A branch's rows come in the order of its cells, and with all of its recurrent state.
        """
        if not self.kind.has_readable_window:
            return self._piece(start, stop, sequence)
        # A sliding-window cache writes its last rows only: read it in pieces that fit.
        width = self.kind.window
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

    def append(self, rows: ByteArray, sequence: int = PATH) -> None:
        """Put rows into free cells after the path, or after a branch's cells."""
        self._write(rows, _SCRATCH)
        llama_cpp.llama_memory_seq_cp(self._memory, _SCRATCH, sequence, -1, -1)
        self.drop(_SCRATCH)

    # -- branches ----------------------------------------------------------------------------

    def share(self, sequence: int) -> None:
        """Let a sequence go on from the path; nothing is copied."""
        llama_cpp.llama_memory_seq_cp(self._memory, PATH, sequence, -1, -1)

    def drop(self, sequence: int) -> None:
        """End a sequence: cells that only it had become free."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def pin(self) -> None:
        """Keep the path's cells from being reused while branches are decoded.

        llama.cpp takes cells out of a sliding window's cache that their sequence cannot see any
        more, unless another sequence has them too.
        """
        if self.kind.has_window:
            self.share(_PIN)

    def unpin(self) -> None:
        """Let the path's cells be as they were."""
        if self.kind.has_window:
            self.drop(_PIN)

    def branch_state(self, sequence: int) -> ByteArray:
        """Return the complete state of a branch, in the order of its cells."""
        return self._read(sequence)

    # -- whole states ------------------------------------------------------------------------

    def whole(self, n_tokens: int, *, window_only: bool = False) -> ByteArray:
        """Return the complete state of the path, with all rows of sliding windows if available."""
        kind = self.kind
        has_more = kind.has_readable_window and kind.exceeds_window(n_tokens) and self.floor == 0
        if has_more and not window_only:
            data = self.rows(0, n_tokens)
            if kind.is_hybrid:
                SequenceState(data, self.description[0]).mark_cells(PATH)
            return data
        return self._read(PATH, page_offset(n_tokens))

    def floor_of(self, data: ByteArray, n_tokens: int) -> int:
        """Return the position below which a whole state has no rows of a sliding window.

        Where that is not 0, they would be put elsewhere than they were, which shows in last bits.
        """
        if not self.kind.exceeds_window(n_tokens):
            return 0
        structure, _ = self.description
        return 0 if SequenceState(data, structure).covers(0, n_tokens) else n_tokens

    def replace(self, data: ByteArray) -> None:
        """Make a whole state the path's."""
        self.clear()
        self._write(data, PATH)

    def snapshot(self, n_tokens: int, logits: Logits) -> Snapshot:
        """Keep what cannot be cut."""
        flags = _PARTIAL_ONLY if self.kind.is_hybrid else 0
        size = int(llama_cpp.llama_state_seq_get_size_ext(self._handle, PATH, flags))
        data = np.empty(size, np.uint8)
        if self._get(data, PATH, flags) != size:
            raise DecodeError("llama.cpp did not write the whole snapshot")
        if self.kind.is_hybrid and self.kind.has_window:
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
        if not self.kind.is_hybrid:
            self.replace(snapshot.data)
            return
        # The recurrent part first: only then does the attention part let itself be cut.
        data = snapshot.data
        n = llama_cpp.llama_state_seq_set_data_ext(
            self._handle, _pointer(data), data.size, PATH, _PARTIAL_ONLY
        )
        if n != data.size or not llama_cpp.llama_memory_seq_rm(
            self._memory, PATH, snapshot.n_tokens, -1
        ):
            raise DecodeError(f"llama.cpp refused a snapshot at {snapshot.n_tokens} tokens")

    @property
    def is_described(self) -> bool:
        """Whether the layout is known without a look at the cells."""
        return self._described is not None

    @property
    def description(self) -> tuple[Structure, Shape]:
        """How the memory's state is laid out.

        Learnt from a state that llama.cpp writes: the path's, or that of one token in a scratch
        sequence, whose logits are dropped.
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
        if llama_cpp.llama_memory_seq_pos_max(self._memory, PATH) >= 0:
            return self._read(PATH)
        try:
            self.decoder.decode([0], 0)
            return self._read(PATH)
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
