"""Output of the command line beside the answer: notes, warnings and progress, all on stderr."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import click

from ..errors import MullamaError, MullamaWarning, ParameterError
from .wording import Voice, reworded

if TYPE_CHECKING:
    from ..history.chat import Chat
    from ..history.events import Event

__all__ = ["evaluating_shown", "loading_shown", "note", "speaking_plainly", "typed"]

_PATIENCE = 1.0  # seconds without a sign of life


def note(text: str) -> None:
    """Print a note to stderr."""
    click.echo(text, err=True)


def typed(read: Callable[[], str]) -> str:
    """Return what is read from stdin.

    Parameters
    ----------
    read : callable
        A method of ``sys.stdin``.

    Raises
    ------
    ParameterError
        When it is written in another encoding.
    """
    try:
        text = read()
        text.encode()
    except UnicodeError as error:
        encoding = getattr(sys.stdin, "encoding", None) or "UTF-8"
        what = ""
        if isinstance(error, UnicodeDecodeError):
            what = f": it has the byte 0x{error.object[error.start]:02X} where there is none"
        raise ParameterError(
            f"what is on stdin is not {encoding} text{what}. Convert it first, for instance with "
            "iconv -f LATIN1 -t UTF-8"
        ) from None
    return text


class _CannotRun(click.ClickException):
    exit_code = 2


@contextmanager
def speaking_plainly(exit_code: Literal[1, 2] = 1, voice: Voice = "command") -> Iterator[None]:
    """Print the package's errors and warnings in one line, without a traceback.

    Their advice names what there is at the terminal in place of Python's calls.

    Parameters
    ----------
    exit_code : {1, 2}
        With which an error ends the command; 2 where 1 says that something differs.
    voice : {"command", "shell"}
        Whether there are a command's options, or the slash commands of a conversation, too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", MullamaWarning)
        show = warnings.showwarning

        def say(
            message: Warning | str, category: type[Warning], *place: object, **_: object
        ) -> None:
            if issubclass(category, MullamaWarning):
                note(f"warning: {reworded(str(message), voice)}")
            else:
                show(message, category, *place)  # type: ignore[arg-type]

        warnings.showwarning = say
        try:
            yield
        except MullamaError as error:
            kind = click.ClickException if exit_code == 1 else _CannotRun
            raise kind(reworded(str(error), voice)) from error


@contextmanager
def loading_shown(what: str) -> Iterator[Callable[[float], object]]:
    """Show a progress bar for loading, after a second and on a terminal only."""
    with _bar(what) as update:
        yield lambda fraction: update(fraction, 1.0)


@contextmanager
def evaluating_shown(chat: Chat) -> Iterator[None]:
    """Show a progress bar for long prompts, after a second and on a terminal only."""
    from ..history.events import Progress as Evaluated

    with _bar("evaluating") as update:

        def tell(event: Event) -> None:
            if isinstance(event, Evaluated):
                update(event.evaluated, event.total)

        subscription = chat.tree.on_change(tell)
        try:
            yield
        finally:
            subscription.cancel()


@contextmanager
def _bar(what: str) -> Iterator[Callable[[float, float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    began = time.monotonic()
    stderr = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=stderr, transient=True)
    task = progress.add_task(what, total=1.0)
    is_shown = False

    def update(done: float, total: float) -> None:
        nonlocal is_shown
        if not is_shown and time.monotonic() - began > _PATIENCE and sys.stderr.isatty():
            progress.start()
            is_shown = True
        progress.update(task, completed=done, total=total)
        if is_shown and done >= total:
            progress.stop()

    try:
        yield update
    finally:
        if is_shown:
            progress.stop()
