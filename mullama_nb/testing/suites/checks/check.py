"""A check, and what it finds."""

from __future__ import annotations

import dataclasses
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from blake3 import blake3

from ....checks import check_names
from ....errors import ParameterError, shown
from .subject import Subject

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Check", "Finding", "source_of"]

_LONGEST_NAME = 120
_LONGEST_DETAIL = 600
_N_DIGITS = 8  # of the digest that tells long names apart


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes
    ----------
    check : str
        The check's name.
    passed : bool
    detail : str
        One sentence with the values; printable, whatever it quotes.
    value : float or None
        What was measured: a difference in nats, a probability, a perplexity.
    token : int or None
        Index of the first token that differs, where tokens are compared.
    """

    check: str
    passed: bool
    detail: str
    value: float | None = None
    token: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "check", shown(self.check, _LONGEST_DETAIL))
        object.__setattr__(self, "detail", shown(self.detail, _LONGEST_DETAIL))


class Check(ABC):
    """A demand on an answer, or on the probabilities behind a question.

    A check of your own is a subclass with :meth:`judge`, best a frozen dataclass in a module that
    can be imported, so that it can be sent to other processes. A function of the answer's text
    needs no class: a case takes it as it is.

    Attributes
    ----------
    kind : str
        What it is called: the function that makes it, and its key in a file.
    file_schema : mapping or None
        A JSON schema of its value in a file; None if it cannot stand in one.
    """

    __slots__ = ()

    kind: ClassVar[str] = ""
    file_schema: ClassVar[Mapping[str, Any] | None] = None

    @property
    def needs_answer(self) -> bool:
        """Whether an answer has to be generated for it."""
        return True

    @abstractmethod
    def judge(self, subject: Subject) -> Finding:
        """Return what is found. What it is asked of is left as it was."""

    @property
    def name(self) -> str:
        """The check as one writes it; what is longer than a line is cut short."""
        text = repr(self)
        if text.isprintable() and len(text) <= _LONGEST_NAME:
            return text
        digest = blake3(text.encode("utf-8", "surrogatepass")).hexdigest()[:_N_DIGITS]
        return f"{shown(text, _LONGEST_NAME - _N_DIGITS - 2)} #{digest}"

    @property
    def digest(self) -> str:
        """A hash of all that the verdict depends on, contents of files included."""
        text = "\0".join([repr(self), *self._contents()])
        return blake3(text.encode("utf-8", "surrogatepass")).hexdigest(length=16)

    def to_file(self) -> dict[str, Any]:
        """Return the check as a mapping of plain values, as it stands in a file.

        Raises
        ------
        ParameterError
            When it cannot stand in a file.
        """
        if self.file_schema is None:
            raise ParameterError(
                f"{self.name} is Python and cannot stand in a file: keep the suite in Python, or "
                "use a check that the package has"
            )
        return {self.kind: self._file_value()}

    @classmethod
    def from_value(cls, value: Any) -> Self:
        """Return the check of its value in a file.

        Parameters
        ----------
        value : object
            Under its key in the file: the only argument, or a mapping of arguments.

        Raises
        ------
        ParameterError
            When an argument is unknown, missing or out of range.
        """
        return cls(**cls._given(value))

    # -- of a subclass -----------------------------------------------------------------------

    def _contents(self) -> tuple[str, ...]:
        """What the verdict depends on besides the arguments."""
        return () if self.file_schema is not None else source_of(type(self).judge)

    def _arguments(self) -> dict[str, Any]:
        """The arguments that are not the default, as one writes them."""
        if not dataclasses.is_dataclass(self):
            return {}
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if field.repr and (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def _given(cls, value: Any) -> dict[str, Any]:
        """The arguments in a file, by name."""
        given = {cls._first(): value} if not isinstance(value, Mapping) else dict(value)
        fields = {field.name: field for field in dataclasses.fields(cls) if field.repr}  # type: ignore[arg-type]
        try:
            check_names(cls.kind, map(str, given), fields)
        except TypeError as error:
            raise ParameterError(str(error)) from None
        missing = [
            name
            for name, field in fields.items()
            if name not in given and field.default is dataclasses.MISSING
        ]
        if missing:
            raise ParameterError(f"{cls.kind} needs {' and '.join(missing)}")
        return given

    def _file_value(self) -> Any:
        given = self._arguments()
        first = self._first()
        value = (
            given[first] if [*given] == [first] and not isinstance(given[first], dict) else given
        )
        return json.loads(json.dumps(value))

    @classmethod
    def _first(cls) -> str:
        return dataclasses.fields(cls)[0].name  # type: ignore[arg-type]

    def _found(
        self, *, passed: bool, detail: str, value: float | None = None, token: int | None = None
    ) -> Finding:
        return Finding(self.name, passed, detail, value, token)

    def __repr__(self) -> str:
        keywords: set[str] = set()
        if dataclasses.is_dataclass(self):
            keywords = {field.name for field in dataclasses.fields(self) if field.kw_only}
        written = [
            f"{name}={value!r}" if name in keywords else repr(value)
            for name, value in self._arguments().items()
        ]
        return f"{self.kind or type(self).__name__}({', '.join(written)})"


def source_of(function: object) -> tuple[str, ...]:
    """Return the text of a function, if there is one."""
    try:
        return (inspect.getsource(function),)  # type: ignore[arg-type]
    except (OSError, TypeError):  # a builtin, a method of C, what was typed into a console
        return ()
