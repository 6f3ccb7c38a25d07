"""Searching a text for a pattern that may come from a stranger, within a limit of time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings

from ....errors import ParameterError, shown

__all__ = ["SECONDS", "found_in", "may_run_away"]

SECONDS = 5.0
"""After these a search is given up."""

# An exact number of characters, such as \d{4}, is no choice, and neither is the ? of (?:...); a
# reference back is one.
_CHOICES = re.compile(r"[*+|]|(?<!(?<!\\)\()\?|(?<!\))\{(?!\d+\})|(?<=\))\{|\\[1-9]|\(\?P=")
# There white space may stand between what belongs together.
_VERBOSE = re.compile(r"\(\?[a-zA-Z]*x")
# Python's matcher holds the interpreter while it runs, and no thread can end it.
_SEARCH = """
import json, re, sys, warnings
warnings.simplefilter("ignore")
pattern, text = json.load(sys.stdin)
found = re.search(pattern, text)
json.dump(found and found[0], sys.stdout)
"""


def may_run_away(pattern: str) -> bool:
    """Return whether a search may take more than quadratic time.

    It may where two choices meet: a repetition or alternative within another, or behind it. What is
    escaped counts, too, so that nothing depends on reading a stranger's pattern right.
    """
    return len(_CHOICES.findall(pattern)) > 1 or _VERBOSE.search(pattern) is not None


def found_in(pattern: str, text: str, seconds: float | None = None) -> str | None:
    """Return the first match of a pattern in a text; None without one.

    Parameters
    ----------
    pattern, text : str
    seconds : float, optional
        None: ``SECONDS``.

    Raises
    ------
    ParameterError
        When the search takes too long.
    """
    if not may_run_away(pattern):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = re.search(pattern, text)
        return None if found is None else found[0]
    seconds = SECONDS if seconds is None else seconds
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SEARCH],
            input=json.dumps([pattern, text]).encode(),
            capture_output=True,
            check=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise ParameterError(
            f"pattern={shown(repr(pattern))} was still being searched for after {seconds:g} s in "
            f"an answer of {len(text):,} characters: repetitions within or behind each other try "
            "every way to divide a text; make them exclude each other"
        ) from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ParameterError(
            f"pattern={shown(repr(pattern))} could not be searched for: {shown(reason, 200)}"
        ) from None
    found_text: str | None = json.loads(done.stdout)
    return found_text
