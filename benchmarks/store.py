"""Sessions under names: what sharing saves, and what many processes do to each other.

1,000 sessions (a quarter with ``--quick``) begin with one system prompt of 1,000 tokens and go on
with 50 tokens of their own. Disk is all of the folder, against the rows of one prompt and of all
own tokens. Opening takes turns with evaluating the prompt, in a context that exists already. Then 8
processes save, open, rename, restore, delete and collect on one store for 60 seconds, all of them
add to one chat, rename it and take it over, and they are killed at random.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mullama_nb import Context, ContextParams, SessionManager, kv_bytes_per_token
from mullama_nb.sessions.states import resume
from mullama_nb.sessions.store import SessionStore

from .bare import prompt_tokens
from .pairing import Stopwatch
from .report import Effort, Row, Table
from .weights import load_model

__all__ = ["run"]

_NAMES = 1000
_PROMPT = 1000
_OWN = 50
_PROCESSES = 8
_SECONDS = 60
_CHILD = Path(__file__).parents[1] / "tests" / "sessions" / "store_child.py"


def _row(case: str, figure: str, target: str, reached: bool) -> Row:
    verdict = "reached" if reached else "MISSED"
    shown = {"case": case, "figure": figure, "target": target, "verdict": verdict}
    return Row(shown, {"case": case, "figure": figure, "target": target, "reached": reached})


def _sessions(manager: SessionManager, n_names: int, n_prompt: int) -> None:
    prompt = prompt_tokens(manager.model, n_prompt)
    rng = random.Random(1)
    with Context(manager.model, manager.params) as context:
        context.evaluate(prompt)
        manager.save("prompt", context)
        for number in range(n_names):
            context.rewind(n_prompt)
            context.evaluate([rng.randrange(300, 500) for _ in range(_OWN)])
            manager.save(f"user {number}", context)


def _sharing(effort: Effort) -> Iterator[Row]:
    model, n_names = load_model(), effort.scaled(_NAMES)
    n_prompt = effort.shortened(_PROMPT)
    params = ContextParams(n_ctx=2048, n_threads=2)
    with tempfile.TemporaryDirectory() as folder:
        manager = SessionManager(model, folder, params)
        _sessions(manager, n_names, n_prompt)
        disk = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
        rows = (n_prompt + n_names * _OWN) * kv_bytes_per_token(model, params)
        figure = f"{disk / rows:.4f} of the rows"
        yield _row(f"disk of {n_names:,} sessions", figure, "1.05", disk <= 1.05 * rows)

        opened, evaluated, listed = [], [], []
        prompt = prompt_tokens(model, n_prompt + _OWN)
        with Context(model, params) as context:
            for number in range(effort.rounds):
                context.clear()
                with Stopwatch() as watch:
                    _, record, _, segments = manager.store.open_whole(f"user {number}")
                    resume(context, segments, dict(record.metadata), "a session")
                opened.append(watch.seconds)
                context.clear()
                with Stopwatch() as watch:
                    context.evaluate(prompt)
                evaluated.append(watch.seconds)
                with Stopwatch() as watch:
                    manager.list()
                listed.append(watch.seconds)
        ratio = statistics.median(evaluated) / statistics.median(opened)
        milliseconds = 1000 * statistics.median(opened)
        figure = f"{ratio:.0f} times faster, {milliseconds:.0f} ms"
        yield _row("opening against evaluating", figure, "100 times", ratio >= 100)
        seconds = statistics.median(listed)
        yield _row(f"listing {n_names + 1:,}", f"{seconds:.3f} s", "0.3 s", seconds <= 0.3)


def _stress(effort: Effort) -> Iterator[Row]:
    rng, seconds = random.Random(2), effort.scaled(_SECONDS)
    n_processes = min(_PROCESSES, 2 + seconds)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as notes:

        def start() -> subprocess.Popen[bytes]:
            seed = str(rng.randrange(10**6))
            said = str(Path(notes) / f"said-{seed}")
            arguments = [sys.executable, str(_CHILD), folder, seed, "600", said]
            return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        running, n_killed, n_failed = [start() for _ in range(n_processes)], 0, 0
        until = time.monotonic() + seconds
        while running:
            is_over = time.monotonic() >= until
            time.sleep(0 if is_over else rng.uniform(0.2, 0.6))
            victim = running.pop(rng.randrange(len(running)))
            victim.kill()
            n_failed += bool(victim.communicate()[1])
            n_killed += 1
            if not is_over:
                running.append(start())
        store = SessionStore(folder)
        damages, names = store.verify(), store.names()
        chats = {name for name in names if store.info(name).kind == "chat"}
        for name in {*names} - chats:
            store.open_whole(name)
        found = {entry.id for name in chats for entry in store.open_chat(name)[3].entries}
        said = {turn for path in Path(notes).iterdir() for turn in path.read_text().split()}
        n_lost = len(said - found)
        store.gc()
        with store.catalog.reading() as connection:
            n_segments = len(store.catalog.segments(connection))
        n_orphans = sum(1 for _ in Path(folder).glob("segments/*")) - n_segments
        case = (
            f"{n_processes} processes for {seconds} s, {n_killed} killed, {len(names)} names left"
        )
        figure = (
            f"{len(damages)} damaged, {n_failed} errors, {n_orphans} orphans, "
            f"{n_lost} of {len(said):,} turns of one chat lost"
        )
        yield _row(case, figure, "none", not (damages or n_failed or n_orphans or n_lost))


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    table = Table("Sessions under names", "SmolLM2-135M Q4_1, f16 rows; the folder is warm")
    for row in [*_sharing(effort), *_stress(effort)]:
        table.add(row)
    return [table]
