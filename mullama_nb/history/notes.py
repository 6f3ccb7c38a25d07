"""Notes of a checkpoint: every key that the history itself writes, and what they imply.

Only this module uses the keys as strings. Callers of ``commit`` may add keys of their own.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, overload

from ..errors import ParameterError

__all__ = [
    "ADAPTERS",
    "Message",
    "Noted",
    "Notes",
    "answer_notes",
    "check_notes",
    "choice_notes",
    "message_notes",
]

T = TypeVar("T")
Message: TypeAlias = Mapping[str, Any]

ADAPTERS = "adapters"
"""The key of what tokens were evaluated with."""

_OF_A_WHOLE_MESSAGE = ("message", "finish_reason", "hidden", "evaluated_again")
_OF_A_PLACE = ("cut", "history", "came_from")


def check_notes(notes: Mapping[str, Any], what: str = "what is noted") -> None:
    """Check that notes can be saved.

    Parameters
    ----------
    notes : mapping
    what : str
        What a message calls them.

    Raises
    ------
    ParameterError
        When JSON cannot hold them, or a text in them has an unpaired surrogate.
    """
    try:
        json.dumps(notes, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        found = ord(error.object[error.start])
        raise ParameterError(
            f"{what} has an unpaired surrogate, U+{found:04X}, which is half of a character: the "
            "text was cut within one, or read in another encoding than it was written in"
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError(
            f"{what} must be plain values and whole texts, which JSON can hold: {error}"
        ) from None


class _Key(Generic[T]):
    """A key, read as an attribute of the same name; a default stands for one that is missing."""

    def __init__(self, default: T) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, notes: None, owner: type) -> _Key[T]: ...

    @overload
    def __get__(self, notes: Notes, owner: type) -> T: ...

    def __get__(self, notes: Notes | None, owner: type) -> T | _Key[T]:
        if notes is None:
            return self
        value: T = notes.get(self._name, self._default)
        return value


class Owner(Protocol):
    """The observer of changes to notes."""

    def changed(self) -> None:
        """Note the change."""


class Notes(dict[str, Any]):
    """A dict of notes whose known keys are also attributes; its owner is notified of changes.

    Parameters
    ----------
    values : mapping
    owner : weak reference, optional
        Its ``changed`` is called after each change.

    Attributes
    ----------
    role : str or None
        The speaker's role. None if the tokens are not a message.
    message : mapping or None
        The message as given; None if only the tokens have its text.
    history : list of mapping or None
        All messages up to and including this one, if some of those before have no checkpoints: they
        were pruned, or a loaded file held several at once.
    came_from : str or None
        Id of the checkpoint before this one in the conversation, if that is not the parent: the
        template rewrote earlier text, or turns were dropped.
    taken_from : str or None
        Id of the checkpoint where the tokens were generated, if they were taken over from there.
    chat_template_kwargs : mapping
        Variables of the chat template for this message alone, beside those of the chat.
    edited : bool
        Whether the answer was written by the user instead of the model.
    finish_reason : str or None
        Why an answer ended: ``"stop"``, ``"length"``, ``"stopped"``.
    sampling, limits : mapping
        Their values that differ from the defaults.
    sibling : int
        Ordinal of the answer among those to one question, which determines its draws.
    explored : mapping or None
        How many answers were requested and decoded together.
    decoded_elsewhere : mapping
        Where an answer was decoded, if not in an environment like this one: ``worker``, and
        ``differs``, a list of what is not the same there, in words. Its rows were evaluated again
        here, or are when they are needed.
    sampler_states : list of list of float
        What Mirostat or adaptive-p carried on from each of the last tokens; empty without them.
    call_grammar : bool
        Whether calls followed the schemas of the chat's tools.
    hidden : int
        Number of hidden characters at the end of an answer: a stop string.
    continues : bool
        Whether the message began in the parent.
    cut : bool
        Whether this is the first part of a checkpoint that was split.
    adapters : list of mapping
        The adapters that the tokens were evaluated with, without paths; those that are on where
        there are no tokens.
    evaluated_again : mapping
        Earlier tokens that were evaluated again for this message: ``tokens``, and ``why``.
    source : str or None
        ``"context"``: the tokens were evaluated directly on the context; ``"session"``: they come
        from a session file.
    """

    __slots__ = ("_owner",)

    role = _Key[str | None](None)
    message = _Key[Message | None](None)
    history = _Key[Sequence[Message] | None](None)
    came_from = _Key[str | None](None)
    taken_from = _Key[str | None](None)
    chat_template_kwargs = _Key[Mapping[str, Any]]({})
    edited = _Key[bool](False)
    finish_reason = _Key[str | None](None)
    sampling = _Key[Mapping[str, Any]]({})
    limits = _Key[Mapping[str, Any]]({})
    sibling = _Key[int](0)
    explored = _Key[Mapping[str, int] | None](None)
    decoded_elsewhere = _Key[Mapping[str, Any]]({})
    sampler_states = _Key[Sequence[Sequence[float]]]([])
    call_grammar = _Key[bool](False)
    hidden = _Key[int](0)
    continues = _Key[bool](False)
    cut = _Key[bool](False)
    adapters = _Key[Sequence[Mapping[str, Any]]](())
    evaluated_again = _Key[Mapping[str, Any]]({})
    source = _Key[str | None](None)

    def __init__(self, values: Mapping[str, Any], owner: weakref.ref[Owner] | None = None) -> None:
        super().__init__(values)
        self._owner = owner

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Notes:
        """Return saved or recorded notes as Notes; existing Notes are not copied."""
        return values if isinstance(values, Notes) else cls(values)

    # -- what follows ------------------------------------------------------------------------

    @property
    def is_message(self) -> bool:
        """Whether the tokens are a message, or part of one."""
        return "role" in self

    @property
    def is_answer(self) -> bool:
        """Whether the message is the model's."""
        return self.role == "assistant"

    @property
    def is_system(self) -> bool:
        """Whether it is the system message."""
        return self.role == "system"

    @property
    def is_generated(self) -> bool:
        """Whether the tokens were generated."""
        return "sampling" in self

    @property
    def elsewhere_in_words(self) -> str:
        """What differed where an answer was decoded elsewhere; empty if nothing did."""
        differs = self.decoded_elsewhere.get("differs")  # it may come from a file
        return "; ".join(map(str, differs)) if isinstance(differs, list) else ""

    @property
    def is_said_by_tokens(self) -> bool:
        """Whether the message's text has to be read from the tokens."""
        return self.is_message and self.message is None

    @property
    def is_finished(self) -> bool:
        """Whether an answer ended by itself."""
        return self.finish_reason == "stop"

    @property
    def was_cut_short(self) -> bool:
        """Whether an answer was stopped or hit a limit."""
        return self.finish_reason not in (None, "stop")

    @property
    def begins_turn(self) -> bool:
        """Whether a question begins here, or anything else that an answer may follow."""
        role = self.get("role")  # undo asks this at each step: it takes half as long as attributes
        return role not in (None, "system", "assistant") and not self.get("continues")

    def ends_message(self, following: Notes | None) -> bool:
        """Return whether a message ends here.

        Parameters
        ----------
        following : Notes, optional
            Of the next checkpoint on the path.
        """
        if "role" not in self or (following is not None and following.get("continues")):
            return False
        # Of a message that was cut only the beginning of an answer is one, unless what comes next
        # says by itself what was said before it.
        rewritten = following is not None and "history" in following
        return not (self.get("cut") and (not self.is_answer or rewritten))

    def goes_on_from(self, before: Notes) -> bool:
        """Return whether tokens were generated at once with those before, and cut off since.

        Another answer from the cut on has another ordinal.
        """
        is_rest = self.continues and before.cut and self.is_generated and before.is_generated
        return is_rest and (self.sibling, self.sampling) == (before.sibling, before.sampling)

    # -- what survives -----------------------------------------------------------------------

    def of_beginning(self, n_later: int) -> dict[str, Any]:
        """Return the notes of the first part of a checkpoint that is split.

        Parameters
        ----------
        n_later : int
            Number of tokens of the second part.
        """
        kept = {k: v for k, v in self.items() if k not in _OF_A_WHOLE_MESSAGE}
        if states := kept.pop("sampler_states", [])[: -n_later or None]:
            kept["sampler_states"] = states
        kept["cut"] = True
        if "finish_reason" in self:
            kept["finish_reason"] = "stopped"
        return kept

    def begin_later(self, n_tokens: int) -> None:
        """Become the notes of the second part of a checkpoint that was split, with its tokens."""
        self["continues"] = True
        if states := self.pop("sampler_states", [])[-n_tokens:]:
            self["sampler_states"] = states
        self.pop("came_from", None)

    def of_another_place(self, place: str) -> dict[str, Any]:
        """Return the notes of a checkpoint whose tokens are said once more, elsewhere.

        Parameters
        ----------
        place : str
            The id of the checkpoint that has them.
        """
        kept = {k: v for k, v in self.items() if k not in _OF_A_PLACE}
        return {"taken_from": place, **kept} if self.is_generated else kept

    def rename_places(self, now: Mapping[str, str]) -> None:
        """Replace ids of checkpoints by the ids that they have in another tree."""
        for key in ("came_from", "taken_from"):
            before = self.get(key)
            if before is not None and before in now:
                self[key] = now[before]

    def of_place(self) -> dict[str, Any]:
        """Return the notes that say which part of a message this is."""
        return {k: self[k] for k in ("continues", "cut") if k in self}

    # -- changes are heard -------------------------------------------------------------------

    def _changed(self) -> None:
        owner = None if self._owner is None else self._owner()
        if owner is not None:
            owner.changed()

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._changed()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._changed()

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def update(self, *values: Any, **named: Any) -> None:
        """Add notes; as for dicts."""
        super().update(*values, **named)
        self._changed()

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Add a note if there is none; as for dicts."""
        value = super().setdefault(key, default)
        self._changed()
        return value

    def pop(self, *arguments: Any) -> Any:
        """Remove a note; as for dicts."""
        value = super().pop(*arguments)
        self._changed()
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the last note; as for dicts."""
        item = super().popitem()
        self._changed()
        return item

    def clear(self) -> None:
        """Remove all notes; as for dicts."""
        super().clear()
        self._changed()

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class Noted(Protocol):
    """An object with notes: a checkpoint, live or saved."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The notes."""


