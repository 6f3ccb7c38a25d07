"""Every exception and warning that the package raises, in one tree.

```
MullamaError
├── ParameterError            an invalid value or combination of values
├── ModelError
│   ├── ModelNotFoundError    no GGUF file under that name
│   ├── ModelFormatError      not a GGUF file that can generate text
│   ├── ModelMismatchError    the file under that name holds another model
│   ├── AdapterError          a LoRA or control vector that is damaged or does not fit
│   └── ChatTemplateError     no chat template, or it rejects the messages
├── ContextError
│   ├── ContextFullError      more tokens than free cells
│   ├── ContextClosedError    the context was closed, or belongs to another process
│   └── DecodeError           llama.cpp could not evaluate a batch
├── HistoryError              an operation on a checkpoint tree failed
│   └── RefError              no checkpoint of that name, or more than one
├── CopyError                 an attempt to copy, pickle or send a live object
├── GrammarError              a grammar that is invalid, or that nothing can match
├── RecordingError            a damaged recording, or not a recording
├── RegressionError           a recording does not hold here; the message is the report
├── SuiteError                a suite's file with a mistake; the message names its line
├── TaskError                 a task for another process that could not be run
│   └── WorkerLostError       the process that ran it is gone
├── TranscriptError           a file that holds no conversation to import
└── SessionError
    ├── SessionConflictError  the name holds something else, or another chat saves it
    ├── SessionNotFoundError  no session of that path or name
    ├── SessionFormatError    a damaged file, or not a session file
    ├── SessionMismatchError  a valid file that does not fit this context
    ├── SessionRemoteError    a store elsewhere cannot be reached, read or written
    └── SessionWriteError     the file could not be written; the old one is intact

MullamaWarning
├── InexactWarning            the continuation may differ in its last bits
├── UnverifiedWarning         a file without our trailer: its model is unknown
├── ParameterWarning          a valid value that is probably not what was meant
├── PromptWarning             a prompt that is probably not what was meant
└── ToolWarning               a tool that failed, or was called and not run
```

Messages quote the contents of files, which are not trusted: each message is printable and of
bounded length, whatever it quotes. Untrusted text is first cut short by ``shown``.
"""

from __future__ import annotations

import functools
from typing import Any

from .tracebacks import short_traceback

__all__ = [
    "AdapterError",
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
    "ModelMismatchError",
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
    "SessionRemoteError",
    "SessionWriteError",
    "SuiteError",
    "TaskError",
    "ToolWarning",
    "TranscriptError",
    "UnverifiedWarning",
    "WorkerLostError",
]


_MOST_OF_A_MESSAGE = 4_000


def shown(value: object, most: int = 60) -> str:
    """Return an untrusted text, or the repr of another value, in one line for a message.

    Control characters and changes of the reading direction are escaped; a text longer than ``most``
    characters ends in an ellipsis. For a text in quotation marks give its repr.
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
    """The base class: ``except MullamaError`` catches every error of the package."""

    def __init__(self, *values: object) -> None:
        super().__init__(*map(_tidied, values))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the lines of the user; ``%xmode Verbose`` shows all."""
        return short_traceback(self)


class ParameterError(MullamaError, ValueError):
    """A value, or a combination of values, is invalid."""


class ModelError(MullamaError):
    """A problem with the model's file or its vocabulary."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No GGUF file was found under the name; the message lists the known models."""


class ModelFormatError(ModelError):
    """The file is not a GGUF file that can generate text."""


class ModelMismatchError(ModelError):
    """The file under the model's name is another one here; the message has both fingerprints."""


class AdapterError(ModelError):
    """A LoRA or control vector is damaged, does not fit the model, or is not at hand."""


class ChatTemplateError(ModelError):
    """The model has no chat template, or its template rejects the messages."""


class ContextError(MullamaError):
    """An operation on a live context failed."""


class ContextFullError(ContextError):
    """There are more tokens than free cells in the context.

    Attributes
    ----------
    needed : int
        Number of tokens to evaluate.
    free : int
        Number of free cells.
    """

    def __init__(self, message: str, *, needed: int, free: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.free = free

    def __reduce__(self) -> Any:
        """Let it be pickled, to be raised again in another process."""
        make = functools.partial(type(self), needed=self.needed, free=self.free)
        return make, self.args, self.__dict__


class ContextClosedError(ContextError):
    """The context was closed, or this process inherited it by ``fork()``."""


class DecodeError(ContextError):
    """llama.cpp could not evaluate a batch; the context is unchanged."""


class HistoryError(MullamaError):
    """An operation on a checkpoint tree failed; the tree is unchanged."""


class RefError(HistoryError, LookupError):
    """No checkpoint matches the name, or more than one; the message lists candidates."""


class CopyError(MullamaError, TypeError):
    """A live object cannot be copied or pickled; the message says what to do instead."""


class GrammarError(MullamaError, ValueError):
    """The grammar is invalid, or no token continues it."""


class RecordingError(MullamaError, ValueError):
    """The file is a damaged recording, or not a recording; nothing of it was run."""


class RegressionError(MullamaError, AssertionError):
    """The recording does not hold here; the message is the report."""

    def __init__(self, report: str) -> None:
        Exception.__init__(self, _escaped(report, kept="\n"))  # as long as it is

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the report says it all, and the way there nothing."""
        return [f"{type(self).__name__}: {self}"]


class SuiteError(MullamaError, ValueError):
    """The file is not a suite, or a mistake is in it; the message names its line and field."""


class TaskError(MullamaError, RuntimeError):
    """A task could not be run in another process; others go on."""


class WorkerLostError(TaskError):
    """The process that ran the task is gone; the message says how it ended, if that is known."""


class TranscriptError(MullamaError, ValueError):
    """The file is damaged, or holds no conversation; nothing of it was evaluated."""


class SessionError(MullamaError):
    """A problem with a saved session; the live context is unchanged."""


class SessionConflictError(SessionError):
    """The name holds something else, or another chat saves it; nothing was changed."""


class SessionNotFoundError(SessionError, FileNotFoundError):
    """There is no session of that path or name."""


class SessionFormatError(SessionError):
    """The file is damaged, or not a session file."""


class SessionMismatchError(SessionError):
    """The session is valid but does not fit this context."""


class SessionRemoteError(SessionError):
    """A store elsewhere cannot be reached, read or written; the one here is intact."""


class SessionWriteError(SessionError, OSError):
    """The session could not be written; the previous one is intact."""


class MullamaWarning(UserWarning):
    """The base class of the package's warnings."""

    def __init__(self, *values: object) -> None:
        super().__init__(*map(_tidied, values))


class InexactWarning(MullamaWarning):
    """The continuation may differ in its last bits from an uninterrupted run."""


class UnverifiedWarning(MullamaWarning):
    """The session file does not say which model it was made with."""


class ParameterWarning(MullamaWarning):
    """The value is valid, but probably not what was meant."""


class ToolWarning(MullamaWarning):
    """A tool that a model called failed, or was not run."""


class PromptWarning(MullamaWarning):
    """The prompt is probably not what was meant."""
