"""The results of a suite, as a value: read, written, shown, compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import RegressionError
from . import journal, table
from .cell import CheckResult, SuiteAnswer, SuiteCell
from .comparison import SuiteComparison
from .matrix import Matrix
from .merging import merged
from .page.writing import write_result

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["CheckResult", "SuiteAnswer", "SuiteCell", "SuiteResult"]


@dataclass(frozen=True, repr=False, eq=False)
class SuiteResult(Matrix):
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

    def check(self) -> None:
        """Raise an error unless the suite passed.

        Raises
        ------
        RegressionError
            With the report as its message.
        """
        if not self.passed:
            raise RegressionError(str(self))

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
        found = merged([journal.read(path) for path in paths])
        labels = (found.cases, found.models, found.settings)
        return cls(found.name, *labels, found.cells, found.tasks)

    def to_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write the results as JSON lines, readable by their owner only.

        Raises
        ------
        SessionWriteError
            When the file cannot be written; an existing one is intact.
        """
        journal.write(self, path)

    # -- how it is shown ----------------------------------------------------------------------

    def compare(self, other: SuiteResult) -> SuiteComparison:
        """Return what changed from this result to another, such as from main's to this branch's.

        Parameters
        ----------
        other : SuiteResult
            The later one. Cells are matched by their ids.
        """
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
        return write_result(self, path)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Return the report's lines, each with its kind.

        Yields
        ------
        tuple of (str, str)
            ``"head"``, ``"table"``, ``"text"`` or ``"note"``, and the line.
        """
        return table.lines(self)

    def __str__(self) -> str:
        return "\n".join(line for _, line in self.lines())

    def __repr__(self) -> str:
        return str(self)

    def __rich__(self) -> Text:
        return table.rich_text(self)

    def _repr_html_(self) -> str:
        return table.html_text(self)
