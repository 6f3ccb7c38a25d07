"""Opening a saved chat again, with every checkpoint, tag and head."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..checks import check_names
from ..engine.adapters.values import checked_adapters, listed_adapters
from ..engine.compatibility import inexactness
from ..engine.completion import Limits
from ..engine.context import Context
from ..engine.files.locate import known_by_file
from ..engine.model import Model
from ..engine.params import ContextParams
from ..engine.sampling.params import SamplingParams
from ..engine.stored import check_room, params_from_file
from ..engine.templates.of_model import template_text
from ..engine.templates.options import TemplateOptions, checked_variables
from ..engine.templates.template import Message
from ..engine.warn import warn
from ..errors import (
    ChatTemplateError,
    GrammarError,
    InexactWarning,
    ModelNotFoundError,
    ParameterError,
    ParameterWarning,
    SessionConflictError,
    SessionFormatError,
    SessionMismatchError,
    shown,
)
from ..sessions.entries import Entry, SavedChat
from ..sessions.records import Record
from ..sessions.states import check_settings
from ..sessions.store import SessionStore
from .conversation import Conversation
from .kv_rows import LentRows
from .merging import reader
from .message import conversation_at
from .node import ROOT_ID
from .notes import Notes
from .options import CONTEXT_OPTIONS, LIMIT_OPTIONS, SAMPLING_OPTIONS
from .paths import Redo
from .persistence import Saves
from .refs import check_tag
from .rendering import is_answer
from .saved_adapters import at_hand_alone, offer_saved, saved_on
from .saving import Image
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["open_chat", "open_or_create"]

_TIMES_TO_OPEN = 3
_SHOWN = 80


class Opened(Protocol):
    """The interface of a chat that is made here."""

    context: Context
    _conversation: Conversation
    _saves: Saves
    _workspace: Workspace[Checkpoint]

    def replay(
        self,
        messages: Sequence[Message],
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Append existing messages; nothing is generated."""


C = TypeVar("C", bound=Opened)


def open_or_create(
    make: Callable[..., C],
    name: str,
    model: str | os.PathLike[str] | Model | None,
    store: SessionStore,
    *,
    take_over: bool,
    on_mismatch: str,
    made_with: Mapping[str, Any],
    options: Mapping[str, Any],
) -> C:
    """Open or create a chat, and save it after every turn; see ``Chat.open_or_create``.

    Parameters
    ----------
    made_with : mapping
        What cannot be changed in a chat: ``system``, ``tools``, ``chat_template``,
        ``chat_template_kwargs`` and ``keep_reasoning``.
    """
    if (variables := made_with["chat_template_kwargs"]) is not None:
        checked_variables(variables)
    for left in reversed(range(_TIMES_TO_OPEN)):
        holder = store.holder(name)
        takes_over = take_over or (holder is not None and holder.is_here)
        is_there = name in store
        if is_there:
            store.check_free(name, owner=None, take_over=takes_over)
            _check_agreement(name, store, made_with, options)
            chat = open_chat(make, name, model, store, on_mismatch, dict(options))
            _set_adapters(name, chat, options)
        else:
            if model is None:
                raise ParameterError(f"there is no chat {name!r} yet: give a model to make it with")
            chat = make(model, **made_with, **options)
        try:
            # What had to be evaluated again does not take the place of the rows that there are.
            replace = is_there and on_mismatch == "replay" and not chat._saves.is_known
            chat._saves.autosave(name, store, take_over=takes_over, replace=replace)
        except SessionConflictError:
            chat.context.close()
            if not left:
                raise
        except BaseException:
            chat.context.close()
            raise
        else:
            return chat
    raise AssertionError("unreachable")


