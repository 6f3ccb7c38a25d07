"""Sessions and trees go on with the adapters that they were saved with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ModelMaker
from engine.adapters.adapted import MakeLoRA, vector
from engine.helpers import assert_twins, context_of, words

from mullama_nb import CheckpointTree, Model, inspect_session
from mullama_nb.engine.differences import differences
from mullama_nb.errors import (
    ContextError,
    SessionFormatError,
    SessionMismatchError,
)
from mullama_nb.state.file import read_session, write_session


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2"])
def test_a_session_goes_on_with_what_was_on(
    tiny: ModelMaker, lora: MakeLoRA, tmp_path: Path, architecture: str
) -> None:
    model = tiny(architecture)
    with context_of(model, words(8)) as context:
        context.adapters = [lora(model, scale=0.5)]
        context.evaluate(words(8, 1))
        context.adapters = [vector(model, layers=(1, 2)), lora(model, 1)]
        context.save_session(tmp_path / "s")
        info = inspect_session(tmp_path / "s")
        assert [note["name"] for note in info.settings["adapters"]] == [
            lora(model).name,
            lora(model, 1).name,  # LoRAs first
            "v0",
        ]
        with context_of(model, words(3, 9)) as other:
            with pytest.raises(SessionMismatchError, match=f"'{lora(model).name}'.*'v0'.*at hand"):
                other.load_session(tmp_path / "s")
            assert other.tokens == tuple(words(3, 9))
            other.load_session(
                tmp_path / "s", adapters=[lora(model), lora(model, 1, 9.0), vector(model)]
            )
            assert other.adapters == context.adapters
            assert_twins(context, other)
            other.load_session(tmp_path / "s")
            if context.memory_kind.can_cut:
                other.rewind(12)
                context.rewind(12)
                np.testing.assert_array_equal(context.logits, other.logits)


def test_a_session_without_adapters_is_what_it_always_was(
    model: Model, lora: MakeLoRA, tmp_path: Path
) -> None:
    with context_of(model, words(8)) as context:
        context.save_session(tmp_path / "s")
        settings = inspect_session(tmp_path / "s").settings
        assert "adapters" not in settings
        context.adapters = [lora(model)]
        context.load_session(tmp_path / "s")
        assert context.adapters == ()
        context.adapters = [lora(model)]
        context.save_session(tmp_path / "t")
    # What an earlier version says of it.
    there = inspect_session(tmp_path / "t").settings
    (words_,) = differences(there, settings)
    assert "adapters" in words_
    assert "unknown to this version" in words_


@pytest.mark.parametrize(
    "runs",
    [
        *([[9, ""]], [[-1, ""]], [[0, "x"]], [[0, "[[1]]"]], [["0", ""]], [[0]], [0]),
        *("x", {"a": 1}, [[0, "[" * 9999]]),
        [[0, '[["lora","00000000000000000000000000000000",1.0]]']],
    ],
)
def test_what_a_stranger_says_of_adapters_is_checked(
    model: Model, tmp_path: Path, runs: Any
) -> None:
    with context_of(model, words(8)) as context:
        context.save_session(tmp_path / "s")
        file = read_session(tmp_path / "s")
        file.metadata["adapter_runs"] = runs
        write_session(tmp_path / "t", file)
        with pytest.raises(SessionFormatError, match="adapters"):
            context.load_session(tmp_path / "t")
        assert context.tokens == tuple(words(8))


@pytest.mark.parametrize("notes", ["x", [1], {"a": 1}, [{}], [{"kind": "lora"}]])
def test_what_a_stranger_says_of_settings_is_checked(
    model: Model, tmp_path: Path, notes: Any
) -> None:
    with context_of(model, words(8)) as context:
        context.save_session(tmp_path / "s")
        file = read_session(tmp_path / "s")
        file.metadata["settings"]["adapters"] = notes
        write_session(tmp_path / "t", file)
        with pytest.raises(SessionMismatchError):
            context.load_session(tmp_path / "t")


def test_a_tree_notes_its_tokens_before_others_are_on(model: Model, lora: MakeLoRA) -> None:
    with context_of(model) as context:
        tree = CheckpointTree(context)
        context.evaluate(words(4))
        with pytest.raises(ContextError, match="has not noted the last 4 tokens"):
            context.adapters = [lora(model)]
        tree.adapters = [lora(model)]
        context.evaluate(words(2))
        tree.commit()
        assert [c.metadata.adapters for c in tree] == [(), [lora(model).note()]]
