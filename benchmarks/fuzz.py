"""``python -m benchmarks.fuzz [cases]``: damaged and forged session files against live contexts.

Three families of files are made, for every kind of memory:

damaged
    A file of ours that something happened to. None may be accepted.
forged
    The same, with a checksum that holds again. What contradicts itself must be refused. What does
    not, such as other numbers in a row, nobody can know: it may be accepted and must be harmless.
foreign
    A file of llama.cpp, which has no checksum at all.

After a refusal the context must stand exactly where it stood: tokens, rows, logits, and logits one
token later, to the bit. After an acceptance it must go on, and nothing of the file may last once
the context is cleared. Loading happens in a child process, so that a native crash is counted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mullama_nb import Context, ContextParams, ControlVector, Model
from mullama_nb.errors import MullamaError, SessionError
from mullama_nb.state.layout import HEADER, LayoutError, SequenceState, Structure

from .report import Effort, Row, Table

__all__ = ["main", "run"]

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
make_model: Any = importlib.import_module("tiny_models").make_model
forge: Any = importlib.import_module("state.forge")
mutations: Any = importlib.import_module("state.mutations")

CASES = 10_000
SECONDS = 120  # for one case, before it counts as hanging
FAMILIES = ("damaged", "forged", "foreign")
N_TOKENS, N_AFTER = 40, 80  # more than a window; more than a tile of flash attention

Random = np.random.Generator


@dataclass(frozen=True)
class Target:
    """A model and a context to load into."""

    architecture: str
    flash_attention: bool = True
    kv_cache_type: str = "f16"
    is_steered: bool = False

    def model(self, folder: Path, seed: int = 0) -> Model:
        """The model, or another one of equal shapes."""
        head_dim = 16 if self.kv_cache_type == "f16" else 32
        path = folder / f"{self.architecture}-{head_dim}-{seed}.gguf"
        if not path.exists():
            make_model(path, self.architecture, head_dim=head_dim, n_layer=2, seed=seed)
        return Model.load(path)

    def context(self, model: Model) -> Context:
        """A small context of one thread."""
        params = ContextParams(n_ctx=256, n_batch=256, n_ubatch=256, n_threads=1, n_parallel=1)
        context = Context(
            model,
            params.with_changes(
                flash_attention=self.flash_attention, kv_cache_type=self.kv_cache_type
            ),
        )
        context.known_adapters.offer([self._vector(model)])
        return context

    def evaluate(self, context: Context, tokens: Sequence[int]) -> None:
        """Evaluate tokens, the later ones of a steered target with a control vector."""
        half = len(tokens) // 2
        context.adapters = []
        context.evaluate(tokens[:half])
        context.adapters = [self._vector(context.model)] if self.is_steered else []
        context.evaluate(tokens[half:])

    def _vector(self, model: Model) -> ControlVector:
        rows = np.random.default_rng(0).normal(0, 1, (model.n_layers, model.n_embd))
        return ControlVector.from_array(rows * np.arange(len(rows))[:, None])


TARGETS = (
    Target("llama"),
    Target("llama", flash_attention=False),
    Target("llama", kv_cache_type="q8_0"),
    Target("qwen2vl"),
    Target("gemma3"),
    Target("gemma3", flash_attention=False),
    Target("gemma2"),
    Target("lfm2"),
    Target("jamba"),
    Target("lfm2swa"),
    Target("mamba"),
    Target("mamba2"),
    Target("llama", is_steered=True),
    Target("lfm2", is_steered=True),
)


def _tokens(n: int, seed: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(17, 512, n)]


@dataclass(frozen=True)
class Honest:
    """A file that a context saved, and what llama.cpp would have written in its place."""

    data: bytes
    foreign: bytes
    structure: Structure

    @classmethod
    def of(cls, target: Target, model: Model, path: Path, seed: int) -> Honest:
        """A conversation's file."""
        with target.context(model) as context:
            target.evaluate(context, _tokens(N_TOKENS, seed))
            context.save_session(path)
            structure, _ = context.layout
        data = path.read_bytes()
        parts = forge.take_apart(data)
        n_core = 12 + 4 * len(parts.tokens) + len(parts.state)
        foreign = bytearray(data[:n_core])
        for at, kind in forge.core_boundaries(data[:n_core], structure).items():
            if kind == "mark":
                foreign[at : at + 4] = bytes(4)
        return cls(data, bytes(foreign), structure)

    @property
    def core(self) -> bytes:
        """What llama.cpp reads of the file."""
        return self.data[: len(self.foreign)]

    def shape(self, structure: Structure) -> object:
        """The shape that a context of some structure sees in it."""
        try:
            return SequenceState(HEADER + self.core[12 + 4 * N_TOKENS :], structure).shape
        except LayoutError:
            return None