def _check_agreement(
    name: str,
    store: SessionStore,
    made_with: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    """Check that a saved chat is the one that was meant, and say which parameters differ."""
    _, _, body, _ = store.open_chat(name)
    for key, given in made_with.items():
        saved_value = body.get(key)
        value = _as_saved(key, given, saved_value)
        if value is not None and value != saved_value:
            raise SessionMismatchError(
                f"the chat {name!r} was made with {key}={_short(saved_value)}, not "
                f"{_short(value)}. Use another name, leave {key} out to go on as it is, or begin "
                f"anew: Chat(model, {key}=...).autosave({name!r}, replace=True), which keeps it as "
                "an earlier version"
            )
    params, sampling, limits, left_out = _parameters(name, body, {})
    saved = {**vars(params), **sampling, **vars(limits)}
    if left_out:
        saved |= _of(body["sampling"], ("grammar", "json_schema"))
    changed = {
        **vars(dataclasses.replace(params, **_of(options, CONTEXT_OPTIONS))),
        **vars(SamplingParams(**sampling).with_changes(**_of(options, SAMPLING_OPTIONS))),
        **vars(limits.with_changes(**_of(options, LIMIT_OPTIONS))),
    }
    different = [
        f"{key}={_short(saved[key])}, now {_short(changed[key])}"
        for key in options
        if key in saved and saved[key] != changed[key]
    ]
    if different:
        warn(f"{name!r} was saved with {'; '.join(different)}", ParameterWarning)


def _as_saved(key: str, given: Any, saved: Any) -> Any:
    """A value as the store has it."""
    if key == "tools" and given is not None:
        return [dict(tool) for tool in given]
    if key == "chat_template_kwargs" and given is not None:
        return dict(given) if saved or given else None
    if key == "keep_reasoning" and not given and not saved:
        return None  # it is noted only where it is on
    if key == "chat_template" and given is not None and given != saved:
        with contextlib.suppress(ChatTemplateError):  # a name, then
            return template_text(given)
    return given


def _set_adapters(name: str, chat: Opened, options: Mapping[str, Any]) -> None:
    """Have those on that are asked for, and say so if others were."""
    on = chat.context.adapters
    wanted = checked_adapters(options["adapters"]) if "adapters" in options else on
    if wanted != on:
        warn(f"{name!r} was saved with adapters={[*on]}, now {[*wanted]}", ParameterWarning)
        chat._workspace.set_adapters(wanted)


def _of(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def open_chat(
    make: Callable[..., C],
    name: str,
    model: str | os.PathLike[str] | Model | None,
    store: SessionStore,
    on_mismatch: str,
    options: dict[str, Any],
) -> C:
    """Make a chat from a saved one, at its head; see ``Chat.open``."""
    if on_mismatch not in ("error", "replay"):
        raise ParameterError(f'on_mismatch={on_mismatch!r} must be "error" or "replay"')
    known_options = (*CONTEXT_OPTIONS, *SAMPLING_OPTIONS, *LIMIT_OPTIONS, "max_bytes", "adapters")
    check_names("a saved chat", options, known_options)
    adapters = listed_adapters(options.pop("adapters", ()))
    place, record, body, saved = store.open_chat(name)
    if saved.entries[0].id != ROOT_ID:
        raise SessionFormatError(f"the session {name!r} is damaged: its root is another one's")
    context_names = {field.name for field in dataclasses.fields(ContextParams)}
    changes = {k: options.pop(k) for k in [*options] if k in context_names}
    if model is None:
        loaded = _saved_model(name, body["model"])
    else:
        loaded = model if isinstance(model, Model) else Model.load(model)
    params, sampling, limits, left_out = _parameters(name, body, changes)
    check_room(loaded, params, record.n_tokens)
    context = Context(loaded, params)
    try:
        context.known_adapters.offer(adapters)
        offer_saved(context, body)
        reason = _reason_to_replay(record, context, name, on_mismatch)
        there, here = record.metadata["settings"], context.session_metadata["settings"]
        template = _template(name, body, loaded)
        common: dict[str, Any] = {
            "tools": body["tools"],
            "chat_template": template.chat_template,
            "chat_template_kwargs": template.chat_template_kwargs,
            "keep_reasoning": template.keep_reasoning,
            **dataclasses.asdict(SamplingParams()),
        }
        common |= sampling | _of(vars(limits), LIMIT_OPTIONS) | options
        if reason is not None and there["fingerprint"] != here["fingerprint"]:
            said = _said(name, saved, body["system"], template, loaded)
            if said and said[0][0]["role"] == "system":
                common["system"] = said.pop(0)[0]["content"]
            chat = make(context, adapters=adapters, **common)
            for variables, alike in itertools.groupby(said, key=itemgetter(1)):
                messages = [message for message, _ in alike]
                chat.replay(messages, chat_template_kwargs=variables or None)
        else:
            chat = make(context, system=body["system"], **common)
            chat._conversation.template = template
            restore_tree(chat._workspace, saved, None if reason is not None else store)
            chat._workspace.set_adapters(saved_on(context, body))
    except BaseException:
        context.close()
        raise
    if reason is not None:
        warn(f"{name!r} was evaluated again in this context: {reason}", InexactWarning)
    else:
        chat._saves.remember(Image.of(place, saved, chat._workspace.graph.changes.count))
    if left_out and not {"grammar", "json_schema"} & {*options}:
        warn(f"{name!r} goes on without its {left_out}", ParameterWarning)
    return chat


def _parameters(
    name: str, body: Mapping[str, Any], changes: Mapping[str, Any]
) -> tuple[ContextParams, dict[str, Any], Limits, str]:
    """What the context is made with, the sampling, the limits of answers, and what was left out.

    A grammar that can no longer be used costs nobody the conversation.
    """
    sampling = dict(body["sampling"], logit_bias=dict(map(tuple, body["sampling"]["logit_bias"])))
    try:
        saved: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in body["params"].items()
        }
        ContextParams(**saved)
        sampling, left_out = _with_usable_grammar(sampling)
        limits = Limits(**body.get("limits", {}))
    except (ParameterError, TypeError) as error:
        raise SessionFormatError(
            f"the session {name!r} is damaged: it was made with what no chat takes. {error}"
        ) from None
    return params_from_file(saved, **changes), sampling, limits, left_out


def _with_usable_grammar(sampling: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the checked values, and which grammar was left out and why, or an empty text."""
    try:
        return dict(vars(SamplingParams(**sampling))), ""
    except GrammarError as error:
        grammar = "json_schema" if sampling.get("grammar") is None else "grammar"
        usable = dict(vars(SamplingParams(**{**sampling, grammar: None})))
        return usable, f"{grammar}, which this version cannot use: {error}"


def _saved_model(name: str, path: str) -> Model:
    """The model of a saved chat: where it was or, on another machine, by its file's name."""
    try:
        return Model.load(path)
    except ModelNotFoundError:
        known = known_by_file(Path(path).stem)
    if known is None:
        raise ModelNotFoundError(
            f"the chat {name!r} was saved with {shown(Path(path).name)}, which is not known here: "
            f"open it with that model, Chat.open({name!r}, model)"
        )
    return Model.load(known)


def _template(name: str, body: Mapping[str, Any], model: Model) -> TemplateOptions:
    """The options of the chat template; what is saved as its text is never taken for a path."""
    try:
        template = TemplateOptions.from_saved(body)
    except ParameterError as error:
        raise SessionFormatError(f"the session {name!r} is damaged: {error}") from None
    template.check(model)
    return template


def _said(
    name: str, saved: SavedChat, system: str | None, template: TemplateOptions, model: Model
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The messages up to the head, each with the template's variables for it and its answer."""
    answer_format = template.answer_format(model)

    def message_of(entry: Entry) -> dict[str, Any]:
        notes = Notes.of(entry.metadata)
        if notes.message is not None:
            return dict(notes.message)
        if entry.said is None:
            raise SessionMismatchError(
                f"{name!r} was saved by an earlier version, which did not note what was said: open "
                "it with its own model once and save it"
            )
        if notes.is_answer:
            return answer_format.parse(entry.said, tools=template.tools).as_message()
        return {"role": notes.role, "content": entry.said}

    said: list[tuple[dict[str, Any], dict[str, Any]]] = []
    variables: dict[str, Any] = {}
    for line in conversation_at(saved.head, saved.previous, message_of, system):
        if not is_answer(line.message):
            variables = dict(Notes.of(line.end.metadata).chat_template_kwargs)
        said.append((line.message, variables))
    return said


def _reason_to_replay(
    record: Record, context: Context, name: str, on_mismatch: str
) -> SessionMismatchError | None:
    try:
        check_settings(record.metadata, context, name)
    except SessionMismatchError as error:
        if on_mismatch == "error":
            raise
        return error
    inexact = inexactness(record.metadata, context.session_metadata)
    if inexact:
        warn(
            f"{name!r} was saved elsewhere: {'; '.join(inexact)}. What follows may differ in its "
            "last bits",
            InexactWarning,
        )
    return None


def restore_tree(
    workspace: Workspace[Checkpoint], saved: SavedChat, store: SessionStore | None
) -> None:
    """Add all saved checkpoints, and move to the saved head.

    Parameters
    ----------
    workspace : Workspace
        Without checkpoints.
    saved : SavedChat
    store : SessionStore, optional
        Source of rows, which are read when needed; None evaluates tokens again.
    """
    graph, read = workspace.graph, reader(workspace.context, store)
    context = workspace.context
    made: dict[int, Checkpoint] = {}
    for entry in saved.entries:
        notes = entry.metadata if store is not None else at_hand_alone(context, entry.metadata)
        node = made[entry.number] = graph.restore(
            entry.id,
            None if entry.parent is None else made[entry.parent],
            tuple(entry.tokens),
            entry.ordinal,
            notes,
            tuple(entry.logprobs),
            made=entry.made,
            cuts=entry.cuts,
        )
        workspace.adapters.remember(node.metadata.adapters)
        if entry.parent is not None:
            node.rows_exact = entry.exact
            address = None if store is None else entry.address
            workspace.rows.lend(node, LentRows(address, entry.n_bytes, read))
    places = saved.places
    for name, number in places["tags"].items():
        try:
            graph.tag(check_tag(name), made[number])
        except ParameterError as error:
            raise SessionFormatError(f"the saved chat is damaged: {error}") from None
    graph.n_made = places["n_made"]
    with workspace.operation():
        workspace.go(made[places["head"]])
        graph.redo = Redo.of([made[number] for number in places["redo"]][::-1])
