"""``%load_ext mullama_nb``: a chat through magics, with errors in plain words."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import traitlets
from IPython.core.error import TryNext, UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument as untyped_argument
from IPython.core.magic_arguments import magic_arguments as untyped_arguments

from ..completing import complete_names_in
from ..engine.files.locate import known_models
from ..engine.model import Model
from ..errors import MullamaError
from ..history.chat import Chat
from ..history.message import chain, point_before
from ..history.options import CONTEXT_OPTIONS, LIMIT_OPTIONS, SAMPLING_OPTIONS
from ..history.sizes import KVBytes
from ..history.tree import Checkpoint
from ..history.turn import Turn
from ..sessions.store import SessionStore
from ..tables import html_table
from ..testing.magic import RegressMagics
from .words import read_options, split_words

__all__ = ["MullamaMagics", "load"]

F = TypeVar("F", bound=Callable[..., Any])

_OF_A_CHAT = (CONTEXT_OPTIONS, SAMPLING_OPTIONS, LIMIT_OPTIONS)
_SESSION_ACTIONS = ("save", "load", "list")


# IPython has no types for these.
argument: Any = untyped_argument
magic_arguments: Any = untyped_arguments


def _magic(kind: Any, *arguments: Any) -> Callable[[F], F]:
    """A magic with arguments, which says in words what a person can mend."""

    def decorate(method: F) -> F:
        @functools.wraps(method)
        def spoken(self: Any, *args: str) -> Any:
            try:
                return method(self, *args)
            except (MullamaError, TypeError) as error:  # a TypeError: an option that there is not
                raise UsageError(str(error)) from None

        made: Any = kind(spoken)
        for add in reversed(arguments):
            made = add(made)
        return magic_arguments()(made)  # type: ignore[no-any-return]

    return decorate


def _parse(magic: Any, line: str) -> Any:
    """A magic's arguments, split as a shell does it, but for the values of options."""
    arguments, unknown = magic.parser.parse_known_args(split_words(line))
    if unknown:
        hint = "; options look like temperature=0.7" if unknown[0].startswith("-") else ""
        raise UsageError(f"{unknown[0]!r} is not known here{hint}")
    return arguments


