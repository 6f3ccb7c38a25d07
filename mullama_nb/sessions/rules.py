"""Rules for changing names: nothing is replaced unseen, and a name has one owner at a time."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import SessionConflictError, SessionFormatError
from .owners import Owner
from .versions import Place, Version, Versions

__all__ = ["check_free", "check_saving"]


def check_free(
    versions: Versions, version: Version, what: str, *, owner: Owner | None, take_over: bool
) -> None:
    """Check that a name has no other owner.

    Parameters
    ----------
    versions : Versions
        Of the transaction that makes the change.
    version : Version
    what : str
        The intended change, for the message.
    owner : Owner, optional
        The caller's own owner, if it has one.
    take_over : bool
        Whether to ignore another owner.

    Raises
    ------
    SessionConflictError
        When it has one.
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
    """Check that a name may be saved; return whether that updates the present version.

    Parameters
    ----------
    versions : Versions
        Of the transaction that saves.
    version : Version or None
        The present version of the name.
    kind : str
        The kind to save.
    origins : mapping
        The versions that it came from, as of then.
    owner : Owner, optional
        The owner that saves it after every turn.
    replace, take_over : bool
        The options given.

    Returns
    -------
    bool
        Whether it came from the present version; otherwise that becomes an earlier version. A
        context's session replaces another's without asking: that is what saving under a name means
        there.

    Raises
    ------
    SessionConflictError
        When it would replace a version it did not come from, or the name has another owner.
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
