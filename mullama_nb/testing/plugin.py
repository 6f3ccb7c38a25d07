"""The pytest plugin: ``*.mullama.json`` files are tests with ``--mullama``.

==========================  ===================================================================
``--mullama``               collect ``*.mullama.json`` files; each is replayed
``--mullama-update``        lead their conversations again, and record what comes of them
``--mullama-model MODEL``   use this model instead of the one that the file names
``--mullama-kv TYPE``       use this KV cache type instead of the recorded one
==========================  ===================================================================

Fixtures are ``smollm2``, ``tiny_model`` and ``chat``. With ``--nbval``, what cells print by
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

# Every run of pytest imports this module: llama.cpp is not loaded before something needs it.

__all__ = ["RecordingFile", "RecordingItem", "chat", "smollm2", "tiny_model"]

_SUFFIX = ".mullama.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("mullama_nb", "recorded conversations")
    group.addoption("--mullama", action="store_true", help=f"replay *{_SUFFIX} files as tests")
    group.addoption(
        "--mullama-update",
        action="store_true",
        help="lead their conversations again and record them anew, instead of replaying",
    )
    group.addoption("--mullama-model", metavar="MODEL", help="instead of the recorded model")
    group.addoption("--mullama-kv", metavar="TYPE", help="instead of the recorded KV cache type")


def pytest_configure(config: pytest.Config) -> None:
    """Have nbval leave the model's words out, unless it was given a file already."""
    option = config.option
    runs_nbval = getattr(option, "nbval", False) or getattr(option, "nbval_lax", False)
    if runs_nbval and option.nbval_sanitize_with is None:
        from .shown_words import sanitize_file

        option.nbval_sanitize_with = str(sanitize_file())


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect recordings."""
    option = parent.config.option
    if file_path.name.endswith(_SUFFIX) and (option.mullama or option.mullama_update):
        made: RecordingFile = RecordingFile.from_parent(parent, path=file_path)
        return made
    return None


class RecordingFile(pytest.File):
    """A recording."""

    def collect(self) -> Iterable[pytest.Item]:
        """The one test of the file."""
        yield RecordingItem.from_parent(self, name="replay")


class RecordingItem(pytest.Item):
    """Replays a recording, or records it anew."""

    def runtest(self) -> None:
        """Fail with the report when the recording does not hold."""
        from .replaying import replay
        from .rerunning import record_again

        option = self.config.option
        changes: dict[str, Any] = {}
        if option.mullama_kv is not None:
            k, _, v = option.mullama_kv.partition(",")
            changes["kv_cache_type"] = (k, v) if v else k
        if option.mullama_update:
            record_again(self.path, option.mullama_model, **changes)
        else:
            replay(self.path, option.mullama_model, **changes).check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The report or the error's words alone, without the way there."""
        from ..errors import MullamaError

        if isinstance(excinfo.value, MullamaError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """How the test is called."""
        return self.path, None, self.path.name.removesuffix(_SUFFIX)


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """The demo model, loaded once."""
    from ..engine.model import Model

    return Model.load("smollm2")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of random weights that loads in milliseconds and needs no file: see `tiny`."""
    from ..engine.model import Model
    from .tiny import make_tiny_model

    return Model.load(make_tiny_model(tmp_path_factory.mktemp("mullama_nb") / "tiny.gguf"))


@pytest.fixture
def chat(smollm2: Model) -> Iterator[Chat]:
    """An empty chat with the demo model, at temperature 0: nothing is drawn."""
    from ..history.chat import Chat

    made = Chat(smollm2, temperature=0)
    yield made
    made.context.close()
