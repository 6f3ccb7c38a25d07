"""The pytest plugin: recordings and suites are tests with ``--mullama``.

==========================  =====================================================================
``--mullama``               collect ``*.mullama.json`` files, which are replayed, and
                            ``*.suite.yaml``, ``.yml`` and ``.jsonl``, whose cells are tests
``--mullama-update``        lead recorded conversations again, and record the results
``--mullama-model MODEL``   use this model instead of those that the files name
``--mullama-kv TYPE``       use this KV cache type instead of those in the files
==========================  =====================================================================

The fixtures are ``smollm2``, ``tiny_model`` and ``chat``. With ``--nbval``, output of cells through
``mullama_nb.testing.words`` is left out of the comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..engine.model import Model
    from ..history.chat import Chat
    from .recording import Recording

# Every run of pytest imports this module: llama.cpp is not loaded before something needs it.

__all__ = ["RecordingFile", "RecordingItem", "chat", "smollm2", "tiny_model"]

_SUFFIX = ".mullama.json"
_SUITES = (".suite.yaml", ".suite.yml", ".suite.jsonl")
_models: pytest.StashKey[dict[Any, Model]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("mullama_nb", "recorded conversations and suites")
    group.addoption(
        "--mullama",
        action="store_true",
        help=f"replay *{_SUFFIX} files, and run the cells of *{', *'.join(_SUITES)}, as tests",
    )
    group.addoption(
        "--mullama-update",
        action="store_true",
        help="lead their conversations again and record them anew, instead of replaying",
    )
    group.addoption("--mullama-model", metavar="MODEL", help="instead of those in the files")
    group.addoption("--mullama-kv", metavar="TYPE", help="instead of those in the files")


def pytest_configure(config: pytest.Config) -> None:
    """Make nbval ignore the model's words, unless it was given a sanitize file."""
    option = config.option
    runs_nbval = getattr(option, "nbval", False) or getattr(option, "nbval_lax", False)
    if runs_nbval and not (option.nbval_sanitize_with or option.sanitize_with):
        from .shown_words import sanitize_file

        option.nbval_sanitize_with = str(sanitize_file())


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect recordings and suites."""
    option = parent.config.option
    if option.mullama and file_path.name.endswith(_SUITES):
        from .collecting import SuiteFile

        suite: SuiteFile = SuiteFile.from_parent(parent, path=file_path)
        return suite
    if file_path.name.endswith(_SUFFIX) and (option.mullama or option.mullama_update):
        made: RecordingFile = RecordingFile.from_parent(parent, path=file_path)
        return made
    return None


class RecordingFile(pytest.File):
    """A file with a recording."""

    def collect(self) -> Iterable[pytest.Item]:
        """Yield the file's only test."""
        yield RecordingItem.from_parent(self, name="replay")


class RecordingItem(pytest.Item):
    """A test that replays a recording, or records it anew."""

    def runtest(self) -> None:
        """Fail with the report if the recording does not hold."""
        from .adapters import adapters_beside
        from .replaying import replayed
        from .rerunning import record_again
        from .rule import Rule

        option = self.config.option
        changes: dict[str, Any] = {}
        if option.mullama_kv is not None:
            changes["kv_cache_type"] = option.mullama_kv
        recording, model = self._loaded()
        if option.mullama_update:
            record_again(self.path, model, **changes)
        else:
            adapters = adapters_beside(self.path, recording.entries)
            replayed(recording, model, Rule(), changes, adapters=adapters).check()

    def _loaded(self) -> tuple[Recording, Model]:
        """The recording, and its model: loaded once for all files that name it."""
        from ..engine.model import Model
        from .reading import read, read_edited
        from .replaying import find_model

        is_updated = self.config.option.mullama_update
        recording = read_edited(self.path) if is_updated else read(self.path)
        name = self.config.option.mullama_model
        models = self.config.stash.setdefault(_models, {})
        key = name or (recording.model, recording.settings.get("fingerprint"))
        if key not in models:
            models[key] = find_model(recording) if name is None else Model.load(name)
        return recording, models[key]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the report or error message, without a traceback."""
        from ..errors import MullamaError

        if isinstance(excinfo.value, MullamaError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return the location and name of the test."""
        return self.path, None, self.path.name.removesuffix(_SUFFIX)


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """Return the demo model, loaded once."""
    from ..engine.model import Model

    return Model.load("smollm2")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Return a model of random weights that loads in milliseconds; see `tiny`."""
    from ..engine.model import Model
    from .tiny import make_tiny_model

    return Model.load(make_tiny_model(tmp_path_factory.mktemp("mullama_nb") / "tiny.gguf"))


@pytest.fixture
def chat(smollm2: Model) -> Iterator[Chat]:
    """Return an empty chat with the demo model at temperature 0."""
    from ..history.chat import Chat

    made = Chat(smollm2, temperature=0)
    yield made
    made.context.close()
