"""Labels: the names of cases, models and settings, which make the ids of a suite's cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ...errors import ParameterError, shown

__all__ = ["cell_id", "check_label", "told_apart"]

_PARTING = "[],"  # part the id of a cell
_LONGEST = 100


def check_label(what: str, value: object) -> str:
    """Return a name that was given.

    Raises
    ------
    ParameterError
        When it cannot stand in an id such as ``capital[smollm2,q8_0]``.
    """
    if not isinstance(value, str) or not value.strip():
        raise ParameterError(f"{what} must be a text, not {shown(value)}")
    if len(value) > _LONGEST or not value.isprintable() or any(c in value for c in _PARTING):
        raise ParameterError(
            f"{what}={shown(repr(value))} must be one line of at most {_LONGEST} characters, "
            f'without {" ".join(_PARTING)}, which part the ids of cells: "capital[smollm2,q8_0]"'
        )
    return value


def told_apart(what: str, names: Iterable[tuple[str, bool]]) -> tuple[str, ...]:
    """Return names of which no two are the same.

    Parameters
    ----------
    what : str
        What they are names of, such as ``"cases"``.
    names : iterable of (str, bool)
        Each with whether it was given. Others are numbered where they occur more than once.

    Raises
    ------
    ParameterError
        When two that were given are the same.
    """
    listed = list(names)
    given = Counter(name for name, is_given in listed if is_given)
    if twice := [name for name, n in given.items() if n > 1]:
        raise ParameterError(f"two {what} have the name {shown(repr(twice[0]))}; give them others")
    taken, made = set(given), []
    last: dict[str, int] = {}  # of a name's numbers
    for name, is_given in listed:
        unique, n = name, last.get(name, 1)
        while not is_given and unique in taken:
            n += 1
            unique = f"{name} ({n})"
        last[name] = n
        taken.add(unique)
        made.append(unique)
    return tuple(made)


def cell_id(case: str, model: str, setting: str) -> str:
    """Return the id of a cell, such as ``capital[smollm2,q8_0]``."""
    return f"{case}[{model},{setting}]"
