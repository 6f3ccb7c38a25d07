"""Saving a chat with its whole tree under a name, once or after every turn."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

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
from .saving import Draft, Image
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["Autosave", "Saves"]

_TIMES_TO_MERGE = 5


# It is part of what stands before every message.
_SAID_TO_ALL = ("system", "tools", "chat_template", "chat_template_kwargs")


class Saves:
    """The places where a chat was opened or saved, and saving it there again.

    Parameters
    ----------
    workspace : Workspace
    settings : callable
        A method that returns the same as ``settings_of``; its owner is not kept alive.
    """

    def __init__(
        self, workspace: Workspace[Checkpoint], settings: Callable[[], dict[str, Any]]
    ) -> None:
        self._workspace = workspace
        self._settings = weakref.WeakMethod(settings)
        self._images: dict[int, Image] = {}  # by version
        self._autosave: Autosave | None = None

    @property
    def is_known(self) -> bool:
        """Whether the chat was opened from, or saved as, any version."""
        return bool(self._images)

    def go_on_from(self, before: Saves) -> None:
        """Save from now on where another chat with the same tree was saved, in its stead."""
        count = self._workspace.graph.changes.count
        self._images = {
            version: dataclasses.replace(image, count=count, rows=dict(image.rows))
            for version, image in before._images.items()
        }
        autosave = before._autosave
        if autosave is not None:
            before.autosave(None, autosave.store)
            try:
                self.autosave(autosave.name, autosave.store)
            except BaseException:
                before.autosave(autosave.name, autosave.store)
                raise

    def remember(self, image: Image) -> None:
        """Remember what was read or written as the stored version."""
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
        """Save under a name now and after every turn; None stops it."""
        workspace = self._workspace
        before, workspace.after_turn = self._autosave, None
        self._autosave = None
        if before is not None:
            before.end()
        if name is not None:
            self._autosave = Autosave(
                *(self, name, store), replace=replace, merge=merge, take_over=take_over
            )
            workspace.after_turn = self._autosave.after_turn

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
            The owner that saves it after every turn from now on.
        replace, merge, take_over : bool
            As for ``Chat.save``.
        thorough : bool
            See ``Draft``.
        """
        if replace and merge:
            raise ParameterError("a name is replaced or merged with, not both: give one of them")
        workspace, drafts = self._workspace, list[Draft]()
        own = self._autosave
        if owner is None and own is not None and own.is_for(name, store):
            owner = own.owner

        def write(version: int | None) -> Written:
            image = None if version is None else self._images[version]
            drafts.append(Draft(workspace, self._settings_now(), name, image, thorough=thorough))
            return drafts[-1].written

        with workspace.changing():
            left = _TIMES_TO_MERGE if merge else 0
            while left and name in store:  # others may go on saving there
                left -= 1
                store.check_free(name, owner=owner, take_over=take_over)
                self._merge(name, store)
                try:
                    return self.save(name, store, owner=owner, take_over=take_over)
                except SessionConflictError:
                    if not left:
                        raise
            place = store.save(
                name,
                "chat",
                write,
                workspace.rows.at,
                origins={version: image.place for version, image in self._images.items()},
                owner=owner,
                replace=replace,
                take_over=take_over,
            )
            image = drafts[-1].image(place)
            self.remember(image)
            return image

    def has_changes(self, count: int) -> bool:
        """Whether the tree has changed since the last save."""
        return self._workspace.graph.changes.count != count or self._workspace.uncommitted > 0

    def _settings_now(self) -> dict[str, Any]:
        settings = self._settings()
        assert settings is not None  # its owner made this
        return settings()

    def _merge(self, name: str, store: SessionStore) -> None:
        """Take in what is saved under a name and not here."""
        workspace = self._workspace
        place, record, body, saved = store.open_chat(name)
        known = self._images.get(place.version)
        if known is not None and known.place == place:
            return
        check_settings(record.metadata, workspace.context, name)
        ours = self._settings_now()
        different = [key for key in _SAID_TO_ALL if body.get(key) != ours.get(key)]
        if different:
            raise SessionMismatchError(
                f"{name!r} was made with another {' and other '.join(different)} and cannot be "
                "merged; save this chat under another name"
            )
        read = reader(workspace.context, store)
        self.remember(merged(workspace, place, saved, read))


class Autosave:
    """Saves a chat after every turn that changed it.

    Parameters
    ----------
    saves : Saves
    name : str
    store : SessionStore
    replace, merge, take_over : bool
        As for ``Chat.save``.

    Raises
    ------
    SessionConflictError
        When the name holds another chat, or another process saves one there.
    """

    def __init__(
        self,
        saves: Saves,
        name: str,
        store: SessionStore,
        *,
        replace: bool = False,
        merge: bool = False,
        take_over: bool = False,
    ) -> None:
        self.name = check_name(name)
        self.store = store
        self._saves = weakref.ref(saves)  # else nothing of it would go before a collection
        self.owner = Owner(store.folder)
        try:
            image = saves.save(
                *(name, store), owner=self.owner, replace=replace, merge=merge, take_over=take_over
            )
        except BaseException:
            self.owner.end()
            raise
        self._count = image.count

    def is_for(self, name: str, store: SessionStore) -> bool:
        """Return whether it saves under a name."""
        is_here = store.folder.absolute() == self.store.folder.absolute()
        return is_here and check_name(name) == self.name

    def end(self) -> None:
        """Release the name."""
        self.owner.end()

    def after_turn(self) -> None:
        """Save the changes, and warn if that fails, as the turn itself succeeded.

        A move of the head alone does not count as a change.
        """
        saves = self._saves()
        if saves is None:
            warn(
                f"nothing is saved as {self.name!r} any more, as the Chat is gone; keep it as long "
                "as its tree",
                MullamaWarning,
            )
            return
        if not saves.has_changes(self._count):
            return
        try:
            image = saves.save(self.name, self.store, owner=self.owner, thorough=False)
        except (SessionError, ParameterError, OSError) as error:
            warn(f"the chat could not be saved as {self.name!r}: {error}", MullamaWarning)
        else:
            self._count = image.count
