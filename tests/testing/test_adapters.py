"""Recordings of conversations with adapters: replayed with the same ones, or refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_adapters import write_lora
from tiny_models import CHATML, make_model

from mullama_nb import Chat, ControlVector, LoRA, Model
from mullama_nb.errors import AdapterError, RecordingError
from mullama_nb.testing import read, record, record_again, regress, replay
from mullama_nb.testing.adapters import adapters_beside
from mullama_nb.testing.reading import read_edited


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    return Model.load(make_model(folder / "m.gguf", "llama", chat_template=CHATML))


@pytest.fixture
def style(model: Model, tmp_path: Path) -> LoRA:
    return LoRA(write_lora(tmp_path / "style.gguf", model), scale=0.5)


@pytest.fixture
def calm(model: Model, tmp_path: Path) -> ControlVector:
    rows = np.random.default_rng(0).normal(0, 1, (model.n_layers, model.n_embd))
    rows[0] = 0
    ControlVector.from_array(rows).save(tmp_path / "calm.gguf")
    return ControlVector(tmp_path / "calm.gguf")


def led(model: Model, style: LoRA, calm: ControlVector) -> Chat:
    chat = Chat(model, n_ctx=512, n_threads=1, temperature=1.0, seed=1)
    chat.ask("why?", max_tokens=5)
    chat.adapters = [style]
    chat.ask("how?", max_tokens=5)
    chat.adapters = [style.with_scale(2), calm]
    chat.regenerate(max_tokens=5)  # with what was set last
    chat.adapters = [style.with_scale(2)]
    chat.ask("when?", max_tokens=5)
    return chat


@pytest.mark.slow
def test_a_recording_is_replayed_with_what_it_was_made_with(
    model: Model, style: LoRA, calm: ControlVector, tmp_path: Path
) -> None:
    chat, folder = led(model, style, calm), tmp_path / "recorded"
    folder.mkdir()
    path = folder / "a.mullama.json"
    made = record(chat, path)
    assert [note["name"] for note in made.settings["adapters"]] == ["style", "style", "calm"]
    assert str(tmp_path) not in path.read_text(encoding="utf-8")
    with pytest.raises(AdapterError, match=r"the LoRA 'style' .* not at hand"):
        replay(path, model)
    assert replay(path, model, "exact", adapters=[style.with_scale(9), calm]).passed
    for name in ("style.gguf", "calm.gguf"):
        shutil.copy(tmp_path / name, folder / name)  # beside it, they are found
    assert replay(path, model, "exact").passed
    assert regress(chat, path, "exact").passed
    again = record_again(path, model)
    assert [entry.tokens for entry in again.entries] == [entry.tokens for entry in made.entries]
    made_with = [[*entry.noted.adapters] for entry in made.entries]
    assert [[*entry.noted.adapters] for entry in again.entries] == made_with
    write_lora(folder / "style.gguf", model, seed=3)  # another one of that name is not taken
    with pytest.raises(AdapterError, match="not at hand"):
        replay(path, model)


def test_other_adapters_are_a_change(
    model: Model, style: LoRA, calm: ControlVector, tmp_path: Path
) -> None:
    path = tmp_path / "a.mullama.json"
    record(led(model, style, calm), path)
    report = regress(led(model, style.with_scale(0.25), calm), path)
    assert not report.passed
    assert any("adapters" in problem and "0.25" in problem for problem in report.problems)


@pytest.mark.slow
@pytest.mark.parametrize(
    "adapters",
    [3, [3], [{}], ["x"], [{"kind": "lora", "name": "a\nb"}], [{"kind": "lora", "scale": "1"}]],
)
def test_a_strangers_adapters_are_refused(
    model: Model, style: LoRA, calm: ControlVector, tmp_path: Path, adapters: object
) -> None:
    path = tmp_path / "a.mullama.json"
    record(led(model, style, calm), path)
    body = json.loads(path.read_text(encoding="utf-8"))
    body["entries"][-1]["notes"]["adapters"] = adapters
    path.write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(RecordingError, match="adapter"):
        read_edited(path)


def test_a_name_that_leads_elsewhere_is_not_followed(
    model: Model, style: LoRA, calm: ControlVector, tmp_path: Path
) -> None:
    folder = tmp_path / "recorded"
    folder.mkdir()
    chat = led(model, style, calm)
    record(chat, folder / "a.mullama.json")
    entries = [*read(folder / "a.mullama.json").entries]
    found = adapters_beside(tmp_path / "a.mullama.json", entries)
    assert found == [style.with_scale(1), calm]
    for name in ("../style", str(tmp_path / "style"), "style\0", ""):
        for entry in entries:
            for note in entry.noted.adapters:
                note["name"] = name  # type: ignore[index]
        assert adapters_beside(folder / "a.mullama.json", entries) == []