@dataclass(frozen=True)
class Case:
    """A file to load, and why accepting it is right; None where that would be wrong."""

    family: str
    change: str
    data: bytes
    allowed: str | None


class Subject:
    """A live context, and files for it."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._path, self._home = folder / "case.session", folder / "home.session"
        model = target.model(folder)
        self.context, self._target = target.context(model), target
        target.evaluate(self.context, _tokens(N_AFTER, 3))
        self._afterwards = self.context.logits.tobytes()
        self.context.clear()
        target.evaluate(self.context, _tokens(30, 1))
        self.context.save_session(self._home)
        self._here = self._standing()
        self.n_vocab = model.n_vocab
        self.honest = Honest.of(target, model, self._path, 2)
        self.parts = forge.take_apart(self.honest.data)
        structure = self.honest.structure
        edges = tuple(forge.boundaries(self.honest.data, structure))
        core, foreign = self.honest.core, self.honest.foreign
        inside = tuple(at for at in edges if at < len(core))
        self.bases = {
            "damaged": mutations.Base(self.honest.data, core, structure, edges),
            "forged": mutations.Base(core, core, structure, inside),
            "foreign": mutations.Base(foreign, foreign, structure, inside),
        }
        self.others = [
            Honest.of(other, weights, self._path, 5 + i)
            for i, (other, weights) in enumerate(self._others(target, folder))
        ]

    def _others(self, target: Target, folder: Path) -> Iterator[tuple[Target, Model]]:
        model = target.model(folder)
        yield target, model
        yield target, target.model(folder, seed=1)
        if target.kv_cache_type == "f16":
            yield replace(target, flash_attention=not target.flash_attention), model
            for architecture in ("llama", "gemma3", "lfm2", "mamba"):
                if architecture != target.architecture:
                    yield (other := Target(architecture)), other.model(folder)
        else:
            yield replace(target, kv_cache_type="q4_0"), model

    def _standing(self) -> tuple[Any, ...]:
        """Where the context stands, to the bit, and where one token more leads."""
        context = self.context
        tokens = context.tokens
        segment = context.capture(0)
        now = context.logits.tobytes(), segment.data[len(HEADER) :].tobytes(), segment.adapters
        context.evaluate([20])
        later = context.logits.tobytes()
        context.rewind(len(tokens))
        return tokens, *now, later

    def sealed(self, core: bytes, metadata: bytes | None = None, logits: bytes = b"") -> bytes:
        """A file with a trailer whose checksum holds."""
        metadata = self.parts.metadata if metadata is None else metadata
        logits = logits or self.parts.logits
        numbers = (len(core), len(metadata), len(logits) // 4, forge.VERSION)
        footer = b"".join(number.to_bytes(8, "little") for number in numbers)
        sealed: bytes = forge.sealed(core + metadata + logits + footer + bytes(32) + forge.END)
        return sealed

    def case(self, random: Random) -> Case:
        """A file that nobody saved, or not here."""
        family = FAMILIES[int(random.integers(3))]
        if random.random() < 0.1:
            return self._other(family, random)
        if random.random() < 0.1:
            return self._trailer(random)
        names = [*mutations.MUTATIONS]
        change = names[int(random.integers(len(names)))]
        base = self.bases[family]
        data: bytes = mutations.MUTATIONS[change](base, random)
        if family == "damaged":
            allowed = "unchanged" if data == base.data else None
        else:
            allowed = base.why_harmless(data, self.n_vocab)
        return Case(family, change, self.sealed(data) if family == "forged" else data, allowed)

    def _other(self, family: str, random: Random) -> Case:
        """Another conversation, or the same of another model or under other settings."""
        index = int(random.integers(len(self.others)))
        other = self.others[index]
        change = "a file of another model or setting" if index else "another conversation's file"
        fits = other.shape(self.honest.structure) == self.honest.shape(self.honest.structure)
        if family == "damaged":
            return Case(family, change, other.data, None if index else "an honest file")
        if family == "foreign":
            return Case(family, change, other.foreign, "no model is named" if fits else None)
        logits = forge.take_apart(other.data).logits
        sealed = self.sealed(other.core, logits=logits)
        return Case(family, change, sealed, "rows computed elsewhere" if fits else None)

    def _trailer(self, random: Random) -> Case:
        """Forged metadata, logits and footers."""
        metadata: dict[str, Any] = json.loads(self.parts.metadata)
        core, way, allowed = self.honest.core, int(random.integers(4)), None
        if way == 0:
            change = "other logits"
            logits = np.frombuffer(self.parts.logits, np.float32).copy()
            logits[int(random.integers(logits.size))] = random.choice([np.nan, -np.inf, 3e38, 0.0])
            allowed = "other logits" if np.isfinite(logits).all() else None
            data = self.sealed(core, logits=logits.tobytes())
        elif way == 1:
            change = "logits too few or too many"
            n = int(random.choice([1, self.n_vocab - 1, self.n_vocab + 1]))
            data = self.sealed(core, logits=bytes(4 * n))
        elif way == 2:
            change = "other metadata"
            others = {"settings", "environment", "created", "adapter_runs"} & {*metadata}
            key = str(random.choice([*metadata["settings"], *sorted(others)]))
            value = random.choice(["", "x" * 5000, "\x1b[31m", "null", "7"])
            holder = metadata["settings"] if key in metadata["settings"] else metadata
            before = holder[key]
            holder[key] = None if value == "null" else int(value) if value == "7" else str(value)
            allowed = "another date" if key == "created" else None
            allowed = "unchanged" if holder[key] == before else allowed
            data = self.sealed(core, json.dumps(metadata).encode())
        else:
            change = "a footer that lies"
            data = self.sealed(core)
            at = len(data) - 72 + 4 * int(random.integers(8))
            number = int(random.choice([0, 1, 2, 2**16, 2**31, 2**32 - 1]))
            changed = data[:at] + number.to_bytes(4, "little") + data[at + 4 :]
            allowed = "unchanged" if changed == data else None
            data = forge.sealed(changed)
        return Case("forged", change, data, allowed)

    def run(self, case: Case) -> tuple[str, str]:
        """Load a case: ``refused``, ``harmless`` or ``wrong``, and why."""
        self._path.write_bytes(case.data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.context.load_session(self._path)
        except SessionError as error:
            if self._standing() != self._here:
                return "wrong", f"refused, and moved: {error}"
            return "refused", type(error).__name__
        problems = [] if case.allowed else ["accepted"]
        try:
            self.context.generate(max_tokens=2, temperature=0)
            self.context.generate(max_tokens=2, temperature=1, seed=1)
        except MullamaError as error:
            problems.append(f"goes on with {error!r}")
        self.context.clear()
        self._target.evaluate(self.context, _tokens(N_AFTER, 3))
        if self.context.logits.tobytes() != self._afterwards:
            problems.append("lasts when it was cleared")
        self.context.load_session(self._home)
        if self._standing() != self._here:
            problems.append("lasts when another file was loaded")
        return ("wrong", ", ".join(problems)) if problems else ("harmless", str(case.allowed))


# -- processes -----------------------------------------------------------------------------------


def work(folder: Path, seed: int, first: int, cases: int) -> None:
    """Run the cases from ``first`` on, and say which begins and how it ended, a line each."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    subject, known = None, -1
    for index in range(first, cases):
        target = index * len(TARGETS) // cases
        if subject is None or target != known:
            subject, known = Subject(TARGETS[target], folder), target
        case = subject.case(np.random.default_rng([seed, index]))
        print(json.dumps([index, case.family, case.change]), flush=True)
        print(json.dumps(subject.run(case)), flush=True)


