"""A live context: evaluate, generate, rewind, fork, capture and restore, save and load."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..checks import check_integer, check_list
from ..errors import ContextError, ParameterError
from ..state.file import SessionFile
from ..state.layout import Shape, Structure
from ..state.segment import Segment
from ..state.session_info import SessionInfo
from ..tables import html_card
from . import resting, session
from .adapters.loaded import KnownAdapters, LoadedAdapters
from .adapters.values import Adapter
from .answers.format import AnswerFormat
from .branches import Branch, BranchRequest
from .cells import Cells
from .completion import Completion, Limits, Token
from .continuations import Continuations, Reach, continuations
from .decoder import Logits
from .exploration import Exploration
from .inside.look import Lens, Look
from .live import Live
from .memory_kind import MemoryKind
from .model import Model
from .options import SamplingOptions, lists_options, takes_what
from .params import ContextParams
from .path import ActivePath, Progress
from .prompt import Prompt, check_prompt, plan_prompt, warn_of_history
from .request import Request, warn_of_budget
from .rotation import VARIABLE
from .sampling.params import SamplingParams
from .sampling.probability import TokenProbability, likeliest
from .scheduler import Scheduler
from .scoring import Score, score
from .stream import Run, Stream
from .tally import Tally
from .templates.template import Message
from .threads.awaiting import in_thread
from .threads.contention import Waiting, waiting
from .threads.lock import CancelToken, interrupts_held
from .warn import warn_inexact

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["Context", "TokenProbability"]

T = TypeVar("T")

_lists_sampling = lists_options(SamplingOptions, vars(SamplingParams()))


class Context(Live):
    """One live llama.cpp context: tokens, their KV cells, and the logits of the next token.

    Parameters
    ----------
    model : Model
    params : ContextParams, optional
    adapters : sequence of LoRA and ControlVector
        What is on from the first token; see :attr:`adapters`.
    verbose : bool, optional
        Whether to show llama.cpp's log. None: as for the model.

    Raises
    ------
    ParameterError
        When model and parameters do not fit together.
    AdapterError
        When an adapter does not fit the model.

    Notes
    -----
    Every method may be called from any thread. Evaluation runs on a thread of the context's own,
    one call at a time; rewinding, capturing and restoring run on the caller's thread between two
    tokens and end a running generation there. A ``KeyboardInterrupt`` ends a generation between two
    tokens and never leaves anything half done.
    """

    _instead_of_a_copy = (
        "fork() copies it here; save_session(path) there and load_session(path) take it elsewhere. "
        "chat.explore(executor=...) decodes in other processes, which have contexts of their own"
    )

    def __init__(
        self,
        model: Model,
        params: ContextParams | None = None,
        *,
        adapters: Sequence[Adapter] = (),
        verbose: bool | None = None,
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
            self._host = session.Host(model, params, self.n_ctx)
            loaded = self._host.adapters.load(adapters)
            # A stream lives on without this object, so the cells go with what both hold.
            cells = Cells(model, params, self.n_ctx, verbose=shown)
            path = ActivePath(cells.make(), self.n_ctx, params.n_ubatch)
            path.switch_adapters(loaded)
            self._scheduler = Scheduler(path, cells)
            self._lens = Lens(
                *(model, params, self.n_ctx, self._scheduler), cells.abort, cells.tally
            )
            self._tally = cells.tally
        self._owner: weakref.ref[object] | None = None
        resting.follow(self)

    # -- look --------------------------------------------------------------------------------

    def token_count(self) -> int:
        """Return the number of tokens in the context."""
        self._scheduler.check_usable()
        return self._scheduler.n_tokens

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens in the context."""
        self._scheduler.check_usable()
        return self._scheduler.tokens

    def text(self, *, special: bool = True) -> str:
        """Return the context's text; ``special`` says whether to write control tokens out."""
        return self.model.detokenize(self.tokens, special=special)

    @property
    def logits(self) -> Logits:
        """Logits of the next token, float32 of shape ``(n_vocab,)``; a copy.

        Raises
        ------
        ContextError
            When the context is empty.
        """
        return self._scheduler.call(lambda path: np.array(path.logits))

    def logits_at(self, n_tokens: int) -> Logits:
        """Return the logits after the first ``n_tokens``, as they were; the context is unchanged.

        Memory that can be cut sets later rows aside and decodes one token, some milliseconds.
        Recurrent memory evaluates again from the nearest kept state and then restores its present
        one.

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
        n_tokens = check_integer("n_tokens", n_tokens)
        logits, exact = self._scheduler.call(
            lambda path: (path.logits_at(n_tokens), path.looks_back_exactly(n_tokens))
        )
        if not exact:
            warn_inexact(f"{n_tokens} tokens were evaluated again for their logits")
        return logits

    def top_tokens(self, k: int = 10, at: int | None = None) -> list[TokenProbability]:
        """Return the ``k`` likeliest next tokens with the model's own probabilities, in order.

        Parameters
        ----------
        k : int
        at : int, optional
            After this many tokens, as in :meth:`logits_at`. None: after all.
        """
        k = check_integer("k", k, 1)
        return likeliest(self.logits if at is None else self.logits_at(at), k, self.model)

    def look(self, position: int | None = None) -> Look:
        """Return where a token looked, and what each layer made of it; the context is unchanged.

        The token is decoded again in a second context on the same weights, which is made at the
        first look and freed when this one is closed or rests. It holds cells for the tokens up to
        this one, in multiples of 512, and what llama.cpp computes a batch in. Memory that cannot
        be cut is evaluated again from the nearest kept state before the token.

        Parameters
        ----------
        position : int, optional
            Of a token in :attr:`tokens`; as in a list, a negative one counts from the end. None:
            the last token.

        Raises
        ------
        ContextError
            When the context is empty, memory is short, something else stopped the look, or the
            model's graph is of a kind that cannot be looked into; the message says which.
        ParameterError
            When there is no token at the position.

        Warns
        -----
        InexactWarning
            When it is not known how the tokens came about, and they were evaluated in another way.
        """
        if position is not None:
            position = check_integer("position", position)
        look, is_exact = self._lens.look(position)
        if not is_exact:
            warn_inexact(f"{look.position + 1} tokens were evaluated again for a look")
        return look

    def kv_bytes(self) -> int:
        """Return the bytes of K and V rows, or of recurrent state, that the tokens take."""
        n_tokens = self.token_count()
        return session.kv_bytes(*self.layout, n_tokens) if n_tokens else 0

    @property
    def memory_kind(self) -> MemoryKind:
        """What the model's memory allows: ``"cuttable"``, ``"windowed"`` or ``"snapshot"``."""
        return self._host.kind

    @property
    def waiting(self) -> Waiting:
        """How the threads that compute a token currently wait for each other.

        ``"spinning"``, the fastest, or ``"yielding"`` while other programs need the CPUs;
        ``"as set"`` by ``OMP_WAIT_POLICY`` or similar; ``"unknown"`` where it cannot be switched;
        ``"alone"`` with a single thread. Results never depend on it.
        """
        return waiting(max(self.params.threads))

    @property
    def layout(self) -> tuple[Structure, Shape]:
        """The layout of the memory's state."""
        return session.layout_of(self._scheduler)

    @property
    def settings_digest(self) -> str:
        """A digest of the weights and settings that rows depend on."""
        return self._host.settings_digest

    @property
    def session_metadata(self) -> dict[str, Any]:
        """The metadata that a session file of this context carries."""
        path = self._scheduler.path
        return session.session_metadata(self._host, path.adapters, path.n_tokens)

    # -- adapters ----------------------------------------------------------------------------

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The LoRAs and control vectors that the next token is evaluated with.

        Setting them ends what is being generated. They apply from the next token on: the rows and
        logits up to here stay as they are, and going back there gives the same ones again. An
        adapter with scale 0 is the same as none.

        Raises
        ------
        AdapterError
            When one does not fit the model.
        ContextError
            When a chat or tree has not noted the latest tokens yet.
        """
        return self._scheduler.path.adapters.on.values

    @adapters.setter
    def adapters(self, values: Sequence[Adapter]) -> None:
        self._switch(self._host.adapters.load(values))

    def _switch(self, adapters: LoadedAdapters) -> None:
        if adapters.text == self._scheduler.path.adapters.on.text:
            return
        with self._scheduler.moving() as path:
            if self.owner is not None and path.n_tokens > path.watermark:
                raise ContextError(
                    f"{self.owner!r} has not noted the last {path.n_tokens - path.watermark} "
                    "tokens of this context yet: set its adapters instead, which does that first"
                )
            path.switch_adapters(adapters)

    @property
    def known_adapters(self) -> KnownAdapters:
        """The adapters that this context was ever given, to switch to what a session names."""
        return self._host.adapters

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
            The whole conversation; the part already in the context is kept.
        special : bool
            Whether to parse control tokens in a text.
        progress : callable, optional
            Called with the tokens evaluated so far and the total, on another thread.

        Returns
        -------
        int
            Number of tokens evaluated.

        Raises
        ------
        ContextFullError
            Before anything is evaluated, when there are too few cells.
        """
        completion = self.generate(prompt, 0, messages=messages, special=special, progress=progress)
        return completion.evaluated

    @_lists_sampling
    def generate(
        self,
        prompt: Prompt | None = None,
        max_tokens: int | None = None,
        *,
        messages: Sequence[Message] | None = None,
        stop: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        reasoning_budget: int | None = None,
        sampling: SamplingParams | None = None,
        sibling: int = 0,
        sampler_state: Sequence[float] | None = None,
        special: bool = True,
        progress: Progress | None = None,
        on_token: Callable[[Token], object] | None = None,
        answer_format: AnswerFormat | None = None,
        n_said: int = 0,
        **changes: Unpack[SamplingOptions],
    ) -> Completion:
        """Evaluate a prompt and generate a continuation.

        Parameters
        ----------
        prompt, messages, special, progress
            As for :meth:`evaluate`. Without a prompt, generation continues from the current
            position.
        max_tokens : int, optional
            None: until the model's end token, or until the context is full.
        stop, stop_tokens
            Texts and tokens that end generation; they are not part of the result.
        reasoning_budget : int, optional
            Tokens after which a thought is ended by its closing mark; 0: at once.
        sampling : SamplingParams, optional
        sibling : int
            Ordinal among answers to the same prompt; a different one draws different tokens.
        sampler_state : sequence of float, optional
            The last of ``Completion.sampler_states``, where an answer with Mirostat or adaptive-p
            is continued. None: as at the beginning of an answer.
        on_token : callable, optional
            Called with each token, on another thread.
        answer_format : AnswerFormat, optional
            How thoughts and calls are marked. None: as the model's chat template shows.
        n_said : int
            How many tokens at the end of the context are the beginning of the answer.
        **changes
            Single sampling parameters, such as ``temperature=0``. A grammar or JSON schema begins
            behind the thought, where the chat template knows thoughts.

        Raises
        ------
        ContextFullError
            Before anything is evaluated, when the prompt does not fit.
        GrammarError
            When the grammar cannot be parsed, or no token continues it.
        """
        request = Request(
            prompt,
            messages,
            Limits(max_tokens, stop, stop_tokens, reasoning_budget),
            (sampling or SamplingParams()).with_changes(**changes),
            sibling,
            special,
            progress,
            sampler_state,
            answer_format,
            n_said,
        )
        check_prompt(self.model, prompt, messages)
        warn_of_history(self.model, self._scheduler.tokens, prompt)
        warn_of_budget(self.model, answer_format, [request.limits])
        run = Run(self._scheduler, self.model, request)
        return self._scheduler.wait(lambda: run.to_end(on_token), run.cancel)

    @_lists_sampling
    def stream(
        self,
        prompt: Prompt | None = None,
        max_tokens: int | None = None,
        *,
        messages: Sequence[Message] | None = None,
        stop: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        reasoning_budget: int | None = None,
        sampling: SamplingParams | None = None,
        sibling: int = 0,
        sampler_state: Sequence[float] | None = None,
        special: bool = True,
        progress: Progress | None = None,
        answer_format: AnswerFormat | None = None,
        n_said: int = 0,
        **changes: Unpack[SamplingOptions],
    ) -> Stream:
        """Generate like :meth:`generate`, token by token.

        Returns
        -------
        Stream
            An iterator of :class:`Token`. Leaving the loop early keeps the tokens that were
            handed out in the context, and no others.
        """
        request = Request(
            prompt,
            messages,
            Limits(max_tokens, stop, stop_tokens, reasoning_budget),
            (sampling or SamplingParams()).with_changes(**changes),
            sibling,
            special,
            progress,
            sampler_state,
            answer_format,
            n_said,
        )
        check_prompt(self.model, prompt, messages)
        warn_of_history(self.model, self._scheduler.tokens, prompt)
        warn_of_budget(self.model, answer_format, [request.limits])
        return Stream(self._scheduler, self.model, request)

    @_lists_sampling
    def explore(
        self,
        n: int,
        max_tokens: int | None = None,
        *,
        stop: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        reasoning_budget: int | None = None,
        sampling: SamplingParams | None = None,
        first_sibling: int = 0,
        exact: bool = False,
        on_token: Callable[[int, Token], object] | None = None,
        answer_format: AnswerFormat | None = None,
        n_said: int = 0,
        **changes: Unpack[SamplingOptions],
    ) -> list[Branch]:
        """Generate several continuations, decoded together; the context is unchanged.

        Branches share the rows of the common prefix. A branch decoded in a batch with others
        differs in the last bits, and so now and then in a token, from one decoded alone or with
        fewer; ``exact`` decodes them one by one. Either way each can be continued exactly:
        ``restore(branch.segment, keep=token_count())``.

        Parameters
        ----------
        n : int
            Number of branches; ``n_parallel`` are decoded at a time, fewer when cells run out.
        max_tokens, stop, stop_tokens, reasoning_budget, sampling, answer_format, n_said, **changes
            As for :meth:`generate`, for each branch.
        first_sibling : int
            Ordinal of the first branch; the others follow.
        exact : bool
            Whether each branch equals, to the bit, what :meth:`generate` gives for its ordinal,
            whatever ``n_parallel`` is. Takes about twice as long: branches are decoded one by one.
        on_token : callable, optional
            Called with the index of a branch and its token, on another thread.

        Raises
        ------
        ContextError
            When the context is empty.
        GrammarError
            When the grammar cannot be parsed, or no token continues it.
        """
        return self.exploration(
            n,
            max_tokens,
            stop=stop,
            stop_tokens=stop_tokens,
            reasoning_budget=reasoning_budget,
            sampling=sampling,
            first_sibling=first_sibling,
            exact=exact,
            on_token=on_token,
            answer_format=answer_format,
            n_said=n_said,
            **changes,
        ).run()

    @_lists_sampling
    def exploration(
        self,
        n: int,
        max_tokens: int | None = None,
        *,
        stop: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        reasoning_budget: int | None = None,
        sampling: SamplingParams | None = None,
        first_sibling: int = 0,
        exact: bool = False,
        each: Sequence[tuple[SamplingParams, Limits]] = (),
        on_token: Callable[[int, Token], object] | None = None,
        answer_format: AnswerFormat | None = None,
        n_said: int = 0,
        on_logits: Callable[[int, int, Logits], object] | None = None,
        **changes: Unpack[SamplingOptions],
    ) -> Exploration:
        """Prepare :meth:`explore` without running it.

        Parameters
        ----------
        n, max_tokens, stop, stop_tokens, sampling, first_sibling, exact, on_token, **changes
            As for :meth:`explore`.
        each : sequence of (SamplingParams, Limits)
            Those of each branch, in place of the common ones.
        on_logits : callable, optional
            Called with the index of a branch, the number of tokens in front, and the logits that
            the next one is chosen from: a view, valid during the call, on another thread.

        Returns
        -------
        Exploration
            Its ``run()`` returns the branches. After an interrupt, ``branches`` holds them as they
            were by then.
        """
        request = BranchRequest(
            n,
            Limits(max_tokens, stop, stop_tokens, reasoning_budget),
            (sampling or SamplingParams()).with_changes(**changes),
            first_sibling,
            self.settings_digest,
            exact,
            answer_format or self.model.answer_format,
            each,
            n_said,
            on_logits,
        )
        warn_of_budget(self.model, answer_format, [limits for _, limits in request.each])
        return Exploration(self._scheduler, self.model, request, on_token)

    def score(self, continuation: str | Sequence[int], *, special: bool = False) -> Score:
        """Return how likely the model finds a continuation; the context is unchanged.

        Parameters
        ----------
        continuation : str or sequence of int
        special : bool
            Whether to parse control tokens in a text.

        Raises
        ------
        ContextError
            When the context is empty, or something else stopped it.
        ContextFullError
            When the continuation does not fit.
        """
        tokens = self._tokens_of(continuation, special=special)
        return self._look(lambda path: score(path, tokens), "the scoring")

    def score_held(self, start: int = 1, stop: int | None = None) -> Score:
        """Return how likely the model finds tokens that it holds; the context is unchanged.

        They are evaluated again in batches, so that the last digits may differ from when they were
        generated.

        Parameters
        ----------
        start : int
            At least 1: nothing says how likely the first token is.
        stop : int, optional
            None: up to the last.

        Raises
        ------
        ParameterError
            When the context does not hold these tokens.
        ContextError
            When something else stopped it.
        """
        n_held = self.token_count()
        start = check_integer("start", start, 1, max(1, n_held))
        stop = n_held if stop is None else check_integer("stop", stop, start, max(start, n_held))

        def job(path: ActivePath) -> Score:
            return score(path, path.tokens[start:stop], start)

        return self._look(job, "the scoring", start)

    def continuations(
        self,
        depth: int = 4,
        *,
        min_p: float = 0.05,
        width: int = 6,
        at: int | None = None,
        after: str | Sequence[int] = (),
    ) -> Continuations:
        """Return the tree of likely continuations; the context is unchanged.

        Up to ``n_parallel`` tokens are evaluated in one batch, over the rows that the context
        holds. Probabilities differ in their last digits from those of tokens evaluated alone.

        Parameters
        ----------
        depth : int
            Tokens of the longest branch, 1 to 64.
        min_p : float
            The least probability of a token, after the tokens before it, to be in the tree. Unlike
            the sampling parameter it is not relative to the likeliest token.
        width : int
            The most children of one token. Up to ``width ** (depth - 1)`` tokens are evaluated.
        at : int, optional
            After this many tokens, as in :meth:`logits_at`. None: after all.
        after : str or sequence of int
            What is said between them and the tree; it is evaluated beside the context, too.

        Raises
        ------
        ContextError
            When the context is empty, or something else stopped it.
        ContextFullError
            When fewer than ``depth - 1`` cells are free, besides those for ``after``.
        """
        reach = Reach(depth, min_p, width)
        at = None if at is None else check_integer("at", at)
        tokens = self._tokens_of(after)

        def job(path: ActivePath) -> Continuations:
            return continuations(path, self.model, reach, at, tokens)

        return self._look(job, "the look ahead", at)

    def _tokens_of(
        self, continuation: str | Sequence[int], *, special: bool = False
    ) -> Sequence[int]:
        if isinstance(continuation, str):
            return tuple(self.model.tokenize(str(continuation), special=special))
        return plan_prompt(self.model, (), continuation, None, special=special).tokens

    def _look(self, job: Callable[[ActivePath], T], what: str, at: int | None = None) -> T:
        """Run a long job that leaves the path as it is, after so many of its tokens."""
        scheduler, cancel = self._scheduler, CancelToken()
        exact = True

        def look(path: ActivePath) -> T:
            nonlocal exact
            found = job(path)
            exact = at is None or path.is_left_exactly(at)
            return found

        found = scheduler.wait(lambda: scheduler.look(look, cancel), cancel)
        if found is None:
            raise ContextError(f"{what} was stopped; the context is as it was")
        if not exact:
            warn_inexact(f"{at} tokens were evaluated again to look at what follows them")
        return found

    def stop(self) -> None:
        """Stop the running evaluation or generation; it returns what it has so far."""
        self._scheduler.stop()

    @takes_what(evaluate)
    async def aevaluate(self, prompt: Prompt | None = None, **options: Any) -> int:
        """:meth:`evaluate` for asyncio."""
        return (await self.agenerate(prompt, 0, **options)).evaluated

    @takes_what(generate)
    async def agenerate(
        self, *values: Any, on_token: Callable[[Token], object] | None = None, **options: Any
    ) -> Completion:
        """:meth:`generate` for asyncio; cancelling it ends the generation."""
        run = Run(self._scheduler, self.model, self.stream(*values, **options).request)
        return await self._scheduler.await_(lambda: run.to_end(on_token), run.cancel)

    @takes_what(stream)
    def astream(self, *values: Any, **options: Any) -> Stream:
        """:meth:`stream` for ``async for``."""
        return self.stream(*values, **options)

    # -- move --------------------------------------------------------------------------------

    def rewind(self, n_tokens: int, *, progress: Progress | None = None) -> int:
        """Keep ``tokens[:n_tokens]``; as in a slice, a negative number counts from the end.

        Memory that can be cut only drops rows. Recurrent memory returns to the nearest kept state
        and evaluates again from there.

        Parameters
        ----------
        n_tokens : int
        progress : callable, optional
            Called with the tokens evaluated again so far and the total.

        Returns
        -------
        int
            Number of tokens that had to be evaluated again.

        Raises
        ------
        ParameterError
            When the context holds fewer tokens.
        """
        n_tokens = check_integer("n_tokens", n_tokens)
        with self._scheduler.moving() as path:
            keep = n_tokens + path.n_tokens if n_tokens < 0 else n_tokens
            inexact = keep > 0 and not path.repeats(keep)
            n_evaluated = path.rewind(keep, progress)
        if inexact:
            warn_inexact(f"{n_evaluated} tokens were evaluated again to rewind")
        return n_evaluated

    def clear(self) -> None:
        """Drop all tokens."""
        with self._scheduler.moving() as path:
            path.clear()

    def fork(self) -> Context:
        """Return a second context on the same weights with the same state.

        Raises
        ------
        ContextError
            When a context made now would give the rows another meaning.

        Warns
        -----
        InexactWarning
            When this context holds only the last rows of a sliding window.
        """
        state = self._scheduler.call(lambda path: path.whole_state() if path.tokens else None)
        other = Context(self.model, self.params, adapters=self.adapters)
        other.known_adapters.offer(self.known_adapters.at_hand)
        if state is not None:
            if other.settings_digest != self.settings_digest:
                other.close()
                raise ContextError(
                    "the environment is not what it was when this context was made: rows of a "
                    f"context that is made now would mean something else. Set {VARIABLE} as it was"
                )
            with other._scheduler.moving() as path:
                path.replace(state)
            if state.floor:
                warn_inexact("a fork takes over only the last rows of the sliding window")
        return other

    def capture(self, start: int = 0, *, parent: str | None = None) -> Segment:
        """Return the rows of the tokens from ``start`` to the end.

        Parameters
        ----------
        start : int
        parent : str, optional
            Address of the segment with the preceding rows.

        Raises
        ------
        ContextError
            When there are no tokens after ``start``.
        """
        settings = self.settings_digest
        with self._scheduler.held() as path:
            if not 0 <= start < path.n_tokens:
                raise ContextError(
                    f"there are no tokens to capture from {start} on: "
                    f"the context holds {path.n_tokens}"
                )
            return path.capture(start, settings, parent)

    def restore(self, segments: Segment | Sequence[Segment], *, keep: int = 0) -> int:
        """Keep the first ``keep`` tokens and append captured rows.

        Parameters
        ----------
        segments : Segment or sequence of Segment
            In order, the first one starting at ``keep``.
        keep : int
            Number of tokens that preceded the rows when they were captured.

        Returns
        -------
        int
            Number of kept tokens that had to be evaluated again, as in :meth:`rewind`.

        Raises
        ------
        ContextError
            When the segments are not consecutive or belong to other settings.
        ParameterError
            When they are no segments.
        """
        if isinstance(segments, Segment):
            segments = [segments]
        chain: list[Segment] = check_list("segments", segments, "segments")
        stop = session.check_chain(chain, keep, self.settings_digest)
        with self._scheduler.moving() as path:
            if not 0 <= keep <= path.n_tokens:
                raise ContextError(f"cannot keep {keep} tokens: the context holds {path.n_tokens}")
            path.room(stop - path.n_tokens)
            whole = bool(chain) and chain[-1].whole
            inexact = keep > 0 and not whole and not path.repeats(keep)
            n_evaluated = path.restore(chain, keep, self._host.adapters.saved)
            lacks_rows = whole and path.memory.floor > 0
        if lacks_rows:
            warn_inexact("only the last rows of the sliding window were restored")
        if inexact:
            warn_inexact(f"{keep} tokens were evaluated again to restore behind them")
        return n_evaluated

    # -- sessions ----------------------------------------------------------------------------

    def save_session(
        self,
        path: str | os.PathLike[str],
        *,
        include_logits: bool = True,
        window_only: bool = False,
    ) -> SessionInfo:
        """Save the context to a file from which it can be continued exactly.

        The file is a ``ggsq`` file of llama.cpp with a trailer that llama.cpp ignores. It is
        replaced atomically, and readable by its owner only.

        Parameters
        ----------
        path : str or path
            Missing folders are created.
        include_logits : bool
            Whether to store the next token's logits, ``4 * n_vocab`` bytes. Without them the last
            token is decoded again when needed, with the same result to the bit.
        window_only : bool
            Whether to leave out rows outside a model's sliding window. A llama-server without
            ``--swa-full`` takes no others; here such a file continues, but not exactly, and cannot
            be rewound.

        Raises
        ------
        ContextError
            When the context is empty.
        SessionWriteError
            When the file cannot be written.
        """
        path, scheduler = Path(path).expanduser(), self._scheduler
        return session.save(
            scheduler, self._host, path, include_logits=include_logits, window_only=window_only
        )

    def load_session(
        self, path: str | os.PathLike[str], *, adapters: Iterable[Adapter] = ()
    ) -> SessionInfo:
        """Restore a saved session, with the adapters that were on.

        Every byte is checked before llama.cpp sees it. On any error the context is unchanged.

        Parameters
        ----------
        path : str or path
        adapters : sequence of LoRA and ControlVector
            To have at hand for what it was made with, besides those that this context ever had.

        Raises
        ------
        SessionNotFoundError
            When there is no such file.
        SessionFormatError
            When the file is damaged or not a session.
        SessionMismatchError
            When it belongs to another model or other settings, or needs more cells.

        Warns
        -----
        InexactWarning
            When it was saved with another build of llama.cpp, CPU or number of threads, or with
            only the last rows of a sliding window.
        UnverifiedWarning
            When llama.cpp wrote it: it does not say which model it belongs to.
        """
        self.known_adapters.offer(adapters)
        return session.load(self._scheduler, self._host, Path(path).expanduser())

    def take_session(self, file: SessionFile, name: str) -> None:
        """Restore a session that was read already; otherwise as :meth:`load_session`.

        Parameters
        ----------
        file : SessionFile
        name : str
            Its name in errors and warnings.
        """
        session.take_over(self._scheduler, self._host, file, name)

    async def asave_session(
        self,
        path: str | os.PathLike[str],
        *,
        include_logits: bool = True,
        window_only: bool = False,
    ) -> SessionInfo:
        """:meth:`save_session` for asyncio; a cancelled call leaves the whole file or none."""
        return await in_thread(
            lambda: self.save_session(path, include_logits=include_logits, window_only=window_only)
        )

    async def aload_session(
        self, path: str | os.PathLike[str], *, adapters: Iterable[Adapter] = ()
    ) -> SessionInfo:
        """:meth:`load_session` for asyncio."""
        return await in_thread(lambda: self.load_session(path, adapters=adapters))

    # -- belong ------------------------------------------------------------------------------

    def claim(self, owner: object) -> None:
        """Give the context an owner, such as a checkpoint tree.

        Raises
        ------
        ContextError
            When it has another owner that is still alive.
        """
        present = self.owner
        if present is not None and present is not owner:
            raise ContextError(
                f"the context belongs to {present!r} already, and two would undo each other's "
                "work; use that one, or fork() the context"
            )
        self._owner = weakref.ref(owner)

    def release(self) -> None:
        """Take the context from its owner, which must not be used any more."""
        self._owner = None

    @property
    def owner(self) -> object | None:
        """The context's owner, such as a checkpoint tree."""
        return None if self._owner is None else self._owner()

    @property
    def watermark(self) -> int:
        """The number of leading tokens whose rows are unchanged since :meth:`mark`."""
        return self._scheduler.path.watermark

    @property
    def tally(self) -> Tally:
        """How many tokens were evaluated since the context was made."""
        return self._tally

    def mark(self) -> None:
        """Set the watermark to the tokens that the context holds now."""
        self._scheduler.path.mark()

    def in_callback(self) -> bool:
        """Return whether the caller is a callback of a running evaluation."""
        return self._scheduler.in_callback()

    # -- rest and end ------------------------------------------------------------------------

    def rest(self) -> bool:
        """Free the cells until the context is used again; its state is then restored.

        The tokens' rows are kept in memory; the unused cells take none.

        Returns
        -------
        bool
            Whether it rests. It does not while it is busy or a stream is open, or where its memory
            cannot be restored exactly.
        """
        rests = self._scheduler.rest()
        if rests:
            self._lens.free()
        return rests

    @property
    def is_resting(self) -> bool:
        """Whether the cells are freed until the context is used again."""
        return self._scheduler.is_resting

    def close(self) -> None:
        """Free the cells; the weights stay while another context or model uses them."""
        self._scheduler.close()
        self._lens.free()
        self.model.loras.free_unused()

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
        on = "".join(f", {adapter!r}" for adapter in self.adapters)
        return f"Context({self.model.name!r}, {self._use}, {self._kv_types} KV cache{on})"

    def _repr_html_(self) -> str:
        facts = [
            ("", self._use),
            ("KV cache", self._kv_types),
            *(("", repr(adapter)) for adapter in self.adapters),
        ]
        return html_card(f"Context of {self.model.name}", facts)

    @property
    def _use(self) -> str:
        return f"{self._scheduler.n_tokens:,} of {self.n_ctx:,} tokens"

    @property
    def _kv_types(self) -> str:
        kv = self.params.kv_cache_type
        return kv if isinstance(kv, str) else "/".join(kv)
