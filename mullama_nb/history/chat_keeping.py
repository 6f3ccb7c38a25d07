"""Keeping a chat: under a name, after every turn, and from messages that were kept elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..engine.chat_template import Message
from ..engine.context import Context
from ..engine.model import Model
from ..sessions.store import SessionStore
from .chat_moves import ChatMoves
from .conversation import checked_messages
from .persistence import open_chat

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ChatKeeping"]


class ChatKeeping(ChatMoves):
    """How a chat is kept and comes back; ``Chat`` adds what is said.

    Parameters
    ----------
    model, system, tools, max_bytes, **options
        As for ``Chat``.
    """

    @classmethod
    def from_messages(
        cls,
        model: str | os.PathLike[str] | Model | Context,
        messages: Sequence[Message],
        **options: Any,
    ) -> Self:
        """A chat that holds a conversation from elsewhere, each message a checkpoint.

        Parameters
        ----------
        model
            As for the class.
        messages : sequence of mapping
            Each with ``role`` and ``content``; a system message may come first.
        **options
            As for the class.
        """
        rest = checked_messages(messages)
        if rest and rest[0].get("role") == "system" and "content" in rest[0]:
            options.setdefault("system", rest.pop(0)["content"])
        chat = cls(model, **options)
        chat.replay(rest)
        return chat

    def replay(self, messages: Sequence[Message]) -> None:
        """Take messages as if they had been said here, each a checkpoint; none is generated."""
        for message in checked_messages(messages):
            if message.get("role") == "assistant":
                self._conversation.answer_with(message)
            else:
                self._conversation.say([message])

    # -- keep --------------------------------------------------------------------------------

    def save(
        self,
        name: str,
        folder: str | os.PathLike[str] | None = None,
        *,
        replace: bool = False,
        take_over: bool = False,
    ) -> None:
        """Save the whole tree under a name; what is there already is not written again.

        Parameters
        ----------
        name : str
        folder : str or path, optional
            None: in the user's data folder.
        replace : bool
            Whether the name may hold something else, which then becomes an earlier version: until
            ``gc`` it can be restored.
        take_over : bool
            Whether the name may be taken from another chat, or another process, that saves there
            after every turn.

        Raises
        ------
        SessionConflictError
            When the name holds what this chat was not opened from or saved as, or somebody else
            saves it after every turn.
        """
        self.saves.save(name, SessionStore(folder), replace=replace, take_over=take_over)

    @classmethod
    def open(
        cls,
        name: str,
        model: str | os.PathLike[str] | Model | None = None,
        folder: str | os.PathLike[str] | None = None,
        *,
        on_mismatch: Literal["error", "replay"] = "error",
        **options: Any,
    ) -> Self:
        """A chat that stands where the saved one stood, with every checkpoint and tag.

        Rows are read when they are needed.

        Parameters
        ----------
        name : str
        model : str, path or Model, optional
            None: the file that it was made with.
        folder : str or path, optional
            None: the user's data folder.
        on_mismatch : {"error", "replay"}
            What to do when model or settings differ: raise, or evaluate its tokens, or with other
            weights the messages up to its head, again.
        **options
            What shall differ from the saved context and sampling parameters.

        Raises
        ------
        SessionNotFoundError, SessionFormatError, SessionMismatchError
        """
        return open_chat(cls, name, model, SessionStore(folder), on_mismatch, options)

    def autosave(
        self,
        name: str | None,
        folder: str | os.PathLike[str] | None = None,
        *,
        replace: bool = False,
        take_over: bool = False,
    ) -> None:
        """Save under a name now and after each turn, so that a crash loses none; None ends that.

        A turn costs what it adds. Undo, redo and checkout are saved along with the next change;
        so are changes inside of a note, such as ``metadata["a"]["b"] = 1``, with the next
        :meth:`save`.

        Parameters
        ----------
        name : str or None
        folder : str or path, optional
            None: the user's data folder.
        replace, take_over : bool
            As for :meth:`save`.

        Raises
        ------
        SessionConflictError
            As for :meth:`save`.
        """
        self.saves.autosave(name, SessionStore(folder), replace=replace, take_over=take_over)
