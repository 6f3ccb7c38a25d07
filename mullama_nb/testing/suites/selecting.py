"""Cells by their ids, or by patterns of these."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...checks import did_you_mean
from ...errors import ParameterError, shown

__all__ = ["selected"]


def selected(ids: Sequence[str], patterns: Iterable[str]) -> list[str]:
    """Return the ids that any pattern stands for, in their order.

    Parameters
    ----------
    ids : sequence of str
        Such as ``capital[smollm2,q8_0]``.
    patterns : iterable of str
        Each an id, the name of a case, or one of these with ``*`` for any text and ``?`` for any
        character. Brackets stand for themselves.

    Raises
    ------
    ParameterError
        When a pattern stands for none.
    """
    found: set[str] = set()
    for pattern in patterns:
        parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
        whole = re.compile("".join(parts), re.DOTALL)
        matching = {i for i in ids if whole.fullmatch(i) or whole.fullmatch(_case_of(i))}
        if not matching:
            names = dict.fromkeys([*map(_case_of, ids), *ids])
            hint = did_you_mean(pattern, names, 0.4)
            raise ParameterError(
                f"no cell is called {shown(repr(pattern))}{f' ({hint})' if hint else ''}; there "
                f"are {len(ids)}, such as {ids[0]!r}"
            )
        found |= matching
    return [id_ for id_ in ids if id_ in found]


def _case_of(id_: str) -> str:
    return id_.partition("[")[0]
