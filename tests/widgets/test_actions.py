"""A view can call the ``do_`` methods of its widget, with arguments of the declared types alone."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mullama_nb import widgets
from mullama_nb.errors import ParameterError
from mullama_nb.widgets.actions import call_action, ends_generation, stops_first

KINDS = [getattr(widgets, name) for name in widgets.__all__]
ACTIONS = [
    pytest.param(getattr(kind, name), id=f"{kind.__name__}-{name}")
    for kind in KINDS
    for name in dir(kind)
    if name.startswith("do_")
]


class Probe:
    """Keeps what it was called with."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []

    def do_all(self, text: str, n: int, sure: bool = False, choose: int | None = None) -> None:
        self.got.append({"text": text, "n": n, "sure": sure, "choose": choose})

    @stops_first
    def do_leave(self) -> None:
        self.got.append({})

    def undo(self) -> None:
        raise AssertionError("this is not an action")


def is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


NUMBERS = st.integers() | st.floats()
VALUES = st.none() | st.booleans() | NUMBERS | st.text() | st.lists(st.none())
FITTING = {
    "text": lambda value: isinstance(value, str),
    "n": is_int,
    "sure": lambda value: isinstance(value, bool),
    "choose": lambda value: value is None or is_int(value),
}


@given(st.dictionaries(st.sampled_from([*FITTING, "self", "other"]), VALUES))
def test_only_what_is_declared_arrives(arguments: dict[str, Any]) -> None:
    probe = Probe()
    fits = {"text", "n"} <= arguments.keys() <= FITTING.keys() and all(
        FITTING[name](value) for name, value in arguments.items()
    )
    if fits:
        call_action(probe, "all", arguments)
        assert probe.got == [{"sure": False, "choose": None, **arguments}]
    else:
        with pytest.raises(ParameterError, match="Probe: 'all' "):
            call_action(probe, "all", arguments)
        assert probe.got == []


@pytest.mark.parametrize("action", ["undo", "_all", "__init__", "do_all", "", "got", "None"])
def test_nothing_else_of_a_widget_can_be_called(action: str) -> None:
    with pytest.raises(ParameterError, match=r"its actions: all, leave$"):
        call_action(Probe(), action, {})
    assert not ends_generation(Probe(), action)


def test_actions_that_go_elsewhere_are_marked() -> None:
    assert ends_generation(Probe(), "leave")
    assert not ends_generation(Probe(), "all")


@pytest.mark.parametrize("method", ACTIONS)
def test_every_action_declares_what_can_be_checked(method: Any) -> None:
    hints = get_type_hints(method)
    assert hints.pop("return") is type(None)
    assert set(hints.values()) <= {str, int, bool, int | None, float | int}
    assert [*hints] == [*inspect.signature(method).parameters][1:]
    assert inspect.getdoc(method)
