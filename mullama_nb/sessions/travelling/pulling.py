"""Pulling: what this store lacks of the sessions elsewhere, checked, and names last."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...engine.warn import warn
from ...errors import (
    MullamaWarning,
    SessionConflictError,
    SessionError,
    SessionFormatError,
    SessionNotFoundError,
    SessionRemoteError,
    SessionWriteError,
    shown,
)
from ...progress import Progress, check_progress, tracked
from ...size import size
from ..reading import StoreReader
from ..versions import Version, Versions
from .arrivals import Arrivals
from .lineage import EntryName, Lineage
from .manifest import Manifest, damaged, departing
from .remote_store import RemoteStore
from .transfer import Transfer, checked_names, raise_all
from .travelled import Travelled

__all__ = ["pull"]

_MOST_HEADS = 100
_TIMES_TO_RECEIVE = 5


def pull(
    store: StoreReader,
    url: str | os.PathLike[str],
    names: str | Iterable[str] | None = None,
    *,
    replace: bool = False,
    progress: Progress = None,
) -> Transfer:
    """Pull sessions from a store elsewhere; see ``SessionStore.pull``."""
    check_progress(progress)
    wanted = checked_names(names)
    remote = RemoteStore(url)
    lineages = remote.lineages(wanted)
    if unknown := {*(wanted or ())}.difference(lineages):
        raise remote.not_found(min(unknown))
    if wanted is None and not lineages:
        raise SessionNotFoundError(f"{remote} holds no sessions")
    plans, errors = _plans(store, remote, lineages, replace=replace)
    sizes = _lacking(store, remote, plans)
    total = sum(sizes.values()) + sum(plan.entry_bytes for plan in plans)
    done, n_segments, n_bytes = list[Plan](), 0, 0
    with (
        Arrivals(store.folder) as arrivals,
        tracked(progress if total else False, total, "pull", "B", is_bytes=True) as advance,
    ):
        _check_room(store.folder, total)

        def arrived(segments: int, n: int, *, before: bool = False) -> None:
            nonlocal n_segments, n_bytes
            if not before:
                n_segments, n_bytes = n_segments + segments, n_bytes + n
            advance(n)

        for plan in plans:
            try:
                _take_in(store, remote, arrivals, plan, sizes, arrived)
            except SessionRemoteError:
                raise
            except SessionError as error:
                errors.append(error)
            else:
                done.append(plan)
    raise_all(errors)
    taken = tuple(plan.name for plan in done if plan.manifests)
    same = tuple(plan.name for plan in done if not plan.manifests)
    return Transfer(taken, same, n_segments, n_bytes)


class Arrived(Protocol):
    """Count what has arrived."""

    def __call__(self, segments: int, n: int, *, before: bool = False) -> None:
        """Count segments and bytes; ``before`` if an earlier pull has brought them."""


# -- what to take ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What is to be pulled of one session.

    Attributes
    ----------
    name : str
    lineage : Lineage
    replace : bool
    entries : sequence of EntryName
        Those to take in; the last one becomes the present version.
    manifests : sequence of Manifest
        Theirs.
    unknown : sequence of str
        Ids of entries that are known here from now on.
    held : sequence of str
        The segments of what is here, if that is what is there.
    """

    name: str
    lineage: Lineage
    replace: bool
    entries: Sequence[EntryName] = ()
    manifests: Sequence[Manifest] = ()
    unknown: Sequence[str] = ()
    held: Sequence[str] = ()

    @property
    def addresses(self) -> list[str]:
        """The segments that must be here, each once."""
        needed = [address for manifest in self.manifests for address in manifest.addresses]
        return [*dict.fromkeys([*needed, *self.held])]

    @property
    def entry_bytes(self) -> int:
        """The bytes of the entries."""
        return sum(len(manifest.data) for manifest in self.manifests)


def _plans(
    store: StoreReader, remote: RemoteStore, lineages: dict[str, Lineage], *, replace: bool
) -> tuple[list[Plan], list[SessionError]]:
    plans, errors = list[Plan](), list[SessionError]()
    for name, lineage in lineages.items():
        try:
            with store.catalog.reading() as connection:  # shortly: saving waits for it
                plan = _planned(
                    Plan(name, lineage, replace),
                    Versions(connection, store.folder),
                    Travelled(connection),
                    store.folder,
                )
            manifests = [remote.manifest(name, entry) for entry in plan.entries]
            plans.append(dataclasses.replace(plan, manifests=manifests))
        except SessionRemoteError:
            raise
        except SessionError as error:
            errors.append(error)
    return plans, errors


