"""What a context evaluates and generates, one call after the other on its worker thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ContextError
from .branches import Branch, BranchRequest
from .chat_template import Message
from .context_state import ContextState
from .exploration import Exploration
from .generation import Completion, Limits, Token
from .options import SamplingOptions, lists_options, takes_what
from .params import SamplingParams
from .path import Progress
from .prompt import Prompt, plan_prompt, warn_of_history
from .request import Request, Ticket
from .scoring import Score, score
from .stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ContextAnswers"]

_lists_sampling = lists_options(SamplingOptions, vars(SamplingParams()))


class ContextAnswers(ContextState):
    """Evaluating, generating, exploring and scoring, and their forms for asyncio."""

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

    @_lists_sampling
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
        **changes: Unpack[SamplingOptions],
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

    @_lists_sampling
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
        **changes: Unpack[SamplingOptions],
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

    @_lists_sampling
    def explore(
        self,
        n: int,
        max_tokens: int | None = None,
        *,
        stop: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        sampling: SamplingParams | None = None,
        first_sibling: int = 0,
        exact: bool = False,
        on_token: Callable[[int, Token], object] | None = None,
        **changes: Unpack[SamplingOptions],
    ) -> list[Branch]:
        """Several answers to what the context holds, decoded together; the context stays as it is.

        Branches share the rows of what is in front of them. One that was decoded beside others
        differs in the last bits from one that was decoded alone or beside fewer, and with them now
        and then in a token; ``exact`` decodes them one by one. Captured, each goes on exactly in
        any case: ``restore(branch.segment, keep=token_count())``.

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
        exact : bool
            Whether each says, to the bit, what :meth:`generate` says with its ordinal, whatever
            ``n_parallel`` is. It takes about twice as long: branches are decoded one by one.
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
            exact=exact,
            on_token=on_token,
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
        sampling: SamplingParams | None = None,
        first_sibling: int = 0,
        exact: bool = False,
        on_token: Callable[[int, Token], object] | None = None,
        **changes: Unpack[SamplingOptions],
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
            exact,
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

    # -- async forms -------------------------------------------------------------------------

    @takes_what(evaluate)
    async def aevaluate(self, prompt: Prompt | None = None, **options: Any) -> int:
        """:meth:`evaluate` for asyncio."""
        return (await self.agenerate(prompt, 0, **options)).evaluated

    @takes_what(generate)
    async def agenerate(
        self, *values: Any, on_token: Callable[[Token], object] | None = None, **options: Any
    ) -> Completion:
        """:meth:`generate` for asyncio; cancelling it ends the generation."""
        request = self.stream(*values, **options).request
        runner, ticket = self._runner, Ticket()
        return await runner.await_(lambda: runner.generate(request, ticket, on_token), ticket)

    @takes_what(stream)
    def astream(self, *values: Any, **options: Any) -> Stream:
        """:meth:`stream` for ``async for``."""
        return self.stream(*values, **options)
