"""Answers as tasks, as a worker carries them out."""

from __future__ import annotations

import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import ModelMaker
from tasks.explored import TOKENS, context_behind, in_worker, task_for
from tiny_adapters import write_lora

from mullama_nb import ControlVector, LoRA
from mullama_nb.errors import AdapterError, ModelMismatchError, SessionFormatError
from mullama_nb.state.segment_file import segment_bytes, write_segment
from mullama_nb.tasks import exploring
from mullama_nb.tasks.adapters import AdapterRecipe
from mullama_nb.tasks.exploring import RowsNeeded, explore


def test_rows_are_asked_for_where_there_are_none(tiny: ModelMaker, tmp_path: Path) -> None:
    context = context_behind(tiny())
    rows = context.capture()
    gone, damaged, other, whole = (tmp_path / name for name in "abcd")
    write_segment(whole, rows)
    damaged.write_bytes(whole.read_bytes()[:-1])
    write_segment(other, dataclasses.replace(rows, tokens=(*rows.tokens[:-1], 300)))
    for path in (gone, damaged, other, None):
        file = None if path is None else str(path)
        assert isinstance(in_worker(task_for(context, file=file)), RowsNeeded)
    assert in_worker(task_for(context, file=str(whole))).bytes_taken == rows.n_bytes


def test_rows_that_were_sent_damaged_are_refused(tiny: ModelMaker) -> None:
    context = context_behind(tiny())
    rows = context.capture()
    other = segment_bytes(dataclasses.replace(rows, tokens=(*rows.tokens[:-1], 300)))
    for sent in (b"", segment_bytes(rows)[:-1], other):
        with pytest.raises(SessionFormatError, match="the rows of the question"):
            in_worker(task_for(context, rows=sent))


def test_whatever_used_the_context_since_the_prefix_is_hashed_again(tiny: ModelMaker) -> None:
    context = context_behind(tiny())
    task = task_for(context, rows=segment_bytes(context.capture()))

    def work() -> list[int]:
        taken = [explore(task).bytes_taken]
        taken.append(explore(task).bytes_taken)
        with exploring.lend(task.model, task.params) as lent:
            lent.clear()
            for token in TOKENS:  # the same tokens with other bits
                lent.evaluate([token])
        taken.append(explore(task).bytes_taken)
        return taken

    with ThreadPoolExecutor(1) as pool:
        first, second, third = pool.submit(work).result()
    assert first == third > 0
    assert second == 0


def test_another_model_is_refused_by_name(tiny: ModelMaker) -> None:
    context = context_behind(tiny())
    task = task_for(context, rows=segment_bytes(context.capture()))
    recipe = dataclasses.replace(task.model, fingerprint="0" * 32)
    with pytest.raises(ModelMismatchError, match="0000"):
        in_worker(dataclasses.replace(task, model=recipe))


def test_settings_that_mean_something_else_leave_the_tokens(tiny: ModelMaker) -> None:
    context = context_behind(tiny())
    task = task_for(context, rows=segment_bytes(context.capture()))
    settings = {**task.prefix.metadata["settings"], "rotation": {"k": True, "v": True}}
    metadata = {**task.prefix.metadata, "settings": settings}
    moved = dataclasses.replace(task, prefix=dataclasses.replace(task.prefix, metadata=metadata))
    explored = in_worker(moved)
    assert (explored.bytes_taken, explored.n_evaluated) == (0, len(TOKENS))
    assert [answer.rows for answer in explored.answers] == [None, None]


def test_adapters_are_the_same_or_refused(tiny: ModelMaker, tmp_path: Path) -> None:
    model, path = tiny(), tmp_path / "style.gguf"
    rows = np.random.default_rng(0).normal(0, 1, (model.n_layers, model.n_embd))
    rows[0] = 0
    calm = ControlVector.from_array(rows, name="calm", scale=0.5, layers=(1, 2))
    calm.save(tmp_path / "calm.gguf")
    for adapter in (
        LoRA(write_lora(path, model), scale=0.5),
        calm,
        ControlVector(tmp_path / "calm.gguf", 2.0),
    ):
        recipe = pickle.loads(pickle.dumps(AdapterRecipe.of(adapter)))
        assert recipe.load() == adapter
        assert recipe.load().name == adapter.name
    recipe = AdapterRecipe.of(LoRA(path))
    write_lora(path, model, seed=1)
    with pytest.raises(AdapterError, match=recipe.fingerprint):
        recipe.load()
