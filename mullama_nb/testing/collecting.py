"""Suites under pytest: each cell is a test, such as ``words.suite.yaml::Paris[smollm2,q8_0]``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..errors import MullamaError
from ..tasks import worker
from .suites.case import Case
from .suites.cell import SuiteCell
from .suites.evaluating import evaluate
from .suites.file import read_suite
from .suites.labels import cell_id
from .suites.ordering import ordered
from .suites.settings import Setting
from .suites.suite import Suite
from .suites.task import CellTask
from .suites.told import properties, report

__all__ = ["SuiteFile", "SuiteItem"]

_MOST_COMPARED = 4_000  # characters
_holder: pytest.StashKey[_Held] = pytest.StashKey()


@dataclass
class _Held:
    """The model that is in memory: one at a time."""

    source: object = None


class SuiteFile(pytest.File):
    """A file with a suite."""

    suite: Suite
    _models: dict[str, int]  # of each cell
    _tasks: dict[int, dict[str, CellTask]]  # by model, by cell

    def collect(self) -> Iterable[pytest.Item]:
        """Yield a test for each cell, in the order in which they have most in common.

        Raises
        ------
        pytest.Collector.CollectError
            When the file cannot be read.
        """
        option = self.config.option
        models = [] if option.mullama_model is None else [option.mullama_model]
        types = [] if option.mullama_kv is None else [option.mullama_kv]
        try:
            self.suite = read_suite(Suite, self.path, models, types)
            self._models = _in_order(self.suite)
        except MullamaError as error:
            raise self.CollectError(str(error)) from None
        self._tasks = {}
        for id_ in self._models:
            item: SuiteItem = SuiteItem.from_parent(self, name=_named(id_))
            item.cell_id = id_
            yield item

    def task(self, id_: str) -> CellTask:
        """Return the task of a cell; the first one of a model loads it."""
        number = self._models[id_]
        held = self.config.stash.setdefault(_holder, _Held())
        source = self.suite.models[number]
        if held.source is None:
            self.config.add_cleanup(worker.forget)
        elif held.source != source:
            worker.forget()
        held.source = source
        if number not in self._tasks:
            ids = [cell for cell, n in self._models.items() if n == number]
            self._tasks[number] = {task.id: task for task in self.suite.tasks(ids)}
        return self._tasks[number][id_]


class SuiteItem(pytest.Item):
    """A test of one cell."""

    cell_id: str
    parent: SuiteFile

    def runtest(self) -> None:
        """Evaluate the cell, and fail with what was found."""
        n_workers = getattr(self.config, "workerinput", {}).get("workercount", 1)  # of xdist
        with worker.running_elsewhere(n_workers) if n_workers > 1 else nullcontext():
            cell = evaluate(self.parent.task(self.cell_id))
        self.user_properties += [*properties(cell)]
        if not cell.passed:
            raise _CellError(cell)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what was found, without a traceback, and how to run it alone."""
        error = excinfo.value
        if isinstance(error, _CellError):
            lines = [*report(error.cell)]
        elif isinstance(error, MullamaError):
            lines = [str(error)]
        else:
            return super().repr_failure(excinfo, style)
        return "\n".join([*lines, f"alone: {self._command()}"])

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return the location and name of the test."""
        return self.path, None, self.name

    def _command(self) -> str:
        option = self.config.option
        place = os.path.relpath(self.path, self.config.invocation_params.dir)
        words = ["pytest", "--mullama", f"{place}::{self.name}"]
        for name, value in (("model", option.mullama_model), ("kv", option.mullama_kv)):
            words += [] if value is None else [f"--mullama-{name}={value}"]
        return shlex.join(words)


class _CellError(AssertionError):
    def __init__(self, cell: SuiteCell) -> None:
        super().__init__(str(cell))
        self.cell = cell


def _in_order(suite: Suite) -> dict[str, int]:
    """The cells with their models, by what their texts have in common: nothing is loaded yet."""
    groups: dict[Any, list[tuple[str, str]]] = {}
    for number, model in enumerate(suite.model_labels):
        for setting in suite.settings:
            key = number, setting.params, setting.adapters
            groups.setdefault(key, []).extend(
                (cell_id(label, model, setting.label), _beginning(case, setting))
                for case, label in zip(suite.cases, suite.case_labels, strict=True)
            )
    models: dict[str, int] = {}
    for (number, *_), cells in groups.items():
        order = ordered([[*map(ord, text)] for _, text in cells])
        models |= {cells[index][0]: number for index in order.indices}
    return models


def _beginning(case: Case, setting: Setting) -> str:
    said = case.said if isinstance(case.said, str) else ""
    if isinstance(case.said, Sequence) and not isinstance(case.said, str):
        said = "\0".join(f"{each.get('role')}\0{each.get('content')}" for each in case.said)
    return f"{setting.system or ''}\0{said}"[:_MOST_COMPARED]


def _named(id_: str) -> str:
    """The id as a name that can be selected: pytest parts names at double colons."""
    return id_.replace("::", ":")