def message_notes(
    message: Message,
    *,
    history: Sequence[Message] | None = None,
    came_from: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return the notes of a message that was given, not generated.

    Parameters
    ----------
    message : mapping
        With a ``role``.
    history, came_from
        As for ``Notes``.
    **others
        Further notes.
    """
    notes: dict[str, Any] = {"role": message["role"], "message": dict(message)}
    if history is not None:
        notes["history"] = [dict(each) for each in history]
    if came_from is not None:
        notes["came_from"] = came_from
    return notes | others


def answer_notes(
    finish_reason: str,
    *,
    sampling: Mapping[str, Any],
    sibling: int,
    limits: Mapping[str, Any],
    hidden: int = 0,
    continues: bool = False,
    explored: Mapping[str, int] | None = None,
    decoded_elsewhere: Mapping[str, Any] | None = None,
    sampler_states: Sequence[Sequence[float]] = (),
    call_grammar: bool = False,
) -> dict[str, Any]:
    """Return the notes of a generated answer: enough to reproduce it.

    Parameters
    ----------
    finish_reason, sampling, sibling, limits, hidden, continues, explored, decoded_elsewhere,
    sampler_states, call_grammar
        As for ``Notes``; default values are left out.
    """
    notes: dict[str, Any] = {
        "role": "assistant",
        "finish_reason": finish_reason,
        "sampling": sampling,
        "sibling": sibling,
        "limits": limits,
    }
    optional: dict[str, Any] = {"hidden": hidden, "continues": continues, "explored": explored}
    optional["decoded_elsewhere"] = decoded_elsewhere
    optional["sampler_states"] = [list(state) for state in sampler_states]
    optional["call_grammar"] = call_grammar
    return notes | {key: value for key, value in optional.items() if value}


def choice_notes(role: str | None, *, continues: bool) -> dict[str, Any]:
    """Return the notes of a chosen token that continues a message."""
    notes: dict[str, Any] = {"role": role or "", "finish_reason": "length"}
    return notes | ({"continues": True} if continues else {})
