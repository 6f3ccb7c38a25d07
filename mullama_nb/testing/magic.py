"""``%%regress NAME``: a cell that records on its first run, and compares afterwards."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.utils.capture import capture_output

from ..history.chat import Chat
from ..history.tree import CheckpointTree
from .comparison import LEVELS
from .recording import record
from .regression import regress

__all__ = ["RegressMagics"]

F = TypeVar("F", bound=Callable[..., Any])


def _cell_magic(*arguments: Any) -> Callable[[F], F]:
    """IPython's decorators, which have no types."""

    def decorate(method: F) -> F:
        made: Any = cell_magic(method)
        for add in reversed(arguments):
            made = add(made)
        return magic_arguments()(made)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]

    return decorate


def _argument(*names: str, **options: Any) -> Any:
    return argument(*names, **options)  # type: ignore[no-untyped-call, unused-ignore]


@magics_class
class RegressMagics(Magics):
    """The ``%%regress`` magic.

    Parameters
    ----------
    shell : InteractiveShell
    the_chat : callable
        Returns the notebook's chat, for cells that do not end in one.
    """

    shell: Any

    def __init__(self, shell: InteractiveShell, the_chat: Callable[[], Chat]) -> None:
        super().__init__(shell)
        self._the_chat = the_chat

    @_cell_magic(
        _argument("name", help="the recording: NAME.mullama.json, in a folder if NAME has one"),
        _argument("--level", choices=LEVELS, default=LEVELS[-1], help="what may differ"),
    )
    def regress(self, line: str, cell: str) -> None:
        """Run the cell, and compare its conversation with the recording.

        The conversation is the chat or tree in the cell's last line, or else the notebook's chat.
        The first run makes the recording; remove the file to make it anew. The cell's own output is
        hidden, so that a passing cell has the same output on every CPU. A failure raises the report
        as an error.
        """
        magic: Any = self.regress
        try:
            arguments = magic.parser.parse_args(shlex.split(line))
        except ValueError as error:
            raise UsageError(f"{line!r} cannot be read: {error}") from None
        path = Path(f"{arguments.name}.mullama.json")
        with capture_output():
            result = self.shell.run_cell(cell)
        result.raise_error()
        found = result.result
        source = found if isinstance(found, (Chat, CheckpointTree)) else self._the_chat()
        name, n = (
            Path(arguments.name).name,
            len(source.tree if isinstance(source, Chat) else source),
        )
        if not path.exists():
            record(source, path)
            print(f"{name}: recorded {n} checkpoints")  # noqa: T201 - this is the cell's output
            return
        regress(source, path, arguments.level).check()
        print(f"{name}: passed, {n} checkpoints")  # noqa: T201
