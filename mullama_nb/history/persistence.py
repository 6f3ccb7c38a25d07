"""Saving a chat with its whole tree under a name, and opening it again."""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..engine.compatibility import differences
from ..engine.context import Context
from ..engine.model import Model
from ..engine.params import ContextParams, SamplingParams
from ..engine.stored import check_room, params_from_file
from ..engine.warn import warn
from ..errors import (
    InexactWarning,
    MullamaWarning,
    ParameterError,
    SessionError,
    SessionFormatError,
    SessionMismatchError,
)
from ..sessions.entries import Entry, SavedChat
from ..sessions.names import check_name
from ..sessions.owners import Owner
from ..sessions.records import Record
from ..sessions.states import check_rows, check_settings
from ..sessions.store import SessionStore
from ..sessions.versions import Written
from ..state.segment import Segment
from .checkpoint import ROOT_ID, Checkpoint
from .saving import Draft, Image
from .tree import CheckpointTree
from .turn import messages_on

if TYPE_CHECKING:
    from .chat_keeping import ChatKeeping
    from .chat_moves import ChatMoves

__all__ = ["Autosave", "Saves", "open_chat"]

C = TypeVar("C", bound="ChatKeeping")


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

    def remember(self, image: Image) -> None:
        """Take what was read or written for what is there."""
        self._images[image.place.version] = image

    def autosave(
        self, name: str | None, store: SessionStore, *, replace: bool, take_over: bool
    ) -> None:
        """Save under a name now and after each turn; None ends that."""
        chat = self._chat()
        assert chat is not None
        before, chat.tree.after_turn = self._autosave, None
        self._autosave = None
        if before is not None:
            before.end()
        if name is not None:
            self._autosave = Autosave(chat, name, store, replace=replace, take_over=take_over)
            chat.tree.after_turn = self._autosave.after_turn

    def save(
        self,
        name: str,
        store: SessionStore,
        *,
        owner: Owner | None = None,
        replace: bool = False,
        take_over: bool = False,
        thorough: bool = True,
    ) -> Image:
        """Save the chat with every checkpoint, tag and head; only what is new is written."""
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


