"""Students on one store, in simulated time.

A lesson begins for all of them within a minute. Each asks which files are there, pulls what is
missing of the teacher's prefix and of the last lesson's session, and works; within a minute at the
end, each asks again and pushes the session: rows that are not there yet, and then an entry for the
name. Rows go through the store's link, which all share, and so do the lists of files. Requests are
answered some at a time. Entries are written one at a time where the store is one database, and
beside each other where each is an object of its own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from .simulation import Clock, Link, Process, Server

__all__ = ["Lesson", "StoreCosts", "Waits", "run_lesson"]


@dataclass(frozen=True)
class StoreCosts:
    """What a store gives.

    Attributes
    ----------
    bytes_per_second : float
        Of its link, for all.
    most_per_student : float
        Bytes per second that one student's link carries.
    request_seconds : float
        From a request to its answer, without its bytes.
    requests_at_once : int
        How many it answers at a time.
    lock_seconds : float
        That an entry takes alone; 0 where nothing is locked.
    """

    bytes_per_second: float
    most_per_student: float
    request_seconds: float
    requests_at_once: int
    lock_seconds: float = 0.0


@dataclass(frozen=True)
class Lesson:
    """What students do.

    Attributes
    ----------
    n_students : int
    pulled_bytes, pushed_bytes : float
        Of rows, by each.
    pulled_segments, pushed_segments : int
        In which these bytes lie; one request for each.
    files_listed : int
        By each, before it pulls and before it pushes.
    files_in_a_request : int
        Of these, that come with one answer.
    file_bytes : float
        What an answer says of one of them.
    arrival_seconds, work_seconds : float
        Within which all begin, and between pulling and the first that pushes.
    """

    n_students: int
    pulled_bytes: float
    pushed_bytes: float
    pulled_segments: int = 1
    pushed_segments: int = 1
    files_listed: int = 0
    files_in_a_request: int = 1
    file_bytes: float = 0.0
    arrival_seconds: float = 60.0
    work_seconds: float = 2400.0


@dataclass
class Waits:
    """Seconds that each student waited, and how busy the store was.

    Attributes
    ----------
    listing, pulling, pushing : list of float
    n_bytes : float
        Carried by the link.
    serving, locked : float
        Seconds of all requests, and of the lock.
    """

    listing: list[float] = field(default_factory=list)
    pulling: list[float] = field(default_factory=list)
    pushing: list[float] = field(default_factory=list)
    n_bytes: float = 0.0
    serving: float = 0.0
    locked: float = 0.0


def run_lesson(lesson: Lesson, store: StoreCosts, *, seed: int = 0) -> Waits:
    """Simulate one lesson.

    Parameters
    ----------
    lesson : Lesson
    store : StoreCosts
    seed : int
        Of when students come and go.
    """
    rng, clock, waits = random.Random(seed), Clock(), Waits()
    link = Link(clock, store.bytes_per_second, store.most_per_student)
    requests, lock = Server(clock, store.requests_at_once), Server(clock)

    def listing() -> Process:
        for n_files in _answers(lesson):
            yield requests.serve(store.request_seconds)
            yield link.carry(n_files * lesson.file_bytes)

    def student(comes: float, goes: float) -> Process:
        yield clock.wait(comes)
        begun = clock.now
        if lesson.pulled_segments:  # otherwise nothing is missing
            yield from listing()
        waits.listing.append(clock.now - begun)
        begun = clock.now
        yield requests.serve(store.request_seconds)  # the entry
        for _ in range(lesson.pulled_segments):
            yield requests.serve(store.request_seconds)
            yield link.carry(lesson.pulled_bytes / lesson.pulled_segments)
        waits.pulling.append(clock.now - begun)
        yield clock.wait(max(0.0, lesson.work_seconds + goes - clock.now))
        begun = clock.now
        yield from listing()
        for _ in range(lesson.pushed_segments):
            yield requests.serve(store.request_seconds)
            yield link.carry(lesson.pushed_bytes / lesson.pushed_segments)
        yield requests.serve(store.request_seconds)  # the entry
        yield lock.serve(store.lock_seconds)
        waits.pushing.append(clock.now - begun)

    for _ in range(lesson.n_students):
        comes, goes = (rng.uniform(0, lesson.arrival_seconds) for _ in range(2))
        clock.start(student(comes, goes))
    clock.run()
    waits.n_bytes, waits.serving, waits.locked = link.carried, requests.busy, lock.busy
    return waits


def _answers(lesson: Lesson) -> Sequence[int]:
    """The files in each answer to a listing."""
    size = lesson.files_in_a_request
    return [min(size, lesson.files_listed - at) for at in range(0, lesson.files_listed, size)]
