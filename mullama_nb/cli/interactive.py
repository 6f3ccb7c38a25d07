"""A conversation at the terminal: messages and slash commands."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from ..checks import close_names
from ..errors import HistoryError, MullamaError, ParameterError
from ..history.chat import Chat
from ..history.turn import Turn
from ..sessions.store import SessionStore
from ..size import size
from .answer import AnswerPrinter
from .console import evaluating_shown, note, speaking_plainly, typed
from .listing import print_sessions
from .tokens import print_alternatives, print_tokens
from .wording import reworded

__all__ = ["Conversation"]

Command = Callable[..., None]

_FREE_TEXT = ("edit", "explore")  # what follows is a message, in which quotes are quotes
_MOST_SHOWN = 70  # characters of a message in one line


class Conversation:
    """Reads a user's messages and commands, and shows the results.

    Parameters
    ----------
    chat : Chat
    limits : mapping
        Of each answer: ``max_tokens``, ``reasoning_budget``.
    checkpoint_dir : Path, optional
        Folder for session files, one every ``checkpoint_interval`` turns.
    checkpoint_interval : int
    """

    def __init__(
        self,
        chat: Chat,
        limits: Mapping[str, int | None],
        checkpoint_dir: Path | None = None,
        checkpoint_interval: int = 5,
    ) -> None:
        self.chat = chat
        self.is_over = False
        self._limits = {name: n for name, n in limits.items() if n is not None}
        self._checkpoint_dir = checkpoint_dir
        self._checkpoint_interval = checkpoint_interval

    def hold(self, first: str | None = None) -> None:
        """Converse until /quit or the end of the input."""
        read = self._reader()
        with speaking_plainly(voice="shell"):
            self._hold(read, first)

    def _hold(self, read: Callable[[], str], first: str | None) -> None:
        if sys.stdin.isatty():
            note(f"{self.chat.model.name}. /help lists the commands, Ctrl-D ends.")
        line = first
        while not self.is_over:
            try:
                line = read() if line is None else line
            except EOFError:
                break
            except KeyboardInterrupt:
                continue
            with contextlib.suppress(KeyboardInterrupt):  # it ends what was asked for
                self._take(line.strip())
            line = None

    def _reader(self) -> Callable[[], str]:
        if not sys.stdin.isatty():
            return _next_line
        from .line_editor import line_editor  # a terminal's alone

        return line_editor(self._completed)

    def _completed(self, text: str) -> tuple[str, Iterable[str]]:
        """Return the part to complete, a command or a ref after /checkout, and what there is."""
        name, blank, rest = text[1:].partition(" ")
        if not text.startswith("/") or (blank and name != "checkout"):
            return "", ()
        return (rest, [*self.chat.tree.tags, "HEAD", "ROOT"]) if blank else (name, COMMANDS)

    def _take(self, line: str) -> None:
        try:
            if line.startswith("/"):
                self._obey(line)
            elif line:
                self._answer(lambda **options: self.chat.ask(line, **options))
                self._checkpoint()
        except MullamaError as error:
            note(f"error: {reworded(str(error), 'shell')}")

    def _obey(self, line: str) -> None:
        name, _, rest = line[1:].partition(" ")
        if name not in COMMANDS:
            close = close_names(name, COMMANDS, 1)
            note(f"there is no /{name}; {f'did you mean /{close[0]}?' if close else 'see /help'}")
            return
        command, usage, _ = COMMANDS[name]
        try:
            words = _message(rest, usage) if name in _FREE_TEXT else shlex.split(rest)
        except ValueError as error:
            note(f"error: {error}")
            return
        words = [word for word in words if word]
        if not usage.count("<") <= len(words) <= len(usage.split()):
            note(f"usage: /{name} {usage}".rstrip())
            return
        command(self, *words)

    def _answer(self, ask: Callable[..., Any], *, is_whole: bool = False) -> None:
        """Stream an answer; Ctrl-C stops it and not the program."""
        printer = AnswerPrinter(self.chat, is_whole=is_whole)
        try:
            with evaluating_shown(self.chat):
                ask(**self._limits, echo=False, on_token=printer)
        except KeyboardInterrupt:
            printer.finish()
            note("stopped; /resume goes on")
        else:
            printer.finish()

    def _checkpoint(self) -> None:
        n_turns = self.chat.undo_steps
        if self._checkpoint_dir is not None and n_turns % self._checkpoint_interval == 0:
            path = self._checkpoint_dir / f"turn-{n_turns}.session"
            info = self.chat.save_session(path)
            note(f"turn {n_turns} saved to {path.name}, {size(info.n_bytes)}")

    # -- commands ----------------------------------------------------------------------------

    def undo(self, n: str = "1") -> None:
        """Take back turns."""
        self.chat.undo(_number(n))
        self._say_where()

    def redo(self, n: str = "1") -> None:
        """Restore what /undo took back."""
        self.chat.redo(_number(n))
        self._say_where()

    def regenerate(self) -> None:
        """Answer the question here, or the last one again."""
        self._answer(self.chat.regenerate)

    def resume(self) -> None:
        """Continue an answer that was stopped."""
        self._answer(self.chat.resume)

    def edit(self, text: str) -> None:
        """Replace the last question."""
        self._answer(lambda **options: self.chat.edit(text, **options))

    def explore(self, *words: str) -> None:
        """Give N answers to the last question or another."""
        n, text = _number_and_text(words)
        limits: dict[str, Any] = dict(self._limits)
        try:
            with evaluating_shown(self.chat):
                answers = self.chat.explore(text, n, **limits)
        except KeyboardInterrupt:
            note("stopped; /tree shows the answers that came")
            return
        for answer in answers:
            click.echo(f"{answer.checkpoint.short_id}  {_in_one_line(answer.text)}")
        note("/checkout ID goes on with one of them")

    def tokens(self, i: str | None = None) -> None:
        """Show the answer's tokens, or the likeliest at I."""
        if i is None:
            print_tokens(self._last_answer())
        else:
            print_alternatives(self._last_answer(), _index(i))

    def fork(self, i: str, text: str | None = None) -> None:
        """Go on from token I of the answer with another."""
        turn, token = self._last_answer(), _index(i)
        self._answer(
            lambda **options: self.chat.fork(turn, token=token, choose=text, **options),
            is_whole=True,
        )

    def _last_answer(self) -> Turn:
        turns = self.chat.turns
        if not turns or turns[-1].role != "assistant":
            raise HistoryError("there is no answer here, and so no tokens of one; ask() something")
        return turns[-1]

    def tag(self, name: str) -> None:
        """Tag the current checkpoint."""
        checkpoint = self.chat.tag(name)
        note(f"{name} is {checkpoint.short_id}")

    def checkout(self, ref: str) -> None:
        """Move to a tag, an id or HEAD~2."""
        self.chat.checkout(ref)
        self._say_where()

    def tree(self) -> None:
        """Show the tree."""
        click.echo(str(self.chat.tree))

    def save(self, name: str, how: str = "") -> None:
        """Save the chat, now and after every turn."""
        if how not in ("", "replace", "merge"):
            raise ParameterError(f"{how!r} is not a way to save: use replace or merge")
        self.chat.autosave(name, replace=how == "replace", merge=how == "merge")
        note(f"saved as {name}, and again after each turn")

    def open(self, name: str) -> None:
        """Open a saved chat."""
        self.chat = Chat.open(name, model=self.chat.model)
        self._say_where()

    def sessions(self) -> None:
        """List the saved sessions."""
        print_sessions(SessionStore().entries())

    def trim(self, keep: str | None = None) -> None:
        """Go on with the last KEEP questions only."""
        n = self.chat.trim(None if keep is None else _number(keep, "questions"))
        note(f"{n:,} tokens became free; /tree has the whole conversation")

    def n_ctx(self, cells: str) -> None:
        """Go on in a context with another number of cells."""
        before, self.chat = self.chat, self.chat.with_n_ctx(_number(cells, "cells"))
        before.context.close()
        self.kv()

    def kv(self) -> None:
        """Show the memory in use."""
        counted = self.chat.tree.kv_bytes()
        context = self.chat.context
        click.echo(
            f"{context.token_count():,} of {context.n_ctx:,} tokens, "
            f"{size(context.kv_bytes())}; the tree {size(counted.total)}, "
            f"as full snapshots {size(counted.snapshots)}"
        )

    def help(self) -> None:
        """List the commands."""
        for name, (_, usage, what) in COMMANDS.items():
            click.echo(f"/{name} {usage}".ljust(30) + what)

    def quit(self) -> None:
        """End; so does Ctrl-D."""
        self.is_over = True

    def _say_where(self) -> None:
        turns = self.chat.turns
        if not turns:
            note("at the beginning")
            return
        note(f"{turns[-1].role}: {_in_one_line(turns[-1].text)}")
        if turns[-1].role not in ("system", "assistant"):
            note("this stands last: /regenerate answers it, /edit puts another in its place")


