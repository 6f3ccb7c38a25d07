"""The simulation behind docs/scaling.md loses no work and does none twice."""

from __future__ import annotations

import inspect
import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import scaling
from benchmarks.classroom import Lesson, StoreCosts, run_lesson
from benchmarks.cluster import Cluster, Run, Task, run_tasks
from benchmarks.fitting import Fit, fit
from benchmarks.report import Row, Table, write_into
from benchmarks.simulation import Clock, Link, Server
from mullama_nb.tasks.shipping import ships_rows

SECONDS = st.floats(0, 50).map(lambda seconds: round(seconds, 3))
TASKS = st.lists(
    st.builds(
        Task,
        model=st.integers(0, 3),
        prefix=st.integers(0, 4),
        # of a prefix the same seconds everywhere, as it is the same tokens
        prefix_seconds=st.just(7.0),
        own_seconds=SECONDS,
    ),
    min_size=1,
    max_size=40,
)
CLUSTERS = st.builds(
    Cluster,
    n_workers=st.integers(1, 8),
    n_together=st.integers(1, 5),
    dispatch_seconds=st.sampled_from([0.0, 0.01, 3.0]),
    start_seconds=st.sampled_from([0.0, 2.0]),
    load_seconds=st.sampled_from([0.0, 1.5]),
    model_bytes=st.sampled_from([0.0, 100.0]),
    bytes_per_second=st.sampled_from([10.0, 1e6]),
)
DYING = st.floats(1.0, 200.0)


def carrying(cluster: Cluster) -> float:
    return cluster.model_bytes / cluster.bytes_per_second


def work(tasks: list[Task], run: Run) -> float:
    """Seconds of what the workers did, from which tasks each of them had and in which order."""
    seconds = 0.0
    held: dict[int, tuple[int, int]] = {}
    for span in sorted(run.spans, key=lambda span: span.begin):
        task = tasks[span.task]
        seconds += task.own_seconds
        if held.get(span.worker) != (task.model, task.prefix):
            seconds += task.prefix_seconds
        held[span.worker] = task.model, task.prefix
    return seconds


@given(TASKS, CLUSTERS)
def test_every_task_is_done_once_and_takes_what_it_takes(
    tasks: list[Task], cluster: Cluster
) -> None:
    run = run_tasks(tasks, cluster)
    assert sorted(span.task for span in run.spans) == [*range(len(tasks))]
    assert all(span.is_done for span in run.spans)
    assert run.reported == []
    by_begin = sorted(run.spans, key=lambda span: (span.worker, span.begin))
    models = {(span.worker, tasks[span.task].model) for span in by_begin}
    assert run.n_loads == len(models)
    assert run.dispatching == pytest.approx(cluster.dispatch_seconds * len(tasks))


@given(TASKS, CLUSTERS)
def test_work_is_conserved(tasks: list[Task], cluster: Cluster) -> None:
    run = run_tasks(tasks, cluster)
    own = sum(task.own_seconds for task in tasks)
    assert run.computing == pytest.approx(own + 7.0 * run.n_prefixes)
    assert len({(task.model, task.prefix) for task in tasks}) <= run.n_prefixes <= len(tasks)


@given(TASKS, CLUSTERS, st.one_of(st.just(math.inf), DYING), st.integers(0, 9))
def test_no_worker_has_two_tasks_at_once(
    tasks: list[Task], cluster: Cluster, life: float, seed: int
) -> None:
    mortal = Cluster(**{**vars(cluster), "mean_life": life})
    until: dict[int, float] = {}
    for span in run_tasks(tasks, mortal, seed=seed).spans:
        assert span.worker in range(cluster.n_workers)
        assert until.get(span.worker, cluster.start_seconds) <= span.begin <= span.end
        until[span.worker] = span.end


@given(TASKS, CLUSTERS)
def test_it_takes_as_long_as_its_longest_chain_and_its_share(
    tasks: list[Task], cluster: Cluster
) -> None:
    run = run_tasks(tasks, cluster)
    before = cluster.start_seconds + cluster.dispatch_seconds
    first, longest = tasks[0], max(task.own_seconds for task in tasks)
    alone = carrying(cluster) + cluster.load_seconds + first.prefix_seconds + first.own_seconds
    assert run.seconds >= before + alone - 1e-6  # the first task finds nothing anywhere
    assert run.seconds >= before + longest - 1e-6
    assert run.seconds >= run.computing / cluster.n_workers - 1e-9
    assert run.seconds >= run.dispatching
    loading = run.n_loads * cluster.model_bytes
    assert run.seconds >= loading / cluster.bytes_per_second - 1e-6


@given(TASKS, st.integers(1, 8))
def test_it_takes_no_longer_than_tasks_handed_to_whoever_is_free(
    tasks: list[Task], n_workers: int
) -> None:
    alone = [Task(0, 0, 0.0, task.own_seconds) for task in tasks]
    run = run_tasks(alone, Cluster(n_workers))
    total, longest = sum(t.own_seconds for t in alone), max(t.own_seconds for t in alone)
    assert run.seconds <= total / n_workers + (1 - 1 / n_workers) * longest + 1e-6


