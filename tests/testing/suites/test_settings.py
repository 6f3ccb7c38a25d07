"""Settings of a suite: checked when given, and named by what tells them apart."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from mullama_nb.errors import ParameterError
from mullama_nb.testing.suites.settings import checked_settings


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ([{}], ["default"]),
        ([{"temperature": 0}], ["default"]),
        ([{}, {"kv_cache_type": "q8_0"}], ["f16", "q8_0"]),
        ([{}, {"temperature": 0}], ["default", "temperature 0"]),
        (
            [{"system": "Be brief."}, {"system": "Be long."}],
            ["system Be brief.", "system Be long."],
        ),
        (
            [{"temperature": 0}, {"temperature": 0, "kv_cache_type": ("q8_0", "f16")}],
            ["f16", "q8_0/f16"],
        ),
        ([{}, {}], ["default", "default (2)"]),
        ([{}, {"name": "default"}], ["default (2)", "default"]),
        ([{"name": "mine", "top_k": 1}, {"top_k": 2}], ["mine", "top_k 2"]),
        ([{}, {"system": "a, [b]"}], ["default", "system a; (b)"]),
        (
            [{"chat_template_kwargs": {"enable_thinking": flag}} for flag in (True, False)],
            ["enable_thinking True", "enable_thinking False"],
        ),
    ],
)
def test_labels_say_what_differs(settings: list[dict[str, Any]], labels: list[str]) -> None:
    made = checked_settings(settings)
    assert [each.label for each in made] == labels
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_setting_is_split_by_what_it_concerns() -> None:
    (made,) = checked_settings(
        [
            {
                "n_ctx": 512,
                "top_k": 3,
                "max_tokens": 5,
                "system": "S",
                "chat_template_kwargs": {"a": 1},
            }
        ]
    )
    assert made.params.n_ctx == 512
    assert made.sampling.top_k == 3
    assert made.sampling.seed == 0
    assert made.limits.max_tokens == 5
    assert (made.system, made.chat_template_kwargs) == ("S", {"a": 1})


def test_the_text_of_a_template_is_taken_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_text("{{ messages }}", "utf-8")
    for given in (path, str(path)):
        (made,) = checked_settings([{"chat_template": given}])
        assert made.chat_template == "{{ messages }}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "settings are a list"),
        ({"temperature": 0}, "settings are a list"),
        ([3], "must map names to values"),
        ([{"temprature": 0}], "did you mean 'temperature'"),
        ([{"temperature": -1}], "temperature=-1"),
        ([{"n_ctx": 0}], "n_ctx=0"),
        ([{"max_tokens": -1}], "max_tokens=-1"),
        ([{"system": 3}], "system must be a text"),
        ([{"seed": None}], "give a suite a number"),
        ([{"chat_template": 3}], "chat_template must be"),
        ([{"chat_template_kwargs": {"messages": 1}}], "not given so"),
        ([{"adapters": [3]}], "adapters are a list"),
        ([{"name": "a"}, {"name": "a"}], "two settings have the name 'a'"),
    ],
)
def test_what_is_wrong_is_refused_when_given(settings: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        checked_settings(settings)
