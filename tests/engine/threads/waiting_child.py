"""What test_openmp.py runs in processes of its own: ``python waiting_child.py WHAT MODEL``."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mullama_nb import Context, ContextParams, Model
from mullama_nb.engine.threads import contention
from mullama_nb.engine.threads.openmp import Switch, Unswitchable, find_switch

PARAMS = ContextParams(n_ctx=256, n_threads=2)
FIRST = list(range(300, 330))


def switch() -> Switch:
    """The process's switch, which nobody else touches."""
    found = contention._process.found()
    assert isinstance(found, contention.Watch), found
    found._judge = lambda *_: None  # type: ignore[method-assign]
    return found.switch


def n_threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def wait_for(number: int) -> int:
    while n_threads() != number:
        time.sleep(0.01)
    return number


def spin(_: int) -> None:
    switch().make_spin()


def make_yield(_: int) -> None:
    assert switch().make_yield()


def toggle(step: int) -> None:
    (make_yield if step % 2 else spin)(step)


def answer(model: Model, before: Callable[[int], None]) -> list[Any]:
    """Tokens and the bits of all logits: a prompt, tokens one by one, a prompt again."""
    bits = hashlib.sha256()
    with Context(model, PARAMS) as context:
        before(0)
        context.evaluate(FIRST)
        for step, _ in enumerate(context.stream(None, 5, seed=1), 1):
            bits.update(context.logits.tobytes())
            before(step)
        context.rewind(20)
        context.evaluate(FIRST[:3])
        bits.update(context.logits.tobytes())
        return [list(context.tokens), bits.hexdigest()]


def results(model: Model) -> Any:
    switch()
    return {each.__name__: answer(model, each) for each in (spin, make_yield, toggle)}


def sleeps(model: Model) -> Any:
    """How often threads went to sleep, spinning and yielding, and how many there were."""
    switch()
    context = Context(model, PARAMS)
    context.evaluate(FIRST)
    before, counts = n_threads(), {}
    for mode in (spin, make_yield):
        mode(0)
        began = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        context.generate(None, 3, seed=1)
        n_sleeps = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - began
        counts[mode.__name__] = counts.get(mode.__name__, 0) + n_sleeps
        counts[f"{mode.__name__} is"] = context.waiting
        if mode is make_yield:
            counts["more threads"] = n_threads() - before
    spin(0)
    counts["threads left"] = wait_for(before) - before
    return counts


def states(model: Model) -> Any:
    """What contexts say."""
    if isinstance(contention._process.found(), contention.Watch):
        switch()
    n_cpus = len(os.sched_getaffinity(0))
    given = {"one": 1, "two": 2, "too many": n_cpus + 1}
    said = {}
    for name, n in given.items():
        with Context(model, PARAMS.with_changes(n_threads=n)) as context:
            context.generate(FIRST, 3)
            said[name] = context.waiting
    return said


def crowded(model: Model) -> Any:
    """Generate beside programs that always run, until that is noticed."""
    loop = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(loop) for _ in os.sched_getaffinity(0)]
    try:
        with Context(model, PARAMS) as context:
            deadline = time.monotonic() + 400  # before others give up and leave the loops behind
            while context.waiting != "yielding" and time.monotonic() < deadline:
                context.clear()
                context.generate(FIRST[:2], 1)
            return context.waiting
    finally:
        for each in loops:
            each.kill()
            each.wait()


def libraries(_: Model) -> Any:
    """The libgomps that are mapped, before and after."""

    def mapped() -> list[str]:
        lines = Path("/proc/self/maps").read_text("utf-8").splitlines()
        return sorted({line.split()[-1] for line in lines if "gomp" in line})

    before = mapped()
    found = find_switch()
    assert isinstance(found, Switch)
    found.make_yield()
    return [before, mapped(), found.name]


def refusal(_: Model) -> Any:
    found = find_switch()
    return found.reason if isinstance(found, Unswitchable) else found.name


def first_context(model: Model) -> Any:
    """Whether the first context of a process goes when nobody holds it."""
    context = Context(model, PARAMS)
    context.evaluate(FIRST)
    seen = weakref.ref(context)
    del context
    gc.collect()
    return "gone" if seen() is None else "here"


def fork(model: Model) -> Any:
    """Fork while threads yield; the child makes a context of its own and answers the same."""
    with Context(model, PARAMS) as context:
        make_yield(0)
        here = list(context.generate(FIRST, 8, seed=1).tokens)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            other = Context(model, PARAMS)
            there = other.generate(FIRST, 8, seed=1).tokens
            os.write(writing, json.dumps([there == tuple(here), other.waiting]).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = json.loads(pipe.read())
        os.waitpid(child, 0)
        return [*said, context.waiting]


def leave(model: Model) -> Any:
    """End with contexts open, one in the middle of an answer, while threads yield."""
    contexts = [Context(model, PARAMS) for _ in range(8)]
    for context in contexts:
        context.generate(FIRST, 2)
    make_yield(0)
    streams = [context.stream(None, 50) for context in contexts]
    globals()["kept"] = [contexts, streams, [next(stream) for stream in streams]]
    return "left"


if __name__ == "__main__":
    what: Callable[[Model], Any] = globals()[sys.argv[1]]
    sys.stdout.write(json.dumps(what(Model.load(sys.argv[2]))))
