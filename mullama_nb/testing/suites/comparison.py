"""What changed between two results of a suite, as a value: shown, written, checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import RegressionError
from . import comparison_text
from .comparing import Changes
from .page.writing import write_comparison

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["SuiteComparison"]


@dataclass(frozen=True, repr=False)
class SuiteComparison(Changes):
    """What changed from one result of a suite to another; cells are matched by their ids.

    In a test use ``assert comparison.passed, comparison``; :meth:`check` does the same.

    Attributes
    ----------
    before, after : SuiteResult
    """

    def check(self) -> None:
        """Raise an error unless it passed.

        Raises
        ------
        RegressionError
            With the report as its message.
        """
        if not self.passed:
            raise RegressionError(str(self))

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the comparison as one HTML file that needs neither network nor kernel.

        Raises
        ------
        SessionWriteError
            When it cannot be written; an existing file is intact.
        """
        return write_comparison(self, path)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Return the report's lines, each with its kind: ``"head"``, ``"text"`` or ``"note"``."""
        return comparison_text.lines(self)

    def __str__(self) -> str:
        return "\n".join(line for _, line in self.lines())

    def __repr__(self) -> str:
        return str(self)

    def __rich__(self) -> Text:
        return comparison_text.rich_text(self.lines())

    def _repr_html_(self) -> str:
        return comparison_text.html_text(self)