@pytest.mark.slow
@given(TASKS, CLUSTERS)
def test_one_worker_takes_the_sum(tasks: list[Task], cluster: Cluster) -> None:
    one = Cluster(**{**vars(cluster), "n_workers": 1})
    run = run_tasks(tasks, one)
    loads = len({task.model for task in tasks})
    expected = one.start_seconds + loads * (carrying(one) + one.load_seconds)
    expected += one.dispatch_seconds * len(tasks) + work(tasks, run)
    assert [span.task for span in run.spans] == [*range(len(tasks))]
    assert run.seconds == pytest.approx(expected)


@given(TASKS, CLUSTERS, DYING, st.integers(0, 9))
def test_a_task_is_lost_once_and_then_reported(
    tasks: list[Task], cluster: Cluster, life: float, seed: int
) -> None:
    run = run_tasks(tasks, Cluster(**{**vars(cluster), "mean_life": life}), seed=seed)
    done = Counter(span.task for span in run.spans if span.is_done)
    lost = Counter(span.task for span in run.spans if not span.is_done)
    assert sorted([*done, *run.reported]) == [*range(len(tasks))]
    assert set(done.values()) <= {1}
    assert all(lost[index] == 2 for index in run.reported)
    assert all(lost[index] <= 1 for index in done)


@given(TASKS, CLUSTERS, DYING)
def test_a_seed_gives_the_same_run(tasks: list[Task], cluster: Cluster, life: float) -> None:
    mortal = Cluster(**{**vars(cluster), "mean_life": life})
    assert run_tasks(tasks, mortal, seed=3) == run_tasks(tasks, mortal, seed=3)


# -- servers and links -----------------------------------------------------------------------

ARRIVALS = st.lists(
    st.tuples(st.integers(0, 20).map(float), st.integers(0, 30).map(float)), min_size=1, max_size=12
)


def arrived(arrivals: list[tuple[float, float]], resource: Any) -> tuple[list[float], Any]:
    """When each of them was over, which began at a time and asked for an amount."""
    clock = Clock()
    held = resource(clock)
    ends = [math.nan] * len(arrivals)

    def process(index: int) -> Any:
        begin, amount = arrivals[index]
        yield clock.wait(begin)
        yield held.carry(amount) if isinstance(held, Link) else held.serve(amount)
        ends[index] = clock.now

    for index in range(len(arrivals)):
        clock.start(process(index))
    clock.run()
    return ends, held


def shared(arrivals: list[tuple[float, float]], rate: float, most: float) -> list[float]:
    """When transfers arrive over a link that they share, worked out from event to event."""
    rest = {i: amount for i, (_, amount) in enumerate(arrivals)}
    now, ends = 0.0, [math.nan] * len(arrivals)
    while rest:
        here = [i for i in rest if arrivals[i][0] <= now]
        for i in [i for i in here if rest[i] <= 1e-9]:
            ends[i] = now
            del rest[i]
            here.remove(i)
        next_one = min((arrivals[i][0] for i in rest if arrivals[i][0] > now), default=math.inf)
        if here:
            each = min(most, rate / len(here))
            seconds = min(min(rest[i] for i in here) / each, next_one - now)
            for i in here:
                rest[i] -= each * seconds
            now += seconds
        elif rest:
            now = next_one
    return ends


@given(ARRIVALS, st.sampled_from([1.0, 4.0]), st.sampled_from([1.5, math.inf]))
def test_a_link_is_shared_evenly(
    arrivals: list[tuple[float, float]], rate: float, most: float
) -> None:
    ends, link = arrived(arrivals, lambda clock: Link(clock, rate, most))
    assert ends == pytest.approx(shared(arrivals, rate, most), abs=1e-6)
    assert link.carried == pytest.approx(sum(amount for _, amount in arrivals))


@given(ARRIVALS, st.integers(1, 3))
def test_a_server_serves_in_turn_and_rests_only_when_nobody_waits(
    arrivals: list[tuple[float, float]], n_at_once: int
) -> None:
    ends, server = arrived(arrivals, lambda clock: Server(clock, n_at_once))
    free = [0.0] * n_at_once
    for i in sorted(range(len(arrivals)), key=lambda i: arrivals[i][0]):
        begin, seconds = arrivals[i]
        at = min(range(n_at_once), key=lambda k: free[k])
        free[at] = max(begin, free[at]) + seconds
        assert ends[i] == pytest.approx(free[at])
    assert server.busy == pytest.approx(sum(seconds for _, seconds in arrivals))


# -- students --------------------------------------------------------------------------------


