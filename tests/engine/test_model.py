"""Loading models, and saying what is wrong with a file."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from conftest import ModelMaker
from engine.helpers import EVERY, PARAMS, context_of, words
from tiny_models import CHATML, make_model, make_vocabulary_only
from waiting import in_thread

from mullama_nb import Context, Model
from mullama_nb.engine import native
from mullama_nb.engine.files.gguf_file import fingerprint
from mullama_nb.errors import ModelFormatError, ModelNotFoundError, ParameterError
from mullama_nb.size import size


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model.gguf", "llama")


def test_weights_are_loaded_once(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    first, again, linked = Model.load(path), Model.load(str(path)), Model.load(link)
    assert first is not again
    assert first.handle is again.handle is linked.handle
    assert Model.load(path, n_gpu_layers=0).handle is not first.handle
    expected = fingerprint(path)
    make_model(path, "llama", seed=1)
    os.utime(path, ns=(1, 1))
    changed = Model.load(path)
    assert changed.handle is not first.handle
    assert changed.fingerprint == fingerprint(path) != expected
    assert first.fingerprint == expected, "it is that of what was loaded"


def test_weights_outlive_their_model(path: Path) -> None:
    context = Context(Model.load(path), PARAMS)
    path.unlink()
    context.evaluate(words(20))
    assert len(context.generate(None, 5).tokens) == 5
    assert len(context.fork().generate(None, 5).tokens) == 5


def test_threads_that_load_at_once_share_the_weights(path: Path) -> None:
    models: list[Model] = []
    threads = [threading.Thread(target=lambda: models.append(Model.load(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(model.handle) for model in models}) == 1


def test_what_a_model_says_of_itself(smollm2: Model, tiny: ModelMaker) -> None:
    assert smollm2.name == "SmolLM2-135M-Instruct.Q4_1"
    assert smollm2.architecture == "llama"
    assert smollm2.n_ctx_train == 8192
    assert smollm2.n_vocab == 49152
    assert smollm2.n_parameters == 134_515_008
    assert 90e6 < smollm2.n_bytes < 100e6
    assert smollm2.metadata["general.architecture"] == "llama"
    assert "token_embd.weight" in smollm2.tensor_names
    assert repr(smollm2) == (
        f"Model('SmolLM2-135M-Instruct.Q4_1', llama, 135M parameters, {size(smollm2.n_bytes)})"
    )
    for architecture in EVERY:
        model = tiny(architecture)
        assert model.architecture == architecture.removesuffix("swa")
        assert model.metadata["general.name"] == f"tiny {model.architecture}"
        assert model.n_ctx_train == 2048


def test_a_file_named_by_its_hash_is_called_what_it_says(path: Path) -> None:
    blob = path.with_name("sha256-" + "ab" * 32)
    path.rename(blob)
    assert Model.load(blob).name == "tiny llama"


def test_progress_is_reported(path: Path) -> None:
    seen: list[float] = []
    model = Model.load(path, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    seen.clear()
    assert Model.load(path, progress=seen.append).handle is model.handle
    assert seen == [1.0]


def test_an_error_in_progress_ends_the_loading(path: Path) -> None:
    def fail(fraction: float) -> None:
        raise LookupError(f"at {fraction:.0f}")

    with pytest.raises(LookupError, match="at"):
        Model.load(path, progress=fail)
    assert Model.load(path).n_vocab == 512


def test_a_progress_callback_may_load_another_model(path: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other.gguf", "mamba")
    loaded: list[Model] = []

    def load(_fraction: float) -> None:
        if not loaded:
            loaded.append(Model.load(other))

    assert Model.load(path, progress=load).architecture == "llama"
    assert loaded[0].architecture == "mamba"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_magic(path: Path) -> None:
    path.write_bytes(b"GGUX" + path.read_bytes()[4:])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def unknown_architecture(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"llama", b"lIama"))


def vocabulary_only(path: Path) -> None:
    make_vocabulary_only(path, chat_template=CHATML)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "model.gguf"),
        (flip_magic, "model.gguf"),
        (empty, "it is empty"),
        (unknown_architecture, "llama.cpp cannot load model.gguf: .*unknown model architecture"),
        (vocabulary_only, "holds a vocabulary and no weights: it can tokenize but not generate"),
    ],
)
def test_a_file_that_cannot_work_is_refused_in_words(
    path: Path, capfd: pytest.CaptureFixture[str], damage: Any, reason: str
) -> None:
    damage(path)
    with pytest.raises(ModelFormatError, match=reason):
        Model.load(path)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"none\.gguf"):
        Model.load(tmp_path / "none.gguf")


@pytest.mark.parametrize("n_gpu_layers", [-2, 1.5, True, "all"])
def test_gpu_layers_are_a_number(path: Path, n_gpu_layers: Any) -> None:
    with pytest.raises(ParameterError, match=r"n_gpu_layers=.*give -1 for all, or a number"):
        Model.load(path, n_gpu_layers=n_gpu_layers)


@pytest.mark.parametrize("has_amx", [True, False])
def test_weights_stay_out_of_matrix_tiles(
    path: Path, monkeypatch: pytest.MonkeyPatch, has_amx: bool
) -> None:
    """A compiler's fault there ends the process at the first prompt of a quantised model."""
    load, used = llama_cpp.llama_model_load_from_file, []

    def noted(name: bytes, params: Any) -> Any:
        used.append(params.use_extra_bufts)
        return load(name, params)

    says = f"AVX512 = 1 | AMX_INT8 = {int(has_amx)} | LLAMAFILE = 1 |".encode()
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: says)
    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", noted)
    assert len(context_of(Model.load(path), words(40)).generate(None, 3).tokens) == 3
    assert used == [not has_amx]


def test_threads_are_told_the_same_of_the_system() -> None:
    """llama.cpp has one static string for it, which each call writes anew."""
    told: set[str] = set()

    def ask() -> None:
        for _ in range(2000):
            told.add(native.system_info())

    threads = [in_thread(ask) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert len(told) == 1


def test_nothing_is_printed_unless_it_is_asked_for(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    context = context_of(Model.load(path), words(20))
    context.generate(None, 5, grammar='root ::= "a"')
    context.save_session(tmp_path / "s")
    context.load_session(tmp_path / "s")
    context.fork().close()
    assert capfd.readouterr() == ("", "")
    verbose = Model.load(path, verbose=True, n_gpu_layers=0)
    assert "llama_model_loader" in capfd.readouterr().err
    Context(verbose, PARAMS)
    assert "n_ctx" in capfd.readouterr().err
    Context(verbose, PARAMS, verbose=False)
    assert capfd.readouterr() == ("", "")


def test_a_vocabulary_with_two_equal_tokens_is_refused(tmp_path: Path) -> None:
    path = make_model(tmp_path / "twice.gguf", "llama", control_tokens=("[X]", "[X]"))
    with pytest.raises(ModelFormatError, match=r"tokens 3 and 4 are both '\[X\]', and llama.cpp"):
        Model.load(path)