class Autosave:
    """Saves a chat after each turn that changed it.

    Parameters
    ----------
    chat : Chat
    name : str
    store : SessionStore
    replace, take_over : bool
        As for ``Chat.autosave``.

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
        take_over: bool = False,
    ) -> None:
        self.name = check_name(name)
        self._store = store
        self._chat = weakref.ref(chat)  # else nothing of it would go before a collection
        self.owner = Owner(store.folder)
        try:
            image = chat.saves.save(
                name, store, owner=self.owner, replace=replace, take_over=take_over
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


def open_chat(
    make: Callable[..., C],
    name: str,
    model: str | os.PathLike[str] | Model | None,
    store: SessionStore,
    on_mismatch: str,
    options: dict[str, Any],
) -> C:
    """Make a chat that stands where the saved one stood; see ``Chat.open``."""
    if on_mismatch not in ("error", "replay"):
        raise ParameterError(f'on_mismatch={on_mismatch!r} must be "error" or "replay"')
    place, record, body, saved = store.open_chat(name)
    if saved.entries[0].id != ROOT_ID:
        raise SessionFormatError(f"the session {name!r} is damaged: its root is another one's")
    context_names = {field.name for field in dataclasses.fields(ContextParams)}
    changes = {k: options.pop(k) for k in [*options] if k in context_names}
    loaded = (
        model if isinstance(model, Model) else Model.load(body["model"] if model is None else model)
    )
    params, sampling = _parameters(name, body, changes)
    check_room(loaded, params, record.n_tokens)
    context = Context(loaded, params)
    try:
        reason = _reason_to_replay(record, context, name, on_mismatch)
        there, here = record.metadata["settings"], context.session_metadata["settings"]
        common: dict[str, Any] = {"tools": body["tools"], **dataclasses.asdict(SamplingParams())}
        common |= sampling | options
        if reason is not None and there["fingerprint"] != here["fingerprint"]:
            messages = _messages(name, saved, body["system"])
            if messages and messages[0]["role"] == "system":
                common["system"] = messages.pop(0)["content"]
            chat = make(context, **common)
            chat.replay(messages)
        else:
            chat = make(context, system=body["system"], **common)
            restore_tree(chat.tree, saved, None if reason is not None else store)
    except BaseException:
        context.close()
        raise
    if reason is not None:
        warn(f"{name!r} was evaluated again in this context: {reason}", InexactWarning)
    else:
        chat.saves.remember(Image.of(place, saved, chat.tree.changes.count))
        # What an earlier version did not note is written with the next change.
        chat.tree.changes.note(*(entry.id for entry in saved.entries if entry.text is None))
    return chat


def _parameters(
    name: str, body: Mapping[str, Any], changes: Mapping[str, Any]
) -> tuple[ContextParams, dict[str, Any]]:
    """What the context is made with, and the sampling."""
    sampling = dict(body["sampling"], logit_bias=dict(map(tuple, body["sampling"]["logit_bias"])))
    try:
        saved: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in body["params"].items()
        }
        ContextParams(**saved)
        SamplingParams(**sampling)
    except (ParameterError, TypeError) as error:
        raise SessionFormatError(
            f"the session {name!r} is damaged: it was made with what no chat takes. {error}"
        ) from None
    return params_from_file(saved, **changes), sampling


def _messages(name: str, saved: SavedChat, system: str | None) -> list[dict[str, Any]]:
    def text_of(entry: Entry) -> str:
        if entry.said is None:
            raise SessionMismatchError(
                f"{name!r} was saved by an earlier version, which did not note what was said: open "
                "it with its own model once and save it"
            )
        return entry.said

    return messages_on(saved.path(), text_of, system)


def _reason_to_replay(
    record: Record, context: Context, name: str, on_mismatch: str
) -> SessionMismatchError | None:
    try:
        check_settings(record.metadata, context, name)
    except SessionMismatchError as error:
        if on_mismatch == "error":
            raise
        return error
    here = context.session_metadata["environment"]
    inexact = differences(record.metadata["environment"], here)
    if inexact:
        warn(
            f"{name!r} was saved elsewhere: {'; '.join(inexact)}. What follows may differ in its "
            "last bits",
            InexactWarning,
        )
    return None


def restore_tree(tree: CheckpointTree, saved: SavedChat, store: SessionStore | None) -> None:
    """Take all checkpoints in and stand where the saved tree stood.

    Parameters
    ----------
    tree : CheckpointTree
        Without checkpoints.
    saved : SavedChat
    store : SessionStore, optional
        Where rows are read when they are needed; None evaluates tokens again.
    """
    made, read = dict[int, Checkpoint](), reader(tree, store)
    for entry in saved.entries:
        if entry.parent is None:
            made[entry.number] = tree.root
            tree.root.metadata.update(entry.metadata)
            tree.take(tree.root, 0, read, entry.made, entry.cuts)
            continue
        checkpoint = Checkpoint(
            tree,
            entry.id,
            made[entry.parent],
            tuple(entry.tokens),
            entry.ordinal,
            entry.metadata,
            None if store is None else entry.address,
            tuple(entry.logprobs),
        )
        checkpoint.rows_exact = entry.exact
        made[entry.number] = checkpoint
        tree.take(checkpoint, entry.n_bytes, read, entry.made, entry.cuts)
    places = saved.places
    tree.take_places(
        head=made[places["head"]],
        redo=[made[number] for number in places["redo"]],
        tags={name: made[number] for name, number in places["tags"].items()},
        n_made=places["n_made"],
    )


def reader(tree: CheckpointTree, store: SessionStore | None) -> Callable[[str], Segment]:
    """What reads rows of a store for a tree, with the checks that its context needs."""
    context = tree.context

    def read(address: str) -> Segment:
        assert store is not None
        return check_rows(store.segment(address), context)

    return read
