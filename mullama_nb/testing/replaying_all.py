"""Replaying many recordings, here or on an executor."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import check_list
from ..engine.adapters.values import Adapter, checked_adapters
from ..engine.model import Model
from ..engine.options import lists_context
from ..engine.params import ContextParams
from ..errors import ModelNotFoundError, MullamaError, ParameterError, RegressionError, shown
from ..tables import WRAPPED, html_table
from ..tasks import worker
from ..tasks.recipe import ModelRecipe
from ..tasks.running import run_all
from .adapters import adapters_beside
from .reading import read
from .recording import Recording, context_params
from .replaying import find_name, replayed
from .report import Report
from .rule import MARGIN, TOLERANCE, Rule

if TYPE_CHECKING:
    from rich.text import Text
    from typing_extensions import Unpack

    from ..engine.options import ContextOptions

__all__ = ["Replay", "ReplayResults", "replay_all"]


@dataclass(frozen=True)
class Replay:
    """One recording, and what came of it.

    Attributes
    ----------
    name : str
        The path, as it was given.
    report : Report or None
        None where it could not be replayed.
    error : str
        Why not; otherwise empty.
    """

    name: str
    report: Report | None
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether it was replayed, and holds."""
        return self.report is not None and self.report.passed

    def lines(self) -> Iterator[tuple[str, str]]:
        """Return its lines, as those of a report; the first has the name."""
        if self.report is None:
            yield "head", f"{self.name}: FAILED: {self.error}"
            return
        (kind, head), *rest = self.report.lines()
        yield kind, f"{self.name}: {head}"
        if not self.passed:
            yield from ((kind, f"    {line}") for kind, line in rest)


