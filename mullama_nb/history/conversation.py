"""From messages to the tree: a message's addition is rendered, evaluated and committed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.templates.options import TemplateOptions
from ..engine.templates.template import Message
from ..errors import (
    ChatTemplateError,
    ContextFullError,
    HistoryError,
    ParameterError,
)
from .events import Progress
from .forking import fork_at
from .message import Line, lines_at, message_parts, point_before
from .notes import check_notes, message_notes
from .rendering import Rendering, Variables, is_answer
from .system_message import SystemMessages
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["Conversation", "Said"]


@dataclass(frozen=True)
class Said:
    """The cost of a message in tokens.

    Attributes
    ----------
    reused, evaluated : int
        Tokens reused from the context, and tokens evaluated.
    evaluated_again : int
        The evaluated tokens that had been evaluated before: the template rewrote earlier text.
    rewritten : str or None
        Why that was.
    """

    reused: int
    evaluated: int
    evaluated_again: int
    rewritten: str | None = None


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
        check_notes({"tools": template.tools, **template.saved()}, "what the template is given")
        self._workspace = workspace
        workspace.system = system
        self._context = workspace.context
        self._model = workspace.context.model
        self.rendering = Rendering(self._context, template)
        workspace.readings.template = template
        self._systems = SystemMessages(workspace, self.rendering)
        if system is not None:
            self._systems.check({"role": "system", "content": system})

    @property
    def system(self) -> str | None:
        """The system message."""
        return self._workspace.system

    @property
    def tools(self) -> list[dict[str, Any]] | None:
        """The tools passed to the chat template."""
        tools = self.template.tools
        return None if tools is None else [dict(tool) for tool in tools]

    # -- look --------------------------------------------------------------------------------

    def lines_at(self, checkpoint: Checkpoint) -> list[Line[Checkpoint]]:
        """Return the messages up to a checkpoint, with the checkpoints that hold them."""
        return lines_at(checkpoint, self.system)

    def messages_at(self, checkpoint: Checkpoint) -> list[dict[str, Any]]:
        """Return the messages up to a checkpoint, in the form that chat templates take."""
        return [line.message for line in self.lines_at(checkpoint)]

    # -- say ---------------------------------------------------------------------------------

    def say(
        self,
        messages: Sequence[Message],
        variables: Mapping[str, Any] | None = None,
        *,
        before: Sequence[Message] | None = None,
    ) -> Said:
        """Evaluate the tokens that messages add to the conversation, and commit each of them.

        The answer may follow. If the last message is the assistant's, it begins with that.

        Parameters
        ----------
        messages : sequence of mapping
        variables : mapping, optional
            Variables of the chat template for these messages alone.
        before : sequence of mapping, optional
            What was said, where that is not what the head says: another system message.

        Raises
        ------
        ContextFullError, ChatTemplateError
            Before anything is evaluated.
        HistoryError
            When it was stopped.
        """
        workspace = self._workspace
        home, n_held = workspace.head, self._context.token_count()
        told, began = self.messages_at(home), time.perf_counter()
        other = None if before is None or [*before] == told else before
        before = told if other is None else other
        try:
            answered = self._answered()
            tokens = self.rendering.prompt(
                before, messages, variables, checks=True, answered=answered
            )
        except ChatTemplateError as error:
            if not _is_question(messages[0]) or not (before and _is_question(before[-1])):
                raise
            raise ChatTemplateError(
                f"{error}. The question before has no answer yet: resume() answers it, undo() "
                "takes it back"
            ) from None
        workspace.stages.tell("tokenize", len(tokens), began)
        began = time.perf_counter()
        keep, used = self.rendering.common_prefix(tokens)
        n_missing = len(tokens) - used
        workspace.stages.tell("prefix", keep, began, dropped=n_held - keep, missing=n_missing)
        self.check_room(keep, n_missing)
        n_again = 0
        if keep < n_held:
            n_again = max(0, min(n_held - keep, self.rendering.n_tokens(before) - used))
        with workspace.operation(), workspace.going_back_on_error(always=True):
            n_system = self._begin(before, messages, variables)
            if home.is_root and not n_held:
                keep, _ = self.rendering.common_prefix(tokens)
            n_evaluated = self.append(
                messages, variables, before=other, answered=False, is_checked=True
            )
            why = self._why_again(before, tokens) if n_again else None
            if n_again:
                workspace.head.metadata["evaluated_again"] = {"tokens": n_again, "why": why}
        return Said(keep - n_system, n_evaluated + n_system, n_again, why)

    def _why_again(self, before: Sequence[Message], tokens: Sequence[int]) -> str:
        """Why earlier tokens were evaluated again."""
        prompt = self._model.detokenize(tokens, special=True)
        thoughts = [str(message.get("reasoning_content") or "").strip() for message in before]
        if any(thought and thought not in prompt for thought in thoughts):
            return "the template leaves out earlier thoughts"
        return "the template writes earlier messages in another way"

    def _answered(self) -> tuple[int, ...] | None:
        """The context's tokens up to the end of the last answer, if answers stay as they are."""
        if not self.template.keep_reasoning:
            return None
        head = self._workspace.head
        for line in reversed(self.lines_at(head)):
            if is_answer(line.message):
                is_held = line.index is None and (line.end is head or line.end.is_ancestor_of(head))
                return tuple(self._context.tokens[: line.end.stop]) if is_held else None
        return None

    def measure(
        self, messages: Sequence[Message], variables: Mapping[str, Any] | None = None
    ) -> int:
        """Return how many tokens the context would hold after :meth:`say`; nothing is evaluated.

        Raises
        ------
        ChatTemplateError
        """
        before = self.messages_at(self._workspace.head)
        tokens = self.rendering.prompt(before, messages, variables, answered=self._answered())
        keep, used = self.rendering.common_prefix(tokens)
        return keep + len(tokens) - used

    def append(
        self,
        messages: Sequence[Message],
        variables: Variables = None,
        *,
        before: Sequence[Message] | None = None,
        answered: bool = True,
        is_checked: bool = False,
        why_again: str | None = None,
        **notes: Any,
    ) -> int:
        """Commit messages, each on a checkpoint of its own if the template takes it as the last.

        Parameters
        ----------
        messages : sequence of mapping
        variables : mapping, optional
            Variables of the chat template for these messages alone.
        before : sequence of mapping, optional
            As for :meth:`say`.
        answered : bool
            Whether an assistant's message at the end is complete, instead of the beginning of the
            answer.
        is_checked : bool
            Whether they were rendered with a check that nothing is left out.
        why_again : str, optional
            Why they are evaluated again, if they were said before; it is noted.
        **notes
            Further notes of the last one.

        Returns
        -------
        int
            Tokens that were evaluated.
        """
        if not messages:
            return 0
        if not is_checked:
            self._check(messages, variables, before)
        workspace = self._workspace
        n_evaluated, is_held = 0, bool(before)
        if before is None:
            head, at = workspace.head, self._standing(workspace.head)
            before = self.messages_at(head)  # a piece notes what was said before it
            is_held = at is not head and before != self.messages_at(at)
        with workspace.operation(), workspace.going_back_on_error(always=True):
            n_evaluated += self._begin(before, messages, variables)
            at = self._standing(workspace.head)
            for n, message in enumerate(messages, 1):
                rest = messages[n:]
                try:
                    is_complete = answered or bool(rest)
                    added = self._addition(before, message, rest, variables, is_complete)
                except ChatTemplateError:
                    if not rest:
                        raise
                    added = None
                before = [*before, dict(message)]
                if added is None:  # it cannot be the last, so the next checkpoint holds it
                    is_held = True
                    continue
                keep, tokens, noted = added
                noted |= {} if rest else notes
                if why_again is not None:
                    noted["evaluated_again"] = {"tokens": len(tokens), "why": why_again}
                if is_held:
                    noted["history"], is_held = before, False
                check_notes(noted)
                self.check_room(keep, len(tokens))
                if fork_at(workspace, keep) is not at:
                    noted["came_from"] = at.id
                self._evaluate(tokens)
                at = workspace.commit(noted, allow_empty=True)
                n_evaluated += len(tokens)
        return n_evaluated

    def _check(
        self, messages: Sequence[Message], variables: Variables, before: Sequence[Message] | None
    ) -> None:
        """Check that what is given up to the last question arrives in the prompt."""
        before = self.messages_at(self._workspace.head) if before is None else before
        n = max((i for i, each in enumerate(messages, 1) if not is_answer(each)), default=0)
        if n:
            self.rendering.render([*before, *messages[:n]], variables)
        if any(message.get("tool_calls") for message in messages[n:]):
            self.rendering.render([*before, *messages], variables, add_generation_prompt=False)

    def _begin(
        self,
        before: Sequence[Message],
        messages: Sequence[Message],
        variables: Variables,
    ) -> int:
        """Say the system message where nothing is said yet; return how many tokens it took."""
        if not before or not self._workspace.head.is_root or self._context.token_count():
            return 0
        return self._systems.say(before[0], messages, variables)

    def _standing(self, head: Checkpoint) -> Checkpoint:
        """The head, or the checkpoint before a question that was cut off there."""
        while head.metadata.cut and not head.metadata.is_answer:
            head = point_before(head)
        return head

    def _evaluate(self, tokens: Sequence[int]) -> None:
        workspace = self._workspace
        workspace.evaluate(tokens, lambda done, total: workspace.notify(Progress(done, total)))

    def _addition(
        self,
        before: Sequence[Message],
        message: Message,
        rest: Sequence[Message],
        variables: Variables,
        is_complete: bool,
    ) -> tuple[int, Sequence[int], dict[str, Any]]:
        """How many tokens of the context stay, those that a message adds, and its notes."""
        answered = None
        if is_answer(message):
            variables = self._workspace.head.metadata.chat_template_kwargs
            notes = message_notes(message, finish_reason="stop" if is_complete else "length")
        else:
            answered, notes = self._answered(), message_notes(message)
            if variables:
                notes["chat_template_kwargs"] = dict(variables)
        keep, tokens = self.rendering.addition(before, message, rest, variables, answered)
        return keep, tokens, notes

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
            if not self._systems.say_alone(system):
                raise HistoryError(
                    f"the chat template of {self._model.name!r} lets no system message stand "
                    "alone, so there is nothing to save yet: ask() something"
                )

    def say_anew(
        self, system: Message, messages: Sequence[Message], variables: Variables = None
    ) -> Said | None:
        """Say another system message at the root, which is the head, and what follows it.

        Parameters
        ----------
        system : mapping
        messages : sequence of mapping
            They may be none.
        variables : mapping, optional
            Variables of the chat template for these messages alone.

        Raises
        ------
        ContextFullError, ChatTemplateError
            Before anything is evaluated.
        HistoryError
            When nothing follows, and the template lets no system message stand alone.
        """
        self._systems.check(system)
        workspace = self._workspace
        if not messages:
            with workspace.operation(), workspace.going_back_on_error():
                if not self._systems.say_alone(system, variables):
                    self._systems.hold_at_root(system)
            return None
        tokens = self.rendering.prompt([], [system, *messages], variables, checks=True)
        self.check_room(0, len(tokens))
        with workspace.operation(), workspace.going_back_on_error(always=True):
            n_system = self._systems.say(system, messages, variables)
            said = self.say(messages, variables, before=[system])
        return dataclasses.replace(
            said, reused=said.reused - n_system, evaluated=said.evaluated + n_system
        )

    def stand_before(self, end: Checkpoint) -> Checkpoint:
        """Move the head to where a message was said.

        What was said before it has a checkpoint again afterwards, even if that was pruned.
        """
        if any(part.metadata.history is not None for part in message_parts(end)):
            before = self.lines_at(end)[:-1]
            last = before[-1] if before else None
            if last is not None and last.index is not None and not _stands_at_root(last):
                return self.unfold(last.end, last.index)
        workspace, point = self._workspace, point_before(end)
        with workspace.changing():
            adapters = workspace.adapters.instead_of(message_parts(end)[0])
            workspace.checkout(point, adapters=adapters)
        return point

    def unfold(self, end: Checkpoint, index: int) -> Checkpoint:
        """Return a checkpoint, as the head, for one of several messages that a checkpoint holds.

        Parameters
        ----------
        end : Checkpoint
        index : int
            Of the message, as in its ``Line``.
        """
        workspace, lines = self._workspace, self.lines_at(end)[: index + 1]
        root = workspace.graph.root
        if end.is_root or _stands_at_root(lines[-1]):
            return root
        own = [i for i, line in enumerate(lines) if line.index is None or line.end.is_root]
        last = lines[own[-1]].end if own else root
        rest = [line.message for line in lines[own[-1] + 1 if own else 0 :]]
        before: list[Message] | None = None if own else []
        with workspace.changing(), workspace.going_back_on_error(always=True):
            workspace.checkout(last, adapters=workspace.adapters.of(end))
            self.append(rest, before=before)
            return workspace.head

    # -- render ------------------------------------------------------------------------------

    @property
    def template(self) -> TemplateOptions:
        """How messages are rendered."""
        return self.rendering.template

    @template.setter
    def template(self, template: TemplateOptions) -> None:
        self.rendering.template = self._workspace.readings.template = template

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
                f"{n_tokens - free:,} too many. Nothing was evaluated. trim() drops the oldest "
                "turns; or make the chat with a larger n_ctx, or a smaller kv_cache_type such as "
                '"q8_0" in the same memory',
                needed=n_tokens,
                free=free,
            )


def _stands_at_root(line: Line[Checkpoint]) -> bool:
    """Whether a message is a system message that the template does not let stand alone."""
    is_first = line.index == 0 and line.message.get("role") == "system"
    return line.end.is_root or is_first


def _is_question(message: Message) -> bool:
    return message.get("role") not in ("system", "assistant")
