"""``%%regress NAME``: a cell that records on its first run, and compares afterwards.

What it prints is the same when it records and when it passes, so that a notebook does not fail over
its own first output.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.utils.capture import capture_output

from ..errors import RegressionError
from ..history.chat import Chat
from ..history.tree import CheckpointTree
from .moved_answer import strips
from .recording import record
from .regression import regress
from .report import Report
from .rule import LEVELS

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
        _argument("--update", action="store_true", help="record it anew: the change was meant"),
    )
    def regress(self, line: str, cell: str) -> None:
        """Run the cell, and compare its conversation with the recording.

        The conversation is the chat or tree in the cell's last line, or else the notebook's chat if
        the cell led that. The first run makes the recording, and ``--update`` makes it anew. The
        cell's own output is hidden, so that a passing cell has the same output on every CPU. A
        failure shows which answers moved, and raises the report as an error.
        """
        magic: Any = self.regress
        try:
            arguments = magic.parser.parse_args(shlex.split(line))
        except ValueError as error:
            raise UsageError(f"{line!r} cannot be read: {error}") from None
        path = Path(f"{arguments.name}.mullama.json")
        before = self._place()
        last: list[object] = [None]
        with capture_output():
            sys.displayhook = last.append  # which has what a cell inside of a cell ends in
            result = self.shell.run_cell(cell)
        result.raise_error()
        found = last[-1] if result.result is None else result.result
        source = found if isinstance(found, (Chat, CheckpointTree)) else self._led_since(before)
        tree = source.tree if isinstance(source, Chat) else source
        if arguments.update or not path.exists():
            record(source, path)
        else:
            self._check(regress(source, path, arguments.level), line)
        n, name = len(tree), Path(arguments.name).name
        print(f"{name}: {n} checkpoint{'s' * (n != 1)}, as recorded")  # noqa: T201 - its output

    def _check(self, report: Report, line: str) -> None:
        if report.passed:
            return
        if report.moved:
            n = len(report.moved)  # the report below has them in words
            said = f"{n} answer{'s' * (n != 1)} moved"
            self.shell.display_pub.publish({"text/plain": said, "text/html": strips(report.moved)})
        raise RegressionError(
            f"{report}\nIf this was meant, record it anew: %%regress {line.strip()} --update"
        )

    def _place(self) -> tuple[object, ...]:
        """Where the notebook's chat is; nowhere if there is none."""
        try:
            tree = self._the_chat().tree
        except UsageError:
            return ()
        return tree, tree.head, len(tree)

    def _led_since(self, before: tuple[object, ...]) -> Chat:
        now = self._place()
        if now == before:
            raise UsageError(
                "this cell leads no chat, so there is nothing to record or compare: it asks the "
                "notebook's chat nothing, and its last line is no chat and no tree. Ask in it, or "
                "end it with the chat that it is about"
            )
        return self._the_chat()
