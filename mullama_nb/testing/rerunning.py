"""Leading a recorded conversation again, and recording the result."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.adapters.values import Adapter, checked_adapters
from ..engine.context import Context
from ..engine.model import Model
from ..engine.options import lists_context
from ..engine.stored import check_room
from ..history.answering import completion_notes
from ..history.carrying import carried, notes_back
from ..history.chat import Chat
from ..history.message import tokens_said
from ..history.node import ROOT_ID
from ..history.tree import Checkpoint
from .adapters import adapters_beside
from .reading import read_edited
from .recording import Recording, context_params, record
from .replaying import check_vocabulary, find_model
from .said import cut_off, in_order_said
from .walk import Entry, longest_path

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..engine.options import ContextOptions

__all__ = ["record_again"]


@lists_context
def record_again(
    path: str | os.PathLike[str],
    model: str | os.PathLike[str] | Model | None = None,
    *,
    adapters: Sequence[Adapter] = (),
    **options: Unpack[ContextOptions],
) -> Recording:
    """Lead the recorded conversation again and replace the recording by the result.

    Edits in the file take effect: messages, sampling, the system message, be it in the
    head or where it is said.

    Messages are repeated and answers are generated again, each with its recorded sampling and stop
    strings. An answer that ended by itself may become twice as long plus 32 tokens, up to its
    recorded limit; others get as many tokens as they had.

    Parameters
    ----------
    path : str or path
        The recording, which is replaced as a whole.
    model : str, path or Model, optional
        None: the one that is known here by the name in the recording.
    adapters : sequence of LoRA and ControlVector
        As for :func:`replay`.
    **options
        Fields of ``ContextParams`` that replace the recorded ones.

    Raises
    ------
    RecordingError
        When the file is damaged.
    ParameterError
        When the model has another vocabulary, and the tree holds tokens that are not messages.
    """
    old = read_edited(path)
    params = context_params(old, **options)
    if model is None:
        model = find_model(old)
    loaded = model if isinstance(model, Model) else Model.load(model)
    if any(_is_tokens(entry) for entry in old.entries):
        check_vocabulary(old, loaded)
    check_room(loaded, params, longest_path(old.entries))
    at_hand = [*adapters_beside(Path(path), old.entries), *checked_adapters(adapters)]
    with Context(loaded, params) as context:
        context.known_adapters.offer(at_hand)
        template = old.template_options
        template.check(loaded)
        chat = Chat(
            context,
            old.system,
            tools=old.tools,
            chat_template=template.chat_template,
            chat_template_kwargs=template.chat_template_kwargs,
        )
        chat._conversation.template = template
        places = _lead(old.entries, chat)
        for name, identifier in old.tags.items():
            chat.tag(name, places[identifier])
        return record(chat, path)


def _lead(entries: Sequence[Entry], chat: Chat) -> dict[str | None, Checkpoint]:
    """Say and generate everything again; where each entry is now."""
    tree = chat.tree
    places: dict[str | None, Checkpoint] = {None: tree.root, ROOT_ID: tree.root}
    pieces = cut_off(entries)
    for entry in in_order_said(entries):
        home = places.get(entry.noted.came_from or "", places[entry.parent])
        tree.checkout(home)
        chat.adapters = chat.context.known_adapters.of(entry.noted.adapters)
        if _is_answer(entry):
            places[entry.id] = _answered(entry, chat)
        elif entry.id in pieces:
            places[entry.id] = home  # what it was cut off says all of it
        elif _is_tokens(entry):
            places[entry.id] = _evaluated(entry, chat)
        elif entry.noted.is_system and chat.messages == [entry.noted.message]:
            places[entry.id] = home  # the first question says it, and then it has a place
        elif entry.noted.is_answer and entry.noted.was_cut_short:
            places[entry.id] = _begun(entry, chat)
        else:
            variables = entry.noted.chat_template_kwargs
            said = _messages(entry, chat)
            if home.is_root and said[0]["role"] == "system":  # another than the chat's
                chat._conversation.append(said, variables, before=[])
            else:
                chat.replay(said, chat_template_kwargs=variables or None)
            places[entry.id] = tree.head
            if entry.noted.edited:
                tree.head.metadata["edited"] = True
            if entry.parent is not None and places[entry.parent].is_root:
                places[entry.parent] = tree.path()[0]
    return places


def _is_answer(entry: Entry) -> bool:
    return entry.sampling is not None


def _is_tokens(entry: Entry) -> bool:
    """Whether nothing but its tokens says what to evaluate."""
    return not _is_answer(entry) and not isinstance(entry.notes.get("message"), Mapping)


def _messages(entry: Entry, chat: Chat) -> list[dict[str, Any]]:
    history = entry.notes.get("history", [])
    is_other = chat.head.is_root and history[: len(chat.messages)] != chat.messages
    new = history if is_other else history[len(chat.messages) :]
    return [dict(each) for each in new] or [dict(entry.notes["message"])]


def _begun(entry: Entry, chat: Chat) -> Checkpoint:
    """The beginning of an answer, as it was given."""
    chat.context.evaluate(chat.model.tokenize(entry.notes["message"].get("content") or ""))
    notes = {k: v for k, v in entry.notes.items() if k not in ("came_from", "history")}
    return chat.tree.commit(allow_empty=True, **notes)


def _answered(entry: Entry, chat: Chat) -> Checkpoint:
    limits = entry.limits
    n_tokens = len(entry.tokens)
    if entry.noted.is_finished:
        most = 2 * n_tokens + 32
        n_tokens = most if limits.max_tokens is None else min(most, limits.max_tokens)
    sibling, sampling = entry.noted.sibling, entry.sampling
    model, template = chat.model, chat._conversation.template
    calls = entry.noted.call_grammar
    how = template.calling_format(model) if calls else template.answer_format(model)
    said = chat.context.generate(
        None,
        n_tokens,
        stop=limits.stop,
        stop_tokens=limits.stop_tokens,
        reasoning_budget=limits.reasoning_budget,
        sampling=sampling,
        sibling=sibling,
        sampler_state=None if sampling is None else carried(notes_back(chat.head), sampling),
        answer_format=how,
        n_said=tokens_said(chat.head),
    )
    before = chat.context.tokens[: -len(said.tokens) or None][-4:]
    notes = completion_notes(model, said, sibling, limits, before=before, answer_format=how)
    kept = entry.noted.of_place()
    logprobs = [token.logprob for token in said.tokens]
    return chat.tree.commit(logprobs=logprobs, allow_empty=True, **notes, **kept)


def _evaluated(entry: Entry, chat: Chat) -> Checkpoint:
    context = chat.context
    logprobs: Sequence[float] = ()
    if entry.is_generated and context.token_count():
        logprobs = context.score(entry.tokens).logprobs
    if entry.tokens:
        context.evaluate(entry.tokens)
    return chat.tree.commit(logprobs=logprobs, allow_empty=True, **entry.notes)
