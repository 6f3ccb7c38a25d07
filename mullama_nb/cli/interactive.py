"""A conversation at the terminal: messages and slash commands."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from platformdirs import user_state_path
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory

from ..checks import close_names
from ..errors import MullamaError, ParameterError
from ..history.chat import Chat
from ..sessions.store import SessionStore
from ..size import size
from ..state.atomic import make_private_folder
from .answer import AnswerPrinter
from .console import evaluating_shown, note, typed
from .listing import print_sessions

__all__ = ["Conversation"]

Command = Callable[..., None]


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
            with contextlib.suppress(
                KeyboardInterrupt
            ):  # it ends what was asked for, not the program
                self._take(line.strip())
            line = None

    def _reader(self) -> Callable[[], str]:
        if not sys.stdin.isatty():
            return _next_line
        folder = user_state_path("mullama_nb")
        make_private_folder(folder)
        os.close(os.open(folder / "history", os.O_CREAT | os.O_WRONLY, 0o600))
        session: PromptSession[str] = PromptSession(
            history=FileHistory(str(folder / "history")), completer=_Completer(self)
        )
        return lambda: session.prompt("> ")

    def _take(self, line: str) -> None:
        try:
            if line.startswith("/"):
                self._obey(line)
            elif line:
                self._answer(lambda **options: self.chat.ask(line, **options))
                self._checkpoint()
        except MullamaError as error:
            note(f"error: {error}")

    def _obey(self, line: str) -> None:
        name, _, rest = line[1:].partition(" ")
        if name not in COMMANDS:
            close = close_names(name, COMMANDS, 1)
            note(f"there is no /{name}; {f'did you mean /{close[0]}?' if close else 'see /help'}")
            return
        command, usage, _ = COMMANDS[name]
        try:
            words = [rest.strip()] if name == "edit" else shlex.split(rest)
        except ValueError as error:
            note(f"error: {error}")
            return
        words = [word for word in words if word]
        if not usage.count("<") <= len(words) <= len(usage.split()):
            note(f"usage: /{name} {usage}".rstrip())
            return
        command(self, *words)

    def _answer(self, ask: Callable[..., Any]) -> None:
        """Stream an answer; Ctrl-C stops it and not the program."""
        printer = AnswerPrinter(self.chat)
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
            click.echo(f"/{name} {usage}".ljust(24) + what)

    def quit(self) -> None:
        """End; so does Ctrl-D."""
        self.is_over = True

    def _say_where(self) -> None:
        turns = self.chat.turns
        if not turns:
            note("at the beginning")
            return
        text = " ".join(turns[-1].text.split())
        note(f"{turns[-1].role}: {text if len(text) < 70 else text[:69] + '…'}")
        if turns[-1].role not in ("system", "assistant"):
            note("this stands last: /regenerate answers it, /edit puts another in its place")


_USAGE = {
    "undo": "[n]",
    "redo": "[n]",
    "regenerate": "",
    "resume": "",
    "edit": "<text>",
    "tag": "<name>",
    "checkout": "<ref>",
    "tree": "",
    "save": "<name> [replace|merge]",
    "open": "<name>",
    "sessions": "",
    "kv": "",
    "help": "",
    "quit": "",
}
COMMANDS: dict[str, tuple[Command, str, str]] = {
    name: (getattr(Conversation, name), usage, (getattr(Conversation, name).__doc__ or "").strip())
    for name, usage in _USAGE.items()
}


class _Completer(Completer):
    """Completes commands, and refs after /checkout."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def get_completions(self, document: Document, _complete_event: object) -> Iterable[Completion]:
        """Yield completions of the typed text."""
        text = document.text_before_cursor
        if not text.startswith("/"):
            return
        name, blank, rest = text[1:].partition(" ")
        words: Iterable[str] = COMMANDS
        if blank:
            tree = self._conversation.chat.tree
            words = [*tree.tags, "HEAD", "ROOT"] if name == "checkout" else ()
        typed = rest if blank else name
        for word in words:
            if word.startswith(typed):
                yield Completion(word, start_position=-len(typed))


def _next_line() -> str:
    line = typed(sys.stdin.readline)
    if not line:
        raise EOFError
    return line


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ParameterError(f"{text!r} is not a number of steps; give 1 or more")
    return int(text)