def results(folder: Path, seed: int, cases: int) -> Iterator[tuple[int, str, str, str, str]]:
    """Index, family, change, outcome and reason of each case; a crash is an outcome."""
    first = 0
    while first < cases:
        numbers = map(str, (folder, seed, first, cases))
        command = [sys.executable, "-m", "benchmarks.fuzz", "--work", *numbers]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            begun: list[Any] = []
            for line in _lines(process):
                if not begun:
                    begun = json.loads(line)
                    continue
                index, family, change = begun
                outcome, reason = json.loads(line)
                yield index, family, change, outcome, reason
                first, begun = index + 1, []
        if first < cases:
            if not begun:
                raise RuntimeError(f"exit code {process.returncode} before case {first}")
            index, family, change = begun
            yield index, family, change, "crash", f"exit code {process.returncode}"
            first = index + 1


def _lines(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """A process's lines; one that says nothing for long is ended."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    rest = b""
    while True:
        if not select.select([process.stdout], [], [], SECONDS)[0]:
            process.kill()
        data = process.stdout.read()
        if not data and process.poll() is not None:
            return
        *lines, rest = (rest + (data or b"")).split(b"\n")
        yield from lines


def fuzzed(cases: int, seed: int) -> tuple[Table, list[str]]:
    """Run so many cases: what came of them, and what must not have come."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    reasons: dict[tuple[str, str], set[str]] = {}
    problems = []
    with tempfile.TemporaryDirectory() as name:
        for index, family, change, outcome, reason in results(Path(name), seed, cases):
            key = family, change
            counts.setdefault(key, Counter())[outcome] += 1
            if outcome == "harmless":
                reasons.setdefault(key, set()).add(reason)
            elif outcome != "refused":
                problems.append(f"case {index} of {cases}, {family}, {change}: {outcome}, {reason}")
    table = Table("Damaged and forged session files", f"{cases:,} cases, seed {seed}")
    counts = {**dict(sorted(counts.items())), ("all", ""): sum(counts.values(), Counter())}
    for (family, change), count in counts.items():
        cells = {"family": family, "change": change, "cases": f"{count.total():,}"}
        for outcome in ("refused", "harmless", "wrong", "crash"):
            cells[outcome] = f"{count[outcome]:,}"
        why = "; ".join(sorted(reasons.get((family, change), ())))
        table.add(Row({**cells, "harmless because": why}, dict(count)))
    return table, problems


def run(effort: Effort) -> Sequence[Table]:
    """Count what comes of all cases; a problem is in the table."""
    table, _ = fuzzed(effort.scaled(CASES), seed=0)
    return [table]


def main(cases: int = CASES, seed: int = 0) -> None:
    """Run so many cases and print what came of them.

    Raises
    ------
    SystemExit
        When a process crashed, or a file was accepted that must not be.
    """
    table, problems = fuzzed(cases, seed)
    print(table.text())
    if problems:
        print("\n".join(problems))
        raise SystemExit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
        parser.add_argument("cases", nargs="?", type=int, default=CASES)
        parser.add_argument("--seed", type=int, default=0)
        main(**vars(parser.parse_args()))