@dataclass(frozen=True)
class ReplayResults(Sequence[Replay]):
    """What came of many recordings, in the order in which they were given.

    Attributes
    ----------
    replays : tuple of Replay
    """

    replays: tuple[Replay, ...]

    @property
    def passed(self) -> bool:
        """Whether all were replayed, and hold."""
        return all(replay.passed for replay in self.replays)

    @property
    def failed(self) -> tuple[Replay, ...]:
        """Those that do not hold, or could not be replayed."""
        return tuple(replay for replay in self.replays if not replay.passed)

    def check(self) -> None:
        """Raise unless all hold.

        Raises
        ------
        RegressionError
            With the reports of those that do not.
        """
        if not self.passed:
            raise RegressionError(str(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain values, for JSON."""
        return {
            "passed": self.passed,
            "recordings": [
                {
                    "name": replay.name,
                    "passed": replay.passed,
                    "error": replay.error or None,
                    "report": replay.report and replay.report.to_dict(),
                }
                for replay in self.replays
            ],
        }

    def __getitem__(self, index: Any) -> Any:
        return self.replays[index]

    def __len__(self) -> int:
        return len(self.replays)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Return the lines, as those of a report, with all of the reports that failed."""
        n, n_failed = len(self.replays), len(self.failed)
        verdict = f"{n_failed} FAILED" if n_failed else "passed"
        yield "head", f"{n} recording{'s' * (n != 1)}: {verdict}"
        for replay in self.replays:
            yield from replay.lines()

    def __str__(self) -> str:
        return "\n".join(line for _, line in self.lines())

    def __rich__(self) -> Text:
        from rich.text import Text

        shown = Text()
        for kind, line in self.lines():
            colour = "" if kind != "head" else "bold red" if "FAILED" in line else "green"
            shown.append(f"{line}\n", colour)
        shown.rstrip()
        return shown

    def _repr_html_(self) -> str:
        rows = [
            (
                replay.name,
                next(replay.report.lines())[1] if replay.report else f"FAILED: {replay.error}",
            )
            for replay in self.replays
        ]
        details = "".join(
            f"<details><summary>{html.escape(replay.name)}</summary>"
            f"{replay.report._repr_html_()}</details>"
            for replay in self.failed
            if replay.report is not None
        )
        caption = next(self.lines())[1]
        table = html_table(rows, ("recording", "result"), styles=[WRAPPED] * 2, caption=caption)
        return table + details


@dataclass(frozen=True)
class _Task:
    """One recording on one model, as it is sent to a worker."""

    name: str
    model: ModelRecipe
    rule: Rule
    options: Mapping[str, Any]
    adapters: tuple[Adapter, ...]
    recording: Recording | MullamaError = field(repr=False)
    beside: tuple[Adapter, ...]


@lists_context
def replay_all(
    paths: Iterable[str | os.PathLike[str]],
    model: str | os.PathLike[str] | Model | None = None,
    level: str = "probabilities",
    *,
    margin: float = MARGIN,
    tolerance: float = TOLERANCE,
    adapters: Sequence[Adapter] = (),
    executor: Executor | None = None,
    **options: Unpack[ContextOptions],
) -> ReplayResults:
    """Replay many recordings, each as :func:`replay` does, model by model.

    A recording that cannot be replayed ends nothing: the results say why.

    Parameters
    ----------
    paths : iterable of str or path
    model : str, path or Model, optional
        None: for each, the model known by the name in the recording.
    level : {"exact", "near-ties", "probabilities"}
    margin, tolerance : float
    adapters : sequence of LoRA and ControlVector
        As for :func:`replay`.
    executor : Executor, optional
        Where they are replayed: a :class:`~mullama_nb.SpawnedPool`, or any other of
        ``concurrent.futures``. None: in this process.
    **options
        Fields of ``ContextParams`` that replace the recorded ones. Without ``n_threads``, workers
        on one machine share its CPUs.

    Returns
    -------
    ReplayResults
        In the order of ``paths``.

    Raises
    ------
    ParameterError
        When the level or an option is invalid.
    ModelNotFoundError
        When there is no model of the name that was given.
    TaskError
        When the executor has no worker left.
    """
    rule = Rule(level, margin, tolerance)
    ContextParams().with_changes(**options)
    given = None if model is None else _recipe(model)
    at_hand = checked_adapters(adapters)
    given_paths = check_list("paths", paths, "paths of recordings")
    for path in given_paths:
        if not isinstance(path, (str, os.PathLike)):
            raise ParameterError(f"paths holds {shown(path)}, which is no path of a recording")
    names = [os.fspath(path) for path in given_paths]
    came: dict[int, Replay] = {}
    recipes: dict[int, ModelRecipe] = {}
    known: dict[tuple[str, object], ModelRecipe] = {}
    for number, name in enumerate(names):
        try:
            recording = read(name)
            of = recording.model, recording.settings.get("fingerprint")
            if given is None and of not in known:
                known[of] = _recipe_of(recording, is_sent=executor is not None)
            recipes[number] = given or known[of]
        except MullamaError as error:
            came[number] = _noted(name, error)
    order = sorted(recipes, key=lambda number: recipes[number].fingerprint)

    def tasks() -> Iterator[_Task]:  # read again, so that few are in memory
        for number in order:
            name = names[number]
            yield _Task(name, recipes[number], rule, options, tuple(at_hand), *_read(name))

    with closing(run_all(_replay, tasks(), executor)) as outcomes:
        for index, outcome in outcomes:
            came[order[index]] = _noted(names[order[index]], outcome)
    return ReplayResults(tuple(came[number] for number in range(len(names))))


def _read(name: str) -> tuple[Recording | MullamaError, tuple[Adapter, ...]]:
    try:
        recording = read(name)
        return recording, tuple(adapters_beside(Path(name), recording.entries))
    except MullamaError as error:
        return error, ()


def _replay(task: _Task) -> Report:
    if isinstance(task.recording, MullamaError):
        raise task.recording
    options = dict(task.options)
    params = worker.sharing(context_params(task.recording, **options))
    return replayed(
        task.recording,
        worker.model(task.model),
        task.rule,
        {**options, "n_threads": params.n_threads},
        adapters=(*task.beside, *task.adapters),
    )


def _noted(name: str, outcome: Report | Exception) -> Replay:
    if isinstance(outcome, Report):
        return Replay(name, outcome)
    kind = "" if isinstance(outcome, MullamaError) else f"{type(outcome).__name__}: "
    return Replay(name, None, f"{kind}{outcome}")


def _recipe(model: str | os.PathLike[str] | Model) -> ModelRecipe:
    return ModelRecipe.of(model) if isinstance(model, Model) else ModelRecipe.named(model)


def _recipe_of(recording: Recording, *, is_sent: bool) -> ModelRecipe:
    try:
        return ModelRecipe.named(find_name(recording))
    except ModelNotFoundError:
        fingerprint = recording.settings.get("fingerprint")
        if not (is_sent and isinstance(fingerprint, str)):
            raise
        return ModelRecipe(recording.model, fingerprint)  # the workers may have it
