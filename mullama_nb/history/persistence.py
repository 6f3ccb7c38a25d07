"""Saving a chat with its whole tree under a name, once or after every turn."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from ..engine.warn import warn
from ..errors import (
    MullamaWarning,
    ParameterError,
    SessionConflictError,
    SessionError,
    SessionMismatchError,
)
from ..sessions.names import check_name
from ..sessions.owners import Owner
from ..sessions.states import check_settings
from ..sessions.store import SessionStore
from ..sessions.versions import Written
from .merging import merged, reader
from .saving import Draft, Image, settings_of

if TYPE_CHECKING:
    from .chat_moves import ChatMoves

__all__ = ["Autosave", "Saves"]

_TIMES_TO_MERGE = 5


class Saves:
    """Where a chat was opened from and saved to, and saving it there again.

    Parameters
    ----------
    chat : Chat
    """

    def __init__(self, chat: ChatMoves) -> None:
        self._chat = weakref.ref(chat)
        self._images: dict[int, Image] = {}  # by version
        self._autosave: Autosave | None = None

    @property
    def is_known(self) -> bool:
        """Whether the chat is any version's that there was."""
        return bool(self._images)

    def remember(self, image: Image) -> None:
        """Take what was read or written for what is there."""
        self._images[image.place.version] = image

    def autosave(
        self,
        name: str | None,
        store: SessionStore,
        *,
        replace: bool = False,
        merge: bool = False,
        take_over: bool = False,
    ) -> None:
        """Save under a name now and after each turn; None ends that."""
        chat = self._chat()
        assert chat is not None
        before, chat.tree.after_turn = self._autosave, None
        self._autosave = None
        if before is not None:
            before.end()
        if name is not None:
            self._autosave = Autosave(
                *(chat, name, store), replace=replace, merge=merge, take_over=take_over
            )
            chat.tree.after_turn = self._autosave.after_turn

    def save(
        self,
        name: str,
        store: SessionStore,
        *,
        owner: Owner | None = None,
        replace: bool = False,
        merge: bool = False,
        take_over: bool = False,
        thorough: bool = True,
    ) -> Image:
        """Save the chat with every checkpoint, tag and head; only what is new is written.

        Parameters
        ----------
        name : str
        store : SessionStore
        owner : Owner, optional
            Who saves it from now on after every turn.
        replace, merge, take_over : bool
            As for ``Chat.save``.
        thorough : bool
            See ``Draft``.
        """
        if replace and merge:
            raise ParameterError("a name is replaced or merged with, not both: give one of them")
        chat = self._chat()
        assert chat is not None
        tree, drafts = chat.tree, list[Draft]()
        own = self._autosave
        if owner is None and own is not None and own.is_for(name, store):
            owner = own.owner

        def write(version: int | None) -> Written:
            image = None if version is None else self._images[version]
            drafts.append(Draft(chat, name, image, thorough=thorough))
            return drafts[-1].written

        with tree.operation():
            tree.settle()
            left = _TIMES_TO_MERGE if merge else 0
            while left and name in store:  # others may go on saving there
                left -= 1
                store.check_free(name, owner=owner, take_over=take_over)
                self._merge(chat, name, store)
                try:
                    return self.save(name, store, owner=owner, take_over=take_over)
                except SessionConflictError:
                    if not left:
                        raise
            place = store.save(
                name,
                "chat",
                write,
                tree.segment_at,
                origins={version: image.place for version, image in self._images.items()},
                owner=owner,
                replace=replace,
                take_over=take_over,
            )
            image = drafts[-1].image(place)
            self.remember(image)
            return image

    def _merge(self, chat: ChatMoves, name: str, store: SessionStore) -> None:
        """Take in what is saved under a name and not here."""
        place, record, body, saved = store.open_chat(name)
        known = self._images.get(place.version)
        if known is not None and known.place == place:
            return
        check_settings(record.metadata, chat.context, name)
        ours = settings_of(chat)
        different = [key for key in ("system", "tools") if body[key] != ours[key]]
        if different:
            raise SessionMismatchError(
                f"{name!r} was made with another {' and other '.join(different)} and cannot be "
                "merged; save this chat under another name"
            )
        self.remember(merged(chat.tree, place, saved, reader(chat.tree, store)))


class Autosave:
    """Saves a chat after each turn that changed it.

    Parameters
    ----------
    chat : Chat
    name : str
    store : SessionStore
    replace, merge, take_over : bool
        As for ``Chat.save``.

    Raises
    ------
    SessionConflictError
        When the name holds another chat, or somebody else saves one there.
    """

    def __init__(
        self,
        chat: ChatMoves,
        name: str,
        store: SessionStore,
        *,
        replace: bool = False,
        merge: bool = False,
        take_over: bool = False,
    ) -> None:
        self.name = check_name(name)
        self._store = store
        self._chat = weakref.ref(chat)  # else nothing of it would go before a collection
        self.owner = Owner(store.folder)
        try:
            image = chat.saves.save(
                *(name, store), owner=self.owner, replace=replace, merge=merge, take_over=take_over
            )
        except BaseException:
            self.owner.end()
            raise
        self._count = image.count

    def is_for(self, name: str, store: SessionStore) -> bool:
        """Whether it saves under that name."""
        is_here = store.folder.absolute() == self._store.folder.absolute()
        return is_here and check_name(name) == self.name

    def end(self) -> None:
        """Let others have the name."""
        self.owner.end()

    def after_turn(self) -> None:
        """Save what has changed, and warn where that fails: the turn itself did not.

        Where the head stands is no change by itself.
        """
        chat = self._chat()
        if chat is None:
            warn(
                f"nothing is saved as {self.name!r} any more, as the Chat is gone; keep it as long "
                "as its tree",
                MullamaWarning,
            )
            return
        if chat.tree.changes.count == self._count and not chat.tree.uncommitted:
            return
        try:
            image = chat.saves.save(self.name, self._store, owner=self.owner, thorough=False)
        except (SessionError, ParameterError, OSError) as error:
            warn(f"the chat could not be saved as {self.name!r}: {error}", MullamaWarning)
        else:
            self._count = image.count