@given(st.integers(1, 40), st.floats(0, 5e6), st.floats(0, 5e6), st.integers(0, 4))
def test_what_students_pull_and_push_is_carried(
    n_students: int, pulled: float, pushed: float, n_segments: int
) -> None:
    pulled *= n_segments > 0
    store = StoreCosts(1e6, 1e6, 0.02, 8, 0.01)
    lesson = Lesson(n_students, pulled, pushed, n_segments, 2, n_students, 7, 300.0)
    waits = run_lesson(lesson, store)
    assert len(waits.listing) == len(waits.pulling) == len(waits.pushing) == n_students
    n_lists = 1 + (n_segments > 0)  # the first only where something is missing
    listed = n_lists * n_students * n_students * 300.0
    assert waits.n_bytes == pytest.approx(n_students * (pulled + pushed) + listed)
    n_requests = n_students * (n_lists * math.ceil(n_students / 7) + (n_segments + 1) + (2 + 1))
    assert waits.serving == pytest.approx(0.02 * n_requests)
    assert waits.locked == pytest.approx(0.01 * n_students)
    assert min(waits.pulling) >= pulled / 1e6 + 0.02 * (n_segments + 1) - 1e-6
    assert min(waits.pushing) >= pushed / 1e6 + 0.02 * 3 + 0.01 - 1e-6


def test_one_student_waits_for_nobody_and_many_for_each_other() -> None:
    store = StoreCosts(1e6, 1e6, 0.02, 8)
    alone = run_lesson(Lesson(1, 2e6, 1e6), store)
    assert alone.pulling == pytest.approx([2.04])
    assert alone.pushing == pytest.approx([1.04])
    crowd = run_lesson(Lesson(100, 2e6, 1e6), store)
    assert max(crowd.pulling) > 100  # 200 MB over a link of 1 MB a second, all within a minute


# -- fits ------------------------------------------------------------------------------------

COEFFICIENTS = st.lists(st.sampled_from([0.0, 1e-3, 0.5, 2.0]), min_size=3, max_size=3)


@given(COEFFICIENTS.filter(any), st.integers(0, 9))
def test_what_is_linear_is_found(coefficients: list[float], seed: int) -> None:
    rng, whole = random.Random(seed), Fit(tuple(coefficients), 0.0)
    terms = [(1.0, rng.uniform(1, 600), rng.uniform(0, 1e5)) for _ in range(12)]
    found = fit(terms, [whole(*each) for each in terms])
    assert found.residual < 1e-6
    assert [found(*each) for each in terms] == pytest.approx([whole(*each) for each in terms])


@given(st.lists(st.floats(1e-4, 10), min_size=4, max_size=12))
def test_nothing_takes_less_than_no_time(seconds: list[float]) -> None:
    found = fit([(1.0, n) for n in range(len(seconds))], seconds)
    assert min(found.coefficients) >= 0
    assert 0 <= found.residual <= 1


# -- the page --------------------------------------------------------------------------------

ROOT = Path(__file__).parents[1]
MEASURED = json.loads((ROOT / "benchmarks" / "results.json").read_text("utf-8"))["scaling"]
TABLES = {table["title"]: table for table in MEASURED["tables"]}


def test_the_page_has_the_tables_that_were_measured() -> None:
    page = scaling.DOCUMENT.read_text("utf-8")
    for table in TABLES.values():
        rows = [Row(**row) for row in table["rows"]]
        measured = Table(table["title"], table["note"], rows)
        assert measured.found_in(page) == measured.inserted()
    assert page.count("<!-- measured: ") == len(TABLES)


def test_the_page_says_of_rows_what_the_rule_says() -> None:
    answers = set()
    for row in TABLES["Ship rows, or evaluate again"]["rows"]:
        asked = dict(row["values"])
        for rate, said in asked.pop("ships"):
            assert ships_rows(**asked, bytes_per_second=rate) == said, row["cells"]
            answers.add(said)
        assert "parameter_tokens_per_second" in asked
    assert answers == {True, False}


def test_the_figures_of_the_rule_are_near_to_what_was_measured() -> None:
    parameters = inspect.signature(ships_rows).parameters
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    rows = TABLES["The figures of the rule"]["rows"]
    figures = {row["values"]["name"]: row["values"] for row in rows}
    assert {*figures} == {*defaults}
    for name, values in figures.items():
        assert values["rule"] == defaults[name]
        assert values["measured"] / 10 < values["rule"] < values["measured"] * 10


def test_a_table_without_a_place_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- measured: One -->\nold\n<!-- end -->\n\nText.\n", "utf-8")
    one = Table("One", "a note", [Row({"case": "a|b", "figure": "1"}, {})])
    write_into(page, [one])
    written = page.read_text("utf-8")
    assert "| a\\|b | 1 |" in written
    assert "*A note.*" in written
    assert "old" not in written
    assert written.endswith("<!-- end -->\n\nText.\n")
    write_into(page, [one])
    assert page.read_text("utf-8") == written
    with pytest.raises(ValueError, match="no place for 'Two'"):
        write_into(page, [one, Table("Two", "a note", one.rows)])
    assert page.read_text("utf-8") == written
