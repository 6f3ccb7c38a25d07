"""Files that a command writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["NewFile"]


class NewFile(click.Path):
    """The path of a file to write, whose folder must be there: commands make no folders.

    It is checked before anything is computed for it.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path.

        Raises
        ------
        click.BadParameter
            When it is a folder, or its folder is missing.
        """
        path = Path(super().convert(value, param, ctx))  # type: ignore[arg-type]
        if not path.parent.is_dir():
            self.fail(
                f"there is no folder {str(path.parent)!r}: make it first, or name another place",
                param,
                ctx,
            )
        return path
