"""Texts of tokens as people can see them: what is invisible or moves other text becomes a sign."""

from __future__ import annotations

import unicodedata

__all__ = ["signs"]

_NAMED = {"\n": "↵", "\t": "⇥", "\x7f": "␡"}
_PICTURES = 0x2400  # Unicode's pictures of the 32 control characters of ASCII
_UNSEEN = ("C", "Z")  # controls, marks of direction, surrogates, unassigned; separators


def signs(text: str, *, spaces: bool = True, most: int | None = None) -> str:
    """Return a token's text in one line, with signs for what would not be seen.

    Parameters
    ----------
    text : str
    spaces : bool
        Whether a space is shown as ``␣``, as for a token that stands alone.
    most : int, optional
        Characters; what is longer ends in ``…``.

    Returns
    -------
    str
        A line break is ``↵``, a tab ``⇥``, other controls are Unicode's pictures of them, and what
        else is invisible, such as a mark of direction, is its code: ``⟨200F⟩``. An accent that has
        no letter stands on ``◌``. Markup is not escaped.
    """
    shown = "".join(_sign(c, spaces) for c in text)
    if shown and unicodedata.category(shown[0])[0] == "M":
        shown = f"◌{shown}"
    return shown if most is None or len(shown) <= most else f"{shown[: most - 1]}…"


def _sign(character: str, spaces: bool) -> str:
    if character == " ":
        return "␣" if spaces else " "
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    if code < 0x20:
        return chr(_PICTURES + code)
    return f"⟨{code:04X}⟩" if unicodedata.category(character)[0] in _UNSEEN else character
