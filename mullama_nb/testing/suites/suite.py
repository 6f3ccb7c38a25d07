"""A suite: cases x models x settings, judged by the cases' checks."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from ...cached import cached
from ...checks import check_integer, check_list, did_you_mean
from ...engine.files.gguf_file import fingerprint
from ...engine.files.locate import locate_model
from ...engine.model import Model
from ...errors import ParameterError, shown
from ...progress import Progress, check_progress
from ...tasks import worker
from ...tasks.recipe import ModelRecipe
from ...tasks.running import run_all
from ..reading import read
from ..recording import Recording
from .case import Case
from .cell import SuiteCell
from .evaluating import evaluate, failed
from .file import read_suite
from .journal import Journal
from .labels import cell_id, check_label, told_apart
from .planning import planned
from .progress import followed
from .result import SuiteResult
from .settings import Setting, checked_settings
from .task import CellTask, task_digest

__all__ = ["Suite"]

ModelSource: TypeAlias = "str | os.PathLike[str] | Model"

_MOST_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class _Field:
    """A place in the matrix: the indices of its case, model and setting."""

    case: int
    model: int
    setting: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to run: the cells by id, models and recordings by place, and the result so far."""

    chosen: Mapping[str, _Field]
    sources: Mapping[int, _Source]
    recordings: Mapping[int, Recording]
    empty: SuiteResult


