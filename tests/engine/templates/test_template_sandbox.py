"""Errors of templates: in our words, and gone with the call."""

from __future__ import annotations

import gc
import weakref
from datetime import datetime

import pytest

from mullama_nb.engine.templates.sandbox import SandboxedTemplate
from mullama_nb.errors import ChatTemplateError


class Held:
    """What a frame of the call holds."""


def refuse(source: str) -> weakref.ref[Held]:
    held = Held()
    with pytest.raises(ChatTemplateError):
        SandboxedTemplate(source, "the template").render({"messages": [{}]}, datetime(2026, 1, 2))
    return weakref.ref(held)


@pytest.mark.parametrize(
    "source",
    ["{{ messages[0].nothing + 1 }}", "{{ raise_exception('no') }}", "{% include 'other' %}"],
)
def test_a_refusal_keeps_no_caller_until_python_collects(source: str) -> None:
    gc.disable()
    try:
        assert refuse(source)() is None  # a chat would keep its cells
    finally:
        gc.enable()
