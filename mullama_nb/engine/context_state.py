"""What a context is made of and what it holds: tokens, logits, bytes; whom it belongs to."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ContextError, InexactWarning, ParameterError
from ..state.layout import Shape, Structure
from . import compatibility, resting
from .cells import Cells
from .contention import Waiting, waiting
from .live import Live
from .lock import interrupts_held
from .memory import Logits
from .memory_kind import MemoryKind
from .model import Model
from .params import ContextParams
from .path import ActivePath
from .runner import Runner
from .sampler import log_probabilities
from .session import Host, session_metadata
from .warn import warn

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ContextState", "TokenProbability", "warn_inexact"]


@dataclass(frozen=True)
class TokenProbability:
    """What could come next.

    Attributes
    ----------
    id : int
    text : str
        Control tokens are spelt out.
    probability : float
        The model's own, before any sampler.
    """

    id: int
    text: str
    probability: float


class ContextState(Live):
    """A llama.cpp context with its worker thread, and what can be read off it."""

    _instead_of_a_copy = (
        "fork() copies it here; save_session(path) there and load_session(path) take it elsewhere"
    )

    def __init__(
        self, model: Model, params: ContextParams | None = None, *, verbose: bool | None = None
    ) -> None:
        params = params if params is not None else ContextParams()
        if not isinstance(model, Model) or not isinstance(params, ContextParams):
            raise ParameterError(
                "Context takes a Model and ContextParams, such as "
                'Context(Model.load("smollm2"), ContextParams(n_ctx=4096)), '
                f"not {type(model).__name__} and {type(params).__name__}"
            )
        self.model = model
        self.params = params
        self.n_ctx = params.n_ctx or model.n_ctx_train
        shown = model.verbose if verbose is None else verbose
        with interrupts_held():
            self._host = Host(model, params, self.n_ctx)
            # A stream lives on without this object, so the cells go with what both hold.
            cells = Cells(model, params, self.n_ctx, verbose=shown)
            memory = cells.make()
            path = ActivePath(memory, self.n_ctx, params.n_ubatch)
            self._runner = Runner(path, model, cells)
        self._owner: weakref.ref[object] | None = None
        resting.follow(self)

    # -- what it holds -----------------------------------------------------------------------

    def token_count(self) -> int:
        """How many tokens the context holds."""
        self._runner.check_usable()
        return self._runner.n_tokens

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens that the context holds."""
        self._runner.check_usable()
        return self._runner.tokens

    def text(self, *, special: bool = True) -> str:
        """The text that the context holds.

        Parameters
        ----------
        special : bool
            Whether control tokens are written out.
        """
        return self.model.detokenize(self.tokens, special=special)

    @property
    def logits(self) -> Logits:
        """Logits of the next token, float32 of shape ``(n_vocab,)``; a copy.

        Raises
        ------
        ContextError
            When the context is empty.
        """
        return self._runner.call(lambda path: np.array(path.logits))

    def logits_at(self, n_tokens: int) -> Logits:
        """The logits after the first ``n_tokens``, as they were then; the context stays as it is.

        Memory that can be cut copies the rows behind aside and back and decodes one token, some
        milliseconds. Recurrent memory evaluates again from the nearest state that it kept, and
        takes its present state back.

        Parameters
        ----------
        n_tokens : int
            At least 1.

        Returns
        -------
        ndarray of float32, shape (n_vocab,)

        Raises
        ------
        ParameterError
            When the context holds fewer tokens.
        """
        if isinstance(n_tokens, bool) or not isinstance(n_tokens, int):
            raise ParameterError(f"n_tokens={n_tokens!r} must be an integer")

        def work_out(path: ActivePath) -> tuple[Logits, bool]:
            return path.logits_at(n_tokens), not path.looks_back_exactly(n_tokens)

        logits, inexact = self._runner.call(work_out)
        if inexact:
            warn_inexact(f"{n_tokens} tokens were evaluated again for their logits")
        return logits

    def top_tokens(self, k: int = 10, at: int | None = None) -> list[TokenProbability]:
        """The ``k`` likeliest next tokens with the model's own probabilities, likeliest first.

        Parameters
        ----------
        k : int
        at : int, optional
            After so many tokens, as :meth:`logits_at`; None after all.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ParameterError(f"k={k!r} must be 1 or more")
        logs = log_probabilities(self.logits if at is None else self.logits_at(at))
        best = np.argsort(-logs, kind="stable")[:k]
        return [
            TokenProbability(
                int(token),
                self.model.detokenize([int(token)], special=True),
                float(np.exp(logs[token])),
            )
            for token in best
        ]

    def kv_bytes(self) -> int:
        """Bytes of K and V rows, or of recurrent state, that the tokens take."""
        n_tokens = self.token_count()
        if not n_tokens:
            return 0
        structure, shape = self.layout
        return sum(
            tensor.row_bytes * (n_tokens if kind == "kv" else 1)
            for kind, tensors in zip(structure.blocks, shape.blocks, strict=True)
            for tensor in tensors
        )

    @property
    def memory_kind(self) -> MemoryKind:
        """What the model's memory allows: ``"cuttable"``, ``"windowed"`` or ``"snapshot"``."""
        return self._host.kind

    @property
    def waiting(self) -> Waiting:
        """How the threads that compute a token wait for each other at present.

        ``"spinning"``, the fastest, or ``"yielding"`` while other programs need the CPUs;
        ``"as set"`` by ``OMP_WAIT_POLICY`` and its like; ``"unknown"`` where it cannot be switched;
        ``"alone"`` where there is one thread. Results never depend on it.
        """
        return waiting(max(self.params.threads))

    @property
    def layout(self) -> tuple[Structure, Shape]:
        """How the memory's state is laid out."""
        memory = self._runner.path.memory
        if memory.is_described:
            return memory.description
        return self._runner.call(lambda path: path.memory.description)

    @property
    def settings_digest(self) -> str:
        """A short name for the weights and settings that rows depend on."""
        return compatibility.settings_digest(self._host.settings)

    @property
    def session_metadata(self) -> dict[str, Any]:
        """What a session of this context says about itself."""
        return session_metadata(self._host)

    # -- belong ------------------------------------------------------------------------------

    def claim(self, owner: object) -> None:
        """Make the context belong to one owner, such as a checkpoint tree.

        Raises
        ------
        ContextError
            When it belongs to another one that is still alive.
        """
        present = self.owner
        if present is not None and present is not owner:
            raise ContextError(
                f"the context belongs to {present!r} already, and two would undo each other's "
                "work; use that one, or fork() the context"
            )
        self._owner = weakref.ref(owner)

    @property
    def owner(self) -> object | None:
        """Whom the context belongs to, such as a checkpoint tree."""
        return None if self._owner is None else self._owner()

    @property
    def watermark(self) -> int:
        """How many leading tokens have kept their rows since :meth:`mark` was called."""
        return self._runner.path.watermark

    def mark(self) -> None:
        """Let the watermark count from what the context holds now."""
        self._runner.path.mark()

    def in_callback(self) -> bool:
        """Whether this is called by a callback of a running evaluation."""
        return self._runner.in_callback()

    # -- end ---------------------------------------------------------------------------------

    def rest(self) -> bool:
        """Free the cells until the context is used again, when it stands where it stood.

        What the tokens' rows take is kept beside them; that of the cells behind is free.

        Returns
        -------
        bool
            Whether it rests: not while it is at work or a stream is open, and not where memory
            cannot be put back exactly.
        """
        return self._runner.rest()

    @property
    def is_resting(self) -> bool:
        """Whether the cells are free until the context is used again."""
        return self._runner.is_resting

    def close(self) -> None:
        """Free the cells; the weights stay while another context or model uses them."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        kv = self.params.kv_cache_type
        types = kv if isinstance(kv, str) else "/".join(kv)
        return (
            f"Context({self.model.name!r}, {self._runner.n_tokens:,} of {self.n_ctx:,} "
            f"tokens, {types} KV cache)"
        )


def warn_inexact(what: str) -> None:
    """Warn that evaluating again gave rows that may differ in their last bits."""
    warn(
        f"{what}. What follows may differ in its last bits from the uninterrupted run, and with "
        "them now and then in a token",
        InexactWarning,
    )
