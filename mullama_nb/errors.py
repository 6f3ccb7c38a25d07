"""Every exception and warning that the package raises, in one tree.

```
MullamaError
├── ParameterError            a value or a combination of values cannot work
├── ModelError
│   ├── ModelNotFoundError    no GGUF file under that name
│   ├── ModelFormatError      the file is no GGUF file that can generate text
│   └── ChatTemplateError     no chat template, or one that refuses the messages
├── ContextError
│   ├── ContextFullError      more tokens than cells are left
│   ├── ContextClosedError    the context was closed, or belongs to another process
│   └── DecodeError           llama.cpp could not evaluate a batch
├── HistoryError              something about a checkpoint tree
│   └── RefError              no checkpoint under that name, or more than one
├── CopyError                 a live object was to be copied, pickled or sent elsewhere
├── GrammarError              a grammar that cannot be read, or that nothing can match
├── RecordingError            a recording that is damaged, or is none
├── RegressionError           what was recorded does not hold here; the message is the report
└── SessionError
    ├── SessionConflictError  the name holds something else, or somebody else saves it
    ├── SessionNotFoundError  no session under that path or name
    ├── SessionFormatError    the file is damaged, or no session file
    ├── SessionMismatchError  a sound file that does not fit this context
    └── SessionWriteError     the file could not be written; the old one is intact

MullamaWarning
├── InexactWarning            the continuation may differ in its last bits
├── UnverifiedWarning         a file without our trailer: the model is not known
├── ParameterWarning          a value that works and is probably not meant
└── PromptWarning             a prompt that is probably not what was meant
```

Messages quote what stands in files, and nobody vouches for that: each is printable and of bounded
length, whatever it was made of. Where a text is a stranger's, ``shown`` cuts it short first.
"""

from __future__ import annotations

__all__ = [
    "ChatTemplateError",
    "ContextClosedError",
    "ContextError",
    "ContextFullError",
    "CopyError",
    "DecodeError",
    "GrammarError",
    "HistoryError",
    "InexactWarning",
    "ModelError",
    "ModelFormatError",
    "ModelNotFoundError",
    "MullamaError",
    "MullamaWarning",
    "ParameterError",
    "ParameterWarning",
    "PromptWarning",
    "RecordingError",
    "RefError",
    "RegressionError",
    "SessionConflictError",
    "SessionError",
    "SessionFormatError",
    "SessionMismatchError",
    "SessionNotFoundError",
    "SessionWriteError",
    "UnverifiedWarning",
]


_MOST_OF_A_MESSAGE = 4_000


def shown(value: object, most: int = 60) -> str:
    """A stranger's text, or the repr of any other value, as a message can show it: in one line.

    What a terminal acts on, or what turns the reading direction round, is escaped; what is longer
    than ``most`` characters ends in an ellipsis. For a text in quotation marks give its repr.
    """
    if isinstance(value, str):
        text = value[: most + 1]
    else:
        try:
            text = repr(value)[: most + 1]
        except (RecursionError, ValueError):  # it nests too deeply; a number of too many digits
            text = f"a {type(value).__name__}"
    text = _escaped(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _escaped(text: str, kept: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)


def _tidied(message: object) -> object:
    """A message whose every line is printable, and that a 1 MB name does not make 1 MB long."""
    if not isinstance(message, str):
        return message
    most, keep = _MOST_OF_A_MESSAGE, _MOST_OF_A_MESSAGE // 2
    if len(message) > most:
        message = message[:most] + message[-most:]
    text = _escaped(message, kept="\n")
    # What to do stands at the end.
    return text if len(text) <= most else f"{text[: keep - 2]} … {text[1 - keep :]}"


class MullamaError(Exception):
    """The root: ``except MullamaError`` catches whatever the package raises."""

    def __init__(self, *values: object) -> None:
        super().__init__(*map(_tidied, values))


class ParameterError(MullamaError, ValueError):
    """A value, or a combination of values, cannot work."""


class ModelError(MullamaError):
    """Something about the model's file or its vocabulary."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No GGUF file was found under the name; the message lists what there is."""


class ModelFormatError(ModelError):
    """The file is not a GGUF file that can generate text."""


class ChatTemplateError(ModelError):
    """The model has no chat template, or its template refuses the messages."""


class ContextError(MullamaError):
    """Something about a live context."""


class ContextFullError(ContextError):
    """More tokens than the context has cells left.

    Attributes
    ----------
    needed : int
        Tokens that should have been evaluated.
    free : int
        Cells that were free.
    """

    def __init__(self, message: str, *, needed: int, free: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.free = free


class ContextClosedError(ContextError):
    """The context was closed, or this process inherited it by ``fork()``."""


class DecodeError(ContextError):
    """llama.cpp could not evaluate a batch; the context is as it was before."""


class HistoryError(MullamaError):
    """Something about a checkpoint tree; the tree is as it was."""


class RefError(HistoryError, LookupError):
    """No checkpoint goes by that name, or more than one; the message names candidates."""


class CopyError(MullamaError, TypeError):
    """What lives in one process was to be copied or pickled; it says what to do instead."""


class GrammarError(MullamaError, ValueError):
    """A grammar that cannot be read, or that no token can continue."""


class RecordingError(MullamaError, ValueError):
    """A recording is damaged, or the file is none; nothing of it was run."""


class RegressionError(MullamaError, AssertionError):
    """What was recorded does not hold here; the message is the report."""

    def __init__(self, report: str) -> None:
        Exception.__init__(self, _escaped(report, kept="\n"))  # as long as it is

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the report says it all, and the way there nothing."""
        return [f"{type(self).__name__}: {self}"]


class SessionError(MullamaError):
    """Something about a saved session; the live context is as it was."""


class SessionConflictError(SessionError):
    """The name holds what would be lost, or somebody else saves it; nothing was changed."""


class SessionNotFoundError(SessionError, FileNotFoundError):
    """There is no session under that path or name."""


class SessionFormatError(SessionError):
    """The file is damaged, or is no session file."""


class SessionMismatchError(SessionError):
    """A sound session that does not fit this context."""


class SessionWriteError(SessionError, OSError):
    """The session could not be written; what was there before is intact."""


class MullamaWarning(UserWarning):
    """The root of the package's warnings."""

    def __init__(self, *values: object) -> None:
        super().__init__(*map(_tidied, values))


class InexactWarning(MullamaWarning):
    """What follows may differ in its last bits from the uninterrupted run."""


class UnverifiedWarning(MullamaWarning):
    """A session file that does not say which model it was made with."""


class ParameterWarning(MullamaWarning):
    """A value that works, and is probably not what was meant."""


class PromptWarning(MullamaWarning):
    """A prompt that is probably not what was meant."""
