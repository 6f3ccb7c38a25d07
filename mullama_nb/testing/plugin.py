"""The pytest plugin: ``*.mullama.json`` files are tests with ``--mullama``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from ..engine.context import Context
from ..engine.model import Model
from ..engine.params import ContextParams
from ..history.chat import Chat
from .recording import read, record_again
from .replay import replay

__all__ = ["RecordingFile", "RecordingItem"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("mullama_nb")
    group.addoption("--mullama", action="store_true", help="replay *.mullama.json files")
    group.addoption("--mullama-update", action="store_true", help="record them anew")
    group.addoption("--mullama-model", metavar="MODEL", help="instead of the recorded model")
    group.addoption("--mullama-kv", metavar="TYPE", help="instead of the recorded KV cache type")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect recordings."""
    if file_path.name.endswith(".mullama.json") and parent.config.getoption("--mullama"):
        return RecordingFile.from_parent(parent, path=file_path)
    return None


class RecordingFile(pytest.File):
    """A recording."""

    def collect(self) -> Iterable[pytest.Item]:
        """The one test of the file."""
        yield RecordingItem.from_parent(self, name="replay")


class ReplayFailed(Exception):  # noqa: N818
    """The report of a replay that did not pass."""


class RecordingItem(pytest.Item):
    """Replays a recording."""

    def runtest(self) -> None:
        """Replay, or record anew."""
        model = self.config.getoption("--mullama-model") or read(self.path).model
        kv = self.config.getoption("--mullama-kv")
        options = {} if kv is None else {"kv_cache_type": kv}
        if self.config.getoption("--mullama-update"):
            record_again(self.path, Model.load(model), **options)
            return
        report = replay(self.path, model, **options)
        if not report.passed:
            raise ReplayFailed(str(report))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:  # type: ignore[override]
        """The report alone."""
        return f"{type(excinfo.value).__name__}: {excinfo.value}"

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it is."""
        return self.path, None, self.path.name


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """The demo model."""
    return Model.load("smollm2")


@pytest.fixture
def chat(smollm2: Model) -> Iterable[Chat]:
    """A chat of the demo model that draws nothing: temperature 0."""
    with Context(smollm2, ContextParams(n_ctx=2048)) as context:
        yield Chat(context, temperature=0)