class Suite:
    """Cases that are put to models with settings, and judged.

    Parameters
    ----------
    cases : sequence of Case
    models : sequence of str, path or Model
        Names for ``Model.load``, files, or models that are loaded already.
    settings : sequence of mapping
        With what the cases are asked: fields of ``ContextParams`` and ``SamplingParams``, limits,
        ``system``, ``chat_template``, ``chat_template_kwargs`` and ``adapters``. ``name`` is how a
        setting is called; otherwise that is made from what differs.
    name : str
    repeat : int
        How many answers are drawn to each question, in one batch, each with draws of its own.

    Raises
    ------
    ParameterError
        When something in it is out of range, or two names are the same.

    Notes
    -----
    Nothing is loaded before :meth:`run`. Draws have a fixed seed, 0 unless another is given, and
    chat templates that ask for the date are told the same one, 1 January 2025, so that a suite is
    reproducible. A recording is replayed with the parameters of the context and the adapters of a
    setting, and with what it was recorded with otherwise.
    """

    def __init__(
        self,
        cases: Iterable[Case],
        models: Iterable[ModelSource],
        settings: Sequence[Mapping[str, Any]] = ({},),
        *,
        name: str = "suite",
        repeat: int = 1,
    ) -> None:
        self.name = check_label("name", name)
        self.repeat = check_integer("repeat", repeat, 1, _MOST_DRAWS)
        self.cases = _listed("cases", cases, Case, "Case('Why?')")
        self.models = _listed("models", models, (str, os.PathLike, Model), "'smollm2'")
        self.settings: tuple[Setting, ...] = checked_settings(settings)
        self.case_labels = told_apart("cases", [(c.name, c.has_own_name) for c in self.cases])
        self.model_labels = told_apart("models", [(_label(m), False) for m in self.models])

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Suite:
        """Read a suite from ``NAME.suite.yaml``, ``NAME.suite.yml`` or ``NAME.suite.jsonl``.

        Paths in it begin where the file lies. Recordings and chat templates lie there or below, as
        the file may be a stranger's; models and adapters may lie anywhere.

        Raises
        ------
        SuiteError
            When the file is missing or has mistakes; each is told with its line and field.
        """
        return read_suite(cls, path)

    @property
    def setting_labels(self) -> tuple[str, ...]:
        """The names of the settings, in order."""
        return tuple(setting.label for setting in self.settings)

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """The ids of the cells, by case, then model, then setting: ``capital[smollm2,q8_0]``."""
        return tuple(self._fields)

    @cached
    def _fields(self) -> dict[str, _Field]:
        return {
            cell_id(case, model, setting): _Field(c, m, s)
            for c, case in enumerate(self.case_labels)
            for m, model in enumerate(self.model_labels)
            for s, setting in enumerate(self.setting_labels)
        }

    # -- run -----------------------------------------------------------------------------------

    def run(
        self,
        executor: Executor | None = None,
        *,
        results: str | os.PathLike[str] | None = None,
        progress: Progress = None,
        select: Iterable[str] | None = None,
    ) -> SuiteResult:
        """Evaluate the cells, and return what came of them.

        Cells on one model with one setting of the context go in the order of the tree of their
        tokens, on one context: what they have in common is evaluated once. An error in a cell
        becomes its result.

        Parameters
        ----------
        executor : Executor, optional
            Where cells are evaluated: a pool of processes, a Dask or ipyparallel client's executor.
            Functions and checks must then be importable there. None: this process.
        results : str or path, optional
            A file of JSON lines: results are appended as they come, and those that it holds of the
            same tasks are not evaluated again. A run that was stopped goes on so.
        progress : bool or callable, optional
            A bar, or none; None for a bar where a terminal or a notebook shows it. A function is
            called with the cells that are done, and all.
        select : iterable of str, optional
            The ids of the cells to evaluate. None: all.

        Returns
        -------
        SuiteResult

        Raises
        ------
        ParameterError
            When a selected cell is none of the suite's.
        RecordingError
            When a case is a recording, and its file is damaged; before anything is loaded.
        ModelNotFoundError
            When a model is not known here; before anything is evaluated.
        KeyboardInterrupt
            After an interrupt; what came by then is in the file.
        """
        check_progress(progress)
        plan = self._plan(select)
        with ExitStack() as stack:
            journal = None if results is None else stack.enter_context(Journal(results, plan.empty))
            cells = {} if journal is None else dict(journal.cells)
            follow = followed(progress, len(plan.chosen), cells.values(), name=self.name)
            come = stack.enter_context(follow)
            for cell in self._run(plan, [id_ for id_ in plan.chosen if id_ not in cells], executor):
                cells[cell.id] = cell
                if journal is not None:
                    journal.append(cell)
                come(cell)
        return replace(plan.empty, cells=tuple(cells.values()))

    def tasks(self, select: Iterable[str] | None = None) -> Iterator[CellTask]:
        """Return the tasks of cells one after the other, for who runs them in another way.

        Parameters
        ----------
        select : iterable of str, optional
            The ids of the cells. None: all.

        Returns
        -------
        iterator of CellTask
            In the order of :meth:`run`; a model is loaded when its first task is asked for.

        Raises
        ------
        ParameterError, RecordingError, ModelNotFoundError
            As for :meth:`run`.
        """
        plan = self._plan(select)
        return self._tasks(plan, plan.chosen)

    def _plan(self, select: Iterable[str] | None) -> _Plan:
        """What is to run, with all that could be wrong with it checked."""
        chosen = self._chosen(select)
        recordings = {
            place: read(case.said)
            for place, case in enumerate(self.cases)
            if isinstance(case.said, Path)
        }
        sources = {m: _Source(self.models[m]) for m in sorted({f.model for f in chosen.values()})}
        return _Plan(chosen, sources, recordings, self._empty(chosen, sources))

    def _chosen(self, select: Iterable[str] | None) -> dict[str, _Field]:
        if select is None:
            return self._fields
        ids = {*map(str, check_list("select", select, f"ids, such as [{self.cell_ids[0]!r}]"))}
        for unknown in sorted(ids - self._fields.keys(), key=str):
            hint = did_you_mean(str(unknown), self._fields, 0.3)
            raise ParameterError(
                f"the suite has no cell {shown(repr(unknown))}{f' ({hint})' if hint else ''}; "
                f"it has {len(self._fields)}, see Suite.cell_ids"
            )
        return {id_: field for id_, field in self._fields.items() if id_ in ids}

    def _empty(self, chosen: Mapping[str, _Field], sources: Mapping[int, _Source]) -> SuiteResult:
        """The result before anything is evaluated."""
        tasks = {
            id_: task_digest(
                self.cases[field.case],
                self.settings[field.setting],
                sources[field.model].fingerprint,
                self.repeat,
            )
            for id_, field in chosen.items()
        }
        cases, models, settings = (
            tuple(label for i, label in enumerate(labels) if i in used)
            for labels, used in (
                (self.case_labels, {field.case for field in chosen.values()}),
                (self.model_labels, {field.model for field in chosen.values()}),
                (self.setting_labels, {field.setting for field in chosen.values()}),
            )
        )
        return SuiteResult(self.name, cases, models, settings, (), tasks)

    def _run(
        self, plan: _Plan, ids: Collection[str], executor: Executor | None
    ) -> Iterator[SuiteCell]:
        """Evaluate cells."""
        begun: list[CellTask] = []

        def tasks() -> Iterator[CellTask]:
            for task in self._tasks(plan, ids):
                if executor is None and begun and begun[-1].model != task.model:
                    worker.forget()  # one model at a time is in memory here
                begun.append(task)
                yield task

        for index, outcome in run_all(evaluate, tasks(), executor):
            task = begun[index]
            yield failed(task, outcome) if isinstance(outcome, Exception) else outcome

    def _tasks(self, plan: _Plan, ids: Collection[str]) -> Iterator[CellTask]:
        """The tasks of cells, model by model, in the order in which they share most."""
        for number, source in plan.sources.items():
            if not any(plan.chosen[id_].model == number for id_ in ids):
                continue
            model = source.load()
            recipe = ModelRecipe.of(model)
            tasks = []
            for id_, field in self._fields.items():
                if field.model == number:
                    case, setting = self.cases[field.case], self.settings[field.setting]
                    labels = self.case_labels[field.case], self.model_labels[number], setting.label
                    task = CellTask(
                        *(id_, *labels, case, setting, recipe, setting.params, self.repeat),
                        digest=plan.empty.tasks.get(id_, ""),
                        recording=plan.recordings.get(field.case),
                    )
                    tasks.append(task)
            yield from (task for task in planned(tasks, model) if task.id in ids)

    def __repr__(self) -> str:
        counts = (
            (len(self.cases), "case"),
            (len(self.models), "model"),
            (len(self.settings), "setting"),
        )
        words = ", ".join(f"{n} {one}{'s' * (n != 1)}" for n, one in counts)
        repeat = f", repeat={self.repeat}" if self.repeat > 1 else ""
        return f"Suite({self.name!r}, {words}{repeat})"


