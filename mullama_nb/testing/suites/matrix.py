"""What a suite's results hold, apart from how they are written, shown and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ...cached import cached
from ...errors import ParameterError
from .cell import SuiteCell

__all__ = ["Matrix"]


@dataclass(frozen=True, repr=False, eq=False)
class Matrix:
    """Cases x models x settings, with the cells that were judged; see ``SuiteResult``.

    Raises
    ------
    ParameterError
        When two cells have one id, or a cell's labels are not among the labels.
    """

    name: str
    cases: tuple[str, ...]
    models: tuple[str, ...]
    settings: tuple[str, ...]
    cells: tuple[SuiteCell, ...] = ()
    tasks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        orders = [_places(labels) for labels in (self.cases, self.models, self.settings)]
        places: dict[str, tuple[int, ...]] = {}
        for cell in self.cells:
            labels = (cell.case, cell.model, cell.setting)
            if cell.id in places:
                raise ParameterError(f"the result has two cells {cell.id!r}")
            unknown = [label for label, at in zip(labels, orders, strict=True) if label not in at]
            if unknown:
                raise ParameterError(f"cell {cell.id!r} lies outside the matrix: {unknown[0]!r}")
            places[cell.id] = tuple(at[label] for label, at in zip(labels, orders, strict=True))
        ordered = sorted(self.cells, key=lambda cell: places[cell.id])
        tasks = dict(self.tasks) or {cell.id: cell.digest for cell in ordered}
        if strange := [cell.id for cell in ordered if cell.id not in tasks]:
            raise ParameterError(f"cell {strange[0]!r} is of no task of this result")
        object.__setattr__(self, "cells", tuple(ordered))
        object.__setattr__(self, "tasks", tasks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Matrix):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(Matrix))

    # What it maps can be changed.
    __hash__ = None  # type: ignore[assignment]

    # -- what there is ------------------------------------------------------------------------

    @property
    def passed(self) -> bool:
        """Whether every task ran and every cell passed."""
        return not self.missing and all(cell.passed for cell in self.cells)

    @property
    def failed(self) -> tuple[SuiteCell, ...]:
        """The cells that did not pass."""
        return tuple(cell for cell in self.cells if not cell.passed)

    @property
    def missing(self) -> tuple[str, ...]:
        """The ids of cells that were to be run, and were not."""
        return tuple(id_ for id_ in self.tasks if id_ not in self._by_id)

    @property
    def tokens_evaluated(self) -> int:
        """How many tokens were evaluated."""
        return sum(cell.tokens_evaluated for cell in self.cells)

    @property
    def tokens_alone(self) -> int:
        """How many tokens would have been evaluated without common prefixes."""
        return sum(cell.tokens_alone for cell in self.cells)

    @cached
    def _by_id(self) -> dict[str, SuiteCell]:
        return {cell.id: cell for cell in self.cells}

    @cached
    def _by_place(self) -> dict[tuple[str, str, str], SuiteCell]:
        return {(cell.case, cell.model, cell.setting): cell for cell in self.cells}

    def __getitem__(self, id_: str) -> SuiteCell:
        """Return a cell by its id.

        Raises
        ------
        ParameterError
            When there is none.
        """
        if id_ not in self._by_id:
            some = ", ".join(map(repr, [*self._by_id][:5]))
            raise ParameterError(f"no cell {id_!r} in the result; it has {some or 'none'}")
        return self._by_id[id_]

    def find(self, case: str, model: str, setting: str) -> SuiteCell | None:
        """Return the cell at a place of the matrix; None if there is none."""
        return self._by_place.get((case, model, setting))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, for JSON."""
        return {
            "name": self.name,
            "passed": self.passed,
            "cases": list(self.cases),
            "models": list(self.models),
            "settings": list(self.settings),
            "tasks": dict(self.tasks),
            "cells": [cell.to_dict() for cell in self.cells],
        }


def _places(labels: Sequence[str]) -> dict[str, int]:
    places = {label: place for place, label in enumerate(labels)}
    if len(places) < len(labels):
        raise ParameterError(f"a label stands twice among {', '.join(map(repr, labels))}")
    return places
