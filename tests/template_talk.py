"""A chat with any template, and beside it a plain list of what was said."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from template_checks import (
    Said,
    WrongError,
    check_context,
    check_labels,
    check_shown,
    context_text,
    plain,
    said_by,
)
from template_models import N_CTX

from mullama_nb import Chat, Model
from mullama_nb.errors import MullamaError
from mullama_nb.history.turn import Turn
from mullama_nb.widgets.chat_panel import ChatPanel

__all__ = ["CALL", "SYSTEM", "TOOLS", "Outcome", "Place", "Talk", "user"]

SYSTEM = "Speak of the harbour."
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "tide_at",
            "description": "High water.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "description": "A town."}},
                "required": ["place"],
            },
        },
    }
]
CALL: dict[str, Any] = {
    "id": "call12345",
    "type": "function",
    "function": {"name": "tide_at", "arguments": {"place": "Whitby"}},
}

_OF_PYTHON = re.compile(
    r"NoneType|can only concatenate|has no attribute|has no element|is undefined|not iterable|"
    r"unsupported operand|must be str|not subscriptable|object is not|recursion depth"
)


@dataclass(frozen=True)
class Outcome:
    """What a walk found.

    Attributes
    ----------
    name : str
        The template's.
    n_steps : int
        Steps that were done, and right.
    refused : tuple of (str, str)
        Steps that were refused in words, with the words.
    warned : tuple of (str, str)
        Steps that were done with a warning.
    wrong : tuple of (str, str)
        Steps that went wrong, and how.
    """

    name: str
    n_steps: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    warned: tuple[tuple[str, str], ...] = ()
    wrong: tuple[tuple[str, str], ...] = ()

    @property
    def verdict(self) -> str:
        """``right``; ``refused in words``, if not even a question can be asked; or ``wrong``."""
        if self.wrong:
            return "wrong"
        return "right" if self.n_steps else "refused in words"


@dataclass
class Place:
    """A point to come back to."""

    checkpoint: str
    said: list[Said] = field(default_factory=list)


class Talk:
    """A chat whose every step is checked.

    Parameters
    ----------
    name : str
        The template's.
    source : str
    folder : Path
        For sessions and files.
    """

    def __init__(self, name: str, source: str, folder: Path) -> None:
        self.name, self.source, self.folder = name, source, folder
        self.said: list[Said] = []
        self._chat: Chat | None = None
        self._panel: ChatPanel | None = None
        self._ever = {SYSTEM}
        self._n_steps = 0
        self._refused: list[tuple[str, str]] = []
        self._warned: list[tuple[str, str]] = []
        self._wrong: list[tuple[str, str]] = []

    @property
    def chat(self) -> Chat:
        """The chat, once there is one."""
        assert self._chat is not None
        return self._chat

    @property
    def is_wrong(self) -> bool:
        """Whether a step went wrong."""
        return bool(self._wrong)

    def outcome(self) -> Outcome:
        """What was found so far."""
        found = (tuple(each) for each in (self._refused, self._warned, self._wrong))
        return Outcome(self.name, self._n_steps, *found)

    def close(self) -> None:
        """Free the chat's context."""
        if self._panel is not None:
            self._panel.close()
        if self._chat is not None:
            self._chat.context.close()
        self._panel = self._chat = None

    # -- steps -------------------------------------------------------------------------------

    def step(self, name: str, job: Callable[[], object]) -> bool:
        """Do a step and check everything; return whether it was done.

        A step that is refused has to leave everything as it was.
        """
        refused, before = "", list(self.said)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                try:
                    job()
                except MullamaError as error:
                    refused, self.said = str(error), before
                    if not refused or _OF_PYTHON.search(refused):
                        raise WrongError(f"refused in Python's words: {refused}") from None
                if self._chat is not None:
                    self.check()
            except Exception as error:  # whatever it is, it is what the walk looks for
                self._wrong.append((name, _told(error)))
                return False
        known = {told for _, told in self._warned}
        told = dict.fromkeys(str(each.message) for each in warned)
        self._warned += [(name, each) for each in told if each not in known]
        if refused:
            self._refused.append((name, refused))
            return False
        self._n_steps += 1
        return True

    def check(self) -> None:
        """What must hold after every step."""
        if self.said:
            check_shown(self.chat, self._panel, self.said)
            check_labels(self.chat, self._ever)
            check_context(self.chat)

    def begin(self, model: Model, system: str | None, tools: Any, question: str) -> None:
        """Make a chat, and ask the first question; what is given has to arrive or be warned of."""
        self.close()
        with self.listening() as told:
            self._chat = Chat(
                model, system, tools=tools, n_ctx=N_CTX, n_threads=1, n_batch=512, seed=7
            )
            try:
                self.said = [] if system is None else [Said("system", system)]
                self.ask(question)
            except MullamaError:
                self.close()
                self.said = []
                raise
        self._panel = ChatPanel(self.chat)
        context = context_text(self.chat)
        for given, marker, word in (
            (system, SYSTEM, "system"),
            (tools, "tide_at", "tools"),
            (question, question, "question"),
        ):
            if given and marker not in context and word not in told():
                raise WrongError(f"{word} dropped unsaid")

    @contextmanager
    def listening(self) -> Iterator[Callable[[], str]]:
        """Give what the block is warned of, as one text, and pass the warnings on."""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield lambda: " ".join(str(each.message) for each in warned)
        for each in warned:
            warnings.warn(each.message, stacklevel=3)

    def open(self, make: Callable[[], Chat], check: Callable[[Chat], object]) -> None:
        """Look at another chat."""
        other = make()
        try:
            check(other)
        finally:
            other.context.close()

    # -- what is said ------------------------------------------------------------------------

    def note(self, turn: Turn) -> Said:
        """What an answer says, whose words may be shown from now on."""
        said = said_by(turn)
        self.remember(said, getattr(turn, "raw", ""))
        return said

    def remember(self, said: Said, raw: str = "") -> None:
        """Know words that may be shown from now on."""
        self._ever |= {said.text, said.thought, raw, *said.calls}

    def given(self, message: Mapping[str, Any]) -> Said:
        """A message as it is given."""
        said = plain(message)
        self.remember(said)
        return said

    def ask(self, *messages: str | Mapping[str, Any]) -> None:
        """Say something, note the answer, and see that what was said has arrived."""
        given = [user(message) if isinstance(message, str) else message for message in messages]
        said = [self.given(message) for message in given]
        question: Any = given if len(given) > 1 else given[0]
        turn = self.chat.ask(question, max_tokens=5, temperature=1.0, echo=False)
        self.said += [*said, self.note(turn)]

    def answer(self, text: str, *, thought: str = "") -> None:
        """Put an answer in place of the last one."""
        raw = f"{thought}\n</think>\n\n{text}" if thought else text
        turn = self.chat.edit(raw, self.chat.turns[-1], echo=False)
        said = self.note(turn)
        self.remember(said, raw)
        if not thought:
            is_right = (said.text, said.thought) == (text, "")
        elif "</think>" in self.source:
            is_right = (said.text.strip(), said.thought) == (text, thought)
        else:
            is_right = text in said.text
        if not is_right:
            raise WrongError(f"{raw!r}, given as an answer, became {said}")
        self.said[-1] = said
        self.arrived(text)

    def arrived(self, *texts: str) -> None:
        """Check that texts are in the context."""
        context = context_text(self.chat)
        for text in texts:
            if text not in context:
                raise WrongError(f"{text!r} was given and is not in the context")

    # -- places ------------------------------------------------------------------------------

    def place(self) -> Place:
        """Where the chat is."""
        return Place(self.chat.head.id, list(self.said))

    def go(self, place: Place) -> None:
        """Go where the chat was."""
        self.chat.checkout(place.checkpoint)
        self.said = list(place.said)


def user(text: str) -> dict[str, Any]:
    """A question."""
    return {"role": "user", "content": text}


def _told(error: BaseException) -> str:
    if isinstance(error, WrongError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