class _Source:
    """A model that is known to be there, and is loaded when its turn comes."""

    def __init__(self, given: ModelSource) -> None:
        self._given = given
        if isinstance(given, Model):
            self.fingerprint = given.fingerprint
        else:
            self.fingerprint = fingerprint(locate_model(given))

    def load(self) -> Model:
        """Return the model."""
        return self._given if isinstance(self._given, Model) else Model.load(self._given)


def _label(model: ModelSource) -> str:
    """What a model is called: its name, or that of its file."""
    if isinstance(model, Model):
        name = model.name
    else:
        path = Path(model)
        name = path.stem if path.suffix.lower() == ".gguf" and ":" not in path.name else str(model)
    return name.replace("[", "(").replace("]", ")").replace(",", ";")


def _listed(what: str, given: object, kinds: Any, example: str) -> tuple[Any, ...]:
    if isinstance(given, (str, os.PathLike, Mapping, Case, Model)) or not isinstance(
        given, Iterable
    ):
        raise ParameterError(f"{what} are a list, such as [{example}], not {shown(given)}")
    listed = tuple(given)
    if not listed:
        raise ParameterError(f"a suite needs {what}, such as [{example}]; there are none")
    for each in listed:
        if not isinstance(each, kinds):
            raise ParameterError(f"{what} are a list, such as [{example}]; {shown(each)} is none")
    return listed
