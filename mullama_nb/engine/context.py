"""A live context: evaluate, generate, rewind, fork, capture and restore, save and load."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import llama_cpp
import numpy as np

from ..errors import ContextError, InexactWarning, ParameterError, UnverifiedWarning
from ..state.atomic import make_private_folder
from ..state.file import SessionFile, read_session, write_session
from ..state.layout import Shape, Structure
from ..state.segment import Segment
from ..state.session_info import SessionInfo, inspect_session
from . import compatibility
from .branches import Branch, BranchRequest
from .chat_template import Message
from .exploration import Exploration
from .generation import Completion, Limits, Token
from .llama_context import make_llama_context
from .memory import Logits, Memory, MemoryKind
from .model import Model
from .native import StopFlag
from .params import ContextParams, SamplingParams
from .path import ActivePath, Progress
from .prompt import Prompt, plan_prompt, warn_of_history
from .request import Request, Ticket
from .runner import Runner, Stream
from .sampler import log_probabilities
from .scoring import Score, score
from .session import Host, fitted, packed, session_metadata
from .warn import warn
from .worker import interrupts_held

__all__ = ["Context", "TokenProbability"]


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


class Context:
    """One live llama.cpp context: tokens, their KV cells, and the logits of the next token.

    Parameters
    ----------
    model : Model
    params : ContextParams, optional
    verbose : bool, optional
        Whether to show llama.cpp's log; None as the model was loaded.

    Raises
    ------
    ParameterError
        When model and parameters cannot go together.

    Notes
    -----
    Every method may be called from any thread. Evaluating runs on a thread of the context's own,
    one call after the other; rewinding, capturing and restoring run on the caller's thread between
    two tokens, and end what is being generated where it stands. A ``KeyboardInterrupt`` ends a
    generation between two tokens and never leaves anything half done.
    """

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
        abort = StopFlag()
        shown = model.verbose if verbose is None else verbose
        with interrupts_held():
            self._handle = make_llama_context(model, params, self.n_ctx, verbose=shown)
            memory = Memory(self._handle, model, abort)
            path = ActivePath(memory, self.n_ctx, params.n_ubatch)
            self._runner = Runner(path, model, abort)
            # A stream lives on without this object, so the cells go with what both hold.
            self._free = weakref.finalize(
                self._runner, _free, os.getpid(), self._handle, memory, model
            )
        self._owner: weakref.ref[object] | None = None
        self._host = Host(model, params, self.n_ctx, memory.kind, memory.window)

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
            _warn_inexact(f"{n_tokens} tokens were evaluated again for their logits")
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
    def layout(self) -> tuple[Structure, Shape]:
        """How the memory's state is laid out."""
        memory = self._runner.path.memory
        if memory.is_described:
            return memory.description
        return self._runner.call(lambda path: path.memory.description)

    @property
    def settings_digest(self) -> str:
        """A short name for the weights and settings that rows depend on."""
        return compatibility.settings_digest(
            compatibility.settings(self.model, self.params, self.n_ctx)
        )

    # -- evaluate and generate ---------------------------------------------------------------

    def evaluate(
        self,
        prompt: Prompt | None = None,
        *,
        messages: Sequence[Message] | None = None,
        special: bool = True,
        progress: Progress | None = None,
    ) -> int:
        """Evaluate a prompt without generating; all of it or nothing.

        Parameters
        ----------
        prompt : str, ChatPrompt or sequence of int, optional
            More text or tokens; a ``ChatPrompt`` is the whole conversation.
        messages : sequence of mapping, optional
            The whole conversation: what the context holds of it is kept.
        special : bool
            Whether control tokens in a text count as such.
        progress : callable, optional
            Called with tokens evaluated so far and tokens to evaluate, on another thread.

        Returns
        -------
        int
            Tokens that were evaluated.

        Raises
        ------
        ContextFullError
            Before anything is evaluated, when there are too few cells.
        """
        completion = self.generate(prompt, 0, messages=messages, special=special, progress=progress)
        return completion.evaluated

    def generate(
        self,
        prompt: Prompt | None = None,
        max_tokens: int | None = None,
        *,
        messages: Sequence[Message] | None = None,
        stop: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        sampling: SamplingParams | None = None,
        sibling: int = 0,
        special: bool = True,
        progress: Progress | None = None,
        on_token: Callable[[Token], object] | None = None,
        **changes: Any,
    ) -> Completion:
        """Evaluate a prompt and generate behind it.

        Parameters
        ----------
        prompt : str, ChatPrompt or sequence of int, optional
            More text or tokens; a ``ChatPrompt`` is the whole conversation. None goes on.
        max_tokens : int, optional
            None generates to the model's end token or the end of the context.
        messages : sequence of mapping, optional
            The whole conversation: what the context holds of it is kept.
        stop, stop_tokens
            Texts and tokens that end the generation and are not part of it.
        sampling : SamplingParams, optional
        sibling : int
            The ordinal among answers to the same prompt: another one draws other tokens.
        special : bool
            Whether control tokens in a text count as such.
        progress : callable, optional
            Called with tokens of the prompt evaluated so far and to evaluate, on another thread.
        on_token : callable, optional
            Called with each token, on another thread.
        **changes
            Single sampling parameters, such as ``temperature=0``.

        Raises
        ------
        ContextFullError
            Before anything is evaluated, when the prompt does not fit.
        GrammarError
            When the grammar cannot be read, or nothing continues it.
        """
        request = Request(
            prompt,
            messages,
            Limits(max_tokens, stop, stop_tokens),
            (sampling or SamplingParams()).with_changes(**changes),
            sibling,
            special,
            progress,
        )
        warn_of_history(self.model, self._runner.tokens, prompt)
        runner, ticket = self._runner, Ticket()
        return runner.wait(lambda: runner.generate(request, ticket, on_token), ticket)

    def stream(
        self,
        prompt: Prompt | None = None,
        max_tokens: int | None = None,
        *,
        messages: Sequence[Message] | None = None,
        stop: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        sampling: SamplingParams | None = None,
        sibling: int = 0,
        special: bool = True,
        progress: Progress | None = None,
        **changes: Any,
    ) -> Stream:
        """Like :meth:`generate`, token by token.

        Returns
        -------
        Stream
            An iterator of :class:`Token`. Leaving the loop early keeps the tokens that were
            handed out in the context, and no others.
        """
        request = Request(
            prompt,
            messages,
            Limits(max_tokens, stop, stop_tokens),
            (sampling or SamplingParams()).with_changes(**changes),
            sibling,
            special,
            progress,
        )
        warn_of_history(self.model, self._runner.tokens, prompt)
        return Stream(self._runner, request)

    def explore(
        self,
        n: int,
        max_tokens: int | None = None,
        *,
        stop: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        sampling: SamplingParams | None = None,
        first_sibling: int = 0,
        on_token: Callable[[int, Token], object] | None = None,
        **changes: Any,
    ) -> list[Branch]:
        """Several answers to what the context holds, decoded together; the context stays as it is.

        Branches share the rows of what is in front of them. One that was decoded beside others
        differs in the last bits from one that was decoded alone, and with them now and then in a
        token; captured, each goes on exactly: ``restore(branch.segment, keep=token_count())``.

        Parameters
        ----------
        n : int
            How many; ``n_parallel`` of them at a time, and fewer where cells run out.
        max_tokens : int, optional
            Of each branch. None generates to the model's end token or the end of the context.
        stop, stop_tokens
            Texts and tokens that end a branch and are not part of it.
        sampling : SamplingParams, optional
        first_sibling : int
            The ordinal of the first branch; the others follow.
        on_token : callable, optional
            Called with the index of a branch and its token, on another thread.
        **changes
            Single sampling parameters, such as ``temperature=1``.

        Returns
        -------
        list of Branch

        Raises
        ------
        ContextError
            When the context is empty.
        GrammarError
            When the grammar cannot be read, or nothing continues it.
        """
        return self.exploration(
            n,
            max_tokens,
            stop=stop,
            stop_tokens=stop_tokens,
            sampling=sampling,
            first_sibling=first_sibling,
            on_token=on_token,
            **changes,
        ).run()

    def exploration(
        self,
        n: int,
        max_tokens: int | None = None,
        *,
        stop: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        sampling: SamplingParams | None = None,
        first_sibling: int = 0,
        on_token: Callable[[int, Token], object] | None = None,
        **changes: Any,
    ) -> Exploration:
        """:meth:`explore`, made and not yet run.

        Returns
        -------
        Exploration
            Its ``run()`` returns the branches. Should that be interrupted, its ``branches`` are
            what each had by then.
        """
        request = BranchRequest(
            n,
            Limits(max_tokens, stop, stop_tokens),
            (sampling or SamplingParams()).with_changes(**changes),
            first_sibling,
            self.settings_digest,
        )
        return Exploration(self._runner, self.model, request, on_token)

    def score(self, continuation: str | Sequence[int], *, special: bool = False) -> Score:
        """How likely the model finds a continuation; the context stays as it is.

        Parameters
        ----------
        continuation : str or sequence of int
        special : bool
            Whether control tokens in a text count as such.

        Raises
        ------
        ContextError
            When the context is empty, or something else stopped it.
        ContextFullError
            When the continuation does not fit.
        """
        if isinstance(continuation, str):
            tokens = tuple(self.model.tokenize(str(continuation), special=special))
        else:
            tokens = plan_prompt(self.model, (), continuation, None, special=special).tokens
        runner, ticket = self._runner, Ticket()
        found = runner.wait(lambda: runner.look(lambda path: score(path, tokens), ticket), ticket)
        if found is None:
            raise ContextError("the scoring was stopped; the context is as it was")
        return found

    def stop(self) -> None:
        """End what is being evaluated or generated; it returns with what it has so far."""
        self._runner.stop()

    # -- move --------------------------------------------------------------------------------

    def rewind(self, n_tokens: int, *, progress: Progress | None = None) -> int:
        """Keep ``tokens[:n_tokens]``; as in a slice, a negative number counts from the end.

        Memory that can be cut only drops rows. Recurrent memory returns to the nearest state that
        it kept and evaluates from there again.

        Parameters
        ----------
        n_tokens : int
        progress : callable, optional
            Called with tokens evaluated again so far and in all.

        Returns
        -------
        int
            Tokens that had to be evaluated again.

        Raises
        ------
        ParameterError
            When the context holds fewer tokens.
        """
        if isinstance(n_tokens, bool) or not isinstance(n_tokens, int):
            raise ParameterError(f"n_tokens={n_tokens!r} must be an integer")

        with self._runner.moving() as path:
            keep = n_tokens + path.n_tokens if n_tokens < 0 else n_tokens
            inexact = keep > 0 and not path.repeats(keep)
            n_evaluated = path.rewind(keep, progress)
        if inexact:
            _warn_inexact(f"{n_evaluated} tokens were evaluated again to rewind")
        return n_evaluated

    def clear(self) -> None:
        """Drop all tokens."""
        with self._runner.moving() as path:
            path.clear()

    def fork(self) -> Context:
        """A second context on the same weights that stands where this one stands."""
        state = self._runner.call(lambda path: path.whole_state() if path.tokens else None)
        other = Context(self.model, self.params)
        if state is not None:
            with other._runner.moving() as path:
                path.replace(state)
        return other

    def capture(self, start: int = 0, *, parent: str | None = None) -> Segment:
        """The rows of the tokens from ``start`` to the end.

        Parameters
        ----------
        start : int
        parent : str, optional
            Address of the segment that holds the rows in front.

        Raises
        ------
        ContextError
            When there are no tokens behind ``start``.
        """
        settings = self.settings_digest
        with self._runner.held() as path:
            if not 0 <= start < path.n_tokens:
                raise ContextError(
                    f"there are no tokens to capture from {start} on: "
                    f"the context holds {path.n_tokens}"
                )
            return path.capture(start, settings, parent)

    def restore(self, segments: Segment | Sequence[Segment], *, keep: int = 0) -> None:
        """Keep ``keep`` tokens and put captured rows behind them.

        Parameters
        ----------
        segments : Segment or sequence of Segment
            In order, the first one starting at ``keep``.
        keep : int
            Tokens that the rows were captured behind.

        Raises
        ------
        ContextError
            When the segments do not follow each other or belong to other settings.
        """
        chain = [segments] if isinstance(segments, Segment) else list(segments)
        settings, at = self.settings_digest, keep
        for segment in chain:
            if segment.settings != settings:
                raise ContextError(
                    "a segment of another model or other settings cannot be restored here"
                )
            if segment.start != at:
                raise ContextError(
                    f"a segment that starts at token {segment.start} cannot follow {at} tokens"
                )
            at = segment.stop
        with self._runner.moving() as path:
            if not 0 <= keep <= path.n_tokens:
                raise ContextError(f"cannot keep {keep} tokens: the context holds {path.n_tokens}")
            path.room(at - path.n_tokens)
            whole = bool(chain) and chain[-1].whole
            inexact = keep > 0 and not whole and not path.repeats(keep)
            path.restore(chain, keep)
        if inexact:
            _warn_inexact(f"{keep} tokens were evaluated again to restore behind them")

    # -- sessions ----------------------------------------------------------------------------

    def save_session(
        self, path: str | os.PathLike[str], *, include_logits: bool = True
    ) -> SessionInfo:
        """Save the context to a file from which it goes on exactly.

        The file is a ``ggsq`` file of llama.cpp with a trailer that llama.cpp ignores. It appears
        whole or not at all; what was there before stays until then. Its owner alone can read it.

        Parameters
        ----------
        path : str or path
            Missing folders are made.
        include_logits : bool
            Whether to put the next token's logits in, ``4 * n_vocab`` bytes. Without them the last
            token is decoded again when they are needed, with the same result to the bit.

        Raises
        ------
        ContextError
            When the context is empty.
        SessionWriteError
            When the file cannot be written.
        """
        path = Path(path).expanduser()
        structure, _ = self.layout

        state = self._runner.call(lambda path: path.whole_state(include_logits=include_logits))
        make_private_folder(path.parent)
        write_session(path, packed(self._host, structure, state))
        with interrupts_held():
            return inspect_session(path)

    def load_session(self, path: str | os.PathLike[str]) -> SessionInfo:
        """Continue where a saved session was.

        Every byte is checked before llama.cpp sees it. When anything is wrong the context stays as
        it was.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        SessionInfo

        Raises
        ------
        SessionNotFoundError
            When there is no such file.
        SessionFormatError
            When the file is damaged or no session.
        SessionMismatchError
            When it belongs to another model or other settings, or needs more cells.

        Warns
        -----
        InexactWarning
            When it was saved by another build of llama.cpp, CPU or number of threads.
        UnverifiedWarning
            When llama.cpp wrote it: it does not say which model it belongs to.
        """
        path = Path(path).expanduser()
        with interrupts_held():  # one that came between open and close would leave a file open
            session, info = read_session(path), inspect_session(path)
        self.take_session(session, path.name)
        return info

    def take_session(self, session: SessionFile, name: str) -> None:
        """Continue where a session was that was read already; as :meth:`load_session` otherwise.

        Parameters
        ----------
        session : SessionFile
        name : str
            What errors and warnings call it.
        """
        structure, shape = self.layout
        fit = fitted(session, self._host, structure, shape, name)
        with self._runner.moving() as moved:
            moved.replace(fit.state)
        if fit.unverified:
            warn(
                f"{name} was not written by mullama_nb: that it belongs to "
                f"{self.model.name!r} could not be verified",
                UnverifiedWarning,
            )
        if fit.inexact:
            _warn_inexact(f"{name} was saved elsewhere: {'; '.join(fit.inexact)}")

    @property
    def session_metadata(self) -> dict[str, Any]:
        """What a session of this context says about itself."""
        return session_metadata(self._host)

    # -- async forms -------------------------------------------------------------------------

    async def aevaluate(self, prompt: Prompt | None = None, **options: Any) -> int:
        """:meth:`evaluate` for asyncio."""
        return (await self.agenerate(prompt, 0, **options)).evaluated

    async def agenerate(
        self,
        prompt: Prompt | None = None,
        max_tokens: int | None = None,
        *,
        on_token: Callable[[Token], object] | None = None,
        **options: Any,
    ) -> Completion:
        """:meth:`generate` for asyncio; cancelling it ends the generation."""
        request = self.stream(prompt, max_tokens, **options).request
        runner, ticket = self._runner, Ticket()
        return await runner.await_(lambda: runner.generate(request, ticket, on_token), ticket)

    def astream(
        self, prompt: Prompt | None = None, max_tokens: int | None = None, **options: Any
    ) -> Stream:
        """:meth:`stream` for ``async for``."""
        return self.stream(prompt, max_tokens, **options)

    async def asave_session(
        self, path: str | os.PathLike[str], *, include_logits: bool = True
    ) -> SessionInfo:
        """:meth:`save_session` for asyncio."""
        return await asyncio.to_thread(self.save_session, path, include_logits=include_logits)

    async def aload_session(self, path: str | os.PathLike[str]) -> SessionInfo:
        """:meth:`load_session` for asyncio."""
        return await asyncio.to_thread(self.load_session, path)

    # -- belong ------------------------------------------------------------------------------

    def claim(self, owner: object) -> None:
        """Make the context belong to one owner, such as a checkpoint tree.

        Raises
        ------
        ContextError
            When it belongs to another one that is still alive.
        """
        present = None if self._owner is None else self._owner()
        if present is not None and present is not owner:
            raise ContextError(
                f"the context belongs to {present!r} already, and two would undo each other's "
                "work; use that one, or fork() the context"
            )
        self._owner = weakref.ref(owner)

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

    def close(self) -> None:
        """Free the cells; the weights stay while another context or model uses them."""
        self._runner.close()
        self._free()

    def __enter__(self) -> Context:
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


def _free(process: int, handle: Any, memory: Memory, _model: Model) -> None:
    """The weights are an argument so that they outlive the cells."""
    if os.getpid() == process:  # a fork has llama.cpp's locks without its threads
        memory.close()
        llama_cpp.llama_free(handle)


def _warn_inexact(what: str) -> None:
    warn(
        f"{what}. What follows may differ in its last bits from the uninterrupted run, and with "
        "them now and then in a token",
        InexactWarning,
    )
