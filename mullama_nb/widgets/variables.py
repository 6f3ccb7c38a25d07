"""Variables of the notebook that widgets make."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from typing import Any

__all__ = ["offer_as_variable"]


def offer_as_variable(name: str, value: object) -> str | None:
    """Put a value into a variable of the notebook that is named after it; return how.

    What has the name already stays: the variable gets a number then.

    Parameters
    ----------
    name : str
        Any text, such as that of a session.
    value : object

    Returns
    -------
    str or None
        None outside of IPython.
    """
    known = _variables()
    if known is None:
        return None
    stem = _identifier(name)
    names = [stem, *(f"{stem}_{n}" for n in range(2, len(known) + 3))]
    variable = next(each for each in names if known.get(each, value) is value)
    known[variable] = value
    return variable


def _variables() -> dict[str, Any] | None:
    """The notebook's; None outside of IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return None if shell is None else shell.user_ns


def _identifier(name: str) -> str:
    word = re.sub(r"\W+", "_", name).strip("_")
    if not word.isidentifier() or keyword.iskeyword(word) or hasattr(builtins, word):
        word = f"chat_{word}".rstrip("_")
    return word if word.isidentifier() else "chat"
