"""Exercises of lessons: a learner's answer, and whether it is right."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from ..checks import check_number, is_integer, is_number
from ..errors import ParameterError, shown

__all__ = ["Verdict", "check"]

_TO_DO = "To do: put your answer in the place of the three dots, and run the cell again."
_COLOURS = {  # JupyterLab's, so that they fit its theme
    True: "var(--jp-success-color1, #388e3c)",
    False: "var(--jp-warn-color1, #f57c00)",
    None: "var(--jp-info-color1, #0097a7)",
}
_RELATIVE = 1e-6


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """What :func:`check` says about an answer; true if it is right.

    Attributes
    ----------
    is_right : bool or None
        None: there is no answer yet.
    text : str
        In a sentence or two.
    hint : str
        Shown with what is not right yet; folded, in a notebook.
    """

    is_right: bool | None
    text: str
    hint: str = ""

    def __bool__(self) -> bool:
        return self.is_right is True

    def __repr__(self) -> str:
        return f"{self.text}\nHint: {self.hint}" if self.hint else self.text

    def _repr_html_(self) -> str:
        head, colon, rest = self.text.partition(":" if self.is_right is not True else ".")
        hint = (
            f"<details><summary>Hint</summary>{html.escape(self.hint)}</details>"
            if self.hint
            else ""
        )
        return (
            f'<div style="border-left:4px solid {_COLOURS[self.is_right]};padding:4px 12px">'
            f"<strong>{html.escape(head + colon)}</strong>{html.escape(rest)}{hint}</div>"
        )


def check(
    answer: object,
    expected: object,
    *,
    hint: str = "",
    because: str = "",
    within: float = 0.0,
) -> Verdict:
    """Say whether an answer is right, or what is missing. Never raises for what a learner wrote.

    Call it in the last line of an exercise's cell, so that the notebook shows what it returns. The
    cell is saved with ``...`` for the answer, which is reported as to do; a folded cell with the
    tag ``solution`` comes next and puts its answer to the same question, so that nbval holds both.
    ``docs/lessons.md`` shows the two cells.

    Parameters
    ----------
    answer : object
        The learner's; ``...`` is not done yet, also as an item of a tuple, list or dict.
    expected : object
        The right answer, or a function that is called with the learner's and returns whether it is
        right: a bool, or a text that says what is missing. What it raises is a part of the message.
        Compare with a function where the right answer depends on the machine.
    hint : str
        Helps on; given as long as the answer is not right.
    because : str
        Says why it is right; given with a right answer.
    within : float
        How far a number, or each number of an array, may be from the right one. Floating-point
        numbers that differ by a millionth are equal anyway.

    Examples
    --------
    >>> check(40, 42, hint="Count the system prompt, too.")
    Not yet: 40 is too small.
    Hint: Count the system prompt, too.
    >>> check("Paris", lambda name: name in ("Paris", "Rome"), because="Both are capitals.")
    Right. Both are capitals.
    >>> check(..., 42)
    To do: put your answer in the place of the three dots, and run the cell again.
    """
    for name, text in (("hint", hint), ("because", because)):
        if not isinstance(text, str):
            raise ParameterError(f"{name} is a text, not {shown(text)}")
    check_number("within", within, 0)
    if _is_to_do(answer):
        return Verdict(None, _TO_DO, hint)
    try:
        missing = _missing(answer, expected, within)
    except Exception as error:  # what a learner wrote may do anything
        missing = f"{_named(answer)} led to {type(error).__name__}: {_written(str, error, 200)}"
    if missing is None:
        return Verdict(True, f"Right. {because}" if because else "Right.")
    return Verdict(False, f"Not yet: {missing}", hint)


def _is_to_do(answer: object, depth: int = 3) -> bool:
    if answer is ...:
        return True
    items: Iterable[object] = ()
    if isinstance(answer, Mapping):
        items = answer.values()
    elif isinstance(answer, (tuple, list)):
        items = answer
    return depth > 0 and any(_is_to_do(item, depth - 1) for item in items)


def _missing(answer: object, expected: object, within: float) -> str | None:
    """What is missing, in a sentence; None if nothing is."""
    if callable(expected):
        return _asked(expected, answer)
    if isinstance(expected, (bool, np.bool_)):
        if not isinstance(answer, (bool, np.bool_)):
            return f"{_named(answer)} is neither True nor False."
        return None if bool(answer) == bool(expected) else f"{_named(answer)} is not right."
    if is_number(expected):
        return _number(answer, expected, within)
    if isinstance(expected, str):
        return _text(answer, expected)
    if isinstance(expected, np.ndarray):
        return _array(answer, expected, within)
    if isinstance(expected, Set):
        return _set(answer, expected)
    if isinstance(expected, (tuple, list)):
        return _items(answer, expected, within)
    is_equal = answer is expected or bool(answer == expected)
    return None if is_equal else f"{_named(answer)} is not right."


def _asked(condition: Callable[..., object], answer: object) -> str | None:
    said = condition(answer)
    if isinstance(said, str):
        return said
    return None if said else f"{_named(answer)} is not right."


def _number(answer: object, expected: float, within: float) -> str | None:
    if not is_number(answer):
        return _is_other(answer, "a number is")
    if is_integer(answer) and is_integer(expected):
        if abs(answer - expected) <= within:
            return None
    elif math.isclose(answer, expected, rel_tol=_RELATIVE, abs_tol=within):
        return None
    if math.isnan(answer) or math.isnan(expected):
        return None if math.isnan(answer) == math.isnan(expected) else f"{answer} is not right."
    return f"{_named(answer)} is too {'small' if answer < expected else 'large'}."


def _text(answer: object, expected: str) -> str | None:
    if not isinstance(answer, str):
        return _is_other(answer, "a text is")
    if answer == expected:
        return None
    if "".join(answer.split()).casefold() == "".join(expected.split()).casefold():
        return f"{_named(answer)} is right except for its spaces or capitals."
    return f"{_named(answer)} is not right."


def _array(answer: object, expected: np.ndarray, within: float) -> str | None:
    values = np.asarray(answer)
    if values.shape != expected.shape:
        return f"its shape is {values.shape}, and {expected.shape} is asked for."
    if np.issubdtype(expected.dtype, np.number):
        same = np.isclose(values, expected, rtol=_RELATIVE, atol=within, equal_nan=True)
    else:
        same = np.asarray(values == expected)
    wrong = int(same.size - np.count_nonzero(same))
    return None if not wrong else f"{wrong:,} of its {same.size:,} values are not right."


def _set(answer: object, expected: Set[object]) -> str | None:
    if not isinstance(answer, Collection) or isinstance(answer, (str, bytes)):
        return _is_other(answer, "a set is")
    given = frozenset(answer)
    missing, extra = len(expected - given), len(given - expected)
    parts = [f"{n} {word}" for n, word in ((missing, "missing"), (extra, "too many")) if n]
    return f"of its items, {' and '.join(parts)}." if parts else None


def _items(answer: object, expected: Sequence[object], within: float) -> str | None:
    n = len(expected)
    wanted = "1 item is" if n == 1 else f"{n} items are"
    if not isinstance(answer, Collection) or isinstance(answer, (str, bytes)):
        return _is_other(answer, wanted)
    if len(answer) != n:
        return f"it has {len(answer)}, and {wanted} asked for."
    for i, (item, right) in enumerate(zip(answer, expected, strict=True)):
        missing = _missing(item, right, within)
        if missing is not None:
            return f"item {i}: {missing}"
    return None


def _is_other(answer: object, wanted: str) -> str:
    if answer is None:
        return f"your answer is None, and {wanted} asked for."
    kind = type(answer).__name__
    article = "an" if kind[0] in "aeiouAEIOU" else "a"
    return f"{_named(answer)} is {article} {shown(kind)}, and {wanted} asked for."


def _named(answer: object) -> str:
    return _written(repr, answer)


def _written(write: Callable[[object], str], value: object, most: int = 60) -> str:
    try:
        return shown(write(value), most)
    except Exception:  # a learner's class may have any repr
        return f"your {type(value).__name__}"
