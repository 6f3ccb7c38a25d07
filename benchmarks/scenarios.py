"""What is simulated from what was measured: a night of recordings, and a class on one store.

A worker has one thread of the machine that was measured. What a model of another size takes is
scaled by its parameters, as are its rows by what its shape needs.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .classroom import Lesson, StoreCosts, Waits, run_lesson
from .cluster import Cluster, Task, run_tasks
from .costs import Costs
from .overhead import Overhead
from .report import Effort, Row, Table

__all__ = ["LARGE", "LINK", "Size", "duration", "lessons", "recordings"]

LINK = 1.25e8
"""Bytes per second of one gigabit."""

_RECORDINGS = 10_000
_MODELS = 5
_PROMPTS = 200  # system prompts; each begins as many recordings as any other
_PROMPT_TOKENS = 600
_QUESTION_TOKENS, _ANSWER_TOKENS, _SPREAD = 40, 120, 0.8  # medians, and of a log-normal one
_WORKERS = 100
_LIFE = 3600.0

_STUDENTS = (30, 100, 300, 1_000, 3_000)
_CLASS = 1_000
_PREFIX_TOKENS, _OWN_TOKENS, _SEGMENT_TOKENS = 1_000, 400, 40
_PAGE, _FILE_BYTES, _LESSONS = 1_000, 300.0, 30
_PATIENCE = 30.0  # seconds that 95 of 100 students may wait at most
_UNITS = ((7200.0, "h"), (120.0, "min"), (1.0, "s"), (1e-3, "ms"), (0.0, "µs"))  # from where on
_SECONDS = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6}
_GROWING = tuple(step * 10**power for power in range(1, 5) for step in (1, 2, 5))


@dataclass(frozen=True)
class Size:
    """A model's size.

    Attributes
    ----------
    name : str
    n_parameters : float
    model_bytes : float
    row_bytes : float
        Of a token's rows in f16.
    n_threads : int
        Of a worker.
    """

    name: str
    n_parameters: float
    model_bytes: float
    row_bytes: float
    n_threads: int = 1


LARGE = Size("8 billion parameters", 8.03e9, 4.9e9, 131_072, 16)
"""Like Llama 3.1 8B in Q4_K_M: 32 layers with 8 key-value heads of 128."""


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    unit = next(unit for least, unit in _UNITS if seconds >= least)
    return f"{seconds / _SECONDS[unit]:.3g} {unit}"


# -- recordings ------------------------------------------------------------------------------


def _tasks(costs: Costs, size: Size, n_recordings: int, *, is_shipped: bool = False) -> list[Task]:
    """Every recording with every model: by model, and then by prompt."""
    slower = size.n_parameters / costs.n_parameters / size.n_threads
    prompt = _PROMPT_TOKENS
    prefix_seconds = slower * costs.evaluate(1, prompt, prompt * prompt / 2)
    if is_shipped:
        n_bytes = prompt * size.row_bytes
        prefix_seconds = n_bytes / LINK + costs.load(1, n_bytes)
    tasks = []
    for model in range(_MODELS):
        rng = random.Random(0)  # the same recordings for each model
        for number in range(n_recordings):
            question = rng.lognormvariate(math.log(_QUESTION_TOKENS), _SPREAD)
            answer = rng.lognormvariate(math.log(_ANSWER_TOKENS), _SPREAD)
            own = costs.evaluate(1, question, question * (prompt + question / 2))
            own += answer * costs.decode(1, prompt + question + answer / 2)
            prefix = number * min(_PROMPTS, n_recordings) // n_recordings
            tasks.append(Task(model, prefix, prefix_seconds, slower * own))
    return tasks


def _recorded(
    case: str, tasks: Sequence[Task], cluster: Cluster, *, is_shuffled: bool = False
) -> Row:
    if is_shuffled:
        tasks = random.Random(1).sample(tasks, len(tasks))
    run = run_tasks(tasks, cluster)
    n_needed = len({(task.model, task.prefix) for task in tasks})
    cells = {
        "case": case,
        "workers": f"{cluster.n_workers:,}",
        "takes": duration(run.seconds),
        "computing": f"{run.computing / run.seconds / cluster.n_workers:.1%}",
        "handing out": f"{run.dispatching / run.seconds:.1%}",
        "models loaded": f"{run.n_loads:,}",
        f"prompts evaluated, of {n_needed:,}": f"{run.n_prefixes:,}",
        "reported": f"{len(run.reported)}",
    }
    values = {
        "case": case,
        "workers": cluster.n_workers,
        "seconds": run.seconds,
        "computing": run.computing,
        "dispatching": run.dispatching,
        "loads": run.n_loads,
        "prefixes": run.n_prefixes,
        "reported": len(run.reported),
    }
    return Row(cells, values)


def recordings(costs: Costs, overheads: dict[str, Overhead], effort: Effort) -> Table:
    """Recordings times models, on more and more workers."""
    n = effort.scaled(_RECORDINGS)
    small = Size("", costs.n_parameters, costs.model_bytes, costs.row_bytes["f16"])
    tasks = _tasks(costs, small, n)
    shipped = _tasks(costs, small, n, is_shipped=True)
    each = len(tasks) // _MODELS // min(_PROMPTS, n)  # recordings of a prompt
    pool, dask = (overheads[name].together for name in ("spawned processes", "Dask"))
    base = Cluster(_WORKERS, 1, pool, costs.start, costs.load_warm)
    table = Table(
        "Recordings on workers",
        f"simulated: {n:,} recordings x {_MODELS} models; a median recording has a prompt of "
        f"{_PROMPT_TOKENS} tokens, shared by {each}, a question of {_QUESTION_TOKENS} and answers "
        f"of {_ANSWER_TOKENS}",
    )
    for n_workers in (1, 10, 100, 1_000, 10_000):
        table.add(_recorded("in order", tasks, replace(base, n_workers=n_workers)))
    table.add(_recorded("in any order", tasks, base, is_shuffled=True))
    table.add(_recorded(f"{each} handed out together", tasks, replace(base, n_together=each)))
    table.add(_recorded("rows shipped in place of evaluating", shipped, base))
    for n_workers in (100, 1_000):
        cluster = replace(base, n_workers=n_workers, dispatch_seconds=dask)
        table.add(_recorded("through Dask", tasks, cluster))
    table.add(_recorded("a worker lives an hour", tasks, replace(base, mean_life=_LIFE)))
    large = _tasks(costs, LARGE, n)
    slower = LARGE.model_bytes / costs.model_bytes
    heavy = replace(
        base,
        load_seconds=costs.load_warm * slower,
        model_bytes=LARGE.model_bytes,
        bytes_per_second=10 * LINK,
    )
    case = f"{LARGE.name}, {LARGE.n_threads} threads, files over 10 Gbit/s"
    table.add(_recorded(case, large, heavy))
    table.add(_recorded(f"{case}, in any order", large, heavy, is_shuffled=True))
    return table


# -- a class ---------------------------------------------------------------------------------


def _late(seconds: Sequence[float]) -> float:
    """What 95 of 100 wait at most."""
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def _taught(variant: _Variant, n_students: int) -> Row:
    waits = run_lesson(variant.lesson(n_students), variant.store)
    cells = {"case": variant.case, "students": f"{n_students:,}"}
    values: dict[str, object] = {"case": variant.case, "students": n_students}
    for what in ("listing", "pulling", "pushing"):
        seconds = getattr(waits, what)
        median, late = statistics.median(seconds), _late(seconds)
        cells[what] = f"{duration(median)}, {duration(late)}"
        values[what] = {"median": median, "95 of 100": late}
    cells["travels"] = f"{waits.n_bytes / 1e9:,.3g} GB"
    return Row(cells, values | {"bytes": waits.n_bytes})


@dataclass(frozen=True)
class _Variant:
    """A class under some conditions."""

    case: str
    row_bytes: float
    store: StoreCosts
    pulled_tokens: int = _PREFIX_TOKENS + _OWN_TOKENS
    n_lessons: int = 1  # whose sessions are there
    is_listed: bool = True

    def lesson(self, n_students: int) -> Lesson:
        n_own = math.ceil(_OWN_TOKENS / _SEGMENT_TOKENS)
        n_pulled = (self.pulled_tokens > 0) * n_own + (self.pulled_tokens > _OWN_TOKENS)
        return Lesson(
            n_students,
            self.pulled_tokens * self.row_bytes,
            _OWN_TOKENS * self.row_bytes,
            n_pulled,
            n_own,
            n_students * n_own * self.n_lessons if self.is_listed else n_own,
            _PAGE if self.is_listed else 1,
            _FILE_BYTES,
        )


def _variants(costs: Costs) -> list[_Variant]:
    f16, q8_0 = costs.row_bytes["f16"], costs.row_bytes["q8_0"]
    store = StoreCosts(LINK, LINK / 10, 0.02, 64)
    fast = replace(store, bytes_per_second=10 * LINK)
    locked = replace(store, lock_seconds=costs.entry)
    own = "machines that kept what they had"
    asked = f"{_LESSONS} lessons are there, each file asked for alone"
    return [
        _Variant("SmolLM2, f16", f16, store),
        _Variant("SmolLM2, q8_0", q8_0, store),
        _Variant(LARGE.name, LARGE.row_bytes, store),
        _Variant("the prefix evaluated by each, not pulled", f16, store, _OWN_TOKENS),
        _Variant(own, f16, store, 0),
        _Variant("a store with 10 Gbit/s", f16, fast),
        _Variant(f"{_LESSONS} lessons are there", f16, store, n_lessons=_LESSONS),
        _Variant(asked, f16, store, n_lessons=_LESSONS, is_listed=False),
        _Variant("one catalog, locked for each entry", f16, locked),
    ]


def _is_too_slow(waits: Waits) -> bool:
    return (
        _late(waits.listing) + _late(waits.pulling) > _PATIENCE or _late(waits.pushing) > _PATIENCE
    )


def _limits(variant: _Variant, most: int) -> tuple[int, int | None]:
    """The most students that a store is fast enough for, and the fewest that it is not."""
    fits = 0
    for n in (n for n in _GROWING if n <= most):
        if _is_too_slow(run_lesson(variant.lesson(n), variant.store)):
            return fits, n
        fits = n
    return fits, None


def lessons(costs: Costs, effort: Effort) -> list[Table]:
    """Classes on one store, and from how many students on it is too slow."""
    table = Table(
        "Students on one store",
        f"simulated; all begin within a minute, pull the teacher's {_PREFIX_TOKENS:,} tokens and "
        f"their own {_OWN_TOKENS} of last time, and push {_OWN_TOKENS} within a minute at the end; "
        "1 Gbit/s, of which a student can have a tenth; median wait, and what 95 of 100 wait at "
        "most",
    )
    broken = Table(
        "Where a store breaks", f"simulated; more than 5 of 100 students wait {_PATIENCE:.0f} s"
    )
    first, *others = variants = _variants(costs)
    for n in sorted({*map(effort.scaled, _STUDENTS)}):
        table.add(_taught(first, n))
    for variant in others:
        table.add(_taught(variant, effort.scaled(_CLASS)))
    most = effort.scaled(_CLASS) if effort.is_trial else _GROWING[-1]
    for variant in variants:
        fits, breaks = _limits(variant, most)
        cells = {
            "case": variant.case,
            "fast enough for": f"{fits:,}",
            "too slow for": f"{breaks:,}" if breaks else "",
        }
        broken.add(Row(cells, {"case": variant.case, "fits": fits, "breaks": breaks}))
    return [table, broken]
