"""Tasks: what another process needs to know to evaluate one cell of a suite."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blake3 import blake3

from ...engine.completion import Limits
from ...engine.params import ContextParams
from ...engine.sampling.params import SamplingParams
from ...errors import RecordingError
from ...history.options import LIMIT_OPTIONS, SAMPLING_OPTIONS, pick
from ...tasks.recipe import ModelRecipe
from ..recording import Recording
from .case import Case
from .settings import Setting

__all__ = ["CellTask", "task_digest"]


@dataclass(frozen=True, slots=True)
class CellTask:
    """One cell to evaluate, as a value that can be pickled.

    Attributes
    ----------
    id : str
    case_label, model_label, setting_label : str
    case : Case
    setting : Setting
    model : ModelRecipe
    params : ContextParams
        Those of the setting, with the number of cells that the model's context has.
    repeat : int
        How many answers are drawn.
    digest : str
        See :func:`task_digest`.
    forks : tuple of int or None
        After how many tokens the suite's other prompts part from this one. None where its tokens
        are not known in advance.
    n_prompt : int
        Tokens in front of the answer, as far as known in advance.
    recording : Recording or None
        What the file held that the case is: elsewhere there may be no such file.
    """

    id: str
    case_label: str
    model_label: str
    setting_label: str
    case: Case
    setting: Setting
    model: ModelRecipe
    params: ContextParams
    repeat: int = 1
    digest: str = ""
    forks: tuple[int, ...] | None = None
    n_prompt: int = 0
    recording: Recording | None = None

    @property
    def sampling(self) -> SamplingParams:
        """How answers are sampled: as the case says, or else the setting."""
        return self.setting.sampling.with_changes(**pick(self.case.options, SAMPLING_OPTIONS))

    @property
    def limits(self) -> Limits:
        """Where answers end: as the case says, or else the setting."""
        return replace(self.setting.limits, **pick(self.case.options, LIMIT_OPTIONS))


def task_digest(case: Case, setting: Setting, fingerprint: str, repeat: int) -> str:
    """Return a hash of all that the result of a task depends on, but for the machine.

    Raises
    ------
    RecordingError
        When the file of a recording cannot be read.
    """
    said: Any = case.said
    if isinstance(said, Path):
        said = ["recording", _file_digest(said)]
    elif callable(said):
        said = ["function", getattr(said, "__qualname__", repr(type(said))), _source(said)]
    parts = {
        "said": said,
        "options": case.options,
        "checks": [check.digest for check in case.checks],
        "model": fingerprint,
        "params": asdict(setting.params),
        "sampling": setting.sampling.changed(),
        "limits": setting.limits.changed(),
        "system": setting.system,
        "chat_template": setting.chat_template,
        "chat_template_kwargs": setting.chat_template_kwargs,
        "adapters": [adapter.key for adapter in setting.adapters],
        "repeat": repeat,
    }
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return blake3(f"mullama suite task 1 {text}".encode("utf-8", "surrogatepass")).hexdigest(16)


def _plain(value: object) -> Any:
    return dict(value) if isinstance(value, Mapping) else repr(value)


def _file_digest(path: Path) -> str:
    try:
        return blake3(path.read_bytes()).hexdigest(16)
    except OSError as error:
        raise RecordingError(
            f"{path.name} cannot be read ({error.strerror}), which a case is the recording of"
        ) from None


def _source(function: object) -> str:
    try:
        return inspect.getsource(function)  # type: ignore[arg-type]
    except (OSError, TypeError):
        return ""
