"""A chat on a tree: ask, regenerate, edit, resume, undo, redo, explore."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..engine.awaiting import in_thread
from ..engine.chat_template import Message
from ..engine.generation import Token
from ..engine.options import takes_what
from ..errors import HistoryError
from .answering import Answering, answer_notes, check_answer, explored_notes
from .chat_keeping import ChatKeeping
from .checkpoint import Checkpoint
from .conversation import as_messages
from .display import chat_bundle
from .events import TokenAdded
from .options import lists_answer, lists_changes, lists_stream
from .order import Call
from .turn import Answers, Turn, message_parts, token_place, turns_back

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine.options import SamplingOptions
    from .options import AnswerOptions, StreamOptions

__all__ = ["Chat"]

T = TypeVar("T")


class Chat(ChatKeeping):
    """A conversation whose every message is a checkpoint.

    Parameters
    ----------
    model : str, path, Model or Context
        A name as ``Model.load`` takes it, or what it has made. A context may hold a conversation,
        whose messages are read back by the model's chat template.
    system : str, optional
        The system message.
    tools : sequence of mapping, optional
        Passed to the chat template.
    max_bytes : int, optional
        Memory for the rows of the tree; see ``CheckpointTree``.
    **options
        Fields of ``ContextParams`` and ``SamplingParams``, such as ``n_ctx=2048, temperature=0``.
        Without ``n_ctx``: 4,096 tokens, or as many as the model was trained with.
    """

    # -- say ---------------------------------------------------------------------------------

    @lists_answer
    def ask(
        self, message: str | Message | Sequence[Message], **options: Unpack[AnswerOptions]
    ) -> Turn:
        """Say something and get an answer.

        Parameters
        ----------
        message : str or mapping or sequence of mapping
            What the user says; or messages of any role that the template supports.
        **options
            ``max_tokens``, ``stop`` and ``stop_tokens`` as for ``Context.generate``; sampling
            parameters that differ for this answer; ``on_token``, called with each token; ``echo``,
            whether to print the answer as it comes, which None does on IPython's main thread.

        Returns
        -------
        Turn
            The answer.

        Raises
        ------
        ContextFullError
            Before anything is evaluated, when the message does not fit.
        KeyboardInterrupt
            After an interrupt; what had been said is a checkpoint, and ``resume`` goes on.
        """
        messages, answering = as_messages(message), Answering(self, options)
        with self.tree.turn():
            return self._ask(messages, answering)

    def _ask(self, messages: Sequence[Message], answering: Answering) -> Turn:
        said = self._conversation.say(messages)
        return dataclasses.replace(
            answering.answer(self.tree.head),
            reused=said.reused,
            evaluated=said.evaluated,
            evaluated_again=said.evaluated_again,
        )

    @lists_answer
    def regenerate(
        self, turn: Turn | Checkpoint | str | None = None, **options: Unpack[AnswerOptions]
    ) -> Turn:
        """Another answer to the same question, beside the ones there are.

        Parameters
        ----------
        turn : Turn, Checkpoint or str, optional
            An answer, or None for the last one.
        **options
            As for :meth:`ask`.

        Returns
        -------
        Turn
            At temperature 0 it says the same again: nothing is drawn.
        """
        answering = Answering(self, options)
        with self.tree.turn(), self.tree.or_back():
            checkpoint = self._last("assistant") if turn is None else self._turn(turn).checkpoint
            question = message_parts(checkpoint)[0].parent
            if checkpoint.metadata.get("role") != "assistant" or question is None:
                raise HistoryError(f"{checkpoint!r} is no answer, so there is no other one")
            self.tree.checkout(question)
            return answering.answer(question)

    @lists_answer
    def edit(
        self,
        text: str,
        turn: Turn | Checkpoint | str | None = None,
        **options: Unpack[AnswerOptions],
    ) -> Turn:
        """Say something else instead: a sibling of a question, or of the model's own answer.

        Parameters
        ----------
        text : str
        turn : Turn, Checkpoint or str, optional
            The message to say otherwise; None for the last question. Another wording of an answer
            is taken as if the model had said it.
        **options
            As for :meth:`ask`.

        Returns
        -------
        Turn
            The answer to the edited question, or the edited answer.
        """
        messages, answering = as_messages(text), Answering(self, options)
        with self.tree.turn(), self.tree.or_back():
            checkpoint = self._last("user") if turn is None else self._turn(turn).checkpoint
            self.tree.checkout(self._conversation.point_before(checkpoint))
            if checkpoint.metadata.get("role") == "assistant":
                message = messages[0] | {"role": "assistant"}
                return Turn(self, self._conversation.answer_with(message, edited=True))
            return self._ask(messages, answering)

    @lists_answer
    def resume(self, **options: Unpack[AnswerOptions]) -> Turn:
        """Go on with an answer that was stopped or ran into ``max_tokens``.

        Parameters
        ----------
        **options
            As for :meth:`ask`.
        """
        answering = Answering(self, options)
        with self.tree.turn():
            head = self.tree.head
            role = head.metadata.get("role")
            if role == "assistant" and head.metadata.get("finish_reason") == "stop":
                raise HistoryError("the last answer is complete: ask something, or regenerate()")
            if role is None:
                raise HistoryError("there is no answer to go on with; ask() something first")
            return answering.answer(head)

    @lists_answer
    def fork(
        self,
        turn: Turn | Checkpoint | str,
        *,
        token: int,
        choose: str | int | None = None,
        **options: Unpack[AnswerOptions],
    ) -> Turn:
        """Go another way from inside an answer, beside the one it took.

        Parameters
        ----------
        turn : Turn, Checkpoint or str
        token : int
            Counted from the message's first token, 0; -1 is its last.
        choose : str or int, optional
            The text or token to go on with; None lets the model draw again.
        **options
            As for :meth:`ask`.
        """
        answering = Answering(self, options)
        with self.tree.turn():
            turn = self._turn(turn)
            part, index = token_place(turn, token)
            begins = part is message_parts(turn.checkpoint)[0] and index == 0
            notes = {} if begins else {"continues": True}
            with self.tree.or_back(whatever=True):
                point = self.tree.fork(part, token=index)
                if choose is not None:
                    point = self.tree.fork(
                        point, choose=choose, role=turn.role, finish_reason="length", **notes
                    )
            return answering.answer(point)

    @lists_changes
    def explore(
        self,
        message: str | Message | Sequence[Message] | None = None,
        n: int = 8,
        *,
        max_tokens: int | None = None,
        stop: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        exact: bool = False,
        on_token: Callable[[int, Token], object] | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Answers:
        """Several answers to one question, decoded together; none becomes the head by itself.

        They share the rows of all that came before. Decoded in one batch they differ in the last
        bits from what ``ask`` would say, and with another ``n`` or ``n_parallel`` from each other,
        so that sampled answers part: both are noted as ``explored``. From then on each is as exact
        as any other checkpoint.

        Parameters
        ----------
        message : str or mapping or sequence of mapping, optional
            As for :meth:`ask`; None explores answers to the question that is the head.
        n : int
        max_tokens, stop, stop_tokens
            As for ``Context.generate``, of each answer.
        exact : bool
            Whether to decode them one by one, so that each is what ``ask`` and ``regenerate`` would
            say, to the bit. It takes about twice as long.
        on_token : callable, optional
            Called with the number of the answer and the token, on another thread.
        **options
            Sampling parameters that differ for these answers.
        """
        sampling = self.sampling.with_changes(**options)

        def tell(branch: int, token: Token) -> None:
            self.tree.tell(TokenAdded(token.id, token.text, token.logprob, branch))
            if on_token is not None:
                on_token(branch, token)

        run = self.context.exploration(
            n,
            max_tokens,
            stop=stop,
            stop_tokens=stop_tokens,
            sampling=sampling,
            exact=exact,
            on_token=tell,
        )
        check_answer(self.model, run.request)
        messages = None if message is None else as_messages(message)
        with self.tree.turn():
            if messages is not None:
                self._conversation.say(messages)
            elif self.tree.head.metadata.get("role") == "assistant":
                question = message_parts(self.tree.head)[0].parent
                assert question is not None
                self.tree.checkout(question)
            first, limits = self.tree.next_ordinal(), run.request.limits
            run.request = dataclasses.replace(run.request, first_sibling=first)
            with self.tree.order.operation() as job:
                try:
                    if not job.is_stopped:
                        run.run()
                finally:
                    answers = [
                        Turn(
                            self,
                            self.tree.adopt(
                                branch.segment,
                                logprobs=[token.logprob for token in branch.completion.tokens],
                                **answer_notes(
                                    self.model, branch.completion, branch.sibling, limits
                                ),
                                **explored_notes(branch, n),
                            ),
                            seconds=branch.completion.seconds,
                        )
                        for branch in run.branches
                    ]
            return Answers(self, answers)

    def stop(self) -> None:
        """End the answer that is being generated; ``resume`` goes on with it."""
        self.tree.order.stop()
        self.context.stop()  # whoever uses it directly

    # -- async forms -------------------------------------------------------------------------

    @takes_what(ask)
    async def aask(self, *values: Any, **options: Any) -> Turn:
        """:meth:`ask` for asyncio; cancelling it stops the answer, which stays a checkpoint."""
        return await self._in_thread(lambda: self.ask(*values, **options))

    @takes_what(explore)
    async def aexplore(self, *values: Any, **options: Any) -> Answers:
        """:meth:`explore` for asyncio."""
        return await self._in_thread(lambda: self.explore(*values, **options))

    @lists_stream
    async def astream(
        self, message: str | Message | Sequence[Message], **options: Unpack[StreamOptions]
    ) -> AsyncIterator[Token]:
        """:meth:`ask` for ``async for``, token by token; the answer is the head afterwards."""
        loop = asyncio.get_running_loop()
        tokens: asyncio.Queue[Token | None] = asyncio.Queue()

        def tell(token: Token | None) -> None:
            loop.call_soon_threadsafe(tokens.put_nowait, token)

        asking = asyncio.ensure_future(self.aask(message, on_token=tell, **options))
        asking.add_done_callback(lambda _: tokens.put_nowait(None))
        try:
            while (token := await tokens.get()) is not None:
                yield token
        except BaseException:  # cancelled, or left early: what was said stays
            asking.cancel()
            while not asking.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([asking])
            if not asking.cancelled():
                asking.exception()
            raise
        await asking

    async def _in_thread(self, job: Callable[[], T]) -> T:
        order = self.tree.order
        call = Call(order)

        def work() -> T:
            with order.call(call):
                return job()

        return await in_thread(work, call.stop)

    def __repr__(self) -> str:
        n = len(self.turns)
        return f"Chat({self.model.name!r}, {n} message{'s' * (n != 1)})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return chat_bundle(self)

    def _last(self, role: str) -> Checkpoint:
        for checkpoint in turns_back(self.tree.head):
            if checkpoint.metadata.get("role") == role:
                return checkpoint
        raise HistoryError(f"there is no {role} message yet; ask() something first")