_USAGE = {
    "undo": "[n]",
    "redo": "[n]",
    "regenerate": "",
    "resume": "",
    "edit": "<text>",
    "explore": "[n] [question]",
    "tokens": "[i]",
    "fork": "<i> [text]",
    "tag": "<name>",
    "checkout": "<ref>",
    "tree": "",
    "save": "<name> [replace|merge]",
    "open": "<name>",
    "sessions": "",
    "kv": "",
    "trim": "[keep]",
    "n-ctx": "<cells>",
    "help": "",
    "quit": "",
}
COMMANDS: dict[str, tuple[Command, str, str]] = {
    name: (method, usage, (method.__doc__ or "").strip())
    for name, usage in _USAGE.items()
    for method in (getattr(Conversation, name.replace("-", "_")),)
}


def _next_line() -> str:
    line = typed(sys.stdin.readline)
    if not line:
        raise EOFError
    return line


def _message(text: str, usage: str) -> list[str]:
    """Divide what follows a command into as many words as it takes, the last with all the rest."""
    return text.split(maxsplit=len(usage.split()) - 1) if len(usage.split()) > 1 else [text.strip()]


def _number_and_text(words: tuple[str, ...]) -> tuple[int | None, str | None]:
    """Return a number of answers and a question, each of which may be left out."""
    first, *rest = words or ("",)
    if first.isdecimal():
        return _number(first, "answers"), " ".join(rest) or None
    return None, " ".join(words) or None


def _number(text: str, of: str = "steps") -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ParameterError(f"{text!r} is not a number of {of}; give 1 or more")
    return int(text)


def _index(text: str) -> int:
    if not text.removeprefix("-").isdecimal():
        raise ParameterError(f"{text!r} is not the number of a token, which /tokens shows")
    return int(text)


def _in_one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"
