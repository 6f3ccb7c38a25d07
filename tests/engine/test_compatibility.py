"""What rows depend on is in the settings, compared in both directions, and refused by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from conftest import ModelMaker
from engine.helpers import PARAMS, context_of, words
from hypothesis import given
from hypothesis import strategies as st
from state.forge import put_together, take_apart

from mullama_nb import Context, ContextParams, Model, SessionManager
from mullama_nb.engine import native
from mullama_nb.engine.compatibility import refusals, settings
from mullama_nb.engine.differences import differences
from mullama_nb.engine.rotation import rotation
from mullama_nb.errors import ContextError, InexactWarning, SessionMismatchError
from mullama_nb.testing.walk import Entry, fitting_params

DISABLE = "LLAMA_ATTN_ROT_DISABLE"


def with_metadata(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The same session, saying something else about itself, under a sound checksum."""
    parts = take_apart(path.read_bytes())
    metadata = json.loads(parts.metadata)
    change(metadata)
    path.write_bytes(put_together(replace(parts, metadata=json.dumps(metadata).encode())))
    return path


# -- rotation -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("disabled", ["", "0", "no", " 1", "-2", "1x"])
@pytest.mark.parametrize("head_dim", [32, 64, 96, 128])
@pytest.mark.parametrize("types", ["f16", "bf16", "q8_0", ("q8_0", "f16"), ("f16", "q4_0")])
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "lfm2"])
def test_rotation_is_what_llama_cpp_says_it_is(
    tiny: ModelMaker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    architecture: str,
    types: Any,
    head_dim: int,
    disabled: str,
) -> None:
    monkeypatch.setenv(DISABLE, disabled)
    model = tiny(architecture, head_dim=head_dim, n_layer=2)
    params = ContextParams(n_ctx=256, n_threads=1, kv_cache_type=types)
    with Context(model, params, verbose=True) as context:
        log = capsys.readouterr().err
        said = {
            part: [line for line in log.splitlines() if f"attn_rot_{part} = " in line]
            for part in "kv"
        }
        assert said["k"]
        for part, lines in said.items():
            expected = f"attn_rot_{part} = {int(rotation(model, params)[part])},"
            assert all(expected in line for line in lines)
        assert context.session_metadata["settings"]["rotation"] == rotation(model, params)


@pytest.mark.slow
@pytest.mark.parametrize("types", ["q8_0", "q4_0", ("q8_0", "f16"), ("f16", "q8_0")])
@pytest.mark.parametrize("first", ["0", "1"])
def test_rows_of_the_other_rotation_are_refused_by_name(
    tiny: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, types: Any, first: str
) -> None:
    model = tiny(head_dim=64)
    monkeypatch.setenv(DISABLE, first)
    saved = context_of(model, words(60), kv_cache_type=types)
    saved.save_session(tmp_path / "s")
    segment, logits = saved.capture(), saved.logits
    monkeypatch.setenv(DISABLE, "10"[int(first)])
    assert context_of(model, words(60), kv_cache_type=types).settings_digest != (
        saved.settings_digest  # what it was made with, whatever the environment says now
    )
    other = context_of(model, words(20), kv_cache_type=types)
    with pytest.raises(SessionMismatchError, match=r"the rotation of K and V: .* saved, .* here"):
        other.load_session(tmp_path / "s")
    with pytest.raises(ContextError, match="other settings cannot be restored"):
        other.restore(segment)
    assert other.tokens == tuple(words(20))
    # It is not a formality: taken all the same, the rows mean something else.
    with other._scheduler.moving() as path:
        path.replace(saved._scheduler.path.whole_state(include_logits=False))
    assert np.abs(other.logits - logits).max() > 0.5
    with pytest.raises(ContextError, match=f"Set {DISABLE} as it was"):
        saved.fork()
    assert saved.rest()
    with pytest.raises(ContextError, match=f"{DISABLE} is not what it was"):
        saved.generate(None, 1)
    monkeypatch.setenv(DISABLE, first)
    np.testing.assert_array_equal(saved.logits, logits)
    np.testing.assert_array_equal(saved.fork().logits, logits)