def _planned(plan: Plan, versions: Versions, travelled: Travelled, folder: Path) -> Plan:
    """Return the plan with the entries to take in.

    Raises
    ------
    SessionConflictError
        When what is here would be replaced unasked.
    """
    name, heads = plan.name, plan.lineage.heads
    if len(heads) > _MOST_HEADS:
        raise SessionFormatError(
            f"{shown(repr(name))} has {len(heads):,} versions there that do not know each other, "
            f"and at most {_MOST_HEADS} are taken in"
        )
    version = versions.current(name)
    if version is None:
        if (folder / f"{name}.session").exists():
            raise SessionConflictError(
                f"{name!r} is a session file in this folder, which would be hidden. Rename the "
                "file first"
            )
        return dataclasses.replace(plan, entries=heads, unknown=[head.id for head in heads])
    ours = _ours(versions, version)
    same = plan.lineage.with_content(ours.content) if ours is not None else set[str]()
    known = travelled.of(name) if ours is not None or not plan.replace else set[str]()
    plan = dataclasses.replace(plan, unknown=[h.id for h in heads if h.id not in known])
    new = [head for head in heads if head.id not in known | same]
    if not new:
        is_there = ours is not None and any(head.id in same for head in heads)
        return dataclasses.replace(plan, held=ours.addresses if ours and is_there else ())
    holder = versions.holder(version)
    if holder is not None and holder.is_living:
        raise SessionConflictError(
            f"{name!r} is live, so it was not pulled: {holder} saves its chat there after every "
            "turn. End that chat's autosave first: chat.autosave(None)"
        )
    is_older = bool(same) and all(plan.lineage.leads_to(same, head) for head in new)
    if not is_older and not plan.replace:
        raise SessionConflictError(
            f"{name!r} was changed here and elsewhere, so it was not pulled. replace=True takes "
            "what is there and keeps what is here as an earlier version, which restore() brings "
            "back; a chat that is open then brings both together as branches: "
            f"chat.save({name!r}, merge=True)"
        )
    return dataclasses.replace(plan, entries=new)


def _ours(versions: Versions, version: Version) -> Manifest | None:
    """What is here of a name; None if it is damaged."""
    try:
        return departing(versions, version)
    except SessionFormatError:
        return None


def _lacking(store: StoreReader, remote: RemoteStore, plans: Sequence[Plan]) -> dict[str, int]:
    """The segments that are not here, and their bytes there; 0 if they are not there either."""
    needed = dict.fromkeys(address for plan in plans for address in plan.addresses)
    with store.catalog.reading() as connection:
        lacking = [address for address in needed if not _is_here(store, connection, address)]
    there = remote.segments() if lacking else {}
    return {address: there.get(address, 0) for address in lacking}


def _is_here(store: StoreReader, connection: sqlite3.Connection, address: str) -> bool:
    n_bytes = store.catalog.segment_bytes(connection, address)
    return n_bytes is not None and store.file_bytes(address) == n_bytes


def _check_room(folder: Path, n_bytes: int) -> None:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    if n_bytes > free:
        raise SessionWriteError(
            f"what is to be pulled takes {size(n_bytes)}, and {size(free)} are free here: free "
            "some space, or pull single names"
        )


# -- taking it -------------------------------------------------------------------------------------


def _take_in(
    store: StoreReader,
    remote: RemoteStore,
    arrivals: Arrivals,
    plan: Plan,
    sizes: dict[str, int],
    arrived: Arrived,
) -> None:
    """Bring a session's segments, and then its name."""
    for left in reversed(range(_TIMES_TO_RECEIVE)):
        for address in plan.addresses:
            if address in sizes:
                _receive(remote, arrivals, address, sizes[address], arrived)
        try:
            _commit(store, arrivals, plan)
            break
        except SessionNotFoundError:  # another pull has taken it in, or it was cleared away
            if not left:
                raise
    arrived(0, plan.entry_bytes)
    for address in plan.addresses:
        sizes.pop(address, None)
    if len(plan.entries) > 1:
        n = len(plan.entries) - 1
        warn(
            f"{plan.name!r} was pushed to {remote} from more than one place at once: {n} of its "
            f"versions {'is an earlier version' if n == 1 else 'are earlier versions'} here, which "
            "restore() brings back",
            MullamaWarning,
        )


def _receive(
    remote: RemoteStore,
    arrivals: Arrivals,
    address: str,
    n_bytes: int,
    arrived: Arrived,
) -> None:
    if not n_bytes:
        raise remote.missing_segment(address)
    if arrivals.has(address, n_bytes):
        arrived(1, n_bytes, before=True)
        return
    arrivals.receive(address, n_bytes, remote.segment(address, n_bytes))
    arrived(1, n_bytes)


def _commit(store: StoreReader, arrivals: Arrivals, plan: Plan) -> None:
    """Take in what has arrived, all at once.

    Raises
    ------
    SessionConflictError
        When the name was saved meanwhile.
    SessionNotFoundError
        When a segment has gone.
    """
    name = plan.name
    if not plan.manifests and not plan.unknown and not plan.held:
        return
    with store.catalog.writing() as connection:
        versions, travelled = Versions(connection, store.folder), Travelled(connection)
        now = _planned(Plan(name, plan.lineage, plan.replace), versions, travelled, store.folder)
        if [*now.entries] != [*plan.entries]:
            raise SessionConflictError(f"{name!r} was saved while it was pulled: pull it again")
        n_bytes = 0
        for manifest in plan.manifests:
            _, n = versions.add(name, manifest.written)
            _check_taken(versions, manifest, name)
            n_bytes += n
        travelled.add(name, plan.unknown)
        new = [each for each in plan.addresses if not _is_here(store, connection, each)]
        for address, n in zip(new, arrivals.move_in(new), strict=True):
            store.catalog.add_strange_segment(connection, address, n)
            n_bytes += n
        store.catalog.count_written(connection, n_bytes)


def _check_taken(versions: Versions, manifest: Manifest, name: str) -> None:
    """Check that what was taken in is read like anything else, and would travel as it came."""
    version = versions.current(name)
    assert version is not None
    try:
        is_same = departing(versions, version).data == manifest.data
        needed = versions.checked_addresses(version)
    except SessionError as error:
        raise damaged(manifest.where, str(error)) from None
    if not is_same or needed != {*versions.addresses(version)}:
        raise damaged(manifest.where, "it is not as this mullama_nb would have written it")
