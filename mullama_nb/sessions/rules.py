"""Who may change what a name means: nothing is replaced unseen, and one saves it at a time."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import SessionConflictError, SessionFormatError
from .owners import Owner
from .versions import Place, Version, Versions

__all__ = ["check_free", "check_saving"]


def check_free(
    versions: Versions, version: Version, what: str, *, owner: Owner | None, take_over: bool
) -> None:
    """Check that nobody else saves a name after every turn.

    Parameters
    ----------
    versions : Versions
        Within the transaction that changes something.
    version : Version
    what : str
        What is to be done, for the message.
    owner : Owner, optional
        Who asks, if he saves it himself.
    take_over : bool
        Whether that does not matter.

    Raises
    ------
    SessionConflictError
        When somebody does.
    """
    holder = versions.holder(version)
    if holder is None or take_over or (owner is not None and holder.token == owner.token):
        return
    if holder.is_living:
        raise SessionConflictError(
            f"{version.name!r} cannot be {what}: {holder} saves its chat there after every turn. "
            "Use another name, end that one's autosave, or give take_over=True"
        )


def check_saving(
    versions: Versions,
    version: Version | None,
    kind: str,
    origins: Mapping[int, Place],
    *,
    owner: Owner | None,
    replace: bool,
    take_over: bool,
) -> bool:
    """Check that a name may be saved, and whether that changes the version that there is.

    Parameters
    ----------
    versions : Versions
        Within the transaction that saves.
    version : Version or None
        What the name means now.
    kind : str
        What is to be saved.
    origins : mapping
        The versions that it came from, as they were then.
    owner : Owner, optional
        Who saves it after every turn.
    replace, take_over : bool
        What was allowed.

    Returns
    -------
    bool
        Whether it came from what there is; otherwise that becomes an earlier version. One context's
        session replaces another's unasked: that is what saving under a name means there.

    Raises
    ------
    SessionConflictError
        When it would replace what it did not come from, or somebody else saves the name.
    """
    if version is None:
        return False
    check_free(versions, version, "saved", owner=owner, take_over=take_over)
    if origins.get(version.place.version) == version.place:
        return True
    if not replace and not (kind == "session" and _is_session(version)):
        is_newer = version.place.version in origins
        raise _conflict(versions, version, kind, is_newer=is_newer)
    return False


def _is_session(version: Version) -> bool:
    try:
        return version.record().kind == "session"
    except SessionFormatError:
        return False


def _conflict(
    versions: Versions, version: Version, kind: str, *, is_newer: bool
) -> SessionConflictError:
    try:
        record = version.record()
        held = f"a session of {record.n_tokens:,} tokens"
        use = "SessionManager.load"
        if record.kind == "chat":
            use, n = "Chat.open", versions.chat(version, record).n_messages
            held = f"a chat of {n} message{'s' * (n != 1)}"
    except SessionFormatError as error:
        return SessionConflictError(
            f"{version.name!r} cannot be saved: what it holds cannot be read. {error}. "
            "replace=True keeps it as an earlier version"
        )
    why = "was saved by somebody else since, and" if is_newer else "already"
    merge = "; merge=True brings both together as branches" if kind == record.kind == "chat" else ""
    return SessionConflictError(
        f"{version.name!r} {why} holds {held} that would be replaced. "
        f"{use}({version.name!r}) goes on with it; or use another name; replace=True keeps it as "
        f"an earlier version{merge}"
    )
