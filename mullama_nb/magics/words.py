"""The words of a magic's line: as a shell splits them, with options that are Python literals."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

from IPython.core.error import UsageError

from ..errors import shown

__all__ = ["read_options", "split_words"]

_OPENING = ("[", "{", "(", "'", '"')
_OPTION = re.compile(r"[^\W\d]\w*=(?P<open>(?=[\[{(]))?")
_NO_LITERAL = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)


def split_words(line: str) -> list[str]:
    """Return words as a shell splits them; an option ``name=value`` keeps its value as written.

    A value that begins as a Python literal does ends where that ends: quotes, escapes, brackets
    and blanks within it are its own.
    """
    words: list[str] = []
    rest = line.strip()
    while rest:
        option = _OPTION.match(rest)
        end = 0 if option is None else _end_of_literal(rest, option.end())
        if not end:
            end = _end_of_word(line, rest)
            word = rest[:end]
            words += [word] if option is not None and option["open"] else shlex.split(word)
        else:
            words.append(rest[:end])
        rest = rest[end:].lstrip()
    return words


def _end_of_literal(text: str, start: int) -> int:
    """Where the shortest Python literal ends that a blank or the line's end follows; 0 for none."""
    blanks = (match.start() for match in re.finditer(r"\s|$", text[start:]))
    for end in blanks:
        try:
            ast.literal_eval(text[start : start + end])
        except _NO_LITERAL:
            continue
        return start + end
    return 0


def _end_of_word(line: str, rest: str) -> int:
    """Where the first word ends, as a shell sees it."""
    for match in re.finditer(r"\s|$", rest):
        try:
            shlex.split(rest[: match.start()])
        except ValueError as error:
            problem = error
        else:
            return match.start()
    raise UsageError(f"{line!r} cannot be read: {problem}")


def read_options(words: list[str]) -> dict[str, Any]:
    """Return options from ``name=value``; a value that is not a Python literal is text."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name.isidentifier()):
            raise UsageError(f"{word!r} is not an option; options look like temperature=0.7")
        if name in found:
            raise UsageError(f"{name} is given twice")
        try:
            found[name] = ast.literal_eval(value)
        except _NO_LITERAL:
            if value[:1] in _OPENING:
                raise UsageError(
                    f"{name}={shown(value)} cannot be read: what begins so has to be a Python "
                    "literal, such as 'a text', [1, 2] or {'type': 'object'}"
                ) from None
            found[name] = value
    return found
