"""Saving a chat with its whole tree under a name, and opening it again."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..engine.compatibility import differences
from ..engine.context import Context
from ..engine.model import Model
from ..engine.params import ContextParams, SamplingParams
from ..engine.warn import warn
from ..errors import (
    InexactWarning,
    MullamaWarning,
    ParameterError,
    SessionError,
    SessionFormatError,
    SessionMismatchError,
)
from ..sessions.catalog import Record
from ..sessions.names import check_name
from ..sessions.states import check_rows, check_settings
from ..sessions.store import SessionStore
from ..state.process import is_running, this_process
from ..state.segment import Segment
from .checkpoint import Checkpoint
from .tree import CheckpointTree

if TYPE_CHECKING:
    from .chat import Chat

__all__ = ["Autosave", "open_chat", "save_chat"]

Folder = str | os.PathLike[str] | None


def save_chat(chat: Chat, name: str, store: SessionStore, process: str = "") -> None:
    """Save a chat with every checkpoint, tag and head; only new rows are written."""
    tree = chat.tree
    with tree.operation():
        tree.settle()
        described = _described_tree(tree)
        schema = chat.sampling.json_schema
        body = {
            "tokens": list(tree.tokens()),
            "text": chat.model.detokenize(tree.tokens(), special=True),
            "messages": chat.messages,
            "system": chat.system,
            "tools": chat.tools,
            "model": str(chat.model.path),
            "params": dict(vars(chat.context.params)),
            "sampling": dict(vars(chat.sampling))
            | {
                "logit_bias": [*chat.sampling.logit_bias.items()],
                "json_schema": dict(schema) if isinstance(schema, Mapping) else schema,
            },
            "tree": described,
        }
        chain = [c.address for c in tree.path() if c.tokens]
        if tree.keeps_snapshots:
            chain = chain[-1:]
        whole = [a for a in chain if a is not None and tree.place_of_address(a) != "lost"]
        whole = whole if len(whole) == len(chain) else []
        rows = [c["address"] for c in described["checkpoints"] if c["address"] is not None]
        record = Record(
            "chat",
            chat.context.session_metadata,
            tree.head.stop,
            whole,
            sorted({*rows} - {*whole}),
            process=process,
        )
        store.save(name, record, body, tree.segment_at)


def _described_tree(tree: CheckpointTree) -> dict[str, Any]:
    return {
        "checkpoints": [
            {
                "id": c.id,
                "parent": c.parent.id if c.parent is not None else None,
                "tokens": c.tokens,
                "ordinal": c.ordinal,
                "metadata": c.metadata,
                "address": None if c.place == "lost" else c.address,
                "n_bytes": c.n_bytes,
                "logprobs": c.logprobs,
                "exact": c.rows_exact,
            }
            for c in tree
        ],
        "root": tree.root.metadata,
        "head": tree.head.id,
        "redo": [c.id for c in reversed(tree.redo_path)],
        "tags": {name: c.id for name, c in tree.tags.items()},
        **tree.counters(),
    }


def open_chat(
    make: Callable[..., Chat],
    name: str,
    model: str | os.PathLike[str] | Model | None,
    store: SessionStore,
    on_mismatch: str,
    options: dict[str, Any],
) -> Chat:
    """Make a chat that stands where the saved one stood; see ``Chat.open``."""
    if on_mismatch not in ("error", "replay"):
        raise ParameterError(f'on_mismatch={on_mismatch!r} must be "error" or "replay"')
    record, body = store.open(name)
    if record.kind != "chat":
        raise SessionError(
            f"{name!r} is the session of a context, not a chat: load it with SessionManager.load()"
        )
    context_names = {field.name for field in dataclasses.fields(ContextParams)}
    changes = {k: options.pop(k) for k in [*options] if k in context_names}
    loaded = (
        model if isinstance(model, Model) else Model.load(body["model"] if model is None else model)
    )
    params = ContextParams(**{k: _plain(v) for k, v in body["params"].items()} | changes)
    sampling = dict(body["sampling"], logit_bias=dict(map(tuple, body["sampling"]["logit_bias"])))
    context = Context(loaded, params)
    try:
        reason = _reason_to_replay(record, context, name, on_mismatch)
        there, here = record.metadata["settings"], context.session_metadata["settings"]
        common: dict[str, Any] = {"tools": body["tools"], **dataclasses.asdict(SamplingParams())}
        common |= sampling | options
        if reason is not None and there["fingerprint"] != here["fingerprint"]:
            messages = list(body["messages"])
            if messages and messages[0]["role"] == "system":
                common["system"] = messages.pop(0)["content"]
            chat = make(context, **common)
            chat.replay(messages)
        else:
            chat = make(context, system=body["system"], **common)
            rows = None if reason is not None else store
            _restore_tree(chat.tree, body["tree"], rows)
    except BaseException:
        context.close()
        raise
    if reason is not None:
        warn(f"{name!r} was evaluated again in this context: {reason}", InexactWarning)
    return chat


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


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _restore_tree(tree: CheckpointTree, values: dict[str, Any], store: SessionStore | None) -> None:
    context = tree.context

    def read(address: str) -> Segment:
        assert store is not None
        return check_rows(store.segment(address), context)

    made = {tree.root.id: tree.root}
    for c in values["checkpoints"]:
        parent = made[c["parent"]]
        checkpoint = Checkpoint(
            tree,
            c["id"],
            parent,
            tuple(c["tokens"]),
            c["ordinal"],
            c["metadata"],
            None if store is None else c["address"],
            tuple(c["logprobs"]),
        )
        checkpoint.rows_exact = c["exact"]
        made[checkpoint.id] = checkpoint
        tree.take(checkpoint, c["n_bytes"], read)
    tree.root.metadata.update(values["root"])
    tree.take_places(
        head=made[values["head"]],
        redo=[made[i] for i in values["redo"]],
        tags={name: made[i] for name, i in values["tags"].items()},
        made=values["made"],
        n_made=values["n_made"],
    )


class Autosave:
    """Saves a chat after each turn that changed it.

    Parameters
    ----------
    chat : Chat
    name : str
    store : SessionStore

    Raises
    ------
    SessionError
        When another running process saves a chat under that name.
    """

    def __init__(self, chat: Chat, name: str, store: SessionStore) -> None:
        self.name = check_name(name)
        if name in store:
            try:
                owner = store.open(name)[0].process
            except SessionFormatError:
                owner = ""
            if owner and owner != this_process() and is_running(owner):
                raise SessionError(
                    f"another process saves its chat as {name!r} after every turn; "
                    "choose another name, or end that one"
                )
        self._chat = chat
        self._store = store
        self._saved: object = None
        self.save()

    def save(self) -> None:
        """Save the chat if it changed since the last time."""
        state = self._chat.tree.state()
        if state != self._saved:
            save_chat(self._chat, self.name, self._store, this_process())
            self._saved = self._chat.tree.state()

    def after_turn(self) -> None:
        """Save, and warn where that fails: the turn itself did not."""
        try:
            self.save()
        except (SessionError, OSError) as error:
            warnings.warn(
                f"the chat could not be saved as {self.name!r}: {error}",
                MullamaWarning,
                stacklevel=2,
            )