@pytest.mark.parametrize(("types", "head_dim"), [("f16", 64), ("f32", 64), ("q8_0", 32)])
def test_rows_that_are_not_rotated_do_not_care(
    tiny: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, types: str, head_dim: int
) -> None:
    model = tiny(head_dim=head_dim)
    monkeypatch.setenv(DISABLE, "1")
    saved = context_of(model, words(60), kv_cache_type=types)
    saved.save_session(tmp_path / "s")
    monkeypatch.delenv(DISABLE)
    with context_of(model, kv_cache_type=types) as context:
        context.load_session(tmp_path / "s")
        np.testing.assert_array_equal(context.logits, saved.logits)


def test_no_stored_beginning_of_the_other_rotation_is_handed_out(
    tiny: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = PARAMS.with_changes(kv_cache_type="q8_0")
    manager = SessionManager(tiny(head_dim=64), tmp_path, params)
    prompt = "You are kind, and this is a long beginning that many share. " * 2
    monkeypatch.setenv(DISABLE, "1")
    manager.load_or_create("off", prompt).close()
    monkeypatch.delenv(DISABLE)
    with (
        manager.load_or_create("on", prompt) as context,
        Context(manager.model, params) as twin,
    ):
        twin.evaluate(prompt)
        np.testing.assert_array_equal(context.logits, twin.logits)
        np.testing.assert_array_equal(context.capture().data, twin.capture().data)
    with pytest.raises(SessionMismatchError, match="the rotation of K and V: off saved, on here"):
        manager.load("off")


# -- builds -------------------------------------------------------------------------------------


def test_quantised_rows_belong_to_a_build(
    tiny: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(head_dim=32)
    for types in ("f16", "q8_0"):
        context_of(model, words(40), kv_cache_type=types).save_session(tmp_path / types)
    monkeypatch.setattr(native, "build", lambda: "llama-cpp-python 9.9.9")
    with pytest.raises(SessionMismatchError, match=r"quantised rows depend on: .*9\.9\.9 here"):
        context_of(model, kv_cache_type="q8_0").load_session(tmp_path / "q8_0")
    with pytest.warns(InexactWarning, match=r"the build of llama\.cpp: .*9\.9\.9 here"):
        context_of(model).load_session(tmp_path / "f16")


def test_layers_on_a_gpu_are_noted_and_compared(
    tiny: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(seed=41)
    assert model.n_gpu_layers is None
    context_of(model, words(40)).save_session(tmp_path / "cpu")
    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: True)
    assert model.n_gpu_layers == 5  # all, and the output
    some = Model.load(model.path, n_gpu_layers=2)
    assert some.n_gpu_layers == 2
    context_of(model, words(40)).save_session(tmp_path / "gpu")
    for name, words_ in (("cpu", "nothing saved, 2 here"), ("gpu", "5 saved, 2 here")):
        with pytest.warns(InexactWarning, match=f"the layers on a GPU: {words_}"):
            context_of(some).load_session(tmp_path / name)
    assert Model.load(model.path, n_gpu_layers=99).n_gpu_layers == 5


CHILD = """
import hashlib, sys
from mullama_nb import Context, ContextParams, Model
model = Model.load(sys.argv[1])
context = Context(model, ContextParams(n_ctx=256, n_threads=1, kv_cache_type="q8_0"))
context.evaluate(list(range(20, 120)))
context.generate(None, 3, temperature=0)
data = context.capture().data.tobytes() + context.logits.tobytes()
print(hashlib.sha256(data).hexdigest(), context.session_metadata["environment"]["system"])
"""
VARIABLES = ["LLAMA_GRAPH_REUSE_DISABLE=1", "GGML_CPU_TILED_MM=0", "GGML_CPU_DISABLE_FUSION=1"]


@pytest.mark.slow
def test_variables_that_are_read_once(tiny: ModelMaker) -> None:
    """In a process of their own: none changes a bit of these rows, kernels are noted."""
    path = str(tiny(head_dim=64).path)

    def run(**variables: str) -> list[str]:
        command = [sys.executable, "-c", CHILD, path]
        environment = os.environ | variables
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split(" ", 1)

    plain, system = run()
    for variable in VARIABLES:
        name, value = variable.split("=")
        digest, noted = run(**{name: value})
        assert digest == plain
        assert (variable in noted) == name.startswith("GGML_CPU")
        assert noted.replace(f" {variable}", "") == system
    assert run(**{DISABLE: "1"})[0] != plain


# -- LongRoPE -----------------------------------------------------------------------------------

# n_ctx of two contexts of a model whose original context has 1,024 tokens, and the same factors?
REGIMES = [(512, 1024, True), (512, 1025, False), (1000, 1100, False), (1300, 2048, True)]


@pytest.mark.slow
@pytest.mark.parametrize("yarn_orig_ctx", [None, 512, 4096])
@pytest.mark.parametrize(("first", "second", "is_same"), REGIMES)
def test_rope_factors_are_those_that_llama_cpp_takes(
    tiny: ModelMaker,
    tmp_path: Path,
    first: int,
    second: int,
    is_same: bool,
    yarn_orig_ctx: int | None,
) -> None:
    model = tiny("longrope", n_ctx=4096)
    params = PARAMS.with_changes(yarn_orig_ctx=yarn_orig_ctx)
    one, two = (Context(model, params.with_changes(n_ctx=n)) for n in (first, second))
    for context in (one, two):
        context.evaluate(words(100))
    # The logits show which factors were used.
    assert np.array_equal(one.logits, two.logits) == is_same
    assert (one.settings_digest == two.settings_digest) == is_same
    one.save_session(tmp_path / "s")
    if is_same:
        two.load_session(tmp_path / "s")
        np.testing.assert_array_equal(one.logits, two.logits)
    else:
        with pytest.raises(SessionMismatchError, match="factors=short saved, factors=long here"):
            two.load_session(tmp_path / "s")


def test_a_recording_is_not_walked_with_other_factors(tiny: ModelMaker) -> None:
    """A shorter context would do for the tokens; the model would take other factors."""
    entries = [Entry("a", None, tuple(words(30)), "", {})]
    model = tiny("longrope", n_ctx=4096)
    for yarn_orig_ctx in (None, 4096):
        params = ContextParams(n_ctx=2048, yarn_orig_ctx=yarn_orig_ctx)
        assert fitting_params(entries, model, params).n_ctx == 2048
    assert fitting_params(entries, model, ContextParams(n_ctx=1024)).n_ctx == 256


def test_models_without_two_sets_of_factors_have_none(tiny: ModelMaker) -> None:
    for n_ctx in (256, 8192):
        assert settings(tiny(), PARAMS, n_ctx)["rope"]["factors"] is None
        longrope = PARAMS.with_changes(rope_scaling="longrope")
        assert settings(tiny(), longrope, n_ctx)["rope"]["factors"] is None


# -- what one side does not know ----------------------------------------------------------------


def old(metadata: dict[str, Any], *, long: bool = False) -> None:
    """As version 1 wrote it."""
    metadata["format"] = 1
    values = metadata["settings"]
    del values["rotation"], values["quantised_by"], values["rope"]["factors"]
    values["rope"]["long"] = long
    del metadata["environment"]["gpu_layers"]


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("types", ["f16", "f32", "bf16"])
def test_files_from_before_rotation_was_noted_load_where_nothing_is_rotated(
    tiny: ModelMaker, tmp_path: Path, types: str, long: bool
) -> None:
    saved = context_of(tiny(), words(40), kv_cache_type=types)
    saved.save_session(tmp_path / "s")
    with_metadata(tmp_path / "s", lambda metadata: old(metadata, long=long))
    with context_of(tiny(), kv_cache_type=types) as context:
        context.load_session(tmp_path / "s")  # without a warning
        np.testing.assert_array_equal(context.logits, saved.logits)


@pytest.mark.parametrize(
    ("architecture", "types", "reason"),
    [
        ("llama", "q8_0", "the rotation of K and V: .* when it was saved that was not noted"),
        ("llama", ("f16", "q8_0"), "the rotation of K and V: .* that was not noted"),
        ("longrope", "f16", "the rope settings: .*long=False saved, factors=short here"),
    ],
)
def test_files_from_before_are_refused_where_there_is_doubt(
    tiny: ModelMaker, tmp_path: Path, architecture: str, types: Any, reason: str
) -> None:
    model = tiny(architecture, head_dim=64)
    context_of(model, words(40), kv_cache_type=types).save_session(tmp_path / "s")
    with_metadata(tmp_path / "s", old)
    with pytest.raises(SessionMismatchError, match=reason):
        context_of(model, kv_cache_type=types).load_session(tmp_path / "s")


@pytest.mark.parametrize("version", [3, 10**30, "2", None, True])
def test_a_newer_format_is_refused(tiny: ModelMaker, tmp_path: Path, version: object) -> None:
    context_of(tiny(), words(40)).save_session(tmp_path / "s")
    with_metadata(tmp_path / "s", lambda metadata: metadata.update(format=version))
    with pytest.raises(SessionMismatchError, match=r"the version of its metadata: .* up to 2"):
        context_of(tiny()).load_session(tmp_path / "s")


def test_a_setting_that_is_unknown_here_is_refused(tiny: ModelMaker, tmp_path: Path) -> None:
    context_of(tiny(), words(40)).save_session(tmp_path / "s")
    with_metadata(tmp_path / "s", lambda m: m["settings"].update({"x\x1b[31m": "y" * 999}))
    with pytest.raises(SessionMismatchError, match=r"x.\[31m: y{100}\.\.\. saved, unknown") as why:
        context_of(tiny()).load_session(tmp_path / "s")
    assert str(why.value).isprintable()
    assert len(str(why.value)) < 500


def test_an_environment_that_is_unknown_here_is_said(tiny: ModelMaker, tmp_path: Path) -> None:
    context_of(tiny(), words(40)).save_session(tmp_path / "s")
    with_metadata(tmp_path / "s", lambda m: m["environment"].update(phase="moon"))
    with pytest.warns(InexactWarning, match="phase: moon saved, unknown to this version"):
        context_of(tiny()).load_session(tmp_path / "s")


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5))
KEYS = st.text(max_size=8) | st.sampled_from(["type_k", "type_v", "n_threads"])
DICTIONARIES = st.dictionaries(KEYS, VALUES | st.dictionaries(st.text(), VALUES))


