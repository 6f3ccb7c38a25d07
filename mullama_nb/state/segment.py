"""Segments: the KV rows of a token range, the unit of checkpoints and stores."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ..cached import cached
from .layout import ByteArray, SequenceState, Structure

__all__ = ["Segment"]


@dataclass(frozen=True, eq=False, repr=False)
class Segment:
    """The rows of a range of tokens, and the segment that they follow.

    Attributes
    ----------
    start : int
        Number of preceding tokens.
    tokens : tuple of int
    data : ndarray of uint8
        llama.cpp's state of these cells, in order of position. If ``whole``, the state of the
        complete path.
    settings : str
        Digest of the weights and of the settings that the rows depend on.
    parent : str, optional
        Address of the preceding segment; None at the root.
    whole : bool
        Whether the memory cannot be cut: the data is then the state after all tokens so far.
    logits : ndarray of float32, optional
        Of the next token; only a cache, unless ``whole``.
    adapters : tuple of (int, str)
        Where other adapters begin, and their names as JSON, empty for none; nothing for rows that
        were computed without any.
    """

    start: int
    tokens: tuple[int, ...]
    data: ByteArray
    settings: str
    parent: str | None = None
    whole: bool = False
    logits: npt.NDArray[np.float32] | None = None
    adapters: tuple[tuple[int, str], ...] = ()

    @property
    def stop(self) -> int:
        """The number of tokens up to and including the last one."""
        return self.start + len(self.tokens)

    @property
    def n_bytes(self) -> int:
        """The bytes of the rows and, if kept, the logits."""
        return self.data.nbytes + (0 if self.logits is None else self.logits.nbytes)

    @cached
    def address(self) -> str:
        """The content address: a hash of parent, settings, tokens, rows and adapters.

        Equal tokens do not imply equal segments: other batch sizes give other rows.
        """
        digest = blake3(b"mullama-segment-1")
        for text in (self.parent or "", self.settings):
            digest.update(struct.pack("<Q", len(text)) + text.encode())
        digest.update(struct.pack("<QQ?", self.start, len(self.tokens), self.whole))
        digest.update(np.asarray(self.tokens, "<i4").tobytes())
        digest.update(self.data.data)
        if self.adapters:  # without any it is what it always was
            digest.update(json.dumps(self.adapters).encode())
        return digest.hexdigest(length=16)

    def split(self, n_tokens: int, structure: Structure) -> tuple[Segment, Segment]:
        """Split into the first ``n_tokens`` and the rest; the rows' bytes do not change.

        Parameters
        ----------
        n_tokens : int
            At least 1, and fewer than all.
        structure : Structure
            Structure of the rows' memory.

        Raises
        ------
        ValueError
            When the position is out of range, or the rows cannot be cut.
        """
        if not 0 < n_tokens < len(self.tokens):
            raise ValueError(f"a segment of {len(self.tokens)} tokens cannot be cut at {n_tokens}")
        if self.whole:
            raise ValueError("this memory keeps one state for all tokens; it cannot be cut")
        state = SequenceState(self.data, structure)
        cut = self.start + n_tokens
        head = replace(
            self,
            tokens=self.tokens[:n_tokens],
            data=state.slice(self.start, cut),
            logits=None,
            adapters=tuple(run for run in self.adapters if run[0] < cut),
        )
        tail = replace(
            self,
            start=cut,
            tokens=self.tokens[n_tokens:],
            data=state.slice(cut, self.stop),
            parent=head.address,
            adapters=self._adapters_from(cut),
        )
        return head, tail

    def _adapters_from(self, start: int) -> tuple[tuple[int, str], ...]:
        before = [text for first, text in self.adapters if first <= start]
        begins = ((start, before[-1]),) if before and before[-1] else ()
        return (*begins, *(run for run in self.adapters if run[0] > start))

    def __repr__(self) -> str:
        return f"Segment({self.start}..{self.stop}, {self.n_bytes:,} bytes, {self.address[:8]})"