@magics_class
class MullamaMagics(Magics):
    """Magics on a chat in a notebook's variable.

    Attributes
    ----------
    chat : str
        The variable's name, changed by ``%config MullamaMagics.chat = "other"``.
    """

    shell: Any
    chat = traitlets.Unicode("chat", help="The name of the chat that magics work on.").tag(
        config=True
    )

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._cell: str | None = None
        # For each chat: what a cell has asked, and the answer's checkpoint.
        self._asked: weakref.WeakKeyDictionary[Chat, dict[str, tuple[str, str]]] = (
            weakref.WeakKeyDictionary()
        )
        shell.events.register("pre_run_cell", self._note_cell)

    def _note_cell(self, info: Any) -> None:
        self._cell = info.cell_id

    def the_chat(self) -> Chat:
        """Return the chat in the variable.

        Raises
        ------
        UsageError
            When there is none.
        """
        found = self.shell.user_ns.get(self.chat)
        if isinstance(found, Chat):
            return found
        if found is None:
            raise UsageError(f"there is no {self.chat!r} yet; make it with: %model smollm2")
        raise UsageError(
            f"{self.chat!r} is of type {type(found).__name__}, not Chat. Rename it, or have the "
            'magics use another name: %config MullamaMagics.chat = "other"'
        )

    # -- say ---------------------------------------------------------------------------------

    @_magic(
        line_magic,
        argument("name", help="a model's name or path, as Model.load takes it"),
        argument("options", nargs="*", help="such as n_ctx=2048 temperature=0 system='Be brief.'"),
    )
    def model(self, line: str) -> Chat:
        """Start a chat with a model."""
        arguments = _parse(self.model, line)
        chat = Chat(arguments.name, **read_options(arguments.options))
        self.shell.user_ns[self.chat] = chat
        return chat

    @_magic(
        cell_magic,
        argument("--append", action="store_true", help="say it once more instead of again"),
        argument("options", nargs="*", help="such as max_tokens=100 temperature=0.7"),
    )
    def ask(self, line: str, cell: str) -> Turn:
        """Send the cell's text and generate the answer.

        Running a cell again adds a sibling of its earlier answer or, if its text has changed, of
        its question. In a front end that does not identify cells, the same text asks the last
        question again.
        """
        arguments = _parse(self.ask, line)
        options = read_options(arguments.options)
        chat, text = self.the_chat(), cell.strip()
        if not text:
            raise UsageError("the cell has no message; write one below %%ask")
        asked = self._asked.setdefault(chat, {})
        earlier = None if arguments.append else self._earlier(chat, asked, text)
        before = chat.head
        try:
            if earlier is None and not arguments.append and _stands_on(chat, text):
                return chat.regenerate(**options)
            if earlier is None:
                return chat.ask(text, **options)
            said, answer = earlier
            if said == text:
                return chat.regenerate(answer, **options)
            return chat.edit(text, _question(answer), **options)
        finally:  # also of an answer that was interrupted
            head = chat.head
            if self._cell is not None and head is not before and _is_answer(head):
                asked[self._cell] = (text, head.id)

    def _earlier(
        self, chat: Chat, asked: dict[str, tuple[str, str]], text: str
    ) -> tuple[str, Turn] | None:
        """What this cell has said, and its answer, where asking again means a sibling of it."""
        if self._cell is None:
            turns = chat.turns
            last = [turn.text for turn in turns[-2:]]
            is_again = len(last) == 2 and last[0] == text and turns[-1].role == "assistant"
            return (text, turns[-1]) if is_again else None
        said, identifier = asked.get(self._cell, ("", ""))
        if identifier not in chat.tree:  # not asked yet, or pruned
            return None
        answer = chat.tree[identifier]
        turn = Turn(chat, answer)
        begin = _question(turn).parts[0]
        # Where an earlier cell has led elsewhere since, this one goes on from there.
        is_here = begin in chain(chat.head) or begin.previous is chat.head
        return (said, turn) if is_here else None

    # -- move --------------------------------------------------------------------------------

    @_magic(
        line_magic,
        argument("n", nargs="?", type=int, default=1, help="how many questions; 1 if not given"),
    )
    def undo(self, line: str) -> Turn | None:
        """Take back the last questions with their answers."""
        return self.the_chat().undo(_parse(self.undo, line).n)

    @_magic(
        line_magic,
        argument("n", nargs="?", type=int, default=1, help="how many questions; 1 if not given"),
    )
    def redo(self, line: str) -> Turn | None:
        """Restore what %undo took back."""
        return self.the_chat().redo(_parse(self.redo, line).n)

    @_magic(
        line_magic,
        argument("name", help="the tag"),
        argument("ref", nargs="?", default="HEAD", help="what to tag; the head if not given"),
    )
    def tag(self, line: str) -> Checkpoint:
        """Tag a checkpoint with a name."""
        arguments = _parse(self.tag, line)
        return self.the_chat().tag(arguments.name, arguments.ref)

    @_magic(
        line_magic, argument("ref", help="a tag, an id or the beginning of one, HEAD~2 or ROOT")
    )
    def checkout(self, line: str) -> Turn | None:
        """Move the head to a checkpoint."""
        return self.the_chat().checkout(_parse(self.checkout, line).ref)

    # -- look --------------------------------------------------------------------------------

    @_magic(line_magic)
    def tree(self, line: str) -> None:
        """Draw the tree of checkpoints."""
        _parse(self.tree, line)
        tree = self.the_chat().tree
        self._show(str(tree), tree._repr_html_())

    @_magic(line_magic)
    def kv(self, line: str) -> KVBytes:
        """Show the size of the tree's KV rows."""
        _parse(self.kv, line)
        return self.the_chat().tree.kv_bytes()

    # -- keep --------------------------------------------------------------------------------

    @_magic(
        line_magic,
        argument("action", choices=_SESSION_ACTIONS, help="what to do"),
        argument("name", nargs="?", help="the name to save under, or to load"),
        argument("--folder", help="where; the user's data folder if not given"),
        argument("--replace", action="store_true", help="keep what is there as an earlier version"),
        argument("--merge", action="store_true", help="take in what is there as branches"),
        argument("--take-over", action="store_true", help="even while another process saves there"),
    )
    def session(self, line: str) -> Chat | None:
        """Save the chat with its whole tree under a name, load one, or list the saved ones."""
        arguments = _parse(self.session, line)
        if arguments.action == "list":
            self._show(*_session_table(SessionStore(arguments.folder)))
            return None
        if arguments.name is None:
            raise UsageError(f"%session {arguments.action} needs a name")
        if arguments.action == "save":
            self.the_chat().save(
                arguments.name,
                arguments.folder,
                replace=arguments.replace,
                merge=arguments.merge,
                take_over=arguments.take_over,
            )
            return None
        model = self._fitting_model(SessionStore(arguments.folder), arguments.name)
        chat = Chat.open(arguments.name, model, arguments.folder)
        self.shell.user_ns[self.chat] = chat
        return chat

    def _fitting_model(self, store: SessionStore, name: str) -> Model | None:
        """The model of the chat that there is, where a session was made with the same weights.

        So its file is not read again, and need not be where it was.
        """
        chat = self.shell.user_ns.get(self.chat)
        if not isinstance(chat, Chat):
            return None
        fits = store.info(name).settings.get("fingerprint") == chat.model.fingerprint
        return chat.model if fits else None

    def _show(self, text: str, markup: str) -> None:
        self.shell.display_pub.publish({"text/plain": text, "text/html": markup})

    # -- complete ----------------------------------------------------------------------------

    def complete(self, _shell: object, event: Any) -> list[str]:
        """Return the completions of a magic's line."""
        command, *words = event.text_until_cursor.split(" ")
        magic, place = command.lstrip("%"), len(words)
        chat = self.shell.user_ns.get(self.chat)
        if magic == "model":
            names = known_models() if place == 1 else _assigned(*_OF_A_CHAT)
        elif magic == "ask":
            names = ["--append", *_assigned(LIMIT_OPTIONS, SAMPLING_OPTIONS)]
        elif magic == "session" and place == 1:
            names = [*_SESSION_ACTIONS]
        elif magic == "session" and words[0] in ("save", "load"):
            folder = words[words.index("--folder") + 1] if "--folder" in words[:-2] else None
            names = ["--folder"] if event.symbol.startswith("-") else SessionStore(folder).names()
        elif isinstance(chat, Chat) and (magic, place) in (("checkout", 1), ("tag", 2)):
            names = chat.tree._ipython_key_completions_()
        else:
            raise TryNext
        return [name for name in names if name.startswith(event.symbol)]


