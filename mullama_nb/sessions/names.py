"""Valid names of sessions: letters of any language, and nothing that leads elsewhere."""

from __future__ import annotations

import unicodedata

from ..errors import ParameterError

__all__ = ["check_name"]

_PUNCTUATION = " -_.,@+=()[]'#"
_MOST_BYTES = 200  # file systems allow 255, and the ending needs some
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}


def check_name(name: str) -> str:
    """Check a session's name, and return it in its stored form.

    Parameters
    ----------
    name : str
        Letters, marks and digits of any language, spaces and ``-_.,@+=()[]'#``.

    Returns
    -------
    str
        The name in Unicode's normal form C, so that names that look equal are equal.

    Raises
    ------
    ParameterError
        When the name is not a valid file name on every system.
    """
    if not isinstance(name, str) or not name:
        raise ParameterError(f"a session's name must be a text that is not empty, not {name!r}")
    normal = unicodedata.normalize("NFC", name)
    for character in normal:
        if character not in _PUNCTUATION and unicodedata.category(character)[0] not in "LMN":
            raise ParameterError(
                f"the session name {name!r} holds {character!r}: use letters, digits, spaces and "
                f"{_PUNCTUATION.strip()}"
            )
    if normal[0] in ". " or normal[-1] in ". ":
        raise ParameterError(
            f"the session name {name!r} begins or ends with a dot or a space; leave it out"
        )
    if len(normal.encode()) > _MOST_BYTES:
        raise ParameterError(
            f"the session name {name[:30]!r}... takes {len(normal.encode())} bytes; "
            f"at most {_MOST_BYTES} are allowed"
        )
    if normal.split(".")[0].strip().lower() in _DEVICES:
        raise ParameterError(f"{name!r} is the name of a device on Windows; choose another name")
    return normal