@pytest.mark.slow
@given(DICTIONARIES, DICTIONARIES)
def test_only_equal_settings_have_no_differences(
    saved: dict[str, Any], here: dict[str, Any]
) -> None:
    assert differences(here, here) == []
    assert bool(differences(saved, here)) == (saved != here)


@pytest.mark.parametrize("change", [{"rotation": False}, {"type": "f16"}])
def test_what_is_shown_as_the_same_is_still_told_apart(
    tiny: ModelMaker, change: dict[str, Any]
) -> None:
    here = settings(tiny(head_dim=64), PARAMS.with_changes(kv_cache_type="f16"), 512)
    assert differences(here | change, here)


@given(st.data())
def test_no_single_change_of_settings_passes(tiny: ModelMaker, data: st.DataObject) -> None:
    """Removed, changed or added, at either level; but for what the rest leaves no doubt about."""
    types = data.draw(st.sampled_from(["f16", "q8_0"]))
    params = PARAMS.with_changes(kv_cache_type=types)
    here = {"format": 2, "settings": settings(tiny(head_dim=64), params, 512)}
    saved = json.loads(json.dumps(here))
    holder = data.draw(st.sampled_from([saved["settings"], *_mappings(saved["settings"])]))
    key = data.draw(st.sampled_from([*holder, "new"]))
    if key != "new" and data.draw(st.booleans()):
        del holder[key]
        certain = {"rotation", "quantised_by"} if types == "f16" else set()
        if key in {*certain, "factors"}:
            return
    else:
        value = data.draw(VALUES | st.dictionaries(st.text(), VALUES))
        if key in holder and holder[key] == value:
            return
        holder[key] = value
    assert refusals(saved, here)


def _mappings(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [value for value in values.values() if isinstance(value, dict)]
