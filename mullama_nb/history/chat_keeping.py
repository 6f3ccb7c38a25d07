"""Keeping a chat: under a name, after every turn, and from messages that were kept elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..engine.chat_template import Message
from ..engine.context import Context
from ..engine.model import Model
from ..sessions.store import SessionStore
from ..state.session_info import SessionInfo
from .chat_moves import ChatMoves
from .conversation import checked_messages
from .opening import open_chat, open_or_create
from .options import lists_new_chat, lists_open
from .recover import recover_messages

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .options import NewChatOptions, OpenOptions

__all__ = ["ChatKeeping"]


class ChatKeeping(ChatMoves):
    """How a chat is kept and comes back; ``Chat`` adds what is said.

    Parameters
    ----------
    model, system, tools, max_bytes, **options
        As for ``Chat``.
    """

    @classmethod
    @lists_new_chat
    def from_messages(
        cls,
        model: str | os.PathLike[str] | Model | Context,
        messages: Sequence[Message],
        **options: Unpack[NewChatOptions],
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

    # -- session files -----------------------------------------------------------------------

    def save_session(
        self,
        path: str | os.PathLike[str],
        *,
        include_logits: bool = True,
        window_only: bool = False,
    ) -> SessionInfo:
        """Save the conversation up to the head to a file from which it goes on exactly.

        Where nothing was said yet the file holds the system message. To keep the whole tree, with
        its other branches and tags, there is :meth:`save`.

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

    def load_session(self, path: str | os.PathLike[str]) -> SessionInfo:
        """Go on where a session file was; what the chat held before remains as other branches.

        The messages are read back out of what the file holds by the model's chat template. Of
        plain text there are none: it is a checkpoint, and ``context.generate`` goes on with it.

        Parameters
        ----------
        path : str or path
            As :meth:`save_session`, ``Context.save_session`` or llama.cpp wrote it.

        Raises
        ------
        SessionNotFoundError, SessionFormatError, SessionMismatchError
            As for ``Context.load_session``; also when the chat has another system message than the
            conversation. The chat is as it was.

        Warns
        -----
        InexactWarning, UnverifiedWarning
            As for ``Context.load_session``.
        """
        self._stop_others()
        with self.tree.turn(), self.tree.operation(), self.tree.or_back(whatever=True):
            self.tree.settle()
            try:
                info = self.context.load_session(path)
            finally:  # its warnings may be errors
                if self.tree.uncommitted:
                    self.tree.commit(source="session")
            recover_messages(self.tree, self.system, self.tools)
            return info

    # -- under a name ------------------------------------------------------------------------

    def save(
        self,
        name: str,
        folder: str | os.PathLike[str] | None = None,
        *,
        replace: bool = False,
        merge: bool = False,
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
        merge : bool
            Whether to take in first what was saved there and is not here: it becomes branches
            beside what there is, in this tree and in what is saved.
        take_over : bool
            Whether the name may be taken from another chat, or another process, that saves there
            after every turn.

        Raises
        ------
        SessionConflictError
            When the name holds what this chat was not opened from or saved as, or somebody else
            saves it after every turn.
        """
        self.saves.save(
            *(name, SessionStore(folder)), replace=replace, merge=merge, take_over=take_over
        )

    @classmethod
    @lists_open
    def open(
        cls,
        name: str,
        model: str | os.PathLike[str] | Model | None = None,
        folder: str | os.PathLike[str] | None = None,
        *,
        on_mismatch: Literal["error", "replay"] = "error",
        **options: Unpack[OpenOptions],
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
            What shall differ from the saved context and sampling parameters; and ``max_bytes``, as
            for the class.

        Raises
        ------
        SessionNotFoundError, SessionFormatError, SessionMismatchError
        """
        return open_chat(cls, name, model, SessionStore(folder), on_mismatch, {**options})

    @classmethod
    @lists_open
    def open_or_create(
        cls,
        name: str,
        model: str | os.PathLike[str] | Model | None = None,
        folder: str | os.PathLike[str] | None = None,
        *,
        system: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        take_over: bool = False,
        on_mismatch: Literal["error", "replay"] = "error",
        **options: Unpack[OpenOptions],
    ) -> Self:
        """Go on with the chat of that name, or begin it; it is saved after every turn.

        A cell with this can be run any number of times, after a crash and in the same kernel: it
        gives the chat as it was saved last. A chat that an earlier run of the cell made is then not
        saved there any more, and says so at its next turn.

        Parameters
        ----------
        name : str
        model : str, path or Model, optional
            None: the file that it was made with.
        folder : str or path, optional
            None: the user's data folder.
        system, tools
            As for the class. None goes on with what the chat was made with.
        take_over : bool
            Whether to take the name from another process that saves there after every turn.
        on_mismatch : {"error", "replay"}
            As for :meth:`open`. What is evaluated again is saved beside what was there, which
            becomes an earlier version.
        **options
            As for the class; those that differ from what the chat was saved with hold from here on.

        Raises
        ------
        SessionConflictError
            When another process saves there after every turn, or the name is a context's session.
        SessionMismatchError
            When the chat was made with another system message, tools, model or settings.

        Warns
        -----
        ParameterWarning
            When options differ from what the chat was saved with.
        """
        return open_or_create(
            cls,
            name,
            model,
            SessionStore(folder),
            system=system,
            tools=tools,
            take_over=take_over,
            on_mismatch=on_mismatch,
            options=options,
        )

    def autosave(
        self,
        name: str | None,
        folder: str | os.PathLike[str] | None = None,
        *,
        replace: bool = False,
        merge: bool = False,
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
        replace, merge, take_over : bool
            As for :meth:`save`.

        Raises
        ------
        SessionConflictError
            As for :meth:`save`.
        """
        self.saves.autosave(
            *(name, SessionStore(folder)), replace=replace, merge=merge, take_over=take_over
        )
