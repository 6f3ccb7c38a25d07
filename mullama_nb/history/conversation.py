"""Between messages and the tree: what a message adds is rendered, evaluated and committed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.chat_template import ChatPrompt, Message
from ..errors import (
    ChatTemplateError,
    ContextFullError,
    HistoryError,
    ParameterError,
    ParameterWarning,
)
from .checkpoint import Checkpoint, check_notes
from .events import Progress
from .tree import CheckpointTree
from .turn import begins_turn, message_parts, message_text, messages_on, turns_on_path

__all__ = ["Conversation", "Said", "as_messages", "checked_messages"]

_PROBE = {"role": "user", "content": "?"}


@dataclass(frozen=True)
class Said:
    """What it took to say something.

    Attributes
    ----------
    reused, evaluated : int
        Tokens that the context held already, and that had to be evaluated.
    evaluated_again : int
        Those that had been evaluated before: the template rewrote earlier text.
    """

    reused: int
    evaluated: int
    evaluated_again: int


class Conversation:
    """The messages on a tree's paths.

    Parameters
    ----------
    tree : CheckpointTree
    system : str, optional
    tools : sequence of mapping, optional
        For the chat template.

    Raises
    ------
    ChatTemplateError
        When the template takes no system message.
    """

    def __init__(
        self,
        tree: CheckpointTree,
        system: str | None,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> None:
        if system is not None and not isinstance(system, str):
            raise ParameterError(f"system must be a text, not {system!r:.80}")
        if not all(isinstance(tool, Mapping) for tool in tools or ()):
            raise ParameterError(
                f"tools are a list of mappings, as the chat template takes them, not {tools!r:.80}"
            )
        check_notes({"system": system, "tools": tools})
        self.system = system
        self._tree = tree
        self._context = tree.context
        self._model = tree.context.model
        self._tools = tools
        if system is not None:
            self._check_system({"role": "system", "content": system})

    def _check_system(self, system: Message) -> None:
        try:
            without = self._render([_PROBE])
        except ChatTemplateError:
            return  # it is refused for another reason, which ask() will say
        try:
            prompt = self._render([system, _PROBE])
        except ChatTemplateError as error:
            raise ChatTemplateError(
                f"{error}. Without a system message it does not: put the text into the first "
                "question"
            ) from None
        if prompt == without:
            warnings.warn(
                f"the chat template of {self._model.name!r} leaves the system message out; put the "
                "text into the first question",
                ParameterWarning,
                stacklevel=5,
            )

    @property
    def tools(self) -> list[dict[str, Any]] | None:
        """What the template is told of tools."""
        return None if self._tools is None else [dict(tool) for tool in self._tools]

    # -- look --------------------------------------------------------------------------------

    def messages_at(self, checkpoint: Checkpoint) -> list[dict[str, Any]]:
        """The messages up to a checkpoint, as chat templates take them."""
        return messages_on(self._tree.path(checkpoint), message_text, self.system)

    def point_before(self, checkpoint: Checkpoint) -> Checkpoint:
        """Where the head stood before a message, which ends at a checkpoint, was said."""
        begin = message_parts(checkpoint)[0]
        came_from = begin.metadata.get("came_from")
        if came_from in self._tree:
            return self._tree[str(came_from)]
        assert begin.parent is not None
        return begin.parent

    def step_back(self, checkpoint: Checkpoint) -> tuple[int, Checkpoint | None]:
        """Turns that begin at a checkpoint, 0 or 1, and where to go on to count earlier ones."""
        if begins_turn(checkpoint):
            return 1, self.point_before(checkpoint)
        return 0, checkpoint.parent

    # -- say ---------------------------------------------------------------------------------

    def say(
        self, messages: Sequence[Mapping[str, Any]], *, answered: bool = True, **notes: Any
    ) -> Said:
        """Evaluate what messages add to the conversation, and commit it.

        Parameters
        ----------
        messages : sequence of mapping
        answered : bool
            Whether an answer comes next.
        **notes
            For the commit.

        Raises
        ------
        ContextFullError, ChatTemplateError
            Before anything is evaluated.
        HistoryError
            When it was stopped.
        """
        tree, home = self._tree, self._tree.head
        before = self.messages_at(home)
        prompt = self._render([*before, *messages], add_generation_prompt=answered)
        n_held, (keep, used) = self._context.token_count(), self._common_prefix(prompt)
        self._check_room(keep, len(prompt.tokens) - used)
        notes |= {"role": messages[-1]["role"], "message": dict(messages[-1])}
        if keep < n_held or len(messages) > 1:
            notes["history"] = [*before, *map(dict, messages)]
        if keep < n_held:
            notes["came_from"] = home.id
        n_system = 0
        with tree.operation(), tree.or_back():
            if home.is_root and not n_held:
                n_system = self._say_system(before[:1], prompt)
                keep, used = self._common_prefix(prompt)
            tree.fork_at(keep)
            rest = prompt.tokens[used:]
            tree.evaluate(rest, progress=lambda done, total: tree.tell(Progress(done, total)))
            tree.commit(allow_empty=True, **notes)
        n_again = 0 if keep >= n_held else min(n_held - keep, self._n_tokens(before) - used)
        return Said(keep - n_system, len(rest) + n_system, max(0, n_again))

    def say_system(self) -> None:
        """Evaluate and commit the system message alone; a question may follow.

        Raises
        ------
        HistoryError
            When there is none, or the template lets none stand alone.
        """
        if self.system is None:
            raise HistoryError(
                "there is nothing to save: ask() something, or give the chat a system message"
            )
        system = {"role": "system", "content": self.system}
        tree = self._tree
        with tree.operation(), tree.or_back():
            self._say_system([system], self._render([system, _PROBE]))
            if tree.head.is_root:
                raise HistoryError(
                    f"the chat template of {self._model.name!r} lets no system message stand "
                    "alone, so there is nothing to save yet: ask() something"
                )

    def _say_system(self, system: Sequence[Message], prompt: ChatPrompt) -> int:
        """Give the system message a checkpoint of its own if the template lets it stand alone.

        Returns
        -------
        int
            Tokens that were evaluated.
        """
        tree = self._tree
        try:
            tokens = self._render(system, add_generation_prompt=False).tokens if system else ()
        except ChatTemplateError:
            return 0
        if not tokens or prompt.tokens[: len(tokens)] != tokens:
            return 0
        for child in tree.root.children:
            if child.tokens == tokens and child.metadata.get("role") == "system":
                tree.checkout(child)
                return 0
        tree.evaluate(tokens)
        tree.commit(role="system", message=dict(system[0]))
        return len(tokens)

    def answer_with(self, message: Message, **notes: Any) -> Checkpoint:
        """Take an answer as if the model had given it, behind a question."""
        tree, tokens = self._tree, self._model.tokenize(str(message.get("content") or ""))
        self._check_room(self._context.token_count(), len(tokens))
        with tree.operation():
            tree.evaluate(tokens)
            return tree.commit(
                allow_empty=True,
                role="assistant",
                finish_reason="stop",
                message=dict(message),
                **notes,
            )

    def _render(self, messages: Sequence[Message], **options: Any) -> ChatPrompt:
        if self._tools is not None:
            options["tools"] = list(self._tools)
        return self._model.apply_chat_template(messages, **options)

    def _common_prefix(self, prompt: ChatPrompt) -> tuple[int, int]:
        return self._model.vocabulary.common_prefix(self._context.tokens, prompt.tokens)

    def _n_tokens(self, messages: Sequence[Message]) -> int:
        try:
            return len(self._render(messages, add_generation_prompt=False).tokens)
        except ChatTemplateError:  # none, or none that can stand without what follows
            return 0

    def _check_room(self, keep: int, n_tokens: int) -> None:
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

    # -- trim --------------------------------------------------------------------------------

    def trim(self, keep: int | None) -> int:
        """Go on from a new root that holds the latest questions only; see ``Chat.trim``."""
        tree, n_before = self._tree, self._context.token_count()
        messages, ends = self.messages_at(tree.head), list(turns_on_path(tree.path()))
        begins = [i for i, m in enumerate(messages) if m["role"] not in ("system", "assistant")]
        if keep is not None and (isinstance(keep, bool) or not 0 < keep <= len(begins)):
            raise ParameterError(f"keep={keep!r} must be 1 to {len(begins)}, the questions")
        if not begins:
            return 0
        question, parts = (ends[-1], []) if ends else (tree.head, [])
        if question.metadata.get("role") == "assistant":  # taken over as it is, token by token
            parts = message_parts(question)
            question = parts[0].parent or tree.root
        answer = [token for part in parts for token in part.tokens]
        system = [m for m in messages[:1] if m["role"] == "system"]
        for begin in begins if keep is None else begins[-keep:]:
            asked = [*system, *(messages[begin:-1] if parts else messages[begin:])]
            prompt = self._render(asked)
            n_tokens = len(prompt.tokens) + len(answer)
            if keep is not None or 2 * n_tokens <= self._context.n_ctx:
                break
        else:
            raise HistoryError(
                "no turn is left that fills less than half of the context; make a chat with a "
                "larger n_ctx"
            )
        if begin == begins[0]:
            return 0
        self._check_room(0, n_tokens)
        with tree.operation(), tree.or_back(whatever=True):
            common, used = self._common_prefix(prompt)
            tree.fork_at(common)
            tree.evaluate(prompt.tokens[used:])
            notes = {"role": asked[-1]["role"], "message": asked[-1], "history": asked}
            if not question.is_root:
                notes["came_from"] = self.point_before(question).id
            tree.commit(allow_empty=True, **notes)
            if parts:
                tree.evaluate(answer)
                last = parts[-1].metadata
                of_a_part = ("continues", "cut", "history")
                tree.commit(
                    allow_empty=True, **{k: v for k, v in last.items() if k not in of_a_part}
                )
        return n_before - self._context.token_count()


def as_messages(message: str | Message | Sequence[Message]) -> list[dict[str, Any]]:
    """What a caller says as messages: a text is the user's."""
    if isinstance(message, str):
        message = {"role": "user", "content": message}
    messages = checked_messages([message] if isinstance(message, Mapping) else message)
    if not messages:
        raise ParameterError("there is no message in it: say a text, a message or several")
    return messages


def checked_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Copies of messages.

    Raises
    ------
    ParameterError
        When they are something else, or hold what JSON cannot.
    """
    is_list = isinstance(messages, Sequence) and not isinstance(messages, str)
    if not is_list or not all(isinstance(message, Mapping) for message in messages):
        raise ParameterError(
            'messages are a list such as [{"role": "user", "content": "Hello"}], '
            f"not {messages!r:.80}"
        )
    copies = [dict(message) for message in messages]
    for copy in copies:
        check_notes(copy)
    return copies
