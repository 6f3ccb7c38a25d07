"""Making a chat: the context that it gets, and what was said already."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

from ..engine.context import Context
from ..engine.model import Model
from ..engine.params import ContextParams
from ..engine.templates.template import Message
from ..errors import ParameterError
from .conversation import Conversation
from .given import checked_messages
from .options import N_CTX
from .transcripts.importing import begin_with_transcript, choose_transcript, restore_messages
from .tree import Checkpoint
from .workspace import Workspace

__all__ = ["make_context", "make_from_messages", "make_from_transcript"]

Source: TypeAlias = str | os.PathLike[str] | Model | Context


class Made(Protocol):
    """The interface of a chat that is made here."""

    context: Context
    _conversation: Conversation
    _workspace: Workspace[Checkpoint]

    def replay(self, messages: Sequence[Message]) -> None:
        """Append existing messages; nothing is generated."""


C = TypeVar("C", bound=Made)


def make_context(model: Source, options: Mapping[str, Any]) -> Context:
    """Return the context of a chat.

    Parameters
    ----------
    model : str, path, Model or Context
    options : mapping
        Fields of ``ContextParams``.

    Raises
    ------
    ParameterError
        When there are options for a context that exists already.
    """
    if isinstance(model, Context):
        if options:
            raise ParameterError(
                f"the context exists already; give {', '.join(options)} when making it"
            )
        return model
    loaded = model if isinstance(model, Model) else Model.load(model)
    return Context(loaded, ContextParams(**{"n_ctx": min(N_CTX, loaded.n_ctx_train), **options}))


def make_from_messages(
    make: Callable[..., C], model: Source, messages: Sequence[Message], options: Mapping[str, Any]
) -> C:
    """Return a chat in which messages were said; see ``Chat.from_messages``.

    Parameters
    ----------
    make : callable
        Makes a chat with a model and options.
    model : str, path, Model or Context
    messages : sequence of mapping
    options : mapping
    """
    rest, begun = checked_messages(messages), dict(options)
    if rest and rest[0].get("role") == "system" and "content" in rest[0]:
        begun.setdefault("system", rest.pop(0)["content"])
    chat = make(model, **begun)
    with _closed_on_error(chat, model):
        chat.replay(rest)
    return chat


def make_from_transcript(
    make: Callable[..., C],
    model: Source,
    path: str | os.PathLike[str],
    index: int | None,
    options: Mapping[str, Any],
) -> C:
    """Return a chat with a conversation from a file; see ``Chat.from_transcript``.

    Parameters
    ----------
    make : callable
        Makes a chat with a model and options.
    model : str, path, Model or Context
    path : str or path
    index : int, optional
        Which conversation, of a file that holds several.
    options : mapping
    """
    transcript = choose_transcript(path, index)
    chat = make(model, **{**begin_with_transcript(transcript), **options})
    workspace = chat._workspace
    with _closed_on_error(chat, model), workspace.turn():
        restore_messages(workspace, chat._conversation, transcript)
    return chat


@contextmanager
def _closed_on_error(chat: Made, model: Source) -> Iterator[None]:
    """Free the context that was made for a chat if what it was made for fails."""
    try:
        yield
    except BaseException:
        if chat.context is not model:
            chat.context.close()
        raise
