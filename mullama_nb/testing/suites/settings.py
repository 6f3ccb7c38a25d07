"""Settings: with what parameters, prompts and adapters a suite asks its cases."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...checks import check_names
from ...engine.adapters.values import Adapter, checked_adapters, in_words
from ...engine.completion import Limits
from ...engine.params import ContextParams
from ...engine.sampling.params import SamplingParams
from ...engine.templates.of_model import is_template, template_text
from ...engine.templates.options import checked_variables
from ...errors import ParameterError, shown
from ...history.notes import check_notes
from ...history.options import CONTEXT_OPTIONS, LIMIT_OPTIONS, SAMPLING_OPTIONS, pick
from .labels import check_label, told_apart

__all__ = ["SETTING_KEYS", "Setting", "checked_settings"]

_OTHERS = ("name", "system", "chat_template", "chat_template_kwargs", "adapters")
SETTING_KEYS = (*_OTHERS, *CONTEXT_OPTIONS, *SAMPLING_OPTIONS, *LIMIT_OPTIONS)
"""What a setting may give."""

_LONGEST = 28  # of a text in a label
_DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(_OTHERS),
    **vars(ContextParams()),
    **vars(SamplingParams()),
    **vars(Limits()),
}
_ALONE = ("kv_cache_type",)  # whose values say by themselves what they are


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a suite.

    Attributes
    ----------
    label : str
    params : ContextParams
    sampling : SamplingParams
    limits : Limits
    system : str or None
    chat_template : str or None
        The text of a template, or the name of one in a model's file.
    chat_template_kwargs : mapping
    adapters : tuple of LoRA and ControlVector
    given : mapping
        The fields of ``params`` that were given; they replace those of a recording.
    """

    label: str
    params: ContextParams
    sampling: SamplingParams
    limits: Limits
    system: str | None = None
    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    adapters: tuple[Adapter, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Setting({self.label!r})"


def checked_settings(settings: Sequence[Mapping[str, Any]]) -> tuple[Setting, ...]:
    """Return settings with labels that tell them apart.

    Parameters
    ----------
    settings : sequence of mapping
        Each with any of ``SETTING_KEYS``.

    Raises
    ------
    ParameterError
        When a key is unknown, a value is out of range, or there is none.
    ChatTemplateError
        When the file of a template cannot be read.
    """
    if isinstance(settings, (str, Mapping)) or not isinstance(settings, Sequence) or not settings:
        raise ParameterError(
            'settings are a list, such as [{}, {"kv_cache_type": "q8_0"}], '
            f"not {shown(settings)}"
        )
    for number, setting in enumerate(settings, 1):
        if not isinstance(setting, Mapping) or not all(isinstance(key, str) for key in setting):
            raise ParameterError(f"setting {number} must map names to values, not {shown(setting)}")
        try:
            check_names(f"setting {number}", setting, SETTING_KEYS)
        except TypeError as error:
            raise ParameterError(str(error)) from None
    differing = _differing(settings)
    labels = told_apart(
        "settings",
        [
            (_label(each, differing), False)
            if each.get("name") is None
            else (check_label("name", each["name"]), True)
            for each in settings
        ],
    )
    return tuple(map(_made, labels, settings))


def _made(label: str, given: Mapping[str, Any]) -> Setting:
    system, variables = given.get("system"), given.get("chat_template_kwargs")
    adapters = given.get("adapters")
    if system is not None and not isinstance(system, str):
        raise ParameterError(f"setting {label}: system must be a text, not {shown(system)}")
    if given.get("seed", 0) is None:
        raise ParameterError("seed=None draws another one each time: give a suite a number")
    if variables is not None:
        variables = checked_variables(variables)
    check_notes({"system": system, "": variables}, f"setting {label}")
    return Setting(
        label,
        ContextParams(**pick(given, CONTEXT_OPTIONS)),
        SamplingParams(**pick(given, SAMPLING_OPTIONS)),
        Limits(**pick(given, LIMIT_OPTIONS)),
        system,
        _template(given.get("chat_template")),
        variables,
        checked_adapters(() if adapters is None else adapters),
        pick(given, CONTEXT_OPTIONS),
    )


def _template(given: object) -> str | None:
    """The text of a template that is in a file: elsewhere there is no such file."""
    if given is None or isinstance(given, str):
        is_file = isinstance(given, str) and not is_template(given) and os.path.isfile(given)  # noqa: PTH113
        return template_text(given) if is_file and given is not None else given
    if isinstance(given, os.PathLike):
        return template_text(given)
    raise ParameterError(f"chat_template must be a text or a path, not {shown(given)}")


# -- labels --------------------------------------------------------------------------------------


def _differing(settings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The keys whose values are not the same in all settings, in the order in which they occur."""
    keys = dict.fromkeys(key for each in settings for key in each if key != "name")
    return tuple(key for key in keys if len({repr(_value(each, key)) for each in settings}) > 1)


def _value(setting: Mapping[str, Any], key: str) -> Any:
    return setting.get(key, _DEFAULTS[key])


def _label(setting: Mapping[str, Any], keys: Sequence[str]) -> str:
    words = [_words(key, _value(setting, key)) for key in keys if key in setting or key in _ALONE]
    label = " ".join(words) or "default"
    return label.replace("[", "(").replace("]", ")").replace(",", ";")


def _words(key: str, value: Any) -> str:
    """A value in words, such as ``q8_0``, ``temperature 0.5`` or ``system Be brief.``."""
    if key == "adapters":
        adapters = checked_adapters(value or ())
        return " and ".join(in_words(each.note()) for each in adapters) or "no adapters"
    if key == "chat_template_kwargs":
        return " ".join(f"{k} {shown(v, _LONGEST)}" for k, v in (value or {}).items())
    if value is None:
        return f"no {key}"
    if isinstance(value, (list, tuple)):
        value = "/".join(map(str, value))
    text = shown(str(value), _LONGEST)
    return text if key in _ALONE else f"{key} {text}"
