"""What a push or a pull has done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...checks import check_list
from ...errors import SessionError, shown
from ...size import size
from ..names import check_name

__all__ = ["Transfer", "checked_names", "raise_all"]


@dataclass(frozen=True)
class Transfer:
    """What a push or a pull has done.

    Attributes
    ----------
    names : tuple of str
        The sessions that were sent or brought.
    unchanged : tuple of str
        Those that were the same, or newer, at the other end.
    n_segments : int
        Number of segments that travelled; the others were there.
    n_bytes : int
        Bytes that travelled, of segments and entries.
    """

    names: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    n_segments: int = 0
    n_bytes: int = 0

    def __str__(self) -> str:
        names = ", ".join(map(shown, self.names)) or "nothing"
        n = self.n_segments
        same = f"; {len(self.unchanged)} unchanged" if self.unchanged else ""
        return f"{names}: {n:,} segment{'s' * (n != 1)}, {size(self.n_bytes)}{same}"


def checked_names(names: str | Iterable[str] | None) -> list[str] | None:
    """Return the names that are meant, each once; None for all.

    Raises
    ------
    ParameterError
        When one is no valid name.
    """
    if names is None:
        return None
    listed = [names] if isinstance(names, str) else check_list("names", names, "names, or one name")
    return [*dict.fromkeys(check_name(name) for name in listed)]


def raise_all(errors: Sequence[SessionError]) -> None:
    """Raise what has gone wrong with some of the names; the others are done.

    Raises
    ------
    SessionError
        The only error, or one of the first one's kind with all messages.
    """
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise type(errors[0])("\n".join(map(str, errors)))
