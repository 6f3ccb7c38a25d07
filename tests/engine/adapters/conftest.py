"""A tiny model, and LoRAs of it and of others."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import ModelMaker
from engine.adapters.adapted import MakeLoRA
from tiny_adapters import write_lora

from mullama_nb import LoRA, Model


@pytest.fixture(scope="module")
def model(tiny: ModelMaker) -> Model:
    return tiny()


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> MakeLoRA:
    folder = tmp_path_factory.mktemp("adapters")

    def make(model: Model, seed: int = 0, scale: float = 1.0, **options: Any) -> LoRA:
        name = "-".join(map(str, [model.path.stem, seed, *map(repr, options.values())]))
        path = folder / f"{name}.gguf"
        if not path.exists():
            write_lora(path, model, seed=seed, **options)
        return LoRA(path, scale)

    return make
