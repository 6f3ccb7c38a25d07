"""Pushing: what a store elsewhere lacks of the sessions here, and their entries last."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ...engine.warn import warn
from ...errors import (
    MullamaWarning,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    SessionRemoteError,
)
from ...progress import Progress, check_progress, tracked
from ...state.segment_file import bare_segment_bytes, segment_bytes
from ..reading import StoreReader, not_found
from ..records import damaged_name
from ..versions import Versions
from .lineage import EntryName, Lineage
from .manifest import Manifest, departing
from .remote_store import RemoteStore
from .transfer import Transfer, checked_names, raise_all
from .travelled import Travelled

__all__ = ["push"]

_TIMES_TO_READ = 5


def push(
    store: StoreReader,
    url: str | os.PathLike[str],
    names: str | Iterable[str] | None = None,
    *,
    progress: Progress = None,
) -> Transfer:
    """Push sessions to a store elsewhere; see ``SessionStore.push``."""
    check_progress(progress)
    wanted = checked_names(names)
    remote, there = RemoteStore(url), store.names()
    if unknown := {*(wanted or ())}.difference(there):
        raise not_found(min(unknown), there)
    plans, errors = _plans(store, remote, there if wanted is None else wanted)
    lacking = _lacking(store, remote, plans)
    total = sum(lacking.values()) + sum(plan.entry_bytes for plan in plans)
    sent, done = Transfer(), list[Plan]()
    with tracked(progress if total else False, total, "push", "B", is_bytes=True) as advance:
        for plan in plans:
            try:
                plan, n = _send_segments(store, remote, plan, lacking, advance)
                _send_entries(store, remote, plan)
            except SessionRemoteError:
                raise
            except SessionError as error:
                errors.append(error)
                continue
            advance(plan.entry_bytes)
            done += [plan] if plan.entries else []
            sent = replace(
                sent,
                n_segments=sent.n_segments + len(n),
                n_bytes=sent.n_bytes + sum(n) + plan.entry_bytes,
            )
    _tell_of_others(remote, done)
    raise_all(errors)
    pushed = tuple(plan.name for plan in done)
    same = tuple(plan.name for plan in plans if plan.name not in pushed)
    return replace(sent, names=pushed, unchanged=same)


@dataclass(frozen=True)
class Plan:
    """What is to be pushed of one session.

    Attributes
    ----------
    name : str
    manifest : Manifest
    entries : sequence of EntryName
        Those to write, in order; none if it is there, or something newer.
    unknown : set of str
        Ids of entries that are known here from now on.
    """

    name: str
    manifest: Manifest
    entries: Sequence[EntryName]
    unknown: set[str]

    @property
    def entry_bytes(self) -> int:
        """The bytes of the entries to write."""
        return len(self.entries) * len(self.manifest.data)


def _plans(
    store: StoreReader, remote: RemoteStore, names: Sequence[str]
) -> tuple[list[Plan], list[SessionError]]:
    plans, errors = list[Plan](), list[SessionError]()
    lineages = remote.lineages(names)
    for name in names:
        try:
            plans.append(_plan(store, remote, name, lineages.get(name, Lineage())))
        except SessionError as error:
            errors.append(error)
    return plans, errors


def _plan(store: StoreReader, remote: RemoteStore, name: str, lineage: Lineage) -> Plan:
    """Return what is to be pushed of a session.

    Raises
    ------
    SessionConflictError
        When something else was pushed under its name, which it did not come from.
    """
    with store.catalog.reading() as connection:  # shortly: saving waits for it
        versions = Versions(connection, store.folder)
        version = versions.current(name)
        if version is None:
            raise not_found(name, versions.names())
        manifest = departing(versions, version)
        known = Travelled(connection).of(name)
    heads, same = lineage.heads, lineage.with_content(manifest.content)
    if heads and same.issuperset(head.id for head in heads):
        n_bytes = len(manifest.data)  # one that was left half-written is written again
        torn = [head for head in heads if remote.entry_bytes(name, head) != n_bytes]
        return Plan(name, manifest, torn, {head.id for head in heads} - known)
    if known.issuperset(head.id for head in heads if head.id not in same):
        entries = lineage.next(manifest.content)
        ids = {entry.id for entry in entries}.union(*(entry.follows for entry in entries))
        return Plan(name, manifest, entries, ids - known)
    if same and all(lineage.leads_to(same, head) for head in heads):
        return Plan(name, manifest, (), set())
    raise SessionConflictError(
        f"{name!r} was pushed to {remote} from elsewhere, too, and was not sent. Pull it first: "
        "where it was changed here as well, replace=True keeps yours as an earlier version; "
        "restore that, or merge a chat that is open with chat.save(name, merge=True), and push "
        "again"
    )


def _lacking(store: StoreReader, remote: RemoteStore, plans: Sequence[Plan]) -> dict[str, int]:
    """The segments that are not there, or not whole, and their bytes."""
    needed = dict.fromkeys(address for plan in plans for address in plan.manifest.addresses)
    there, lacking = remote.segments() if needed else {}, dict[str, int]()
    for address in needed:
        try:
            n_bytes = bare_segment_bytes(store.segment_path(address))
        except SessionError:  # damaged or gone, which is told of where it is needed
            n_bytes = there.get(address, 0)
        if there.get(address) != n_bytes:
            lacking[address] = n_bytes
    return lacking


def _send_segments(
    store: StoreReader,
    remote: RemoteStore,
    plan: Plan,
    lacking: dict[str, int],
    advance: Callable[[int], object],
) -> tuple[Plan, list[int]]:
    """Send a session's segments that are lacking.

    If it is saved anew meanwhile and a collection removes its segments, the new version is sent.

    Returns
    -------
    Plan
        What was sent.
    list of int
        Bytes of each segment.
    """
    sent: list[int] = []
    for left in reversed(range(_TIMES_TO_READ)):
        try:
            for address in plan.manifest.addresses:
                if address in lacking:
                    data = _read_segment(store, address)
                    remote.write_segment(address, data)
                    del lacking[address]
                    sent.append(len(data))
                    advance(len(data))
        except SessionNotFoundError as error:
            if not left:
                raise damaged_name(plan.name, str(error)) from None
            lineage = remote.lineages([plan.name]).get(plan.name, Lineage())
            plan = _plan(store, remote, plan.name, lineage)
            lacking |= _lacking(store, remote, [plan])
        else:
            break
    return plan, sent


def _read_segment(store: StoreReader, address: str) -> bytes:
    """A segment as it travels: checked, and without logits that are a cache.

    So its bytes are the same wherever it comes from, and the address covers them.
    """
    segment = store.segment(address)
    return segment_bytes(segment if segment.whole else replace(segment, logits=None))


def _send_entries(store: StoreReader, remote: RemoteStore, plan: Plan) -> None:
    if plan.unknown:  # first: this process may be killed behind the writing
        with store.catalog.writing() as connection:
            Travelled(connection).add(plan.name, plan.unknown)
    for entry in plan.entries:
        remote.write_entry(plan.name, entry, plan.manifest)


def _tell_of_others(remote: RemoteStore, plans: Sequence[Plan]) -> None:
    """Warn of what others pushed under the same names at the same time."""
    lineages = remote.lineages([plan.name for plan in plans]) if plans else {}
    for plan in plans:
        lineage, ours = lineages.get(plan.name, Lineage()), {plan.entries[-1].id}
        if not all(lineage.leads_to(ours, head) for head in lineage.heads):
            warn(
                f"{plan.name!r} was pushed to {remote} from elsewhere at the same time. Both are "
                "kept there: pull it with replace=True to have the other, too",
                MullamaWarning,
            )
