"""Generating on a machine that does something else, too: busy loops, a browser, a second notebook.

A turn generates for a second and a half from the same prompt of 64 tokens, the likeliest token each
time, with all CPUs. These take turns:

- ours: ``Context.generate``, which watches how crowded it is and has its threads spin or yield.
- ours without the watch: the same context in the same process, whose threads always spin. Alone,
  the watch should cost nothing: the target is 0.98 of that speed.
- ``Llama.create_completion``, with as many decodes. Beside three busy loops the target is twice its
  speed.

Two processes that generate at the same time are two of a kind. Their tokens together, once each has
had the time to notice the other, are compared with those of one of them alone; the target is 1.4
times as many. What could be had at most is measured beside it: two processes that compute with one
thread each never wait.

The browser is a headless chromium that draws a canvas and changes a page in each frame.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from mullama_nb import Context, ContextParams, SamplingParams
from mullama_nb.engine.threads import contention

from .bare import make_llama, prompt_tokens
from .pairing import Hosted, Race, Stopwatch, hosted, race
from .report import Effort, Table, compared
from .weights import load_model

__all__ = ["run"]

_TESTS = Path(__file__).parents[1] / "tests"
_PARAMS = ContextParams(n_ctx=512)
_GREEDY = SamplingParams(temperature=0)
_PROMPT = 64
_SECONDS = 1.5  # of a turn
_SETTLING = 2.0  # until the watch has forgotten what was before
_MOST = 32  # tokens of one call
_OURS, _UNWATCHED, _LLAMA = "Context.generate", "without the watch", "create_completion"
_ONE, _THREAD_EACH = "one process", "one thread each"
_ALONE = 0.98
_BESIDE_THREE = 2.0
_TOGETHER = 1.4
_PAGE = """<canvas width="1200" height="700"></canvas><ol></ol><script>
const canvas = document.querySelector("canvas").getContext("2d");
const list = document.querySelector("ol");
let n = 0;
function frame() {
  n += 1;
  canvas.clearRect(0, 0, 1200, 700);
  for (let i = 0; i < 1500; i++) {
    canvas.fillStyle = `hsl(${(n + i) % 360} 70% 50% / 0.5)`;
    canvas.beginPath();
    canvas.arc((i * 37 + n) % 1200, (i * 91) % 700, 24, 0, 7);
    canvas.fill();
  }
  const item = document.createElement("li");
  item.textContent = `message ${n} `.repeat(20);
  list.prepend(item);
  if (list.children.length > 60) list.lastChild.remove();
  requestAnimationFrame(frame);
}
frame();
</script>"""


def _seconds_a_token(go_on: Callable[[int], int], seconds: float) -> float:
    """Generate in calls of some tokens for so long; on a crowded machine one takes a second."""
    n_tokens, at_once = 0, 1
    with Stopwatch() as watch:
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            if n_tokens and passed / n_tokens * at_once < seconds / 8:
                at_once = min(2 * at_once, _MOST)
            n_tokens += go_on(at_once)
    return watch.seconds / n_tokens


class _Ours:
    """A context with its watch, which can be put aside."""

    def __init__(self, n_threads: int | None = None) -> None:
        self._model = load_model()
        self._tokens = prompt_tokens(self._model, _PROMPT)
        params = _PARAMS.with_changes(n_threads=n_threads, n_threads_batch=n_threads)
        self._context = Context(self._model, params)
        self._decoder = self._context._scheduler.path.memory.decoder
        self._watched: Any = self._decoder._decode_one
        found = contention._process.found()
        is_watched = getattr(self._watched, "func", None) == getattr(found, "run", self)
        self._switch = found.switch if is_watched and isinstance(found, contention.Watch) else None

    def generate(self, is_watched: bool, seconds: float, settling: float = 0.0) -> float:
        self._begin()
        if settling:
            _seconds_a_token(self._go_on, settling)
        if self._switch is None:
            return _seconds_a_token(self._go_on, seconds)
        was_yielding = self._switch.is_yielding
        if not is_watched:
            self._switch.make_spin()
            self._decoder._decode_one = self._watched.args[1]
        try:
            return _seconds_a_token(self._go_on, seconds)
        finally:
            self._decoder._decode_one = self._watched
            if not is_watched and was_yielding:
                self._switch.make_yield()

    def _begin(self) -> None:
        if self._context.token_count() > _PROMPT:
            self._context.rewind(_PROMPT)
        else:
            self._context.evaluate(self._tokens)

    def _go_on(self, n_tokens: int) -> int:
        if self._context.n_ctx - self._context.token_count() < n_tokens:
            self._begin()
        done = len(self._context.generate(None, n_tokens, sampling=_GREEDY).tokens)
        if done < n_tokens:  # the answer has ended
            self._begin()
        return done


class _Llama:
    def __init__(self) -> None:
        self._model = load_model()
        self._tokens = prompt_tokens(self._model, _PROMPT)
        self._llama: Any = make_llama(self._model, _PARAMS)
        self._has_ended = False

    def generate(self, seconds: float) -> float:
        self._llama.reset()
        self._llama.eval(self._tokens)
        return _seconds_a_token(self._go_on, seconds)

    def _go_on(self, n_tokens: int) -> int:
        # From its very last token it would go on with the logits that it has, one decode less.
        tokens = list(self._llama.eval_tokens)[:-1]
        if self._has_ended or self._llama.n_ctx() - len(tokens) < n_tokens:
            tokens = self._tokens
        answer = self._llama.create_completion(tokens, max_tokens=n_tokens, temperature=0)
        done = int(answer["usage"]["completion_tokens"])
        self._has_ended = done < n_tokens
        return done


@contextlib.contextmanager
def _loops(number: int) -> Iterator[None]:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        loop = [sys.executable, "-c", "while True: pass"]
        processes.extend(subprocess.Popen(loop) for _ in range(number))
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _browser() -> Iterator[None]:
    """A page that is drawn all the time.

    Raises
    ------
    LookupError
        When there is no chromium.
    """
    sys.path.insert(0, str(_TESTS))  # the tests know how to run a browser
    try:
        lab = importlib.import_module("browser.lab")
    except ImportError as error:
        raise LookupError(str(error)) from error
    chromium = lab.chromium_path()
    if chromium is None:
        raise LookupError("no chromium")
    with lab.open_browser(chromium) as browser:
        page = browser.new_page()
        page.set_content(_PAGE)
        page.wait_for_function("() => n > 30")
        yield


@contextlib.contextmanager
def _nothing_set() -> Iterator[None]:
    """What is said of OpenMP in the environment would decide how threads wait."""
    names = [name for name in os.environ if name.startswith(("OMP_", "GOMP_"))]
    kept = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(kept)


def _beside(seconds: float, settling: float, rounds: int) -> Iterator[tuple[str, Race]]:
    neighbours: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
        "alone": contextlib.nullcontext,
        "beside a busy loop": partial(_loops, 1),
        "beside three busy loops": partial(_loops, 3),
        "beside a browser": _browser,
    }
    with hosted(_Ours) as ours, hosted(_Llama) as llama:
        ways = {
            _OURS: ours.way("generate", True, seconds),
            _UNWATCHED: ours.way("generate", False, seconds),
            _LLAMA: llama.way("generate", seconds),
        }
        for case, neighbour in neighbours.items():
            try:
                with neighbour():
                    ours.call("generate", True, settling)
                    n_rounds = rounds if case == "alone" else min(rounds, max(2, rounds * 2 // 3))
                    yield case, race(ways, n_rounds)
            except LookupError as error:
                print(f"{case}: left out, {error}", flush=True)


def _together(hosts: Sequence[Hosted], *arguments: Any) -> float:
    """Seconds a token of several processes that generate at the same time."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        calls = [pool.submit(host.call, "generate", *arguments) for host in hosts]
        return 1 / sum(1 / float(call.result()) for call in calls)


