"""A chat on a tree: ask, regenerate, edit, resume, fork, explore, undo, redo, save, open."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from ..checks import check_names
from ..engine.adapters.values import Adapter, checked_adapters, in_words
from ..engine.answers.format import AnswerFormat
from ..engine.completion import Limits, Token
from ..engine.context import Context, TokenProbability
from ..engine.continuations import Reach
from ..engine.live import Live
from ..engine.model import Model
from ..engine.options import takes_what
from ..engine.sampling.params import SamplingParams
from ..engine.templates.options import TemplateOptions
from ..engine.templates.template import Message
from ..errors import ParameterError, SessionMismatchError, shown
from ..sessions.store import SessionStore
from ..state.session_info import SessionInfo
from .answering import Answer, Answering
from .asking import (
    answer_again,
    answer_from,
    ask,
    ask_otherwise,
    explore,
    go_on,
)
from .compare import Difference
from .conversation import Conversation
from .conversation import Said as Spent
from .display import Bundle, chat_bundle, new_view
from .events import SettingsChanged
from .explorers import begin_exploring
from .exploring import settings_for
from .export import export
from .files import write_text
from .given import as_messages, checked_messages
from .likely import Likely
from .looking_ahead import follow, look_ahead
from .making import make_context, make_from_messages, make_from_transcript
from .message import last_end, whole_message
from .moving import alternatives, redo_turns, step_ahead, step_back, undo_turns
from .opening import open_chat, open_or_create
from .options import (
    CONTEXT_OPTIONS,
    LIMIT_OPTIONS,
    SAMPLING_OPTIONS,
    lists_answer,
    lists_changes,
    lists_chat,
    lists_new_chat,
    lists_open,
    lists_stream,
    pick,
)
from .page import as_page
from .paths import Totals, check_steps
from .persistence import Saves
from .recover import load_session, recover_messages
from .resizing import copy_tree, resized
from .saving import settings_of
from .stepping import Steps
from .streaming import await_job, stream_tokens
from .tool_runs import Results, ToolRuns
from .tools import Tool, Tools
from .tree import Checkpoint, CheckpointTree
from .trimming import trim
from .turn import Answers, Turn
from .visiting import look

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from typing_extensions import Self, Unpack

    from .options import (
        AnswerOptions,
        ChatOptions,
        GenerationOptions,
        NewChatOptions,
        OpenOptions,
        StreamOptions,
    )

__all__ = ["Chat"]

Folder: TypeAlias = str | os.PathLike[str] | None
ModelSource: TypeAlias = str | os.PathLike[str] | Model
Place: TypeAlias = Turn | Checkpoint | str
Said: TypeAlias = str | Message | Sequence[Message]
V = TypeVar("V")


class Chat(Live):
    """A conversation whose every message is a checkpoint.

    Parameters
    ----------
    model : str, path, Model or Context
        A name for ``Model.load``, a model, or a context. A context may hold a conversation, whose
        messages are recovered by the model's chat template.
    system : str, optional
        The system message.
    tools : sequence of callable or mapping, optional
        Functions, described by their signatures and docstrings, which ``run_tools`` may run; or
        schemas, as the chat template takes them.
    chat_template : str or path, optional
        The text of a Jinja template, a file with one, or the name of one in the model's file, in
        place of the model's default. ``"plain"`` suits models that were not made for chat: an
        answer goes on where the text before it ends. A template that asks for the date is told that
        of the chat.
    chat_template_kwargs : mapping, optional
        Variables of the template, such as ``{"enable_thinking": False}``.
    keep_reasoning : bool
        Whether the context keeps answers with their thoughts, as they were generated: nothing is
        evaluated again, and what the template adds is appended. False: as the template does.
    adapters : sequence of LoRA and ControlVector
        What is on from the first token; see :attr:`adapters`.
    max_bytes : int, optional
        Memory for the rows of the tree; see ``CheckpointTree``.
    **options
        Fields of ``ContextParams`` and ``SamplingParams``, such as ``n_ctx=2048, temperature=0``;
        and limits of its answers, such as ``max_tokens=200``, as for ``Context.generate``. The
        default ``n_ctx`` is 4,096 tokens, or the model's training context if that is smaller.

    Attributes
    ----------
    context : Context
    tree : CheckpointTree
    """

    _instead_of_a_copy = (
        "chat.save(name) keeps it, and Chat.open(name) is a copy, here or in another process. "
        "chat.explore(executor=...) and Suite.run(executor) send other processes what they need"
    )

    @lists_chat
    def __init__(
        self,
        model: ModelSource | Context,
        system: str | None = None,
        *,
        tools: Sequence[Tool] | None = None,
        chat_template: str | os.PathLike[str] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        keep_reasoning: bool = False,
        adapters: Sequence[Adapter] = (),
        max_bytes: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> None:
        check_names("a chat", options, (*CONTEXT_OPTIONS, *SAMPLING_OPTIONS, *LIMIT_OPTIONS))
        self._sampling = SamplingParams().with_changes(**pick(options, SAMPLING_OPTIONS))
        self._limits = Limits().with_changes(**pick(options, LIMIT_OPTIONS))
        self._tools, on = Tools(tools), checked_adapters(adapters)
        self.context = make_context(model, pick(options, CONTEXT_OPTIONS))
        template = TemplateOptions.of(
            *(self.model, self._tools.schemas, chat_template, chat_template_kwargs),
            keep_reasoning=keep_reasoning,
        )
        if on:
            self.context.adapters = on
        self.tree = CheckpointTree(self.context, max_bytes=max_bytes)
        self._workspace = self.tree._workspace
        self._conversation = Conversation(self._workspace, system, template)
        if not self.tree.head.is_root:  # a context that holds a conversation already
            recover_messages(self._workspace, self._conversation)
        self._turns_behind = Totals(step_back)
        self._turns_ahead = Totals(step_ahead)
        self._saves = Saves(self._workspace, self._settings)

    @property
    def model(self) -> Model:
        """The model that answers."""
        return self.context.model

    @property
    def head(self) -> Checkpoint:
        """The current checkpoint."""
        return self.tree.head

    @property
    def turns(self) -> list[Turn]:
        """The messages up to the head."""
        return [
            Turn(
                *(self, line.end),
                index=line.index,
                _held=None if line.index is None else line.message,
            )
            for line in self._conversation.lines_at(self.tree.head)
        ]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages up to the head, in the form that chat templates take."""
        return self._conversation.messages_at(self.tree.head)

    @property
    def system(self) -> str | None:
        """The system message."""
        return self._conversation.system

    @property
    def tools(self) -> list[dict[str, Any]] | None:
        """The schemas of the tools, as the chat template gets them."""
        return self._conversation.tools

    @property
    def chat_template(self) -> str | None:
        """The text or the name of the chat template, if it was given."""
        return self._conversation.template.chat_template

    @property
    def chat_template_kwargs(self) -> dict[str, Any]:
        """The variables of the chat template that were given."""
        return dict(self._conversation.template.chat_template_kwargs)

    @property
    def keep_reasoning(self) -> bool:
        """Whether earlier answers stay in the context as they were generated."""
        return self._conversation.template.keep_reasoning

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The LoRAs and control vectors that are on, such as ``[LoRA("style.gguf", scale=0.5)]``.

        Setting them waits for a running answer. They apply to what comes next: what was said keeps
        the rows that it has. Each message notes what it was evaluated with. A checkout switches to
        what the checkpoint was made with. ``undo``, ``regenerate`` and ``edit`` use what was set
        since the last message, or else what was on for the one that they take back or replace.

        Raises
        ------
        AdapterError
            When one does not fit the model.
        """
        return self.tree.adapters

    @adapters.setter
    def adapters(self, values: Sequence[Adapter]) -> None:
        with self.tree.turn():
            self.tree.adapters = values

    @property
    def sampling(self) -> SamplingParams:
        """How answers are sampled, where a call is given no other values.

        It can be replaced, by ``chat.sampling.with_changes(temperature=0.7)``.
        """
        return self._sampling

    @sampling.setter
    def sampling(self, values: SamplingParams) -> None:
        self._sampling = _checked("sampling", values, SamplingParams)
        self._workspace.notify(SettingsChanged())

    @property
    def limits(self) -> Limits:
        """Where answers end: ``max_tokens``, ``stop``, ``stop_tokens`` and ``reasoning_budget``.

        What a call is given counts there, and ``max_tokens=None`` is no limit. It can be replaced,
        by ``chat.limits.with_changes(max_tokens=200)``.
        """
        return self._limits

    @limits.setter
    def limits(self, values: Limits) -> None:
        self._limits = _checked("limits", values, Limits)
        self._workspace.notify(SettingsChanged())

    @property
    def answer_format(self) -> AnswerFormat:
        """How thoughts and calls are told from the text of answers, as the template teaches."""
        return self._workspace.readings.answer_format

    @property
    def undo_steps(self) -> int:
        """The number of turns that ``undo`` can go back."""
        end = last_end(self.tree.head)
        return self._turns_behind.at(end, self._workspace.graph.n_edits)

    @property
    def redo_steps(self) -> int:
        """The number of turns that ``redo`` can go forward."""
        graph = self._workspace.graph
        return self._turns_ahead.at(graph.redo, graph.n_edits)

    # -- say ---------------------------------------------------------------------------------

    @lists_answer
    def ask(self, message: Said, **options: Unpack[AnswerOptions]) -> Turn:
        """Say something and get an answer.

        Parameters
        ----------
        message : str or mapping or sequence of mapping
            The user's message; or messages of any roles that the template supports, each of which
            becomes a checkpoint. If the last one is the assistant's, the answer begins with it.
        **options
            ``max_tokens``, ``stop``, ``stop_tokens`` and ``reasoning_budget`` as for
            ``Context.generate``, sampling parameters and ``chat_template_kwargs``, for this answer
            alone in place of the chat's; ``on_token``, called with each token; ``echo``, whether to
            print the answer as it is generated (None: only on IPython's main thread);
            ``run_tools``, whether to run the functions that the answer calls and to answer their
            results, or how many calls at most (True: 10). Each call and each result is a
            checkpoint.

        Raises
        ------
        ContextFullError
            When the message does not fit; nothing was evaluated.
        KeyboardInterrupt
            After an interrupt; the partial answer is a checkpoint, and ``resume`` continues it.
        """
        messages, answering = as_messages(message), self._answering(options)
        with self.tree.turn():
            turn = self._turn(*ask(self._workspace, self._conversation, messages, answering))
        return self._with_tools(turn, options)

    @lists_answer
    def regenerate(self, turn: Place | None = None, **options: Unpack[AnswerOptions]) -> Turn:
        """Generate another answer to the same question, beside the existing ones.

        Where the head is a question, as after ``checkout``, it is that one which is answered. An
        answer whose beginning was given begins with it again. At temperature 0 it is the same
        answer, as nothing is drawn.

        Parameters
        ----------
        turn : Turn, Checkpoint or str, optional
            The answer to replace, or the question to answer. None: the last one of both.
        **options
            As for :meth:`ask`.
        """
        answering = self._answering(options)
        with self.tree.turn():
            answer = answer_again(self._workspace, self._conversation, self._end(turn), answering)
        return self._with_tools(self._turn(answer), options)

    @lists_answer
    def edit(
        self,
        text: str | Message,
        turn: Place | None = None,
        **options: Unpack[AnswerOptions],
    ) -> Turn:
        """Replace a question, the model's own answer or the system message by a sibling.

        Another system message begins a branch at the root, where the first question is asked again;
        what was said under the earlier one stays as it was.

        Parameters
        ----------
        text : str or mapping
            A text is all of an answer; a message may have more, such as ``reasoning_content``.
        turn : Turn, Checkpoint or str, optional
            The message to replace. None: the last question. ``"ROOT"``: the system message, also
            where there is none. An edited answer counts as the model's own, and is returned.
        **options
            As for :meth:`ask`.
        """
        messages, answering = as_messages(text), self._answering(options)
        with self.tree.turn():
            said = self._conversation, messages, self._end(turn)
            made = self._turn(*ask_otherwise(self._workspace, *said, answering))
            if made.checkpoint.is_root:  # where the template lets no system message stand alone
                made = self.turns[0]
        return self._with_tools(made, options)

    @lists_answer
    def resume(self, **options: Unpack[AnswerOptions]) -> Turn:
        """Continue an answer that was cut short, or answer the question at the head.

        Options are those of :meth:`ask`.
        """
        answering = self._answering(options)
        with self.tree.turn():
            turn = self._turn(go_on(self._workspace, answering))
        return self._with_tools(turn, options)

    @lists_answer
    def fork(
        self,
        turn: Place,
        *,
        token: int,
        choose: str | int | None = None,
        **options: Unpack[AnswerOptions],
    ) -> Turn:
        """Branch off inside an answer; the original stays as a sibling.

        Parameters
        ----------
        turn : Turn, Checkpoint or str
        token : int
            Index of a token in the message; -1 is the last.
        choose : str or int, optional
            The text or token to continue with. None: the model draws again.
        **options
            As for :meth:`ask`.
        """
        answering = self._answering(options)
        with self.tree.turn():
            place = self._workspace, self._conversation, self._place(turn)
            made = self._turn(answer_from(*place, token, choose, answering))
        return self._with_tools(made, options)

    @lists_changes
    def explore(
        self,
        message: Said | None = None,
        n: int | None = None,
        *,
        vary: Mapping[str, Iterable[Any]] | None = None,
        exact: bool = False,
        on_token: Callable[[int, Token], object] | None = None,
        executor: Executor | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[GenerationOptions],
    ) -> Answers:
        """Generate several answers to one question, decoded together; the head stays.

        They share the rows of the common prefix. Decoded in one batch, they differ in the last bits
        from what ``ask`` would give, and with another ``n`` or ``n_parallel`` from each other, so
        that sampled answers diverge: both are noted as ``explored``. From then on each is as exact
        as any other checkpoint.

        Parameters
        ----------
        message : str or mapping or sequence of mapping, optional
            As for :meth:`ask`. None: answers to the question at the head.
        n : int, optional
            Number of answers; with ``vary`` under each setting. None: 8, or with ``vary`` one.
        vary : mapping, optional
            Options with the values that they take in turn, such as ``{"temperature": [0, 0.7]}``:
            sampling parameters, limits, ``chat_template_kwargs``. Several give all combinations.
            With other template options the question is put anew, and has its answers beside it.
        exact : bool
            Whether to decode them one by one, so that each equals, to the bit, what ``ask`` and
            ``regenerate`` would give. Takes about twice as long.
        on_token : callable, optional
            Called with the index of the answer and the token, on another thread. With an executor
            on this one, for all tokens of an answer when its batch has come.
        executor : Executor, optional
            Where to decode them: any of ``concurrent.futures``, such as
            ``mullama_nb.SpawnedPool``, or Dask's ``client.get_executor()``. None: here.
        chat_template_kwargs : mapping, optional
            As for :meth:`ask`.
        **options
            Sampling parameters and limits for each of these answers, in place of the chat's.

        Raises
        ------
        ParameterError
            When the executor is none, or its processes are forks of this one.
        TaskError
            When answers are missing, as a worker was lost or could not make them; it says which.
            Those that came are there. ``stop`` and an interrupt keep what came, too, and cancel
            the rest as far as the executor can.

        Notes
        -----
        With an executor the question is put here, and its answers are made in batches of
        ``n_parallel``, each by one worker: ``n=64`` with 8 of them are the answers of eight calls
        with ``n=8``, whatever the number of workers. With ``exact`` each answer is a task, and
        equals what it would be here. Both hold to the bit where the worker is like this process:
        the same build of llama.cpp, CPU features and number of threads, which workers of one
        machine share unless ``n_threads`` is given. Otherwise ``decoded_elsewhere`` is noted with
        an answer, its rows are not used, and its tokens are evaluated here when it is checked out.
        """
        given = {**options, "chat_template_kwargs": chat_template_kwargs}
        settings = settings_for(n, vary, self.sampling, self.limits, given)
        exploring = begin_exploring(self._workspace, settings, on_token, executor, exact=exact)
        messages = None if message is None else as_messages(message)
        with self.tree.turn():
            found = explore(self._workspace, self._conversation, messages, exploring)
            turns = [self._turn(answer) for answer, _ in found]
            return Answers(self, turns, [setting.varied for _, setting in found])

    def stop(self) -> None:
        """Stop the answer that is being generated; ``resume`` continues it."""
        self._workspace.lock.stop()
        self.context.stop()  # where it is used directly

    @lists_answer
    def steps(self, message: Said, **options: Unpack[AnswerOptions]) -> Steps[Turn]:
        """:meth:`ask`, stage by stage: each ``next`` lets it go on to the end of the next one.

        The stages are those of the real thing: ``tokenize``, ``prefix``, ``evaluate``, ``decode``
        for each token and ``capture``, with what each took.

        Parameters
        ----------
        message : str or mapping or sequence of mapping
        **options
            As for :meth:`ask`.

        Returns
        -------
        Steps
            An iterator of stages. ``finish()`` lets it go on and returns the answer; ``close()``
            stops it, and a part of an answer stays, as after :meth:`stop`.

        Raises
        ------
        HistoryError
            Between two steps, from anything else that would change the chat, as it could wait
            forever. :meth:`stop`, :meth:`undo` and :meth:`checkout` end the steps instead.
        """
        as_messages(message)  # checked now, as the options are
        self._answering(options)
        lock, stages = self._workspace.lock, self._workspace.stages
        return Steps(lock, stages, lambda: self.ask(message, **options))

    @takes_what(ask)
    async def aask(self, *values: Any, **options: Any) -> Turn:
        """:meth:`ask` for asyncio; cancelling it stops the answer and keeps it as a checkpoint."""
        return await await_job(self._workspace.lock, lambda: self.ask(*values, **options))

    @takes_what(explore)
    async def aexplore(self, *values: Any, **options: Any) -> Answers:
        """:meth:`explore` for asyncio."""
        return await await_job(self._workspace.lock, lambda: self.explore(*values, **options))

    @lists_stream
    def astream(self, message: Said, **options: Unpack[StreamOptions]) -> AsyncIterator[Token]:
        """:meth:`ask` for ``async for``, token by token; the answer is the head afterwards."""
        return stream_tokens(lambda tell: self.aask(message, on_token=tell, **options))

    # -- move --------------------------------------------------------------------------------

    def undo(self, n: int = 1) -> Turn | None:
        """Take back the last ``n`` questions with their answers; stops a running answer.

        Returns
        -------
        Turn or None
            The last remaining message.
        """
        n = check_steps(n)
        self._stop_others()
        with self.tree.turn():
            undo_turns(self._workspace, n)
            return self._here()

    def redo(self, n: int = 1) -> Turn | None:
        """Restore what ``undo`` took back; return the last message."""
        n = check_steps(n)
        with self.tree.turn():
            redo_turns(self._workspace, n)
            return self._here()

    def checkout(self, ref: Place) -> Turn | None:
        """Move the head to a checkpoint; stops a running answer.

        A piece that was cut off a question stands for the question.
        """
        self._stop_others()
        with self.tree.turn():
            self.tree.checkout(whole_message(self._place(ref)))
            return self._here()

    @contextmanager
    def at(self, ref: Place) -> Iterator[Self]:
        """Move the head to a checkpoint for a ``with`` block, then back."""
        with self.tree.turn(), self.tree.visit(self.tree.head):
            self.tree.checkout(whole_message(self._place(ref)))
            yield self

    def tag(self, name: str, ref: Place = "HEAD") -> Checkpoint:
        """Tag a checkpoint with a name."""
        with self.tree.turn():
            return self.tree.tag(name, ref if isinstance(ref, str) else self._place(ref))

    def trim(self, keep: int | None = None) -> int:
        """Make room: continue on a new branch that holds only the latest turns.

        The full conversation stays in the tree.

        Parameters
        ----------
        keep : int, optional
            Questions to keep, with their answers. None: as many as fit in half of the context.

        Returns
        -------
        int
            Number of tokens freed.
        """
        with self.tree.turn():
            return trim(self._workspace, self._conversation, keep)

    # -- ask about ---------------------------------------------------------------------------

    def alternatives(self, turn: Place, token: int, k: int = 10) -> list[TokenProbability]:
        """Return the most likely alternatives to a token, with their probabilities at the time.

        Parameters
        ----------
        turn : Turn, Checkpoint or str
        token : int
            Index of a token in the message; -1 is the last.
        k : int
        """
        with self.tree.turn():
            return alternatives(self._workspace, self._place(turn), token, k)

    def likely(
        self,
        depth: int = 4,
        *,
        min_p: float = 0.05,
        width: int = 6,
        at: Place | None = None,
        token: int | None = None,
    ) -> Likely:
        """Return the tree of likely continuations; the chat is unchanged.

        They are worked out in batches over the rows that are there. Probabilities are the model's
        own, before any sampler, and differ in their last digits from those of single tokens. What
        adapters are on counts at the head; elsewhere it is what the message was made with.

        Parameters
        ----------
        depth : int
            Tokens of the longest branch, 1 to 64.
        min_p : float
            The least probability that a token has after the tokens before it. Unlike the sampling
            parameter it is not relative to the likeliest token.
        width : int
            The most children of one token. Up to ``width ** (depth - 1)`` tokens are evaluated.
        at : Turn, Checkpoint or str, optional
            The message that they follow. None: the head.
        token : int, optional
            Index of a token of that message, in whose place they begin; -1 is the last, 0 looks
            at what else the message could have begun with. None: after all of it.

        Returns
        -------
        Likely
            Its ``follow`` goes on with one of them.

        Raises
        ------
        HistoryError
            When nothing stands before.
        ContextFullError
            When fewer than ``depth - 1`` cells are free there.
        """
        reach = Reach(depth, min_p, width)
        with look(self._workspace, "HEAD"):
            place = self.tree.head if at is None else self._place(at)
            found = look_ahead(self._workspace, place, token, reach)
            return Likely(self, place, token, found.roots, found.n_evaluated)

    def compare(self, a: Place, b: Place) -> Difference:
        """Return where two messages diverge, the texts from there, and how likely each was."""
        return self.tree.diff(_ref(a), _ref(b))

    def score(self, text: str) -> float:
        """Return the natural log-probability of a text as continuation; the chat is unchanged."""
        with self.tree.turn():
            return self.context.score(text).total

    def count_tokens(
        self, message: Said, *, chat_template_kwargs: Mapping[str, Any] | None = None
    ) -> int:
        """Return how many tokens the context would hold after a message, before its answer.

        They are counted as :meth:`ask` would evaluate them, by the chat template; nothing is
        evaluated, and the chat is unchanged.

        Parameters
        ----------
        message : str or mapping or sequence of mapping
        chat_template_kwargs : mapping, optional
            As for :meth:`ask`.

        Raises
        ------
        ChatTemplateError
            When the message cannot stand there.
        """
        messages = as_messages(message)
        with self.tree.turn():
            return self._conversation.measure(messages, chat_template_kwargs)

    def kv_bytes(self) -> int:
        """Return the bytes of the rows up to the head."""
        return self.context.kv_bytes()

    # -- keep --------------------------------------------------------------------------------

    @classmethod
    @lists_new_chat
    def from_messages(
        cls,
        model: ModelSource | Context,
        messages: Sequence[Message],
        **options: Unpack[NewChatOptions],
    ) -> Self:
        """Make a chat from existing messages, each a checkpoint.

        Parameters
        ----------
        model, **options
            As for the class.
        messages : sequence of mapping
            Each with ``role`` and ``content``; the first may be a system message.
        """
        return make_from_messages(cls, model, messages, options)

    @classmethod
    @lists_new_chat
    def from_transcript(
        cls,
        model: ModelSource | Context,
        path: str | os.PathLike[str],
        *,
        index: int | None = None,
        **options: Unpack[NewChatOptions],
    ) -> Self:
        """Make a chat from a file of messages: each a checkpoint, and each branch a branch.

        Parameters
        ----------
        model, **options
            As for the class. ``system`` and ``tools`` replace those in the file.
        path : str or path
            JSON, or a conversation on each line: what :meth:`export` wrote, OpenAI's messages,
            ChatGPT's data export or ShareGPT's conversations.
        index : int, optional
            Which conversation, of a file that holds several.

        Raises
        ------
        TranscriptError
            When the file is damaged, or holds no conversation; the message says where.
        ParameterError
            When the file holds several conversations, and none is chosen.
        ContextFullError, ChatTemplateError
            When a branch does not fit the context, or the template refuses its messages.

        Warns
        -----
        ParameterWarning
            When something in the file is not text, and is left out.
        """
        return make_from_transcript(cls, model, path, index, options)

    def replay(
        self,
        messages: Sequence[Message],
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Append existing messages, each as a checkpoint; nothing is generated.

        Parameters
        ----------
        messages : sequence of mapping
            Each with ``role`` and ``content``.
        chat_template_kwargs : mapping, optional
            Variables of the chat template for these messages only.
        """
        with self.tree.turn():
            self._conversation.append(checked_messages(messages), chat_template_kwargs)

    def save_session(
        self,
        path: str | os.PathLike[str],
        *,
        include_logits: bool = True,
        window_only: bool = False,
    ) -> SessionInfo:
        """Save the conversation up to the head to a file from which it can be continued exactly.

        Before the first message the file holds the system message. To keep the whole tree, with its
        other branches and tags, use :meth:`save`.

        Parameters
        ----------
        path : str or path
        include_logits, window_only : bool
            As for ``Context.save_session``.

        Raises
        ------
        HistoryError
            When there is nothing to save.
        SessionWriteError
            When the file cannot be written.
        """
        with self.tree.turn():
            if not self.context.token_count():
                self._conversation.say_system()
            return self.context.save_session(
                path, include_logits=include_logits, window_only=window_only
            )

    def load_session(
        self, path: str | os.PathLike[str], *, adapters: Sequence[Adapter] = ()
    ) -> SessionInfo:
        """Continue from a session file; the chat's present contents remain as other branches.

        The messages are recovered from the file's text by the model's chat template. Plain text has
        none: it becomes a checkpoint, which ``context.generate`` continues.

        Parameters
        ----------
        path : str or path
            Written by :meth:`save_session`, ``Context.save_session`` or llama.cpp.
        adapters : sequence of LoRA and ControlVector
            To have at hand for what it was made with, besides those that this chat ever had.

        Raises
        ------
        SessionNotFoundError, SessionFormatError, SessionMismatchError
            As for ``Context.load_session``; also when the chat's system message differs from the
            conversation's. The chat is unchanged.

        Warns
        -----
        InexactWarning, UnverifiedWarning
            As for ``Context.load_session``.
        """
        self._stop_others()
        self.context.known_adapters.offer(adapters)
        with self.tree.turn():
            return load_session(self._workspace, path, self._conversation)

    def save(
        self,
        name: str,
        folder: Folder = None,
        *,
        replace: bool = False,
        merge: bool = False,
        take_over: bool = False,
    ) -> None:
        """Save the whole tree under a name; only what is new is written.

        Parameters
        ----------
        name : str
        folder : str or path, optional
            None: in the user's data folder.
        replace : bool
            Whether to replace something else of that name. It becomes an earlier version, which can
            be restored until ``gc``.
        merge : bool
            Whether to first merge in what is saved there and missing here: it becomes further
            branches, both in this tree and in the saved one.
        take_over : bool
            Whether to take the name from another chat or process that saves there after every turn.

        Raises
        ------
        SessionConflictError
            When the name holds something that this chat was neither opened from nor saved as, or
            another chat or process saves it after every turn.
        """
        store = SessionStore(folder)
        self._saves.save(name, store, replace=replace, merge=merge, take_over=take_over)

    def autosave(
        self,
        name: str | None,
        folder: Folder = None,
        *,
        replace: bool = False,
        merge: bool = False,
        take_over: bool = False,
    ) -> None:
        """Save under a name now and after every turn, so that a crash loses none; None stops it.

        Each save costs what the turn added. Undo, redo, checkout and what adapters are on are saved
        with the next change; changes inside a note, such as ``metadata["a"]["b"] = 1``, with the
        next :meth:`save`. Parameters and errors are those of :meth:`save`.
        """
        store = SessionStore(folder)
        self._saves.autosave(name, store, replace=replace, merge=merge, take_over=take_over)

    @classmethod
    @lists_open
    def open(
        cls,
        name: str,
        model: ModelSource | None = None,
        folder: Folder = None,
        *,
        tools: Sequence[Tool] | None = None,
        on_mismatch: Literal["error", "replay"] = "error",
        **options: Unpack[OpenOptions],
    ) -> Self:
        """Open a saved chat, with every checkpoint and tag, at its saved head.

        Rows are read when needed. Adapters are found where they were, or among those given.

        Parameters
        ----------
        name : str
        model : str, path or Model, optional
            None: the model file that the chat was made with.
        folder : str or path, optional
            None: the user's data folder.
        tools : sequence of callable or mapping, optional
            The tools that the chat was made with. Functions are not saved: those that
            ``run_tools`` is to run have to be handed over again.
        on_mismatch : {"error", "replay"}
            What to do when model or settings differ: raise, or evaluate again its tokens or, with
            other weights, the messages up to its head.
        **options
            Changes to the saved context and sampling parameters and limits; ``max_bytes``, as for
            the class; and ``adapters``, to have at hand for what it was made with. What is on is as
            saved.

        Raises
        ------
        SessionNotFoundError, SessionFormatError, SessionMismatchError
        """
        handed = Tools(tools)
        chat = open_chat(cls, name, model, SessionStore(folder), on_mismatch, {**options})
        return chat._with_functions(handed)

    @classmethod
    @lists_open
    def open_or_create(
        cls,
        name: str,
        model: ModelSource | None = None,
        folder: Folder = None,
        *,
        system: str | None = None,
        tools: Sequence[Tool] | None = None,
        chat_template: str | os.PathLike[str] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        keep_reasoning: bool | None = None,
        take_over: bool = False,
        on_mismatch: Literal["error", "replay"] = "error",
        **options: Unpack[OpenOptions],
    ) -> Self:
        """Open the chat of a name, or create it; it is saved after every turn.

        A cell with this call can be run any number of times, after a crash or in the same kernel:
        it returns the chat as last saved. A chat from an earlier run of the cell is then no longer
        saved there, and says so at its next turn.

        Parameters
        ----------
        name, model, folder, on_mismatch
            As for :meth:`open`. After a replay the saved chat becomes an earlier version.
        system, tools, chat_template, chat_template_kwargs, keep_reasoning
            As for the class. None: what the chat was made with.
        take_over : bool
            Whether to take the name from another process that saves there after every turn.
        **options
            As for the class. Values that differ from the saved ones apply from here on, and a
            ``ParameterWarning`` names them.

        Raises
        ------
        SessionConflictError
            When another process saves there after every turn, or the name holds a context's
            session.
        SessionMismatchError
            When the chat was made with another system message, tools, template, model or settings.
        """
        handed = Tools(tools)
        chat = open_or_create(
            *(cls, name, model, SessionStore(folder)),
            take_over=take_over,
            on_mismatch=on_mismatch,
            made_with={
                "system": system,
                "tools": handed.schemas,
                "chat_template": chat_template,
                "chat_template_kwargs": chat_template_kwargs,
                "keep_reasoning": keep_reasoning,
            },
            options=options,
        )
        return chat._with_functions(handed)

    def with_n_ctx(self, n_ctx: int) -> Self:
        """Return a new chat with the same tree, in a context with another number of cells.

        Every checkpoint has its rows, so nothing is evaluated and every answer is what it would be
        here, to the bit. This chat stays as it is; where it was saved after every turn, the new one
        is from now on. Both share the model, and the rows that are in memory.

        Parameters
        ----------
        n_ctx : int
            Enough for the tokens up to the head.

        Raises
        ------
        ParameterError
            When that is too few, or does not fit into memory.
        SessionMismatchError
            When rows mean something else in a context of that size, as with LongRoPE.
        """
        self._stop_others()
        with self.tree.turn(), self._workspace.changing():
            context, template = resized(self.context, n_ctx), self._conversation.template
            try:
                chat = type(self)(context, max_bytes=self._workspace.rows.max_bytes)
                chat._tools, chat._sampling, chat._limits = (
                    self._tools,
                    self._sampling,
                    self._limits,
                )
                chat._conversation = Conversation(chat._workspace, self.system, template)
                copy_tree(chat._workspace, self._workspace)
                chat._saves.go_on_from(self._saves)
            except BaseException:
                context.close()
                raise
            return chat

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write the messages as Markdown (``.md``), or the whole tree as JSON (``.json``).

        :meth:`from_transcript` makes a chat from the JSON, whose texts are never read as control
        tokens: a file is not trusted. Control tokens in an answer's text, other than the marks of
        its thoughts and calls, are plain text there. :meth:`save` keeps them.
        """
        export(self.tree, self._conversation, Path(path).expanduser())

    def to_html(self, path: str | os.PathLike[str], *, presenting: bool = False) -> None:
        """Write the chat with all branches as one page that needs no kernel and no network.

        A click on a row of the tree shows the messages up to there.

        Parameters
        ----------
        path : str or path
            Its ending must be ``.html``.
        presenting : bool
            Whether it is for a room: large type, and no sizes.
        """
        with self.tree.turn():
            text = as_page(self.tree, self._conversation, presenting=presenting)
        write_text(path, ".html", text)

    def __repr__(self) -> str:
        n = len(self.turns)
        on = "".join(f", {adapter!r}" for adapter in self.adapters)
        return f"Chat({self.model.name!r}, {n} message{'s' * (n != 1)}{on})"

    def _repr_mimebundle_(self, **_: Any) -> Bundle:
        on = [in_words(adapter.note()) for adapter in self.adapters]
        return chat_bundle(self, [turn.message for turn in self.turns], on)

    def _display_(self) -> object:
        return new_view(self)  # in marimo, which asks for this before the other

    # -- for the above -----------------------------------------------------------------------

    def _with_functions(self, tools: Tools) -> Self:
        """Take functions for tools that the chat was made with."""
        if tools.schemas is not None:
            try:
                tools.check_same(self.tools)
            except SessionMismatchError:
                self.context.close()
                raise
            self._tools = tools
        return self

    def _with_tools(self, turn: Turn, options: Mapping[str, Any]) -> Turn:
        return self._tool_runs(options).go_on(turn)

    def _tool_runs(self, options: Mapping[str, Any]) -> ToolRuns[Turn]:
        def ask(results: Results) -> Turn:
            return self.ask(results, **{**options, "run_tools": False})

        limit = options.get("run_tools", False)
        return ToolRuns(self.tree, self._conversation, self._tools, limit, ask)

    def _answering(self, options: Mapping[str, Any]) -> Answering:
        self._tool_runs(options)  # it checks them
        return Answering(self._workspace, self.sampling, self.limits, options)

    def _turn(self, answer: Answer, said: Spent | None = None) -> Turn:
        cost: dict[str, Any] = {} if said is None else vars(said)
        turn = Turn(self, answer.checkpoint, seconds=answer.seconds, **cost)
        return replace(turn, _is_printed=True) if answer.was_printed else turn

    def _follow(self, end: Checkpoint, token: int | None, tokens: Sequence[int]) -> Turn:
        self._stop_others()
        with self.tree.turn():
            place = self._conversation, self.tree[end], token
            return self._turn(follow(self._workspace, *place, tokens))

    def _place(self, ref: Place) -> Checkpoint:
        """The checkpoint of a message; one that another holds gets its own, as the head."""
        if isinstance(ref, Turn) and ref.index is not None:
            return self._conversation.unfold(self.tree[ref.checkpoint], ref.index)
        return self.tree[_ref(ref)]

    def _end(self, ref: Place | None) -> Checkpoint | None:
        return None if ref is None else whole_message(self._place(ref))

    def _here(self) -> Turn | None:
        last = last_end(self.tree.head)
        return None if last is None else Turn(self, last)

    def _settings(self) -> dict[str, Any]:
        template = self._conversation.template
        return settings_of(self.context, self.sampling, self.limits, self.system, template)

    def _stop_others(self) -> None:
        if not self._workspace.lock.is_mine:
            self.stop()


def _ref(place: Place) -> Checkpoint | str:
    return place.checkpoint if isinstance(place, Turn) else place


def _checked(name: str, values: object, kind: type[V]) -> V:
    if not isinstance(values, kind):
        raise ParameterError(
            f"{name}={shown(repr(values))} must be {kind.__name__}, such as "
            f"chat.{name}.with_changes(...)"
        )
    return values
