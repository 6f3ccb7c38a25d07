"""The results of a suite, as a value: read, written, shown, compared."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...cached import cached
from ...errors import ParameterError, RegressionError
from .cell import CheckResult, SuiteAnswer, SuiteCell

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text

    from .comparing import SuiteComparison

__all__ = ["CheckResult", "SuiteAnswer", "SuiteCell", "SuiteResult"]


@dataclass(frozen=True, repr=False)
class SuiteResult:
    """The results of a suite: cases x models x settings.

    In a test use ``assert result.passed, result``; :meth:`check` does the same.

    Attributes
    ----------
    name : str
        Of the suite.
    cases, models, settings : tuple of str
        Labels, in order.
    cells : tuple of SuiteCell
        What there is, in the order of the matrix: by case, then model, then setting.
    tasks : mapping
        The digests of the tasks that were to run, by the ids of their cells. A run that was stopped
        has fewer cells.

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

    def check(self) -> None:
        """Raise an error unless the suite passed.

        Raises
        ------
        RegressionError
            With the report as its message.
        """
        if not self.passed:
            raise RegressionError(str(self))

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

    # -- files --------------------------------------------------------------------------------

    @classmethod
    def read(cls, *paths: str | os.PathLike[str]) -> SuiteResult:
        """Read files of results; parts of one suite, such as shards of CI, are put together.

        Parameters
        ----------
        *paths : str or path
            JSON lines, as ``run(results=...)`` and :meth:`to_jsonl` write them.

        Raises
        ------
        RecordingError
            When a file is missing or damaged; a line that a killed run did not finish is none.
        ParameterError
            When the files are of different suites, or of different versions of one.
        """
        from .journal import read
        from .merging import merged

        return merged([read(path) for path in paths])

    def to_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write the results as JSON lines, readable by their owner only.

        Raises
        ------
        SessionWriteError
            When the file cannot be written; an existing one is intact.
        """
        from .journal import write

        write(self, path)

    # -- how it is shown ----------------------------------------------------------------------

    def compare(self, other: SuiteResult) -> SuiteComparison:
        """Return what changed from this result to another, such as from main's to this branch's.

        Parameters
        ----------
        other : SuiteResult
            The later one. Cells are matched by their ids.
        """
        from .comparing import SuiteComparison

        return SuiteComparison(self, other)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the matrix as one HTML file that needs neither network nor kernel.

        A field opens its answers, where they part from those of the row's first field, the
        findings, and the trees.

        Raises
        ------
        SessionWriteError
            When it cannot be written; an existing file is intact.
        """
        from .page.writing import write_result

        return write_result(self, path)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Return the report's lines, each with its kind.

        Yields
        ------
        tuple of (str, str)
            ``"head"``, ``"table"``, ``"text"`` or ``"note"``, and the line.
        """
        from .table import lines

        return lines(self)

    def __str__(self) -> str:
        return "\n".join(line for _, line in self.lines())

    def __repr__(self) -> str:
        return str(self)

    def __rich__(self) -> Text:
        from .table import rich_text

        return rich_text(self)

    def _repr_html_(self) -> str:
        from .table import html_text

        return html_text(self)


def _places(labels: Sequence[str]) -> dict[str, int]:
    places = {label: place for place, label in enumerate(labels)}
    if len(places) < len(labels):
        raise ParameterError(f"a label stands twice among {', '.join(map(repr, labels))}")
    return places