def _two(seconds: float, settling: float, rounds: int) -> Race:
    with (
        hosted(_Ours) as ours,
        hosted(_Ours) as other,
        hosted(_Ours, 1) as single,
        hosted(_Ours, 1) as other_single,
        hosted(_Llama) as llama,
        hosted(_Llama) as other_llama,
    ):
        both, singles, llamas = (ours, other), (single, other_single), (llama, other_llama)
        return race(
            {
                _ONE: lambda: _together([ours], True, seconds, settling),
                _OURS: lambda: _together(both, True, seconds, settling),
                _THREAD_EACH: lambda: _together(singles, True, seconds),
                _UNWATCHED: lambda: _together(both, False, seconds),
                _LLAMA: lambda: _together(llamas, seconds),
            },
            rounds,
        )


def run(effort: Effort) -> Sequence[Table]:
    """Measure all cases."""
    seconds, settling = (max(0.05, s * effort.fraction) for s in (_SECONDS, _SETTLING))
    rounds = -(-effort.rounds // 2)  # a turn of each way beside each case takes a minute
    table = Table(
        "Beside other programs, tokens a second", "SmolLM2-135M Q4_1, all CPUs, f16 cache"
    )
    with _nothing_set():
        for case, result in _beside(seconds, settling, rounds):
            alone = _ALONE if case == "alone" else None
            three = _BESIDE_THREE if case == "beside three busy loops" else None
            for theirs, target in ((_UNWATCHED, alone), (_LLAMA, three)):
                table.add(compared(result, case, _OURS, theirs, per_second=1, target=target))
        result = _two(seconds, settling, -(-rounds // 2))
        case = "two processes together"
        for theirs in (_ONE, _THREAD_EACH, _UNWATCHED, _LLAMA):
            target = _TOGETHER if theirs == _ONE else None
            table.add(compared(result, case, _OURS, theirs, per_second=1, target=target))
        singles = "two processes, one thread each"
        table.add(compared(result, singles, _THREAD_EACH, _ONE, per_second=1))
    return [table]
