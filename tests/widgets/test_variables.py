"""What a browser loads gets a name that can be used, and takes none away."""

from __future__ import annotations

import builtins
import keyword
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mullama_nb.widgets.variables import offer_as_variable


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text() | st.sampled_from(["list", "class", "my chat", "2", "a-b", "chat"])))
def test_any_name_gives_a_variable(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    known: dict[str, Any] = {"chat": "mine", "my_chat": "mine", "In": []}
    before = dict(known)
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns=known))
    for name in names:
        value = object()
        variable = offer_as_variable(name, value)
        assert variable is not None
        assert variable.isidentifier()
        assert not keyword.iskeyword(variable)
        assert not hasattr(builtins, variable)
        assert known[variable] is value
        assert offer_as_variable(name, value) == variable
    assert {name: known[name] for name in before} == before
    assert len(known) == len(before) + len(names)


def test_without_a_notebook_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert offer_as_variable("x", 1) is None
