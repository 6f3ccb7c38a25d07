"""Putting parts of one suite's results together, such as shards of CI."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ParameterError, shown
from .cell import SuiteCell
from .matrix import Matrix

__all__ = ["merged"]


def merged(results: Sequence[Matrix]) -> Matrix:
    """Return the results of one suite as one.

    Of two results of the same task the later one is taken, unless it could not be judged.

    Raises
    ------
    ParameterError
        When there are none, or they are of different suites, or of different versions of one.
    """
    if not results:
        raise ParameterError("no results were given; name at least one file")
    first, *others = results
    tasks: dict[str, str] = dict(first.tasks)
    cells: dict[str, SuiteCell] = {cell.id: cell for cell in first.cells}
    for other in others:
        if other.name != first.name:
            raise ParameterError(
                f"the results are of different suites, {shown(repr(first.name))} and "
                f"{shown(repr(other.name))}; put those of one suite together"
            )
        for id_, digest in other.tasks.items():
            if tasks.setdefault(id_, digest) != digest:
                raise ParameterError(
                    f"{shown(repr(id_))} is another task in each of the results: the suite, its "
                    "model or its settings changed in between; compare() tells what changed"
                )
        for cell in other.cells:
            if cell.error is None or cell.id not in cells or cells[cell.id].error is not None:
                cells[cell.id] = cell
    return Matrix(
        first.name,
        _joined([result.cases for result in results]),
        _joined([result.models for result in results]),
        _joined([result.settings for result in results]),
        tuple(cells.values()),
        tasks,
    )


def _joined(orders: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All labels; one that is new stands behind the one that it stood behind."""
    joined: list[str] = []
    for order in orders:
        if set(order) <= set(joined):
            continue
        place = 0
        for label in order:
            if label not in joined:
                joined.insert(place, label)
            place = joined.index(label) + 1
    return tuple(joined)
