"""From messages to the tree: a message's addition is rendered, evaluated and committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.chat_template import ChatPrompt, Message
from ..engine.template_options import TemplateOptions
from ..errors import (
    ChatTemplateError,
    ContextFullError,
    HistoryError,
    ParameterError,
)
from .events import Progress
from .forking import fork_at
from .message import message_parts, message_text, messages_on
from .notes import check_notes, message_notes
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["Conversation", "Said", "as_messages", "checked_messages"]

_PROBE = {"role": "user", "content": "?"}


@dataclass(frozen=True)
class Said:
    """The cost of a message in tokens.

    Attributes
    ----------
    reused, evaluated : int
        Tokens reused from the context, and tokens evaluated.
    evaluated_again : int
        The evaluated tokens that had been evaluated before: the template rewrote earlier text.
    """

    reused: int
    evaluated: int
    evaluated_again: int


class Conversation:
    """The messages on a tree's paths.

    Parameters
    ----------
    workspace : Workspace
    system : str, optional
    template : TemplateOptions
        How messages are rendered.

    Raises
    ------
    ChatTemplateError
        When the template does not support system messages.
    """

    def __init__(
        self,
        workspace: Workspace[Checkpoint],
        system: str | None,
        template: TemplateOptions,
    ) -> None:
        if system is not None and not isinstance(system, str):
            raise ParameterError(f"system must be a text, not {system!r:.80}")
        check_notes({"system": system}, "the system message")
        check_notes({"tools": template.tools, **template.saved()}, "what the template is given")
        self.system = system
        self._workspace = workspace
        self._context = workspace.context
        self._model = workspace.context.model
        self.template = template
        if system is not None:
            self._check_system({"role": "system", "content": system})

    def _check_system(self, system: Message) -> None:
        try:
            self.render([_PROBE])
        except ChatTemplateError:
            return  # it is refused for another reason, which ask() will say
        try:
            self.render([system, _PROBE])
        except ChatTemplateError as error:
            raise ChatTemplateError(
                f"{error}. Without a system message it does not: put the text into the first "
                "question"
            ) from None

    @property
    def tools(self) -> list[dict[str, Any]] | None:
        """The tools passed to the chat template."""
        tools = self.template.tools
        return None if tools is None else [dict(tool) for tool in tools]

    # -- look --------------------------------------------------------------------------------

    def messages_at(self, checkpoint: Checkpoint) -> list[dict[str, Any]]:
        """Return the messages up to a checkpoint, in the form that chat templates take."""
        return messages_on(self._workspace.graph.path(checkpoint), message_text, self.system)

    def point_before(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the head before the message that ends at a checkpoint."""
        begin = message_parts(checkpoint)[0]
        came_from, graph = begin.metadata.came_from, self._workspace.graph
        if came_from is not None and came_from in graph:
            return graph.node(came_from)
        assert begin.parent is not None
        return begin.parent

    def step_back(self, checkpoint: Checkpoint) -> tuple[int, Checkpoint | None]:
        """Return the number of turns that begin here, 0 or 1, and where to continue counting."""
        if checkpoint.metadata.begins_turn:
            return 1, self.point_before(checkpoint)
        return 0, checkpoint.parent

    # -- say ---------------------------------------------------------------------------------

    def say(self, messages: Sequence[Message], variables: Mapping[str, Any] | None = None) -> Said:
        """Evaluate the tokens that messages add to the conversation, and commit them.

        Parameters
        ----------
        messages : sequence of mapping
        variables : mapping, optional
            Variables of the chat template for these messages alone.

        Raises
        ------
        ContextFullError, ChatTemplateError
            Before anything is evaluated.
        HistoryError
            When it was stopped.
        """
        workspace, home = self._workspace, self._workspace.head
        before = self.messages_at(home)
        prompt = self.render([*before, *messages], variables)
        n_held, (keep, used) = self._context.token_count(), self.common_prefix(prompt)
        self.check_room(keep, len(prompt.tokens) - used)
        goes_back = keep < n_held
        notes = message_notes(
            messages[-1],
            history=[*before, *messages] if goes_back or len(messages) > 1 else None,
            came_from=home.id if goes_back else None,
            **({"chat_template_kwargs": dict(variables)} if variables else {}),
        )
        n_system = 0
        with workspace.operation(), workspace.going_back_on_error():
            if home.is_root and not n_held:
                n_system = self._say_system(before[:1], prompt, variables)
                keep, used = self.common_prefix(prompt)
            fork_at(workspace, keep)
            rest = prompt.tokens[used:]
            workspace.evaluate(rest, lambda done, total: workspace.notify(Progress(done, total)))
            workspace.commit(notes, allow_empty=True)
        n_again = min(n_held - keep, self._n_tokens(before) - used) if goes_back else 0
        return Said(keep - n_system, len(rest) + n_system, max(0, n_again))

    def say_system(self) -> None:
        """Evaluate and commit the system message alone; a question may follow.

        Raises
        ------
        HistoryError
            When there is none, or the template does not support one alone.
        """
        if self.system is None:
            raise HistoryError(
                "there is nothing to save: ask() something, or give the chat a system message"
            )
        system, workspace = {"role": "system", "content": self.system}, self._workspace
        with workspace.operation(), workspace.going_back_on_error():
            self._say_system([system], self.render([system, _PROBE]))
            if workspace.head.is_root:
                raise HistoryError(
                    f"the chat template of {self._model.name!r} lets no system message stand "
                    "alone, so there is nothing to save yet: ask() something"
                )

    def _say_system(
        self,
        system: Sequence[Message],
        prompt: ChatPrompt,
        variables: Mapping[str, Any] | None = None,
    ) -> int:
        """Give the system message a checkpoint of its own if the template lets it stand alone.

        Returns
        -------
        int
            Tokens that were evaluated.
        """
        workspace = self._workspace
        try:
            alone = self.render(system, variables, add_generation_prompt=False) if system else None
            tokens = () if alone is None else alone.tokens
        except ChatTemplateError:
            return 0
        if not tokens or prompt.tokens[: len(tokens)] != tokens:
            return 0
        for child in workspace.graph.root.children:
            if child.tokens == tokens and child.metadata.is_system:
                workspace.checkout(child)
                return 0
        workspace.evaluate(tokens)
        workspace.commit(message_notes(system[0]))
        return len(tokens)

    def answer_with(self, message: Message, **notes: Any) -> Checkpoint:
        """Append a given answer to a question, as if the model had generated it."""
        workspace, tokens = self._workspace, self._model.tokenize(str(message.get("content") or ""))
        self.check_room(self._context.token_count(), len(tokens))
        with workspace.operation():
            workspace.evaluate(tokens)
            noted = message_notes(message, finish_reason="stop", **notes)
            return workspace.commit(noted, allow_empty=True)

    # -- render ------------------------------------------------------------------------------

    def render(
        self,
        messages: Sequence[Message],
        variables: Mapping[str, Any] | None = None,
        **options: bool,
    ) -> ChatPrompt:
        """Return messages as rendered by the chat template, with its options.

        Parameters
        ----------
        messages : sequence of mapping
        variables : mapping, optional
            Variables of the template, beside those of the chat.
        **options
            ``add_generation_prompt`` and ``continue_final_message``.
        """
        return self.template.with_changes(variables).render(self._model, messages, **options)

    def common_prefix(self, prompt: ChatPrompt) -> tuple[int, int]:
        """Return the length of the common prefix of context and prompt, in the tokens of each."""
        return self._model.vocabulary.common_prefix(self._context.tokens, prompt.tokens)

    def _n_tokens(self, messages: Sequence[Message]) -> int:
        try:
            return len(self.render(messages, add_generation_prompt=False).tokens)
        except ChatTemplateError:  # none, or none that can stand without what follows
            return 0

    def check_room(self, keep: int, n_tokens: int) -> None:
        """Check that tokens fit after those that are kept.

        Raises
        ------
        ContextFullError
        """
        n_ctx = self._context.n_ctx
        free = n_ctx - keep
        if n_tokens > free:
            raise ContextFullError(
                f"this message needs {n_tokens:,} tokens and {free:,} of {n_ctx:,} are free: "
                f"{n_tokens - free:,} are missing. Nothing was evaluated. trim() drops the oldest "
                "turns; or make the chat with a larger n_ctx, or a smaller kv_cache_type such as "
                '"q8_0" in the same memory',
                needed=n_tokens,
                free=free,
            )


def as_messages(message: str | Message | Sequence[Message]) -> list[dict[str, Any]]:
    """Return a caller's argument as messages: a text is the user's."""
    if isinstance(message, str):
        message = {"role": "user", "content": message}
    messages = checked_messages([message] if isinstance(message, Mapping) else message)
    if not messages:
        raise ParameterError("there is no message in it: say a text, a message or several")
    return messages


def checked_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return copies of messages.

    Raises
    ------
    ParameterError
        When they are not messages, or not representable in JSON.
    """
    is_list = isinstance(messages, Sequence) and not isinstance(messages, str)
    if not is_list or not all(isinstance(message, Mapping) for message in messages):
        raise ParameterError(
            'messages are a list such as [{"role": "user", "content": "Hello"}], '
            f"not {messages!r:.80}"
        )
    copies = [dict(message) for message in messages]
    for index, copy in enumerate(copies):
        check_notes(copy, f"message {index}" if len(copies) > 1 else "the message")
    return copies