def _assigned(*names: tuple[str, ...]) -> list[str]:
    return [f"{name}=" for group in names for name in group]


def _question(answer: Turn) -> Turn:
    return Turn(answer.chat, point_before(answer.checkpoint))


def _stands_on(chat: Chat, text: str) -> bool:
    """Whether a text is the question at the head, which it would only repeat."""
    last = chat.turns[-1:]
    return any(turn.role == "user" and turn.text == text for turn in last)


def _is_answer(checkpoint: Checkpoint) -> bool:
    return checkpoint.metadata.is_answer


def _session_table(store: SessionStore) -> tuple[str, str]:
    """The names of a store, as text and as HTML."""
    heads = ("name", "kind", "model", "tokens", "bytes")
    rows = [
        (entry.name, entry.kind, entry.model or "unknown", f"{entry.n_tokens:,}", f"{n:,}")
        for entry in store.entries()
        for n in [entry.n_bytes]
    ]
    if not rows:
        return "Nothing is saved here.", "<p>Nothing is saved here.</p>"
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if i > 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    ]
    return "\n".join(lines), html_table(rows, heads)


def load(shell: Any) -> None:
    """Register the magics in a shell, with completions.

    Parameters
    ----------
    shell : InteractiveShell
    """
    magics = MullamaMagics(shell)
    shell.register_magics(magics, RegressMagics(shell, magics.the_chat))
    for name in magics.magics["line"]:
        for key in (name, f"%{name}"):
            shell.set_hook("complete_command", magics.complete, str_key=key)
    shell.set_hook("complete_command", magics.complete, str_key="%%ask")
    complete_names_in(shell)
