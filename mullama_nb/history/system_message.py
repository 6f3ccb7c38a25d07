"""The system message, which begins a conversation: on a checkpoint of its own where that can be."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine.templates.template import Message
from ..errors import ChatTemplateError, HistoryError
from .message import content_text
from .notes import check_notes, message_notes
from .rendering import Rendering, Variables
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["SystemMessages"]

_PROBE = {"role": "user", "content": "?"}


class SystemMessages:
    """Says system messages at the root of a tree.

    Parameters
    ----------
    workspace : Workspace
    rendering : Rendering
        Of the chat's template.
    """

    def __init__(self, workspace: Workspace[Checkpoint], rendering: Rendering) -> None:
        self._workspace = workspace
        self._rendering = rendering

    def check(self, system: Message) -> None:
        """Check that the template takes a system message.

        Raises
        ------
        ParameterError
            When it cannot be noted.
        ChatTemplateError
        """
        check_notes({"system": system}, "the system message")
        try:
            self._rendering.render([_PROBE])
        except ChatTemplateError:
            return  # it is refused for another reason, which ask() will say
        try:
            self._rendering.render([system, _PROBE])
        except ChatTemplateError as error:
            raise ChatTemplateError(
                f"{error}. Without a system message it does not: put the text into the first "
                "question"
            ) from None

    def say(self, system: Message, rest: Sequence[Message], variables: Variables = None) -> int:
        """Give a system message a checkpoint if the template lets it stand alone; it is the head.

        Parameters
        ----------
        system : mapping
        rest : sequence of mapping
            What follows it.
        variables : mapping, optional
            Variables of the chat template.

        Returns
        -------
        int
            Tokens that were evaluated.
        """
        workspace = self._workspace
        try:
            tokens = self._rendering.alone([], system, rest, variables)
        except ChatTemplateError:
            return 0
        for child in workspace.graph.root.children:
            is_same = child.tokens == tokens and child.metadata.is_system
            if is_same and workspace.adapters.are_those_of(child):
                workspace.checkout(child)
                return 0
        workspace.evaluate(tokens)
        workspace.commit(message_notes(system))
        return len(tokens)

    def say_alone(self, system: Message, variables: Variables = None) -> bool:
        """Say a system message behind which nothing is said yet; return whether it could stand."""
        self.say(system, [_PROBE], variables)
        return not self._workspace.head.is_root

    def hold_at_root(self, system: Message) -> None:
        """Have the root hold a system message that cannot stand alone.

        Raises
        ------
        HistoryError
            When something was said under another one.
        """
        if self._workspace.graph.root.followers:
            raise HistoryError(
                f"the chat template of {self._workspace.context.model.name!r} lets no system "
                "message stand alone: ask() something first, then edit() the system message, and "
                "it is asked again"
            )
        self._workspace.system = content_text(system)
